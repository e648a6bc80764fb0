"""Zipf's law of stake: what a node holds falls as a power of its rank."""

import numpy as np

from vecsim.errors import is_number, require
from vecsim.stakes.stake import Weighted


class Zipf(Weighted):
    """The node of rank i holds stake in proportion to 1 / i**exponent."""

    identity = "stakes.zipf.Zipf"

    exponent: float = 1.0  # 0 to 10; at 0 all nodes hold the same

    def __check_init__(self):
        exponent = self.exponent
        good = is_number(exponent) and 0 <= exponent <= 10
        require(good, "stake.exponent", exponent, "0 to 10")

    def weights(self, n):
        """1, 2**-exponent, 3**-exponent ..."""
        return np.arange(1, n + 1, dtype=float) ** -self.exponent
