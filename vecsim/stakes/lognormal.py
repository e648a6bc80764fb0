"""Log-normal stake: the logarithm of what a node holds is normal."""

import numpy as np
from scipy.special import ndtri

from vecsim.errors import is_number, require
from vecsim.stakes.stake import Weighted


class Lognormal(Weighted):
    """Nodes hold the quantiles of a log-normal law at (i - 1/2) / n, i = 1 ... n; none is drawn.

    sigma: standard deviation of the natural logarithm of what a node holds, 0 (all hold the same)
      to 10.
    cap: the largest share of the stake that a node holds, 1/n to 1, to within one unit. What is
      above it is cut off and divided among the others in proportion to what they hold, until nobody
      is above it. 1: nobody is cut.
    """

    identity = "stakes.lognormal.Lognormal"

    sigma: float = 1.0
    cap: float = 1.0

    def __check_init__(self):
        sigma, cap = self.sigma, self.cap
        require(is_number(sigma) and 0 <= sigma <= 10, "stake.sigma", sigma, "0 to 10")
        require(is_number(cap) and 0 < cap <= 1, "stake.cap", cap, "above 0, to 1")

    def weights(self, n):
        """The quantiles as shares, the largest first, none above the cap.

        ConfigError where all nodes at the cap would hold less than the whole.
        """
        require(self.cap >= 1 / n, "stake.cap", self.cap, f"1/n = {1 / n:.6g} or more")
        quantiles = np.exp(-self.sigma * ndtri((np.arange(n) + 0.5) / n))
        return _cut(quantiles / quantiles.sum(), self.cap)


def _cut(shares, cap):
    """Shares, the largest first, of which none is above the cap.

    Where the first j are cut to it, the others keep their proportions and hold 1 - j * cap. So few
    are cut that the next one stays below; the tolerance is for rounding, as at cap = 1/n.
    """
    cut = np.arange(len(shares))
    left = 1 - cut * cap
    rest = np.cumsum(shares[::-1])[::-1]
    few = np.argmax(shares / rest * left <= cap * (1 + 1e-12))
    return np.concatenate([np.full(few, cap), shares[few:] / rest[few] * left[few]])
