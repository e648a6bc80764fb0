"""What is drawn once for a trial, before it begins (host side)."""

import numpy as np

from vecsim.model import random
from vecsim.model.point import Group, Point
from vecsim.model.poll_law import Floats

# Numbers of the first blocks of random words for the admissions of each kind, and for the colours
# of each group; there are fewer kinds than 63.
IDENTITIES, COLOURS = 1, 64
# Probability, relative to the mode of a hypergeometric law, below which numbers are left out: far
# below what a draw of 53 bits can meet.
_TAIL = 1e-30


def admitted(point: Point, keys) -> np.ndarray:
    """Byzantine nodes of each kind that are admitted, int64 [trials, kinds].

    Binomial, by inversion of one uniform number. keys: the trials', two uint32 [trials].
    """
    number = np.tile(np.array(point.kinds, np.int64), (len(keys[0]), 1))
    for i, (kind, most) in enumerate(zip(point.adversary.kinds, point.kinds, strict=True)):
        admission = float(kind.admission)
        if admission < 1.0:
            from scipy import stats  # slow to import, and few points need it

            drawn = stats.binom.ppf(_uniform(keys, IDENTITIES + i), most, admission)
            number[:, i] = np.clip(drawn, 0, most)
    return number


def first_ones(point: Point, keys) -> np.ndarray:
    """Nodes of the adversary's first group that start at 1, int64 [trials, groups].

    groups: the network's. keys: the trials', two uint32 [trials].
    """
    number = np.empty((len(keys[0]), len(point.groups)), np.int64)
    for i, group in enumerate(point.groups):
        number[:, i], law = first_ones_law(point, group)
        if len(law) > 1:
            number[:, i] += np.searchsorted(np.cumsum(law), _uniform(keys, COLOURS + i))
    return number


def first_ones_law(point: Point, group: Group | None = None) -> tuple[int, Floats]:
    """The least number that `first_ones` gives in a group of the network, the first one unless
    given, and the probabilities from it on."""
    group = group or point.groups[0]
    if point.adversary.grouping == "by_colour" or point.adversary.groups == 1:
        return min(group.ones, group.fed), np.ones(1)
    return hypergeometric(group.nodes, group.ones, group.fed)


def hypergeometric(total: int, good: int, draws: int) -> tuple[int, Floats]:
    """The hypergeometric law of the good ones among so many distinct draws out of `total`.

    Returns the least number that counts, and the probabilities from it on; from the mode outwards
    by ratios, as far as they are above _TAIL.
    """
    least, most = max(0, draws + good - total), min(good, draws)
    mode = min(max((draws + 1) * (good + 1) // (total + 2), least), most)
    # From the mode to where a probability is below _TAIL times that of the mode (Hoeffding).
    reach = int(np.sqrt(min(good, draws, total - good, total - draws) * -np.log(_TAIL))) + 100

    def ratios(i):
        """P(i + 1) / P(i)."""
        i = i.astype(float)
        return (good - i) / (i + 1.0) * ((draws - i) / (total - good - draws + i + 1.0))

    up = ratios(np.arange(mode, min(most, mode + reach)))
    down = 1.0 / ratios(np.arange(mode - 1, max(least, mode - reach) - 1, -1))
    return around_mode(mode, up, down, _TAIL)


def around_mode(mode: int, up: Floats, down: Floats, tail: float) -> tuple[int, Floats]:
    """The least number that counts, and the probabilities from it on; they add up to 1.

    up, down: each probability over the one before, from the mode outwards. tail: what is less
    likely, relative to the mode, is left out.
    """
    above, below = (law[law > tail] for law in map(np.cumprod, (up, down)))
    law = np.concatenate([below[::-1], [1.0], above])
    return mode - len(below), law / law.sum()


def _uniform(keys, number: int) -> Floats:
    """A number in [0, 1) for each trial, of 53 random bits; number: of its block of words."""
    high, low = random.threefry(keys[0], keys[1], np.uint32(number), np.uint32(random.TRIAL))
    return random.uniform53(high, low)
