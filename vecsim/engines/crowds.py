"""How walkers stand on each engine: what `scores` wants to know of one."""

from functools import reduce
from operator import add

import jax.numpy as jnp
from jax import lax

from vecsim.engines import agents
from vecsim.engines.batch import Tables, Tally, Trials, answers, view
from vecsim.engines.cells import AGAINST, AGAINST_CONFIDENT, AGREE, AGREE_CONFIDENT
from vecsim.engines.scores import NEVER, Crowd, Field
from vecsim.poll import quorum_chances
from vecsim.types import decided, preference


def counted_field(chances) -> Field:
    """The population engine's, from P(each result) [trials, groups, own colour, results]."""

    def quorums(agree, against):
        zero = jnp.stack([agree[..., 0], against[..., 0]], axis=-1)
        return jnp.stack([zero, jnp.stack([against[..., 1], agree[..., 1]], axis=-1)], axis=-2)

    counts = chances[..., AGREE_CONFIDENT], chances[..., AGAINST_CONFIDENT]
    sets = chances[..., AGREE] + counts[0], chances[..., AGAINST] + counts[1]
    return Field(quorums(*sets), quorums(*counts))


def counted_crowd(number, own, remaining) -> Crowd:
    """number: undecided nodes [groups, cells]. own: [cells]. remaining: [cells, colours]."""
    colour = jnp.arange(2, dtype=own.dtype)[:, None]
    classes = jnp.where(own == colour, number[:, None], 0.0)  # [groups, own, cells]
    there = classes > 0.0
    mine = jnp.where(own == 1, remaining[:, 1], remaining[:, 0])
    return Crowd(
        number=classes.sum(-1),
        fewest=jnp.where(there[..., None], remaining, float(NEVER)).min(axis=-2),
        most=jnp.where(there, mine, 0.0).max(axis=-1),
    )


def agents_field(shape, trial: Trials, tables: Tables, tally: Tally, round_, memory) -> Field:
    seen = view(trial, tables, tally, round_, tally.ones)
    mixes, _ = answers(trial, seen, memory)
    rows = agents.class_rows(trial, tables, mixes, seen.ones)
    return Field(*quorum_chances(shape.kind, rows, trial.protocol.quorums, trial.protocol.k))


def agents_crowd(shape, trial: Trials, lane, groups: int) -> Crowd:
    """Whole lanes are compared first, down the columns of vectors, as for a tally."""
    rule, half = trial.protocol, (trial.honest + 1) // 2
    cells = agents.unpack(lane & ~agents.flag(shape, agents.FLIPPED), shape.bits)
    ids = [i.astype(jnp.int32) for i in agents.node_ids(shape, jnp.uint32(0))]
    lacking = [
        [rule.remaining(cell, colour).astype(jnp.int32) for cell in cells] for colour in range(2)
    ]

    def reduced(combine, parts):
        column = reduce(combine, parts).reshape(agents.lanes(shape))
        column = lax.optimization_barrier(column.sum(0) if combine is add else column.max(0))
        return column.sum() if combine is add else column.max()

    def largest(there, values):
        return reduced(
            jnp.maximum, [jnp.where(t, v, 0) for t, v in zip(there, values, strict=True)]
        )

    def of_class(group: int, own: int):
        """Which cells hold an undecided node of the class, and what is known of its nodes."""
        there = [
            ~decided(cell)
            & (node < trial.honest)
            & (preference(cell) == own)
            & ((node >= half) == bool(group) if groups > 1 else True)
            for cell, node in zip(cells, ids, strict=True)
        ]
        number = reduced(add, [each.astype(jnp.int32) for each in there])
        fewest = [NEVER - largest(there, [NEVER - r for r in each]) for each in lacking]
        return number, jnp.stack(fewest), largest(there, lacking[own])

    classes = [of_class(group, own) for group in range(groups) for own in range(2)]
    parts = (jnp.stack(part).astype(jnp.float32) for part in zip(*classes, strict=True))
    return Crowd(*(part.reshape(groups, 2, *part.shape[1:]) for part in parts))
