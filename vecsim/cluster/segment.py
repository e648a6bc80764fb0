"""The compiled part: a run of windows, trials shared out over the devices."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from vecsim.cluster.record import WindowRecord
from vecsim.cluster.state import Conditions, State
from vecsim.cluster.window import ClusterShape, window
from vecsim.engines.trial import SPLIT, WHOLE, over_devices

# Windows of one call, at most. Every call is as long as that in memory, and shorter ones are padded
# to it, so that one program serves all; a run is saved, and its progress told, between calls.
SEGMENT = 64


@partial(jax.jit, static_argnums=(0, 1))
def advance_windows(
    shape: ClusterShape, mesh: Mesh, now: Conditions, state: State, arrived, length_ms, count
) -> tuple[State, WindowRecord]:
    """The state after `count` windows, and their records [SEGMENT, trials, ...].

    arrived: int32 [SEGMENT, trials], vertices issued; length_ms: int32 [SEGMENT]; count: int32, at
    most SEGMENT. Records after the first `count` are 0. Leaves of the state have an axis of trials
    in front; trials are shared out over the devices of the mesh.
    """
    over = PartitionSpec(None, "trials")
    given, made = (WHOLE, SPLIT, over, WHOLE, WHOLE), (SPLIT, over)
    run = over_devices(partial(_advance, shape), mesh, given, made)
    return run(now, state, arrived, length_ms, count)


def _advance(shape: ClusterShape, now: Conditions, state: State, arrived, length_ms, count):
    """`advance_windows` of the trials on one device."""
    step = jax.vmap(partial(window, shape), (None, 0, 0, None))
    example = jax.eval_shape(step, now, state, arrived[0], length_ms[0])[1]
    space = jax.tree.map(lambda leaf: jnp.zeros((SEGMENT, *leaf.shape), leaf.dtype), example)

    def body(i, carry):
        state, records = carry
        state, record = step(now, state, arrived[i], length_ms[i])
        records = jax.tree.map(lambda all_, one: all_.at[i].set(one), records, record)
        return state, records

    return lax.fori_loop(0, count, body, (state, space))


def devices(trials: int) -> Mesh:
    """As many devices as share the trials out evenly, a mesh with the one axis `trials`."""
    found = jax.devices()
    count = max(d for d in range(1, len(found) + 1) if trials % d == 0)
    return Mesh(found[:count], ("trials",))
