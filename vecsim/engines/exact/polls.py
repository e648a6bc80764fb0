"""What one poll gives an honest node, for every number of honest 1-holders (host side, float64).

Tables have a row for each number c = 0 ... honest. With 9 honest nodes, k = 4, and a querier that
prefers 1 and does not poll itself:

    row c    0          1     2   ...   9          honest nodes that prefer 1, the querier included
    asked    (nobody)   0     1   ...   8          1-holders among the 8 that it may poll
"""

from itertools import pairwise

import numpy as np

from vecsim.model import poll_law as pools
from vecsim.model.point import Nodes, Point, Way
from vecsim.model.poll_law import Floats


def _sides(point: Point, way: Way, admitted: Nodes, colour: int):
    """Whom a querier of this colour may poll, the row of that pool's law for each c below, and
    P(i answers of the querier's colour), P(i of the other), [honest + 1, k + 1] each.

    Row c is for c honest nodes that prefer 1, the querier among them if it does; rows in which no
    honest node has the querier's colour mean nothing.
    """
    pool = point.pool(way, admitted)
    asked = np.arange(point.honest + 1) - colour * point.network.exclude_self
    rows = np.clip(asked, 0, pool.honest)
    one, zero = pools.ones(pool)[rows], pools.ones(pool.swapped())[::-1][rows]
    return (pool, rows, one, zero) if colour else (pool, rows, zero, one)


def turned(point: Point, way: Way, admitted: Nodes, colour: int) -> tuple[Floats, Floats]:
    """P(a quorum against the querier's colour), and P(no such quorum), each [honest + 1]."""
    *_, other = _sides(point, way, admitted, colour)
    alpha = point.protocol.quorums[0]
    return other[:, alpha:].sum(axis=1), other[:, :alpha].sum(axis=1)


def poll_results(point: Point, way: Way, admitted: Nodes, colour: int) -> Floats:
    """Probabilities of each of `results_of` the protocol's quorums, [honest + 1, results].

    way: mix of each kind of Byzantine nodes, for queriers of this colour. admitted: nodes of each.
    """
    quorums = point.protocol.quorums
    low = quorums[0]
    pool, rows, *sides = _sides(point, way, admitted, colour)
    if pool.silent:
        joint = pools.ones_and_answered(pool)[rows]
        answered, ones = np.indices((pool.k + 1, pool.k + 1))
        none = joint[:, (ones < low) & (answered - ones < low)].sum(axis=1)
    else:
        none = sides[1 - colour][:, pool.k - low + 1 : low].sum(axis=1)
    parts = [slice(*ends) for ends in pairwise((*quorums, None))]
    reached = [side[:, part].sum(axis=1) for side in sides for part in parts]
    return np.stack([none, *reached], axis=1)
