"""One window of simulated time, a pure function of one trial's state; and many, compiled together.

    1  restarts; sides join               [nodes]
    2  whom issuers meet, by side         [SIDES]      defence.sides
    3  what ends, by tick                 [ticks]      flight.due
    4  what is admitted; the sample       [samples]    admission
    5  polls of the sample                [samples]    votes, without a rival
       one vertex with a rival            [nodes]      votes, at every honest node
    6  ends booked and counted            [ticks]      flight
    7  evidence of the window before      [nodes]      defence.evidence
    8  CPU, link, memory, disk            [nodes]      resources

`advance_windows` adds an axis of trials in front of all of these, and shares them out over the
devices.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from vecsim.cluster import defence, flight, resources, votes
from vecsim.cluster.admission import Load, Sample, admit, sample
from vecsim.cluster.constants import constants
from vecsim.cluster.record import WindowRecord
from vecsim.cluster.state import SIDES, Conditions, Gossip, Key, State, per, real, whole_number
from vecsim.engines.trial import SPLIT, WHOLE, over_devices
from vecsim.model import random

RIVAL = 2**31  # number of the vertex with a rival, on the first side: above all other numbers
# Windows of one call, at most. Every call is as long as that in memory, and shorter ones are padded
# to it, so that one program serves all; a run is saved, and its progress told, between calls.
SEGMENT = 64


class ClusterShape(NamedTuple):
    """What a program is compiled for: sizes of arrays, bounds of loops, and two ways to build."""

    nodes: int
    samples: int  # vertices run one by one in a window
    most_k: int  # the largest sample size
    spare: int  # the largest k - alpha + 1
    parents: str
    disputed: bool  # whether some vertices have a rival
    ahead: int  # ticks after its window in which a vertex may end


def window(
    shape: ClusterShape, now: Conditions, state: State, arrived, length_ms
) -> tuple[State, WindowRecord]:
    """The state after one window, and its record.

    arrived: vertices that clients issue in it, int32. length_ms: int32, whole ticks of 100 ms.
    """
    second = random.counter(jnp.uint32(0), random.WINDOW)
    key = random.threefry(*state.key, state.window.astype(jnp.uint32), second)
    state = defence.rejoin(now, resources.restarted(state))
    byzantine = now.byzantine(state.nodes)
    net = defence.sides(now, state, length_ms)
    ends, later = flight.due(state.flight, length_ms)
    most_per_s = resources.most_per_s(now, net.asked, state.compaction_mb, length_ms)
    load = admit(now, state, ends, net, arrived, length_ms, most_per_s)
    chosen = sample(shape, key, load, length_ms)
    peers = _peers(net, chosen, key)
    fate = votes.vote_undisputed(shape, now, key, peers, chosen.number, chosen.exists)
    finish = flight.finish_ms(shape, key, chosen, fate)
    ends, later, record = flight.depart(ends, later, chosen, fate, finish, length_ms)
    divergent, wrong = jnp.bool_(False), jnp.float32(0)
    if shape.disputed:
        fell, dispute = _dispute(shape, now, key, net, load)
        record = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), record, dispute)
        # A client that spends twice does not issue again what timed out.
        when = flight.tick_after(real(length_ms) / 2 + fell.fate.after_ms[0], length_ms)
        ends, later = flight.book(ends, later, fell.fate.outcome[0], load.disputed, when)
        happens, both = load.disputed > 0, load.disputed + load.first.sum()
        divergent = fell.decided.all() & happens
        wrong = jnp.where(happens, fell.wrong * per(load.disputed, both), 0.0)
    state, ended = flight.arrive(state, ends, later, net, load, ~byzantine, length_ms)
    state = _judge(now, state, net)._replace(
        gossip=Gossip(key, _gathered(state.nodes, load), wrong),
        totals=state.totals.plus(
            issued=load.arrived,
            dropped=load.dropped,
            disputed=load.disputed,
            divergent=jnp.where(divergent, load.disputed, 0),
            depth=flight.deeper(shape, key, chosen, load),
        ),
        queue=load.queue,
    )
    state, used = resources.use(now, state, net, load, length_ms)
    state = state.with_nodes(held=net.holds[state.nodes.side])
    state = state._replace(window=state.window + 1, now_ms=state.now_ms + length_ms)
    return state, _record(now, state, net, load, byzantine, ended, used, record)


def _peers(net: defence.Sides, chosen: Sample, key: Key) -> votes.Peers:
    """Whom each issuer may poll. Nodes refuse a vertex whose time is too far from their own."""
    side, number = chosen.side, chosen.number
    # Where the issuer's own clock is off, all others refuse it.
    alone = votes.coin(key, number, 0, random.PICK) < net.wrong_share[side]
    others = jnp.maximum(net.honest[side] - 1, 0)
    refuse = jnp.where(alone, others, jnp.minimum(net.wrong_time[side], others))
    return votes.Peers(others - refuse, refuse, net.byzantine[side], net.silent[side])


def _dispute(
    shape: ClusterShape, now: Conditions, key: Key, net: defence.Sides, load: Load
) -> tuple[votes.Dispute, flight.Departed]:
    """One vertex with a rival stands for all of the window's.

    It is run on every side that may finalise: nodes of different sides must not finalise
    differently either. `decided` is of all these sides together; all else is of the side that
    issues.
    """
    shared = votes.vertex_coin(key, jnp.uint32(RIVAL))
    side = jnp.arange(SIDES)
    runs = (load.disputed > 0) & (net.holds | (side == load.side))
    fell = lax.map(lambda i: _rivals(shape, now, key, net, i, runs[i], shared), side)
    counts = net.holds & (net.honest > 0)
    decided = (fell.decided & counts[:, None]).any(axis=0)
    own = jax.tree.map(lambda leaf: leaf[load.side], fell)._replace(decided=decided)
    outcome = jnp.where(load.disputed == 0, votes.EMPTY, own.fate.outcome)
    return own, flight.departed(own.fate, outcome, load.disputed[None], own.fate.after_ms, 1)


def _rivals(shape, now: Conditions, key: Key, net: defence.Sides, side, runs, shared):
    """A vertex and its rival at all honest nodes of a side; nothing happens unless it `runs`."""
    number = jnp.uint32(RIVAL) + side.astype(jnp.uint32)
    word, other = random.threefry(*key, number, random.counter(jnp.uint32(1), random.VERTEX))
    honest = jnp.where(runs, net.honest[side], 0)
    first = constants().double_spend_seen_first
    seen = jnp.where((word & 1) == 1, first, 1 - first)
    ones = jnp.clip(whole_number(jnp.round(real(honest) * seen)), 1, jnp.maximum(honest, 1))
    peers = votes.Peers(ones, honest - ones, net.byzantine[side], net.silent[side])
    own = random.threefry(word, other, number, random.counter(jnp.uint32(2), random.VERTEX))
    return votes.disputed(shape, now, own, peers, ones, shared)


def _gathered(nodes, load: Load):
    """Vertices on which each node's answers were gathered, int32 [nodes]: those of its side, if it
    answers."""
    side = jnp.arange(SIDES)
    ran = load.first + jnp.where(side == load.side, load.disputed + load.again.sum(), 0)
    return jnp.where(nodes.answers, ran[nodes.side], 0)


def _judge(now: Conditions, state: State, net) -> State:
    """The reputation test on what gossip has brought of the window before."""
    key, gathered, wrong = state.gossip
    side = jnp.argmax(net.issuers)
    nodes = votes.Peers(net.honest[side], jnp.int32(0), net.byzantine[side], net.silent[side])

    def chance(vertex):
        number = vertex.astype(jnp.uint32)
        coins = votes.vertex_coin(key, number), votes.poll_coin(key, number, 0)
        accept, told = votes.poll_chance(now, votes.first_mix(now, nodes, coins))
        return (told - accept) / jnp.maximum(told, 1e-9), told

    wrong = jnp.where(defence.too_far_off(now, state), 1 - net.wrong_share[state.nodes.side], wrong)
    score, excluded = defence.evidence(now, state, key, gathered, wrong, chance)
    return state.with_nodes(score=score, excluded=excluded)


def _record(
    now, state: State, net, load: Load, byzantine, ended, used: resources.Used, told
) -> WindowRecord:
    """The record of a window that has just been run: scalars, and `told` of its sample."""
    fixed, nodes, totals = constants(), state.nodes, state.totals
    alive = nodes.running.any()
    memory_mb = jnp.where(nodes.running, used.memory_mb, 0.0)
    taken = resources.demand(now, net.asked, used.rate)
    cpu = jnp.where(nodes.running, jnp.minimum(taken.cpu / nodes.capacity, 1.0) * 100, 0.0)
    network = jnp.where(alive, jnp.minimum(taken.network, 1.0) * now.link_mbps, 0.0)
    sent = resources.messages_per_s(now, net.asked, fixed.messages_sent_per_peer)
    access_ms = resources.access_ms(taken.disk)
    ahead, waiting = state.flight, state.queue.waiting.sum()
    ending = (ahead.finalised, ahead.rejected, ahead.given_up, ahead.again)
    in_flight = waiting + sum(part.sum() for part in ending)
    done = totals.finalised + totals.rejected + totals.given_up + totals.dropped
    missing = totals.issued - done - in_flight
    standing = jnp.where(nodes.excluded, 0.0, defence.reputation(nodes.score))

    def among(which):
        members = which & nodes.member
        return per(jnp.where(members, standing, 0.0).sum(), members.sum())

    present = jnp.zeros(SIDES, jnp.int32).at[nodes.side].max(nodes.member.astype(jnp.int32))
    return WindowRecord(
        issued=load.arrived,
        admitted=load.first.sum() + load.disputed,
        dropped=load.dropped,
        oom_kills=used.kills,
        waiting=waiting,
        in_flight=in_flight,
        running=nodes.running.sum(),
        guard=net.holds.any().astype(jnp.int32),
        sides=jnp.where(state.cut, present.sum(), 1),
        progressing=jnp.where(net.holds, net.issuers, 0).sum(),
        excluded_byzantine=(nodes.excluded & byzantine).sum(),
        excluded_honest=(nodes.excluded & ~byzantine).sum(),
        skewed=(nodes.member & (nodes.skew_s != 0)).sum(),
        refused_clocks=(nodes.member & defence.too_far_off(now, state)).sum(),
        divergent=totals.divergent,
        lost=jnp.maximum(missing, 0),
        doubled=jnp.maximum(-missing, 0),
        depth=totals.depth,
        benched=net.benched.max(),
        cpu_percent=per(cpu.sum(), nodes.running.sum()),
        peak_cpu_percent=cpu.max(),
        memory_mb=per(memory_mb.sum(), nodes.running.sum()),
        peak_memory_mb=memory_mb.max(),
        network_mbps=network,
        header_mbps=jnp.where(alive, sent * fixed.header_bytes * 8 / resources.MB, 0.0),
        read_iops=fixed.read_miss * used.rate,
        write_iops=jnp.minimum(used.rate, fixed.commits_per_s),
        read_latency_ms=access_ms,
        write_latency_ms=access_ms,
        **{f"utilisation_{name}": share for name, share in used.demand._asdict().items()},
        utilisation_memory=jnp.where(nodes.running, used.memory_mb / nodes.limit_mb, 0.0).max(),
        compaction_mb=state.compaction_mb,
        storage_mb=state.stored_mb,
        reputation_byzantine=among(byzantine),
        reputation_honest=among(~byzantine),
        **ended,
        **told._asdict(),
    )


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
