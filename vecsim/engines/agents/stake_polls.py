"""How polls among units of weighted stake are drawn: by one table for all trials, or one by one.

With c units at a colour, the number of a poll's places at it is hypergeometric over all units (or
binomial, with replacement), whoever holds them. So one table serves all trials and fractions:

    row          c units of the colour
    columns      that its answers reach each alpha, where it is the querier's own colour; the same
                 where it is the other colour
"""

from functools import lru_cache
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from vecsim.engines.agents.holdings import Holdings, holdings_of
from vecsim.engines.agents.lockstep import laid_out
from vecsim.engines.agents.places import more_than_tables
from vecsim.engines.holders import Holders
from vecsim.engines.trial import Shape
from vecsim.model import poll_law as pools
from vecsim.model.point import Point
from vecsim.model.poll_draw import PollKind, boundary
from vecsim.stakes.stake import Weighted

HALVES = 2  # rows for a unit where a node may answer by a fair coin


def one_by_one(point: Point) -> bool:
    """Whether the places of the point's polls must be drawn one by one, on a complete graph.

    With weighted stake they need not be where every answer follows from who is asked. Coins and
    losses are in a table only where every place has its own, and places are drawn with replacement.
    """
    if point.timed or more_than_tables(point.protocol):
        return True
    if not point.stake.weighted:
        return False
    ways = point.adversary.ways if point.byzantine else ()
    chances = {chance for way in ways for mix in way for chance in mix}
    if point.protocol.counts or (point.byzantine and float(point.adversary.admission) < 1):
        return True
    if point.network.loss == 0 and chances <= {0.0, 1.0}:
        return False
    stake = point.stake
    apart = isinstance(stake, Weighted) and not stake.shared_fate and point.network.replacement
    return not (apart and all(chance * HALVES % 1 == 0 for chance in chances))


def scale_of(point: Point) -> int:
    """Rows of the point's table for each unit."""
    ways = point.adversary.ways if point.byzantine else ()
    return HALVES if any(chance % 1 for way in ways for mix in way for chance in mix) else 1


@lru_cache(maxsize=4)
def unit_thresholds(
    units: int, scale: int, kind: PollKind, quorums: tuple[int, ...], loss: float, replacement: bool
) -> NDArray[np.uint32]:
    """The table: uint32 [scale * units + 1, own or other colour, alphas, words].

    units: in all. scale: rows for each. quorums: the protocol's alphas. loss: of every place.
    """
    alphas = quorums[: kind.quorums]
    table = np.empty((scale * units + 1, 2, len(alphas), kind.words), np.uint32)
    for rows in np.array_split(np.arange(len(table)), len(table) // pools.ROWS + 1):
        if replacement:
            share = rows[:, None] / (scale * units) * (1 - loss)
            law = pools.binomial_pmf(kind.k, share)
        else:
            law = pools.ones(pools.Pool(units, kind.k), rows)
        for i, alpha in enumerate(alphas):
            reached, missed = law[:, alpha:].sum(axis=1), law[:, :alpha].sum(axis=1)
            table[rows, 0, i] = boundary(reached, missed, kind.wide)
            table[rows, 1, i] = boundary(missed, reached, kind.wide)
    return table


def trial_fields(
    shape: Shape, point: Point, keys, first_row: int, mixes: int, kinds: int
) -> dict[str, Any]:
    """The fields of `Trials` that differ among a point's trials, by name; int32.

    keys: the trials', two uint32 [trials]. first_row: of the point's table. mixes, kinds: ways to
    answer, and kinds of Byzantine nodes, of an adversary at most.
    """
    held = holdings_of(point, keys)
    fields = dict(
        honest=held.honest,
        byzantine=held.kinds.sum(axis=1),
        kinds=np.pad(held.kinds, ((0, 0), (0, kinds - held.kinds.shape[1]))),
        start_ones=held.start_ones,
        first_group=held.first_group,
        first_ones=held.first_ones,
    )
    fields = {name: value.astype(np.int32) for name, value in fields.items()}
    return fields | {"holders": _holders_of(shape, point, held, first_row, mixes)}


def _holders_of(shape: Shape, point: Point, held: Holdings, first_row: int, mixes: int) -> Holders:
    """The `Holders` of these trials, int32; all as for `trial_fields`."""
    scale, adversary, stake = scale_of(point), point.adversary, point.stake
    assert isinstance(stake, Weighted)
    rows = np.full((len(held.honest), mixes, 2), first_row)
    for i, way in enumerate(adversary.ways):
        answers = np.array([(zero, one) for one, zero in way])  # [kinds, colour]
        rows[:, i] += np.rint(scale * (held.kind_units @ answers)).astype(int)
    units = held.units if shape.places or shape.engine != "agents" else laid_out(shape, held.units)
    found = Holders.of(held, point.protocol.k, adversary)._replace(
        units=units,
        kinds=None,  # only the population engine has a number of kinds for each program
        rows=rows,
        scale=np.full(len(rows), scale),
        shared_fate=np.full(len(rows), int(stake.shared_fate)),
    )
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.int32), found)
