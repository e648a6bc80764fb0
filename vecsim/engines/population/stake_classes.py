"""Classes of nodes that hold the same stake, which the population engine counts (host side).

Six honest nodes that hold 5, 2, 2, 1, 1 and 1 units, of which the first and the last two start at
1, of an adversary of one group:

    units    5 2 1 0      a class each, filled up to a power of two
    nodes    1 2 3 0
    ones     1 0 2 0
"""

import numpy as np
from numpy.typing import NDArray

from vecsim.engines.agents.holdings import Holdings
from vecsim.model.point import Point
from vecsim.stakes.stake import Weighted

# Classes of one of the adversary's groups, of all groups together: the names of draws have 6 bits
# for their numbers.
MOST_CLASSES = 64


def supports_stake(point: Point) -> str | None:
    """Why the engine cannot run the point with its stake; None if it can."""
    stake = point.stake
    if not isinstance(stake, Weighted):
        return None
    if classes_of(point) * point.adversary.groups > MOST_CLASSES:
        told = f"{len(np.unique(stake.holdings(point.n)))} different holdings"
        most = MOST_CLASSES // point.adversary.groups
        return f"{told}: nodes that hold the same may make {most} classes"
    if point.protocol.counts:
        return f"protocol={type(point.protocol).__name__}: it looks at counts"
    if stake.shared_fate and point.by_chance:
        return "stake.shared_fate: all places of a node share an answer that is left to chance"
    return None


def classes_of(point: Point) -> int:
    """Classes of nodes that hold the same, up to a power of two, so that few programs serve many
    stakes; 1 where stake is not weighted."""
    if not isinstance(point.stake, Weighted):
        return 1
    return 1 << (len(np.unique(point.stake.holdings(point.n))) - 1).bit_length()


def class_counts(
    held: Holdings, classes: int, groups: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Units that each node of a class holds [classes x groups], honest nodes of each class, and
    those of them that start at 1, [trials, classes x groups]; the adversary's groups go fastest.

    groups: of the adversary.
    """
    sizes, class_ = np.unique(held.units, return_inverse=True)
    class_ = class_.reshape(held.units.shape)
    if not sizes[0]:  # identities that were refused hold nothing
        sizes, class_ = sizes[1:], class_ - 1
    number = np.arange(held.units.shape[1])
    fed, honest = (number < count[:, None] for count in (held.first_group, held.honest))
    other = held.first_group + held.start_ones - held.first_ones  # after the ones of group two
    one = (number < held.first_ones[:, None]) | (~fed & (number < other[:, None]))
    code = class_ * groups + (~fed if groups > 1 else 0)
    each, trials = classes * groups, len(code)

    def counted(those) -> NDArray[np.int64]:
        codes = (code + each * np.arange(trials)[:, None])[those]
        return np.bincount(codes, minlength=trials * each).reshape(trials, each)

    units = np.repeat(np.append(sizes, np.zeros(classes - len(sizes))), groups).astype(float)
    return units, counted(honest), counted(honest & one)
