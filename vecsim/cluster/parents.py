"""Parents of vertices: who waits for whom, and how deep the DAG grows, in the sample of a window.

Ten vertices with `linear` parents that end by themselves after 5 ms, but the third after 9:

    place        0 1 2 3 4 5 6 7 8 9       [samples]
    parent       - 0 1 2 3 4 5 6 7 8       [samples, most], -1 where there is none
    own          5 5 9 5 5 5 5 5 5 5       ms, were all issued at 0
    finish       5 5 9 9 9 9 9 9 9 9       never before a parent's
"""

import jax.numpy as jnp
from jax import lax

from vecsim.cluster.admission import Load, Sample
from vecsim.cluster.config import PARENTS, RANDOM_REACH
from vecsim.cluster.state import Key
from vecsim.cluster.votes import FINALISED, Fate
from vecsim.model import random


def parents_of(shape, key: Key, chosen: Sample):
    """Earlier places of the sample that are each one's parents, int32 [samples, most], or -1.

    For ten vertices of one side with `linear` parents: [[-1], [0], [1], ... [8]]; with `few`, from
    two to four of the places just before: [[-1 -1 -1 -1], [0 -1 -1 -1], [1 0 -1 -1], ...].
    """
    low, high = PARENTS[shape.parents]
    place = jnp.arange(shape.samples, dtype=jnp.uint32)
    which = jnp.arange(high + 1, dtype=jnp.uint32)[:, None]
    word, _ = random.threefry(*key, place, random.counter(which + jnp.uint32(1), random.WINDOW))
    count = low + random.below(word[0], jnp.uint32(high - low + 1)).astype(jnp.int32)
    back = jnp.arange(1, high + 1)[:, None]
    if shape.parents == "random":
        back = 1 + random.below(word[1:], jnp.uint32(RANDOM_REACH)).astype(jnp.int32)
    parent = place.astype(jnp.int32) - back
    known = (back > 0) & (jnp.arange(high)[:, None] < count) & (parent >= 0)
    same = chosen.side[jnp.maximum(parent, 0)] == chosen.side
    first = (chosen.attempt == 0) & chosen.exists
    return jnp.where(known & same & first, parent, -1).T


def finish_ms(shape, key: Key, chosen: Sample, fate: Fate):
    """When each vertex's attempt ends, ms from the window's start, float32 [samples]: not before
    its parents' ends.

    A child of a vertex that timed out or was rejected waits for that, and is re-parented then on
    vertices that are final.
    """
    own = chosen.at_ms + fate.after_ms
    parents = parents_of(shape, key, chosen)
    final = fate.outcome == FINALISED

    def place(i, finish):
        mine = parents[i]
        latest = jnp.where(mine >= 0, finish[jnp.maximum(mine, 0)], 0.0).max()
        return finish.at[i].set(jnp.where(final[i], jnp.maximum(own[i], latest), own[i]))

    return lax.fori_loop(0, shape.samples, place, own)


def deeper(shape, key: Key, chosen: Sample, load: Load):
    """Levels by which the window's vertices deepen the DAG, int32.

    For `random` parents it is the depth of the sample, scaled up to all of the window's vertices.
    """
    first = load.first.sum() + load.disputed
    if shape.parents != "random":  # each vertex has the one before it as a parent
        return first
    parents = parents_of(shape, key, chosen)

    def place(i, depth):
        mine = parents[i]
        return depth.at[i].set(1 + jnp.where(mine >= 0, depth[jnp.maximum(mine, 0)], 0).max())

    depth = lax.fori_loop(0, shape.samples, place, jnp.zeros(shape.samples, jnp.int32))
    run = chosen.exists & (chosen.attempt == 0)
    return first * jnp.where(run, depth, 0).max() // jnp.maximum(run.sum(), 1)
