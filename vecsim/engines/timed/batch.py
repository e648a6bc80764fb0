"""What all steps of a batch of trials share, with the nodes of all trials side by side.

Node i of trial t has the number t * nodes + i; arrays of single polls or nodes have them along
their last axis, so that numbers of their trials (k, time-outs) broadcast against them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vecsim.engines.timed.picking import computed_once
from vecsim.engines.trial import Shape, Tables, Trials
from vecsim.model import random
from vecsim.polls import below


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

        def leaves():
            which = node // self.shape.nodes
            return which, jax.tree.map(lambda leaf: leaf[which], self.lean)

        return computed_once(node[0] >= 0, leaves)

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


def drawn_places(most: int, trial: Trials, key, total):
    """The units, or the peers, that each poller asks, uint32 [most, m]; only the trial's k count.

    most: places that are drawn. key: two uint32 [m]. total: of units or peers, uint32. It and what
    is looked at of the trial are scalars or [m]. Distinct ones by Floyd's method (Bentley and Floyd
    1987): place i is drawn among all but the last k - 1 - i, and is the last of these if it was
    drawn before.
    """
    k = jnp.asarray(trial.protocol.k, jnp.uint32)
    # A row for each place, as pollers side by side fill the vector units of a CPU.
    number = jnp.arange(most, dtype=jnp.uint32)[:, None]
    word, _ = random.threefry(key[0], key[1], number, jnp.uint32(0))
    # Places past the trial's own k are drawn, too, but nobody looks at them.
    last = jnp.where(trial.replacement, total, total - k + jnp.minimum(number, k - 1) + 1)
    last = jnp.broadcast_to(last, word.shape)
    unit = below(word, last)
    if most == 1:
        return unit

    def another(i, drawn):
        again = (drawn == unit[i]).any(axis=0) & ~trial.replacement
        return drawn.at[i].set(jnp.where(again, last[i] - 1, unit[i]))

    nothing = jnp.full(unit.shape, 2**32 - 1, jnp.uint32)
    return lax.fori_loop(0, most, another, nothing)
