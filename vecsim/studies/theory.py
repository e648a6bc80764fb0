"""The theory lines in figures; exact rates where nodes do not influence each other.

On an undisputed vertex, while no honest node changes its preference, every node polls the same
pool all the time. Nodes are then independent Markov chains, and the probability that all honest
nodes finalise is the h-th power of one node's.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vecsim.engines import exact
from vecsim.engines.cells import only_by_nodes
from vecsim.engines.limit import rounds_until_decided
from vecsim.engines.limit.shares import FewCells
from vecsim.engines.population import one_node, undisputed
from vecsim.errors import ConfigError
from vecsim.model import poll_law as pools
from vecsim.model.point import Point
from vecsim.model.poll_law import Floats
from vecsim.protocols.qr_avalanche import SCALE, QrAvalanche
from vecsim.studies.sweep import Study

_NEGLIGIBLE = 1e-3  # probability that any node meets a quorum against it during the whole trial
# Points of the grid of QR-Avalanche's confidence, fine enough for 0.002 of the result; with so many
# the usual threshold, 0.95, is halfway between two of them.
_GRID = 4111


def finalised_undisputed(point: Point) -> float | None:
    """P(all honest nodes finalise, on one colour) from a unanimous start; None where not known.

    Lockstep rounds on a complete graph. It is exact but for a neglected probability, below
    _NEGLIGIBLE, that a node meets a quorum against it; QR-Avalanche's confidence is on a grid,
    which moves it by less than 0.002 (`one_node.decision_law` is exact, and takes some thirty times
    as long).
    """
    start, adversary = point.start_ones, point.adversary
    known = only_by_nodes(point.protocol) is None and start in (0, point.honest)
    known = known and point.protocol.decides and point.schedule == "lockstep"
    known = (
        known and not point.stake.weighted and point.network.uniform and adversary.admission == 1
    )
    if not known or (point.byzantine and not undisputed.steady(adversary)):
        return None
    colour, total = int(start > 0), 0.0
    for mix, share in enumerate(undisputed.mix_shares(point, colour)):
        if share > 0:
            alone = _one_node(point, point.pool(adversary.ways[mix], point.kinds), colour)
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
    event = study.estimator.get("event", "")  # of rare events alone
    known = {
        ("decisions", "byzantine_fraction"): ("finalised", _finalised),
        ("decisions", "n"): ("last_decision", partial(map, rounds_until_decided)),
        ("splitting", "byzantine_fraction"): ("probability", partial(_solved, event)),
    }
    if (study.kind, last.name) not in known:
        return []
    quantity, values_of = known[study.kind, last.name]
    found = []
    for number, labels in enumerate(product(*(each.values for each in others))):
        values = list(values_of(study.points[number * len(last.values) :][: len(last.values)]))
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
    rule = point.protocol
    low = rule.quorums[0]
    swapped = pool.swapped()
    own, other = (pool, swapped) if colour else (swapped, pool)
    if pools.ones(other, [0])[0, low:].sum() * point.honest * rule.max_rounds > _NEGLIGIBLE:
        return None
    agree = pools.ones(own, [pool.honest])[0]
    if isinstance(rule, QrAvalanche):
        return None if pool.silent else _average(rule, agree)
    ends = pairwise((0, *rule.quorums, None))
    law = np.array([agree[start:end].sum() for start, end in ends])
    try:
        nodes = FewCells(rule, rule.max_rounds, len(law))
    except ConfigError:  # too many cells, or a protocol that looks at counts
        return None
    state = nodes.begin(float(colour))
    for _ in range(rule.max_rounds):
        state = nodes.polled(state, np.stack([law, law]))
    return nodes.shares(state)[1 + colour]


def _average(rule: QrAvalanche, positive: Floats) -> float:
    """The same where the confidence is on a grid, with linear interpolation.

    positive: P(i answers agree), [k + 1].
    """
    grid, counts = np.linspace(0, SCALE, _GRID).round(), np.arange(len(positive))
    cells = rule.pack(preference=0, streak=0, confidence=np.tile(grid, len(counts)))
    after = one_node.after(rule, cells, np.repeat(counts, _GRID), rule.k)
    targets, shares = _between(after.confidence)
    weights = (np.repeat(positive, _GRID) * shares).ravel()
    places = targets.ravel(), np.tile(np.arange(_GRID), 2 * len(counts))
    longer = np.tile(after.streak == 1, 2)
    parts = np.where(longer, weights, 0.0), np.where(longer, 0.0, weights)
    succeed, fail = (sparse.csr_array((part, places), shape=(_GRID, _GRID)) for part in parts)
    state = np.zeros((_GRID, rule.beta + 1))
    ends, shares = _between(rule.unpack(rule.start(jnp.uint32(0))).confidence)
    state[ends, 0] = shares
    sure = grid >= int(rule.least_confidence)
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


def _between(confidence: Any) -> tuple[NDArray[np.int64], Floats]:
    """Numbers of the grid points below and above, and what goes to each, [2, confidences]."""
    place = np.asarray(confidence, float) * (_GRID - 1) / SCALE
    below = np.minimum(place.astype(int), _GRID - 2)
    above = place - below
    return np.stack([below, below + 1]), np.stack([1 - above, above])
