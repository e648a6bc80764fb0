"""How walkers stand on each engine: what `scores` wants to know of one.

A walker is a trial under way. Of each class of undecided nodes, by group and own colour, it is
known how many there are, how few polls the nearest of them lacks to decide either colour, and how
many the farthest lacks to decide its own. Ten nodes, 9 of them honest, in one group, Snowflake with
beta 3:

    own colour  counters of the nodes    number   fewest to decide 0, 1   most to decide its own
    0           0 0 1 2, one decided     4        1, 3                    3
    1           0 0 1 1                  4        3, 2                    3

The agents engine finds this in one pass: what is known of a node goes into the byte of its class,
bits 0-7 (group 0, colour 0), 8-15 (group 0, colour 1) and so on, of which the largest is taken.
"""

import jax.numpy as jnp
from jax import lax

from vecsim.engines.agents import lockstep
from vecsim.engines.trial import Tables, Tally, Trials, answers, view
from vecsim.model.poll_draw import quorum_chances
from vecsim.studies.rare.scores import OUT_OF_REACH, Crowd, Field
from vecsim.types import decided, preference

FAR = 254  # polls that a node lacks, at most: what is known of it must fit a byte


def counted_field(chances) -> Field:
    """The population engine's: [trials, groups, own colour, colour].

    chances: P(each result of a poll) [trials, groups, own colour, results], for two quorums.
    """
    sets_own, counts_own, sets_other, counts_other = range(1, 5)

    def quorums(agree, against):
        zero = jnp.stack([agree[..., 0], against[..., 0]], axis=-1)
        return jnp.stack([zero, jnp.stack([against[..., 1], agree[..., 1]], axis=-1)], axis=-2)

    counts = chances[..., counts_own], chances[..., counts_other]
    sets = chances[..., sets_own] + counts[0], chances[..., sets_other] + counts[1]
    return Field(quorums(*sets), quorums(*counts))


def counted_crowd(number, own, remaining) -> Crowd:
    """The population engine's, of one trial.

    number: undecided nodes [groups, cells]. own: the preference of each cell [cells]. remaining:
    polls that a node in it lacks to decide each colour [cells, colours].
    """
    colour = jnp.arange(2, dtype=own.dtype)[:, None]
    classes = jnp.where(own == colour, number[:, None], 0.0)  # [groups, own, cells]
    there = classes > 0.0
    mine = jnp.where(own == 1, remaining[:, 1], remaining[:, 0])
    return Crowd(
        number=classes.sum(-1),
        fewest=jnp.where(there[..., None], remaining, float(OUT_OF_REACH)).min(axis=-2),
        most=jnp.where(there, mine, 0.0).max(axis=-1),
    )


def agents_field(shape, trial: Trials, tables: Tables, tally: Tally, round_, memory) -> Field:
    """The agents engine's, of one trial [groups, own colour, colour]."""
    seen = view(trial, tables, tally, round_, tally.counted.ones)
    mixes, _ = answers(trial, seen, memory)
    rows = lockstep.class_rows(trial, tables, mixes, seen.ones)
    return Field(*quorum_chances(shape.kind, rows, trial.protocol.quorums, trial.protocol.k))


def agents_crowd(shape, trial: Trials, lane, groups: int) -> Crowd:
    """The agents engine's, of one trial. lane: uint32 [lanes]. groups: that are told apart."""
    rule = trial.protocol
    cells = lockstep.unpack_lanes(lane & ~lockstep.flag(shape, lockstep.FLIPPED), shape.bits)
    ids = [i.astype(jnp.int32) for i in lockstep.node_ids(shape, jnp.uint32(0))]

    def placed(byte):
        """byte(cell) of each undecided node, at the place of its class, for all lanes."""
        parts = []
        for cell, node in zip(cells, ids, strict=True):
            group = (node >= trial.first_group).astype(jnp.uint32) if groups > 1 else jnp.uint32(0)
            place = (group * jnp.uint32(2) + preference(cell)) * jnp.uint32(8)
            there = ~decided(cell) & (node < trial.honest)
            parts.append(jnp.where(there, byte(cell) << place, jnp.uint32(0)))
        return lax.optimization_barrier(jnp.stack(parts).reshape(-1, lockstep.lanes(shape)[1]))

    def largest(byte):
        every = placed(byte)
        classes = lax.bitcast_convert_type(every, jnp.uint8).reshape(len(every), -1)
        column = lax.optimization_barrier(classes.max(axis=0))
        return column.reshape(-1, 4).max(axis=0)[: 2 * groups].reshape(groups, 2)

    def lacking(cell, colour):
        return jnp.clip(rule.remaining(cell, colour), 1, FAR).astype(jnp.uint32)

    def nearest(colour: int):
        near = largest(lambda cell: jnp.uint32(FAR + 1) - lacking(cell, colour))
        return jnp.where(near > 0, FAR + 1 - near.astype(jnp.int32), OUT_OF_REACH)

    ones = placed(jnp.ones_like).reshape(-1, lockstep.lanes(shape)[1])
    number = lax.optimization_barrier(ones.sum(axis=0, dtype=jnp.uint32))
    number = jnp.stack([(number >> jnp.uint32(8 * i)) & 255 for i in range(2 * groups)])
    parts = (
        number.sum(axis=1, dtype=jnp.uint32).reshape(groups, 2),
        jnp.stack([nearest(colour) for colour in range(2)], axis=-1),
        largest(lambda cell: lacking(cell, preference(cell))),
    )
    return Crowd(*(part.astype(jnp.float32) for part in parts))
