"""What is drawn once for a trial, before it begins (host side)."""

import numpy as np

from vecsim.model import random
from vecsim.model.point import Point
from vecsim.model.poll_law import Floats

IDENTITIES, COLOURS = 1, 64  # numbers of the first blocks for admissions, and for groups' colours
_TAIL = 1e-30  # of a hypergeometric law, relative to its mode: what is less likely is left out


def admitted(point: Point, keys) -> np.ndarray:
    """Byzantine nodes of each kind that are admitted, int64 [trials, kinds]; keys: the trials'."""
    number = np.tile(np.array(point.kinds, np.int64), (len(keys[0]), 1))
    for i, kind in enumerate(point.adversary.kinds):
        admission = float(kind.admission)
        if admission < 1.0:
            from scipy import stats  # slow to import, and few points need it

            most = point.kinds[i]
            drawn = stats.binom.ppf(_uniform(keys, IDENTITIES + i), most, admission)
            number[:, i] = np.clip(drawn, 0, most)
    return number


def first_ones(point: Point, keys) -> np.ndarray:
    """Of the nodes that start at 1, those in the adversary's first group, int64 [trials, groups].

    groups: the network's. keys: the trials'.
    """
    number = np.empty((len(keys[0]), len(point.groups)), np.int64)
    for i, group in enumerate(point.groups):
        if point.adversary.grouping == "by_colour" or point.adversary.groups == 1:
            number[:, i] = min(group.ones, group.fed)
        else:
            least, law = hypergeometric(group.nodes, group.ones, group.fed)
            number[:, i] = least + np.searchsorted(np.cumsum(law), _uniform(keys, COLOURS + i))
    return number


def first_ones_law(point: Point) -> tuple[int, Floats]:
    """The least number that `first_ones` gives without groups in the network, and the
    probabilities from it on."""
    group = point.groups[0]
    if point.adversary.grouping == "by_colour" or point.adversary.groups == 1:
        return min(group.ones, group.fed), np.ones(1)
    return hypergeometric(group.nodes, group.ones, group.fed)


def hypergeometric(total: int, good: int, draws: int) -> tuple[int, Floats]:
    """The least number of good ones that counts among so many distinct draws, and the probabilities
    from it on; from the mode outwards by ratios, as far as they are above _TAIL.
    """
    least, most = max(0, draws + good - total), min(good, draws)
    mode = min(max((draws + 1) * (good + 1) // (total + 2), least), most)
    reach = _reach(total, good, draws)

    def ratios(i):
        """P(i + 1) / P(i)."""
        i = i.astype(float)
        return (good - i) / (i + 1.0) * ((draws - i) / (total - good - draws + i + 1.0))

    up = np.cumprod(ratios(np.arange(mode, min(most, mode + reach))))
    down = np.cumprod(1.0 / ratios(np.arange(mode - 1, max(least, mode - reach) - 1, -1)))
    up, down = up[up > _TAIL], down[down > _TAIL]
    law = np.concatenate([down[::-1], [1.0], up])
    return mode - len(down), law / law.sum()


def _reach(total: int, good: int, draws: int) -> int:
    """From the mode to where a probability is below _TAIL times that of the mode (Hoeffding)."""
    smaller = min(good, draws, total - good, total - draws)
    return int(np.sqrt(smaller * -np.log(_TAIL))) + 100


def _uniform(keys, number: int) -> Floats:
    """53 random bits of each trial."""
    high, low = random.threefry(keys[0], keys[1], np.uint32(number), np.uint32(random.TRIAL))
    return random.uniform53(high, low)
