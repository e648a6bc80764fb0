"""The theory lines in figures; exact rates where nodes do not influence each other.

On an undisputed vertex, while no honest node changes its preference, every node polls the same
pool all the time. Nodes are then independent Markov chains, and the probability that all honest
nodes finalise is the h-th power of one node's.
"""

import itertools
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vecsim.engines import exact
from vecsim.engines.limit import rounds_until_decided
from vecsim.engines.population import undisputed
from vecsim.model import poll_law as pools
from vecsim.model.point import Point
from vecsim.studies.sweep import Study
from vecsim.types import Quorum

NEGLIGIBLE = 1e-3  # probability that any node meets a quorum against it during the whole trial
GRID = 2051  # values of QR-Avalanche's confidence; 0.95 is halfway between two of them


def finalised_undisputed(point: Point) -> float | None:
    """P(all honest nodes finalise, on one colour) from a unanimous start; None where not known.

    Lockstep rounds on a complete graph. It is exact but for a neglected probability, below
    NEGLIGIBLE, that a node meets a quorum against it; QR-Avalanche's confidence is on a grid.
    """
    start = point.start_ones
    if start not in (0, point.honest):
        return None
    if point.byzantine and not undisputed.steady(point.adversary):
        return None
    if not point.protocol.decides or point.schedule != "lockstep":
        return None
    if not point.network.uniform or point.adversary.admission != 1:
        return None
    colour = int(start > 0)
    total = 0.0
    for mix, share in enumerate(undisputed.mix_shares(point, colour)):
        if share > 0:
            pool = point.pool(point.adversary.ways[mix], point.kinds)
            alone = _one_node(point, pool, colour)
            if alone is None:
                return None
            total += share * alone**point.honest
    return float(total)


def lines(study: Study) -> list[dict[str, Any]]:
    """Theory lines of a study whose last dimension is the Byzantine fraction, or n.

    Each has the labels of the other dimensions and lists (None where not known) of
    `byzantine_fraction` and `finalised` (of a study of rare events `probability`), or `n` and
    `last_decision`. Lines of nothing but None are left out.
    """
    if not study.dimensions:
        return []
    *others, last = study.dimensions
    known = {
        ("decisions", "byzantine_fraction"): ("finalised", _finalised),
        ("decisions", "n"): (
            "last_decision",
            lambda points: list(map(rounds_until_decided, points)),
        ),
        ("splitting", "byzantine_fraction"): (
            "probability",
            lambda points: _solved(study.estimator["event"], points),
        ),
    }
    if (study.kind, last.name) not in known:
        return []
    quantity, values_of = known[study.kind, last.name]
    found = []
    combinations = itertools.product(*(dimension.values for dimension in others))
    for number, labels in enumerate(combinations):
        values = values_of(study.points[number * len(last.values) :][: len(last.values)])
        if any(value is not None for value in values):
            named = dict(zip((dimension.name for dimension in others), labels, strict=True))
            found.append(named | {last.name: last.values, quantity: values})
    return found


def _finalised(points: Sequence[Point]) -> list[float | None]:
    """Past a fraction at which it is below 1e-9 it stays at 0: more Byzantine nodes do not help."""
    values: list[float | None] = []
    for point in points:
        over = bool(values) and values[-1] is not None and values[-1] < 1e-9
        values.append(0.0 if over else finalised_undisputed(point))
    return values


def _solved(event: str, points: Sequence[Point]) -> list[float | None]:
    """P(event) from the exact chain, where networks are small enough."""
    return [getattr(exact.solve(p), event) if exact.supports(p) is None else None for p in points]


def _one_node(point: Point, pool: pools.Pool, colour: int) -> float | None:
    """P(one node decides its colour within max_rounds)."""
    low, high = point.protocol.quorums
    swapped = pool.swapped()
    own, other = (pool, swapped) if colour else (swapped, pool)
    against = pools.ones(other, [0])[0, low:].sum()
    if against * point.honest * point.protocol.max_rounds > NEGLIGIBLE:
        return None
    if point.protocol.counts:
        return None if pool.silent else _average(point.protocol, pools.ones(own, [pool.honest])[0])
    agree = pools.ones(own, [pool.honest])[0]
    confident = agree[high:].sum()
    return _chain(point.protocol, colour, (confident, agree[low:high].sum(), agree[:low].sum()))


def _chain(rule, colour: int, probabilities: tuple[float, float, float]) -> float:
    """Over the cells that can come up. probabilities: of a quorum that counts, of one that only
    sets the preference, of none."""
    over, steps = _reachable(rule, colour)
    sources = np.arange(len(over))
    moves = sparse.csr_array((len(over), len(over)))
    for targets, probability in zip(steps, probabilities, strict=True):
        weights = np.where(over, 0.0, probability)
        moves = moves + sparse.csr_array((weights, (targets, sources)), shape=moves.shape)
    state, done = np.zeros(len(over)), 0.0
    state[0] = 1.0
    for _ in range(rule.max_rounds):
        state = moves @ state
        done += state[over].sum()
    return done


@lru_cache(maxsize=16)
def _reachable(rule, colour: int):
    """Cells that can come up without a quorum against the node, by the protocol's own step.

    Returns which are decided, and for a confident quorum, another, and none, the number of the
    cell that follows each (itself once decided). The first is the start.
    """
    cells = np.asarray(rule.start(jnp.asarray([colour], jnp.uint32)))
    numbers, after = {int(cells[0]): 0}, {}
    while len(cells):
        stepped = [
            np.asarray(_step(rule, _padded(cells), *poll))[: len(cells)]
            for poll in ((True, True), (True, False), (False, False))
        ]
        after |= dict(zip(cells.tolist(), np.stack(stepped, axis=1).tolist(), strict=True))
        found = np.unique(np.concatenate(stepped)).tolist()
        fresh = [cell for cell in found if cell not in numbers]
        numbers |= {cell: len(numbers) + i for i, cell in enumerate(fresh)}
        cells = np.array([cell for cell in fresh if not cell & 2], np.uint32)
    over = np.array([cell & 2 for cell in numbers], bool)
    table = [[numbers[c] for c in after.get(cell, [cell] * 3)] for cell in numbers]
    return over, np.array(table).T


@partial(jax.jit, static_argnums=(2, 3))
def _step(rule, cells, agree: bool, sure: bool):
    return rule.step(cells, Quorum(*(jnp.full(cells.shape, v) for v in (agree, False, sure))))


def _padded(cells):
    """Repeated up to a power of two, so that few shapes are compiled."""
    return np.resize(cells, 1 << (len(cells) - 1).bit_length())


def _average(rule, positive: NDArray[np.float64]) -> float:
    """QR-Avalanche: streak and confidence, the latter on a grid with linear interpolation."""
    grid, points = np.linspace(0, 1, GRID), np.arange(GRID)
    succeed = fail = sparse.csr_array((GRID, GRID))
    for count, probability in enumerate(positive):
        below, above = _between(0.9 * grid + 0.1 * count / rule.k)
        weights = probability * np.concatenate([1 - above, above])
        targets = np.concatenate([below, below + 1]), np.tile(points, 2)
        move = sparse.csr_array((weights, targets), shape=(GRID, GRID))
        succeed, fail = (succeed + move, fail) if count >= rule.alpha else (succeed, fail + move)
    state = np.zeros((GRID, rule.beta + 1))
    below, above = _between(np.array(rule.initial_confidence))
    state[below, 0], state[below + 1, 0] = 1 - above, above
    sure = grid >= rule.confidence_threshold
    done = 0.0
    for _ in range(rule.max_rounds):
        new = np.zeros_like(state)
        new[:, 0] = fail @ state.sum(axis=1)
        longer = succeed @ state
        new[:, 1:] += longer[:, :-1]
        new[:, -1] += longer[:, -1]
        done += new[sure, -1].sum()
        new[sure, -1] = 0
        state = new
    return done


def _between(confidence):
    """Number of the grid point below, and the share that goes to the one above."""
    place = confidence * (GRID - 1)
    below = np.minimum(place.astype(int), GRID - 2)
    return below, place - below
