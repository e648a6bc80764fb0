"""Who holds what in each trial of a weighted stake (host side).

In every trial nodes are Byzantine in a random order, or the largest or the smallest first, until
their stake comes nearest to the share asked for. In another random order honest ones start at 1,
and in it or in a third one they are in the first of the groups that the adversary tells apart.
(After the last Byzantine node of an order a large one is likelier to come, which is why the honest
ones have another.) Then they are numbered class by class, as engines want them:

    class   first group, 1 | first group, 0 | second, 1 | second, 0 | Byzantine kinds | refused
    ends at       first_ones |    first_group |           |    honest |   + byzantine |       n
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecsim.model import random
from vecsim.model.point import Point
from vecsim.stakes.stake import Weighted

# Rounds of the words that order nodes (Byzantine ones, colours, and groups), and the first of those
# by which identities of each kind are admitted.
BYZANTINE, COLOURS, GROUPS, ADMITTED = range(4)
_BYZANTINE = 4  # the class of the first kind of Byzantine nodes
Ints = NDArray[np.int64]


class Holdings(NamedTuple):
    """Of each trial; nodes are counted without those that are refused admission.

    units: [trials, nodes], by number; those of refused nodes are 0. honest, start_ones,
    first_group, first_ones: nodes [trials]. kinds: Byzantine nodes of each kind [trials, kinds].
    honest_units, one_units: [trials], of honest nodes, and of those that start at 1. kind_units:
    [trials, kinds].
    """

    units: Ints
    honest: Ints
    start_ones: Ints
    first_group: Ints
    first_ones: Ints
    kinds: Ints
    honest_units: Ints
    one_units: Ints
    kind_units: Ints


def holdings_of(point: Point, keys) -> Holdings:
    """What every node of these trials holds. keys: the trials', two uint32 [trials]."""
    stake, trials = point.stake, len(keys[0])
    assert isinstance(stake, Weighted)
    held = stake.holdings(point.n)
    order = _order(keys, point.n, COLOURS)
    # From here on all arrays [trials, nodes] are in this order.
    byzantine = np.take_along_axis(_byzantine(point, stake, held, keys), order, axis=1)
    units = held[order]
    kinds = len(point.adversary.kinds)
    class_ = np.where(byzantine, _BYZANTINE, 0).astype(np.uint8)
    if kinds > 1:
        _divide(point, units, byzantine, class_)
    refused = _refuse(point, keys, class_) if float(point.adversary.admission) < 1 else None
    honest = ~byzantine
    ones = _until(np.where(honest, units, 0), honest, point.initial_accept)
    if stake.initial_accept_of == "nodes":  # an exact count, as of equal stake
        wanted = np.rint(point.initial_accept * honest.sum(axis=1, keepdims=True))
        ones = honest & (np.cumsum(honest, axis=1) <= wanted)
    class_[honest & ~ones] = 1
    if refused is not None:
        class_[refused], units = _BYZANTINE + kinds, np.where(refused, 0, units)
    if point.adversary.groups > 1:
        fed = _fed(point, keys, units, honest, ones)
        class_[honest & ~fed] += 2
    numbered = np.argsort(class_, axis=1, kind="stable")

    def nodes(*classes: int) -> Ints:
        return sum(((class_ == each).sum(axis=1) for each in classes), np.zeros(trials, np.int64))

    each = range(_BYZANTINE, _BYZANTINE + kinds)
    return Holdings(
        units=np.take_along_axis(units, numbered, axis=1),
        honest=honest.sum(axis=1),
        start_ones=ones.sum(axis=1),
        first_group=nodes(0, 1),
        first_ones=nodes(0),
        kinds=np.stack([nodes(kind) for kind in each], axis=1),
        honest_units=(units * honest).sum(axis=1),
        one_units=(units * ones).sum(axis=1),
        kind_units=np.stack([(units * (class_ == kind)).sum(axis=1) for kind in each], axis=1),
    )


def always_byzantine(point: Point) -> tuple[int, int]:
    """Nodes that are Byzantine in every trial, and their units; of a stake whose Byzantine nodes
    are drawn in random order, ValueError."""
    stake = point.stake
    assert isinstance(stake, Weighted)
    if stake.byzantine == "random":
        raise ValueError("which nodes are Byzantine is drawn in each trial")
    held, keys = stake.holdings(point.n), (np.zeros(1, np.uint32),) * 2
    [found] = _byzantine(point, stake, held, keys)
    return int(found.sum()), int(held[found].sum())


def _order(keys, n: int, number: int) -> Ints:
    """A uniform order of n nodes for each trial [trials, n], by a word of 64 bits of each node."""
    second = random.counter(np.uint32(number), random.PLACE)
    nodes = np.arange(n, dtype=np.uint32)
    high, low = random.threefry(keys[0][:, None], keys[1][:, None], nodes, second)
    word = (high.astype(np.uint64) << np.uint64(32)) | low
    return np.argsort(word, axis=1, kind="stable")


def _byzantine(point: Point, stake: Weighted, held: Ints, keys) -> NDArray[np.bool_]:
    """Which nodes are Byzantine [trials, nodes], the largest first; one at least is honest."""
    shape = (len(keys[0]), point.n)
    if not point.byzantine:
        return np.zeros(shape, bool)
    there = np.arange(point.n) < point.n - 1
    if stake.byzantine == "random":
        order, found = _order(keys, point.n, BYZANTINE), np.empty(shape, bool)
        taken = _until(held[order], there, point.byzantine_fraction, stake.units)
        np.put_along_axis(found, order, taken, axis=1)
        return found
    ranked = held if stake.byzantine == "largest" else held[::-1]
    taken = _until(ranked[None], there, point.byzantine_fraction, stake.units)
    return np.broadcast_to(taken if stake.byzantine == "largest" else taken[:, ::-1], shape)


def _nearest(sums: Ints, target) -> Ints:
    """Of ascending sums [trials, nodes], or 0, the one nearest to each target [trials]; of two that
    are equally near the smaller."""
    target = np.broadcast_to(np.asarray(target, float), len(sums))
    sums = np.concatenate([np.zeros((len(sums), 1), sums.dtype), sums], axis=1)
    best = np.abs(sums - target[:, None]).argmin(axis=1)
    return sums[np.arange(len(sums)), best]


def _until(sizes: Ints, these: NDArray[np.bool_], share: float, total=None) -> NDArray[np.bool_]:
    """Which of these nodes are taken in their order until their sizes come nearest to a share.

    sizes: [trials, nodes]. total: what it is a share of; by default all sizes of a trial.
    """
    sums = np.cumsum(np.where(these, sizes, 0), axis=1)
    taken = _nearest(sums, share * (sums[:, -1] if total is None else total))
    return these & (sums <= taken[:, None])


def _divide(point: Point, units: Ints, byzantine, class_) -> None:
    """Give each kind of Byzantine nodes its share of their stake, in the random order."""
    sums = np.cumsum(np.where(byzantine, units, 0), axis=1)
    for trial, total in enumerate(sums[:, -1]):
        wanted = np.cumsum(point.adversary.divided(int(total)))[:-1]
        ends = [_nearest(sums[trial : trial + 1], end)[0] for end in wanted]
        kind = np.searchsorted(ends, sums[trial], side="left")
        class_[trial, byzantine[trial]] += kind[byzantine[trial]].astype(np.uint8)


def _refuse(point: Point, keys, class_) -> NDArray[np.bool_]:
    """Which Byzantine identities are not admitted to the network: each by a draw of its own."""
    refused = np.zeros(class_.shape, bool)
    nodes = np.arange(class_.shape[1], dtype=np.uint32)
    for i, kind in enumerate(point.adversary.kinds):
        if (admission := float(kind.admission)) < 1:
            second = random.counter(np.uint32(ADMITTED + i), random.PLACE)
            words = random.threefry(keys[0][:, None], keys[1][:, None], nodes, second)
            refused |= (class_ == _BYZANTINE + i) & (random.uniform53(*words) >= admission)
    return refused


def _fed(point: Point, keys, units: Ints, honest, ones) -> NDArray[np.bool_]:
    """Which honest nodes are in the first of the adversary's two groups."""
    inside = np.where(honest, units, 0)
    # A share of all stake, of refused identities, too.
    totals = inside.sum(axis=1).tolist()
    wanted = np.array([point.adversary.first_group(total, point.size) for total in totals])
    if point.adversary.grouping == "by_colour":  # those that start at 1 come first
        before = np.cumsum(np.where(ones, inside, 0), axis=1)
        after = before[:, -1:] + np.cumsum(np.where(ones, 0, inside), axis=1)
        sums = np.where(ones, before, after)
        nearest = _nearest(np.sort(sums, axis=1), wanted)
        return honest & (sums <= nearest[:, None])
    if point.adversary.grouping == "random":
        again = _order(keys, point.n, GROUPS)
    else:
        larger = -1 if point.adversary.grouping == "largest" else 1
        again = np.argsort(larger * units, axis=1, kind="stable")  # else in the order of colours
    sums = np.cumsum(np.take_along_axis(inside, again, axis=1), axis=1)
    taken = sums <= _nearest(sums, wanted)[:, None]
    fed = np.zeros_like(honest)
    np.put_along_axis(fed, again, taken, axis=1)
    return honest & fed
