"""How much of each node's CPU, link, memory and disk polls and vertices use (modelled figures).

Everything is of one trial: float32 scalars, and arrays where a shape is said. A node past its
memory limit is killed and comes back after its restart and sync; one whose core is overloaded runs
on, but answers nobody.

    rate, asked            scalar: vertices per second; peers that a node asks in a poll
    buckets                [RETAIN_BUCKETS]: vertices stored in each 10 s, the latest first
    memory_mb, kept        [nodes]

Where buckets have been filled to 4 s of 10, `filling_ms` is 4,000: bucket 0 holds the last 4 s,
bucket 1 the 10 s before. The constants are in `constants.yaml`, each with its reason.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vecsim.cluster.admission import Load
from vecsim.cluster.constants import constants
from vecsim.cluster.state import ANSWERS, NEVER_MS, RETAIN_BUCKETS, Conditions, State, real

MB = 1e6  # bytes; of a link, bits
# ms of a bucket of stored vertices: a divisor of both times of retention, 180 s and 60 s.
BUCKET_MS = 10_000


class Demand(NamedTuple):
    """Share of each resource that a node needs at a rate of vertices: 0 or more, may exceed 1.

    cpu: of one core. network: of the link. disk: of its bandwidth or its operations.
    """

    cpu: Any
    network: Any
    disk: Any


def messages_per_s(now: Conditions, asked, per_peer):
    """Messages of a node per second. asked: peers in a poll, k or all there are.

    per_peer: messages for each peer in a poll, sent alone or handled in all.
    """
    return per_peer * asked / now.interval_ms * 1000


def polling(now: Conditions, asked) -> Demand:
    """What polls alone use; a message carries the votes on all vertices in flight."""
    fixed = constants()
    sent = messages_per_s(now, asked, fixed.messages_sent_per_peer) * fixed.message_bytes
    handled = messages_per_s(now, asked, fixed.messages_per_peer)
    return Demand(handled * fixed.message_us * 1e-6, sent * 8 / (now.link_mbps * MB), 0.0)


def disk(now: Conditions, rate):
    """Share of the disk that a rate of vertices (per second) uses, their compaction included: of
    its bandwidth or of its operations, whichever is more. Payloads are written with the group's
    commit, in long runs."""
    fixed = constants()
    commits = jnp.minimum(rate, fixed.commits_per_s)
    written = commits * fixed.commit_bytes + fixed.write_amplification * now.payload_bytes * rate
    operations = commits + fixed.read_miss * rate
    return jnp.maximum(written / (fixed.disk_mb_per_s * MB), operations / fixed.disk_iops)


def demand(now: Conditions, asked, rate) -> Demand:
    """What polls and `rate` vertices per second use together."""
    fixed, base = constants(), polling(now, asked)
    payload = now.payload_bytes * 8 / (now.link_mbps * MB)
    cpu = base.cpu + fixed.vertex_us * 1e-6 * rate
    return Demand(cpu, base.network + payload * rate, disk(now, rate))


def most_per_s(now: Conditions, asked, compaction_mb, length_ms):
    """Vertices per second that a node with a whole core can take in over a window; 0 or more.

    It is the least that CPU, link, disk bandwidth, disk bandwidth with compaction, and disk
    operations leave room for. Compaction may wait, up to `compaction_limit_mb`; beyond it the store
    takes in no more than it can compact. length_ms: int32, of the window.
    """
    fixed, base = constants(), polling(now, asked)
    payload = now.payload_bytes
    spare_mb = jnp.maximum(fixed.compaction_limit_mb - compaction_mb, 0.0)
    spare = spare_mb * MB * 1000 / real(length_ms)  # bytes per second
    bandwidth = fixed.disk_mb_per_s * MB
    room = (
        (1 - base.cpu) / (fixed.vertex_us * 1e-6),
        (1 - base.network) * now.link_mbps * MB / jnp.maximum(payload * 8, 1e-3),
        _written(bandwidth, payload),
        _written(bandwidth + spare, fixed.write_amplification * payload),
        (fixed.disk_iops - fixed.commits_per_s) / fixed.read_miss,
    )
    return jnp.maximum(jnp.stack([jnp.asarray(each) for each in room]).min(), 0.0)


def _written(bytes_per_s, each):
    """Vertices per second, of `each` bytes and their commits, that fill `bytes_per_s`."""
    fixed = constants()
    alone = bytes_per_s / (fixed.commit_bytes + each)  # each has a commit of its own
    grouped = (bytes_per_s - fixed.commits_per_s * fixed.commit_bytes) / jnp.maximum(each, 1e-3)
    return jnp.where(alone <= fixed.commits_per_s, alone, grouped)


def retained(buckets, filling_ms, seconds):
    """Vertices stored in the last `seconds` (a multiple of 10, 180 at most), a scalar.

    Of the oldest bucket the part counts that lies within that time, as if it was filled evenly.
    """
    count = int(seconds) * 1000 // BUCKET_MS
    return buckets[:count].sum() + (1 - real(filling_ms) / BUCKET_MS) * buckets[count]


def store(buckets, filling_ms, vertices, length_ms):
    """Buckets after `vertices` were stored evenly over a window, and the new filling_ms (int32).

    filling_ms, length_ms: int32. What is older than the last bucket is forgotten.
    """
    end = filling_ms + length_ms
    shift = (end - 1) // BUCKET_MS  # buckets begun in this window
    index = jnp.arange(RETAIN_BUCKETS)
    kept = jnp.where(index >= shift, buckets[jnp.maximum(index - shift, 0)], 0.0)
    filled = end - shift * BUCKET_MS
    newest = real(filled)  # how much of the latest is filled
    # Between which times, ms before the window's end, each bucket was filled.
    last = jnp.where(index == 0, 0.0, newest + real((index - 1) * BUCKET_MS))
    first = newest + real(index * BUCKET_MS)
    length = real(length_ms)
    inside = jnp.clip(jnp.minimum(first, length) - jnp.minimum(last, length), 0.0)
    return kept + vertices * inside / length, filled.astype(jnp.int32)


def memory_mb(now: Conditions, recent, kept, external_mb):
    """Memory of each node, MB: base, payload cache, retained vertices, and what others use.

    recent: vertices in the payload cache, if they fit. kept: vertices retained. external_mb:
    memory that other processes use.
    """
    fixed = constants()
    cache_mb = jnp.minimum(fixed.cache_mb, recent * now.payload_bytes / MB)
    return fixed.base_mb + cache_mb + kept * fixed.vertex_bytes / MB + external_mb


def prune(now: Conditions, state: State, recent, pressed_recent, vertices):
    """Vertices that each node keeps in memory at the end of the window, float32 [nodes].

    recent, pressed_recent: vertices stored in the usual time of retention, and in that under
    memory pressure. vertices: stored in the window; without pruning all are kept.
    """
    fixed, nodes = constants(), state.nodes
    pressed = memory_mb(now, recent, recent, nodes.external_mb) > fixed.pressed_at * nodes.limit_mb
    kept = jnp.where(pressed, jnp.minimum(pressed_recent, recent), recent)
    return jnp.where(now.pruning, kept, nodes.retained + vertices)


def access_ms(utilisation):
    """Time of one disk access, ms, at a utilisation of 0 to 1, 0.99 at most.

    A single queue with Poisson arrivals and exponential service (M/M/1).
    """
    return constants().access_ms / (1 - jnp.clip(utilisation, 0.0, 0.99))


def sync_ms(now: Conditions, recent, empty_disk):
    """Time, ms, to load `recent` vertices from the node's disk, or over its link where that disk is
    empty (bool)."""
    fixed = constants()
    size_mb = recent * (now.payload_bytes + fixed.vertex_bytes) / MB
    return 1000 * jnp.where(empty_disk, size_mb * 8 / now.link_mbps, size_mb / fixed.disk_mb_per_s)


class Used(NamedTuple):
    """Resources used in a window."""

    demand: Demand  # of what began, or of all that was offered where the queue is full
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
    buckets, filling = store(state.buckets, state.filling_ms, stored, length_ms)
    recent = retained(buckets, filling, fixed.retain_s)
    pressed = retained(buckets, filling, fixed.retain_pressed_s)
    kept = prune(now, state, recent, pressed, stored)
    memory = memory_mb(now, recent, kept, nodes.external_mb)
    offered = real(load.arrived) / seconds
    full = jnp.where(net.holds, load.queue.waiting, 0).sum() > 0  # not the guard's doing
    wanted = jnp.where(full, jnp.maximum(offered, rate), rate)
    overloaded = nodes.up & (demand(now, net.asked, rate).cpu > nodes.capacity)
    killed = nodes.running & (memory > nodes.limit_mb)
    end = state.now_ms + length_ms
    in_sync = sync_ms(now, recent, False).astype(jnp.int32)
    back = end + jnp.int32(fixed.restart_s * 1000) + in_sync
    silent = (killed | overloaded) & nodes.answers
    answers = nodes.up & ~killed & ~overloaded
    state = state.with_nodes(
        up=nodes.up & ~killed,
        up_at_ms=jnp.where(killed, back, nodes.up_at_ms),
        silent_since_ms=jnp.where(answers, ANSWERS, jnp.where(silent, end, nodes.silent_since_ms)),
        retained=jnp.where(killed, recent, kept),
    )
    inflow = (fixed.write_amplification - 1) * stored * now.payload_bytes / MB
    at_once = jnp.minimum(rate, fixed.commits_per_s) * fixed.commit_bytes
    at_once = (at_once + rate * now.payload_bytes) / MB
    room = jnp.maximum(fixed.disk_mb_per_s - at_once, 0.0) * seconds
    compaction = jnp.maximum(state.compaction_mb + inflow - room, 0.0)
    on_disk = state.stored_mb + stored * (now.payload_bytes + fixed.vertex_bytes) / MB
    state = state._replace(
        buckets=buckets, filling_ms=filling, compaction_mb=compaction, stored_mb=on_disk
    )
    return state, Used(demand(now, net.asked, wanted), rate, memory, killed.sum())
