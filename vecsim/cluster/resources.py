"""What polls and vertices take of each node's CPU, link, memory and disk (modelled figures)."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vecsim.cluster.constants import constants
from vecsim.cluster.state import RETAIN_BUCKETS, Conditions, State, real

MB = 1e6  # bytes
BUCKET_MS = 10_000  # ms of a bucket of stored vertices: a divisor of both times of retention


class Demand(NamedTuple):
    """Share of each resource that a node needs at a rate of vertices; may exceed 1."""

    cpu: Any
    network: Any
    disk: Any


def messages_per_s(now: Conditions, asked, per_peer):
    """asked: peers in a poll, k or all there are."""
    return per_peer * asked / now.interval_ms * 1000


def polling(now: Conditions, asked) -> Demand:
    """What polls alone take; a message carries the votes on all vertices in flight."""
    fixed = constants()
    sent = messages_per_s(now, asked, fixed.messages_sent_per_peer) * fixed.message_bytes
    handled = messages_per_s(now, asked, fixed.messages_per_peer)
    return Demand(handled * fixed.message_us * 1e-6, sent * 8 / (now.link_mbps * MB), 0.0)


def disk(now: Conditions, rate):
    """Share of the disk that a rate of vertices takes, with what is to be compacted of them: of its
    bandwidth or of its operations, whichever is more. Payloads are written with the group's commit,
    in long runs."""
    fixed = constants()
    commits = jnp.minimum(rate, fixed.commits_per_s)
    written = commits * fixed.commit_bytes + fixed.write_amplification * now.payload_bytes * rate
    operations = commits + fixed.read_miss * rate
    return jnp.maximum(written / (fixed.disk_mb_per_s * MB), operations / fixed.disk_iops)


def demand(now: Conditions, asked, rate) -> Demand:
    """What polls and so many vertices per second take together."""
    fixed, base = constants(), polling(now, asked)
    payload = now.payload_bytes * 8 / (now.link_mbps * MB)
    cpu, network = base.cpu + fixed.vertex_us * 1e-6 * rate, base.network + payload * rate
    return Demand(cpu, network, disk(now, rate))


def most_per_s(now: Conditions, asked, compaction_mb, length_ms):
    """Vertices per second that a node with a whole core can take in over a window.

    What is to be compacted may wait, up to `compaction_limit_mb`; then the store takes in no more
    than it can compact.
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
    """Vertices per second, of `each` bytes and their commits, that take so many bytes."""
    fixed = constants()
    alone = bytes_per_s / (fixed.commit_bytes + each)  # each has a commit of its own
    grouped = (bytes_per_s - fixed.commits_per_s * fixed.commit_bytes) / jnp.maximum(each, 1e-3)
    return jnp.where(alone <= fixed.commits_per_s, alone, grouped)


def retained(buckets, filling_ms, seconds):
    """Vertices stored in the last `seconds` (a multiple of 10), the oldest bucket in part."""
    count = int(seconds) * 1000 // BUCKET_MS
    part = 1 - real(filling_ms) / BUCKET_MS
    return buckets[:count].sum() + part * buckets[count]


def store(buckets, filling_ms, vertices, length_ms):
    """Buckets after vertices were stored evenly over a window; the latest bucket is first."""
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
    """Of each node: base, payload cache, retained vertices, and what others take."""
    fixed = constants()
    cache_mb = jnp.minimum(fixed.cache_mb, recent * now.payload_bytes / MB)
    return fixed.base_mb + cache_mb + kept * fixed.vertex_bytes / MB + external_mb


def prune(now: Conditions, state: State, recent, pressed_recent, vertices):
    """Vertices that each node keeps in memory at the end of the window."""
    fixed, nodes = constants(), state.nodes
    usual = memory_mb(now, recent, recent, nodes.external_mb)
    pressed = usual > fixed.pressed_at * nodes.limit_mb
    kept = jnp.where(pressed, jnp.minimum(pressed_recent, recent), recent)
    return jnp.where(now.pruning, kept, nodes.retained + vertices)


def access_ms(utilisation):
    """Time of one access of a disk at that utilisation (a single queue, Poisson arrivals)."""
    return constants().access_ms / (1 - jnp.clip(utilisation, 0.0, 0.99))


def sync_ms(now: Conditions, recent, empty_disk):
    """Time to load the last vertices from the own disk, or over the link where that is empty."""
    fixed = constants()
    size_mb = recent * (now.payload_bytes + fixed.vertex_bytes) / MB
    from_disk = size_mb / fixed.disk_mb_per_s
    from_peers = size_mb * 8 / now.link_mbps
    return 1000 * jnp.where(empty_disk, from_peers, from_disk)
