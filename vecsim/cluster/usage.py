"""The resources that a window's load uses, and what becomes of the nodes, for one trial.

    demand of the offered load     scalar shares of a core, of the link, of the disk
    memory, kills, restarts        [nodes]

A node past its memory limit is killed and comes back after its restart and sync; one whose core is
overloaded runs on, but answers nobody.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vecsim.cluster import resources
from vecsim.cluster.admission import Load
from vecsim.cluster.constants import constants
from vecsim.cluster.state import ANSWERS, NEVER_MS, Conditions, State, real, whole_number


class Used(NamedTuple):
    """Resources used in a window."""

    demand: resources.Demand  # of what began, or of all that was offered where the queue is full
    rate: Any  # float32: vertices per second whose polls began
    memory_mb: Any  # float32 [nodes]
    kills: Any  # int32: nodes killed for memory


def restarted(state: State) -> State:
    """The state in which nodes whose time has come are up again, and answer at once."""
    nodes = state.nodes
    back = ~nodes.up & (nodes.up_at_ms <= state.now_ms)
    return state.with_nodes(
        up=nodes.up | back,
        silent_since_ms=jnp.where(back, ANSWERS, nodes.silent_since_ms),
        up_at_ms=jnp.where(back, NEVER_MS, nodes.up_at_ms),
    )


def use(now: Conditions, state: State, net, load: Load, length_ms) -> tuple[State, Used]:
    """The state after a window's load on CPU, link, disk and memory, and what it used.

    net: the sides, as `defence.sides` gives them. length_ms: int32. Nodes past their memory limit
    are killed.
    """
    fixed, nodes = constants(), state.nodes
    seconds = real(length_ms) / 1000
    stored = real(load.first.sum() + load.disputed)
    rate = (stored + real(load.again.sum())) / seconds
    buckets, filling = resources.store(state.buckets, state.filling_ms, stored, length_ms)
    recent = resources.retained(buckets, filling, fixed.retain_s)
    pressed = resources.retained(buckets, filling, fixed.retain_pressed_s)
    kept = resources.prune(now, state, recent, pressed, stored)
    memory = resources.memory_mb(now, recent, kept, nodes.external_mb)
    offered = real(load.arrived) / seconds
    full = jnp.where(net.holds, load.queue.waiting, 0).sum() > 0  # not the guard's doing
    wanted = jnp.where(full, jnp.maximum(offered, rate), rate)
    overloaded = nodes.up & (resources.demand(now, net.asked, rate).cpu > nodes.capacity)
    killed = nodes.running & (memory > nodes.limit_mb)
    end = state.now_ms + length_ms
    in_sync = whole_number(resources.sync_ms(now, recent, False))
    back = end + jnp.int32(fixed.restart_s * 1000) + in_sync
    silent = (killed | overloaded) & nodes.answers
    answers = nodes.up & ~killed & ~overloaded
    state = state.with_nodes(
        up=nodes.up & ~killed,
        up_at_ms=jnp.where(killed, back, nodes.up_at_ms),
        silent_since_ms=jnp.where(answers, ANSWERS, jnp.where(silent, end, nodes.silent_since_ms)),
        retained=jnp.where(killed, recent, kept),
    )
    inflow = (fixed.write_amplification - 1) * stored * now.payload_bytes / resources.MB
    at_once = jnp.minimum(rate, fixed.commits_per_s) * fixed.commit_bytes
    at_once = (at_once + rate * now.payload_bytes) / resources.MB
    room = jnp.maximum(fixed.disk_mb_per_s - at_once, 0.0) * seconds
    compaction = jnp.maximum(state.compaction_mb + inflow - room, 0.0)
    grown = stored * (now.payload_bytes + fixed.vertex_bytes) / resources.MB
    state = state._replace(
        buckets=buckets,
        filling_ms=filling,
        compaction_mb=compaction,
        stored_mb=state.stored_mb + grown,
    )
    asked = resources.demand(now, net.asked, wanted)
    return state, Used(asked, rate, memory, killed.sum())
