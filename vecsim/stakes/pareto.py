"""Pareto's law of stake: how many nodes hold more than x falls as a power of x."""

import numpy as np

from vecsim.errors import is_number, require
from vecsim.stakes.stake import Weighted


class Pareto(Weighted):
    """Nodes hold the quantiles of a Pareto law at (i - 1/2) / n, i = 1 ... n; none is drawn.

    tail_index: the exponent of the tail (Pareto index, shape), 0.1 to 100: a share x**-tail_index
      of the nodes holds more than x times the least. The smaller it is, the more the largest hold;
      far from the largest the law is Zipf's with exponent 1 / tail_index. At 1.16 a fifth of very
      many nodes holds four fifths of the stake.
    """

    identity = "stakes.pareto.Pareto"

    tail_index: float = 1.16

    def __check_init__(self):
        index = self.tail_index
        good = is_number(index) and 0.1 <= index <= 100
        require(good, "stake.tail_index", index, "0.1 to 100")

    def weights(self, n):
        """The quantiles, the largest first; the law's least value is 1."""
        return ((np.arange(n) + 0.5) / n) ** (-1 / self.tail_index)
