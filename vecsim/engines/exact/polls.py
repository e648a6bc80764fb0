"""What one poll gives an honest node, for every number of honest 1-holders (host side, float64)."""

import numpy as np

from vecsim.model import poll_law as pools
from vecsim.model.point import Nodes, Point, Way
from vecsim.model.poll_law import Floats


def _sides(point: Point, way: Way, admitted: Nodes, colour: int):
    """P(i answers of the querier's own colour), P(i of the other): [honest + 1, k + 1] each.

    Row c is for c honest nodes that prefer 1, the querier among them if it does; rows in which no
    honest node has the querier's colour mean nothing.
    """
    pool = point.pool(way, admitted)
    swapped = pool.swapped()
    rows = _rows(point, colour)
    one, zero = pools.ones(pool)[rows], pools.ones(swapped)[::-1][rows]
    return (one, zero) if colour else (zero, one)


def _rows(point: Point, colour: int):
    """For each number of honest 1-holders, how many of the querier's honest peers they are."""
    peers = point.honest - point.network.exclude_self
    return np.clip(np.arange(point.honest + 1) - colour * point.network.exclude_self, 0, peers)


def turned(point: Point, way: Way, admitted: Nodes, colour: int):
    """P(a quorum against the querier's colour), and P(none), each [honest + 1]."""
    _, other = _sides(point, way, admitted, colour)
    alpha = point.protocol.quorums[0]
    return other[:, alpha:].sum(axis=1), other[:, :alpha].sum(axis=1)


def poll_results(point: Point, way: Way, admitted: Nodes, colour: int) -> Floats:
    """Probabilities of each of `cells.RESULTS`, [honest + 1, results]."""
    low, high = point.protocol.quorums
    own, other = _sides(point, way, admitted, colour)
    parts = slice(low, high), slice(high, None)
    reached = [side[:, part].sum(axis=1) for side in (own, other) for part in parts]
    return np.stack([_undetermined(point, way, admitted, colour), *reached], axis=1)


def _undetermined(point: Point, way: Way, admitted: Nodes, colour: int) -> Floats:
    """P(no quorum for either colour), [honest + 1]."""
    pool = point.pool(way, admitted)
    k, low, rows = pool.k, point.protocol.quorums[0], _rows(point, colour)
    if not pool.silent:
        return pools.ones(pool)[rows, k - low + 1 : low].sum(axis=1)
    joint = pools.ones_and_answered(pool)[rows]
    answered, ones = np.indices((k + 1, k + 1))
    return joint[:, (ones < low) & (answered - ones < low)].sum(axis=1)
