"""What a window's load takes of the nodes, and what becomes of them."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vecsim.cluster import resources
from vecsim.cluster.admission import Load
from vecsim.cluster.constants import constants
from vecsim.cluster.state import ANSWERS, Conditions, State, real


class Used(NamedTuple):
    """Resources taken in a window."""

    demand: resources.Demand
    rate: Any
    memory_mb: Any
    kills: Any


def use(now: Conditions, state: State, net, load: Load, length_ms) -> tuple[State, Used]:
    """Load on CPU, link, disk and memory; nodes past their memory limit are killed."""
    fixed, nodes = constants(), state.nodes
    seconds = length_ms.astype(jnp.float32) / 1000
    stored = (load.first.sum() + load.disputed).astype(jnp.float32)
    rate = (stored + real(load.again.sum())) / seconds
    buckets, filling = resources.store(state.buckets, state.filling_ms, stored, length_ms)
    recent = resources.retained(buckets, filling, fixed.retain_s)
    pressed = resources.retained(buckets, filling, fixed.retain_pressed_s)
    kept = resources.prune(now, state, recent, pressed, stored)
    memory = resources.memory_mb(now, recent, kept, nodes.external_mb)
    offered = load.arrived.astype(jnp.float32) / seconds
    full = jnp.where(net.holds, load.queue.waiting, 0).sum() > 0  # not the guard's doing
    wanted = jnp.where(full, jnp.maximum(offered, rate), rate)
    overloaded = nodes.up & (resources.demand(now, net.asked, rate).cpu > nodes.capacity)
    killed = nodes.up & nodes.member & (memory > nodes.limit_mb)
    end = state.now_ms + length_ms
    back = end + jnp.int32(fixed.restart_s * 1000)
    back = back + resources.sync_ms(now, recent, False).astype(jnp.int32)
    silent = (killed | overloaded) & (nodes.silent_since_ms == ANSWERS)
    answers = nodes.up & ~killed & ~overloaded
    nodes = nodes._replace(
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
        nodes=nodes,
        buckets=buckets,
        filling_ms=filling,
        compaction_mb=compaction,
        stored_mb=state.stored_mb + grown,
    )
    asked = resources.demand(now, net.asked, wanted)
    return state, Used(asked, rate, memory, killed.sum())
