"""What all steps of a batch of trials share, with the nodes of all trials side by side.

Node i of trial t has the number t * nodes + i; arrays of single polls or nodes have them along
their last axis, so that numbers of their trials (k, time-outs) broadcast against them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vecsim.engines.agents.places import drawn_places
from vecsim.engines.trial import Shape, Tables, Trials
from vecsim.model import random


class Batch(NamedTuple):
    """A batch; `trials` are those of all nodes together, one of each trial."""

    shape: Shape
    trials: Trials
    tables: Tables
    regions: Any  # int32 [all nodes]
    ends: Any  # uint32 [all nodes]: units up to each node, counted through all trials; or None
    lean: Trials  # the trials without what each node holds

    @classmethod
    def of(cls, shape: Shape, trials: Trials, tables: Tables) -> "Batch":
        """What stays the same in all steps."""
        regions = jax.vmap(lambda trial: _regions(shape, trial))(trials).reshape(-1)
        ends, lean = None, trials
        if trials.holders is not None:
            held = jnp.cumsum(trials.holders.units, axis=1).astype(jnp.uint32)
            lean = trials._replace(holders=trials.holders._replace(units=None, rows=None))
            ends = held + _all_units(trials)[:, None]
            ends = ends.reshape(-1)
        return cls(shape, trials, tables, regions, ends, lean)

    def trial_of(self, node):
        """The number of the trial, and its leaves, of these nodes of any trial, [m]."""
        which = node // self.shape.nodes
        return which, jax.tree.map(lambda leaf: leaf[which], self.lean)

    def peers(self, trial: Trials, which, node, key):
        """Whom these nodes ask: int32 [k, m], counted through all trials.

        trial, which: of the nodes, as of `trial_of`. node: int32 [m]. key: two uint32 [m].
        """
        shape = self.shape
        if self.ends is None:
            own = trial.exclude_self
            total = (trial.honest + trial.byzantine - own).astype(jnp.uint32)
            peers = drawn_places(shape.kind.k, trial, key, total).astype(jnp.int32)
            later = (peers >= node % shape.nodes).astype(jnp.int32)
            return jnp.clip(peers + own * later, 0, shape.nodes - 1) + which * shape.nodes
        total = (trial.holders.honest + trial.holders.byzantine).astype(jnp.uint32)
        places = drawn_places(shape.kind.k, trial, key, total)
        places = places + _all_units(self.trials)[which]
        asked = jnp.searchsorted(self.ends, places, side="right").astype(jnp.int32)
        return jnp.minimum(asked, (which + 1) * shape.nodes - 1)


def _all_units(trials: Trials):
    """Units of all trials before each one, uint32 [trials]."""
    units = (trials.holders.honest + trials.holders.byzantine).astype(jnp.uint32)
    return jnp.cumsum(units) - units


def _regions(shape: Shape, trial: Trials):
    """The region of each node of a trial, int32 [nodes]: in random order, so many in each."""
    number = jnp.arange(shape.nodes, dtype=jnp.int32)
    if shape.timed.regions == 1:
        return jnp.zeros_like(number)
    word, _ = random.threefry(*trial.key, number.astype(jnp.uint32), jnp.uint32(random.PLACE))
    place = jnp.zeros_like(number).at[jnp.argsort(word)].set(number)
    return jnp.searchsorted(trial.timing.ends, place, side="right").astype(jnp.int32)
