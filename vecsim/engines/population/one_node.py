"""How long one node of QR-Avalanche takes to decide if every poll meets the same pool.

The law is exact: its cells are those of the protocol's own fixed point, and where a poll takes
them is read off the protocol's own `step`. A poll multiplies the confidence by nine tenths, rounds
it, and adds what depends on the poll alone. For each streak there is one array of probabilities
over confidences; a round moves every array once for each outcome of a poll. Every term is a sum of
positive ones, so that small probabilities are as accurate as large ones.
"""

from functools import lru_cache
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import daxpy  # pyright: ignore[reportAttributeAccessIssue]

from vecsim.engines.cells import padded
from vecsim.model.poll_law import Floats
from vecsim.protocols.qr_avalanche import SCALE, QrAvalanche
from vecsim.types import Counts

_BLOCK = 2**13  # confidences that are moved together: 64 KB, which stay in the cache


class Part(NamedTuple):
    """Nodes of one streak: mass [width] over the confidences low, low + 1, ...

    Where ten nodes have confidences 7, 7, 7, 8, 8, 8, 8, 10, 10, 10:

        low   7
        mass  0.3  0.4  0.0  0.3      (of the confidences 7, 8, 9, 10)
    """

    low: int
    mass: Floats


# No nodes.
_NOBODY = Part(0, np.zeros(0))


# What a poll adds to nine tenths of the confidence, and the probability of that, [outcomes] each.
_Moves = tuple[NDArray[np.int64], Floats]


def decision_law(rule: QrAvalanche, joint: Floats, lost: float) -> Floats:
    """P(a node that has not polled yet decides in its poll 1, 2, ..., max_rounds, never).

    Returns [max_rounds + 1]. joint: P(j peers answer, i of them agree with the node), [k + 1 (j),
    k + 1 (i)]. Polls that would turn the node are left out (`undisputed` bounds their probability).
    lost: probability that may be left out besides, in all.
    """
    (success, failure, nobody), enough = _polled(rule, joint), _enough(rule)
    beta, rounds = int(rule.beta), int(rule.max_rounds)
    least = lost / (4 * (beta + 2) * rounds)
    start = int(rule.unpack(rule.start(jnp.uint32(0))).confidence)
    streaks = [Part(start, np.ones(1)), *[_NOBODY] * beta]
    law = np.zeros(rounds + 1)
    for round_ in range(rounds):
        everybody = _sum(streaks)
        if everybody.mass.sum() <= least:
            break
        waited = everybody.mass * nobody if nobody > 0 else _NOBODY.mass
        failed = _sum([_moved(everybody, failure), Part(everybody.low, waited)])
        longest = _sum(streaks[-2:])
        longer = [_moved(part, success) for part in (*streaks[:-2], longest)]
        decided = max(enough - longer[-1].low, 0)
        law[round_] = longer[-1].mass[decided:].sum()
        longer[-1] = Part(longer[-1].low, longer[-1].mass[:decided])
        streaks = [_trimmed(part, least) for part in (failed, *longer)]
    law[-1] = sum(part.mass.sum() for part in streaks)
    return law


def turning_chance(rule: QrAvalanche, joint: Floats) -> float:
    """P(one poll turns the node's preference); joint as for `decision_law`."""
    answered, positive = np.nonzero(joint)
    turned = after(rule, rule.start(jnp.uint32(0)), positive, answered).preference == 1
    return float(joint[answered, positive][turned].sum())


def after(rule: QrAvalanche, cells, positive, answered) -> SimpleNamespace:
    """The fields, as of `unpack`, of cells after the protocol's own step; few shapes compile.

    cells, positive, answered: whole numbers that broadcast to one axis.
    """
    parts = np.broadcast_arrays(cells, positive, answered)
    stepped = _step(rule, *(padded(part.astype(np.uint32)) for part in parts)).items()
    return SimpleNamespace(**{name: np.asarray(field)[: len(parts[0])] for name, field in stepped})


@jax.jit
def _step(rule, cells, positive, answered):
    return vars(rule.unpack(rule.step(cells, Counts(positive, answered))))


def _polled(rule: QrAvalanche, joint: Floats) -> tuple[_Moves, _Moves, float]:
    """Polls that lengthen the streak, that end it, and P(nobody answers), which only ends it.

    What polls do to a node with neither streak nor confidence says what they do to all.
    """
    answered, positive = np.nonzero(joint)
    chance = joint[answered, positive]
    polled = after(rule, rule.pack(preference=0, streak=0, confidence=0), positive, answered)
    longer, stays = polled.streak == 1, polled.preference == 0
    somebody = stays & (answered > 0)

    def moves(chosen) -> _Moves:
        added, group = np.unique(polled.confidence[chosen], return_inverse=True)
        return added.astype(np.int64), np.bincount(group, chance[chosen], len(added)).astype(float)

    return moves(longer), moves(somebody & ~longer), float(joint[0, 0])


def _enough(rule: QrAvalanche) -> int:
    """The least confidence after a success that decides, when the streak is long enough."""
    cells = rule.pack(preference=0, streak=rule.beta, confidence=np.arange(SCALE + 1))
    # Together these two polls reach every confidence.
    polled = (after(rule, cells, positive, rule.k) for positive in (rule.alpha, rule.k))
    return min(int(p.confidence.min(initial=SCALE + 1, where=p.decided)) for p in polled)


@lru_cache(maxsize=1)
def _ninths() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nine tenths of every confidence, as a poll keeps them before it adds its own.

    In the first array index i holds the least confidence of which i is kept. The second has the i
    that are also kept of the confidence after that, in ascending order.
    """
    rule = QrAvalanche()
    cells = rule.pack(preference=0, streak=0, confidence=np.arange(SCALE + 1))
    polled = after(rule, cells, 1, 1).confidence.astype(np.int64)
    kept = polled - polled[0]
    least = np.flatnonzero(np.diff(kept, prepend=-1))
    return (least, np.flatnonzero(np.diff(least, append=len(kept)) == 2))


def nine_tenths(part: Part) -> Part:
    """The same nodes at nine tenths of their confidence, as a poll leaves it before it adds."""
    least, double = _ninths()
    low, high = part.low, part.low + len(part.mass) - 1
    first, last = (int(np.searchsorted(least, end, "right")) - 1 for end in (low, high))
    sources = least[first : last + 1] - low
    missing = sources[0] < 0  # two confidences give the first one, and the part has only the second
    sources[0] += missing
    mass = part.mass.take(sources)
    start = first + missing
    end = last + 1 - (least[last] == high)
    both = double[slice(*np.searchsorted(double, (start, end)))]
    mass[both - first] += part.mass[least[both] + 1 - low]
    return Part(first, mass)


def _moved(part: Part, moves: _Moves) -> Part:
    """After a poll that goes one of these ways."""
    added, chances = moves
    if not len(part.mass) or not len(added):
        return _NOBODY
    first, kept = nine_tenths(part)
    low = int(added[0])
    mass = np.zeros(len(kept) + int(added[-1]) - low)
    ways = list(zip((added - low).tolist(), chances.tolist(), strict=True))
    for start in range(0, len(kept), _BLOCK):
        block = kept[start : start + _BLOCK]
        for shift, chance in ways:
            daxpy(block, mass, len(block), chance, offy=start + shift)  # adds to `mass` itself
    return Part(first + low, mass)


def _sum(parts) -> Part:
    """All nodes of these parts."""
    full = [part for part in parts if len(part.mass)]
    if len(full) < 2:
        return full[0] if full else _NOBODY
    low = min(part.low for part in full)
    mass = np.zeros(max(part.low + len(part.mass) for part in full) - low)
    for part in full:
        mass[part.low - low :][: len(part.mass)] += part.mass
    return Part(low, mass)


def _trimmed(part: Part, least: float) -> Part:
    """Without the blocks at either end that together hold less than `least`."""
    if not len(part.mass):
        return part
    blocks = np.add.reduceat(part.mass, np.arange(0, len(part.mass), _BLOCK))
    first = int(np.searchsorted(np.cumsum(blocks), least))
    last = len(blocks) - int(np.searchsorted(np.cumsum(blocks[::-1]), least))
    start = first * _BLOCK
    return Part(part.low + start, part.mass[start : max(last * _BLOCK, start)])
