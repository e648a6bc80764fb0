"""One window of simulated time, for one trial: a pure function of the state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vecsim import random
from vecsim.cluster import defence, resources, votes
from vecsim.cluster.admission import Load, Sample, admit, sample, uniform, windows_ahead
from vecsim.cluster.config import PARENTS, RANDOM_REACH, constants
from vecsim.cluster.state import (
    ANSWERS,
    NEVER,
    SIDES,
    Conditions,
    Flight,
    Gossip,
    Key,
    Nodes,
    State,
    real,
    whole,
)
from vecsim.cluster.votes import FINALISED, REJECTED, TIMED_OUT, Fate, Peers


class Shape(NamedTuple):
    """What a program is compiled for."""

    nodes: int
    samples: int  # vertices run one by one in a window
    most_k: int  # the largest sample size
    spare: int  # the largest k - alpha + 1
    parents: str
    disputed: bool  # whether some vertices have a rival


class Record(NamedTuple):
    """What is known of a window; see `vecsim.cluster.record.VARIABLES` for meanings and units."""

    issued: Any
    admitted: Any
    finalised: Any
    rejected: Any
    given_up: Any
    dropped: Any
    timed_out: Any
    oom_kills: Any
    waiting: Any
    in_flight: Any
    running: Any
    guard: Any
    sides: Any
    progressing: Any
    excluded_byzantine: Any
    excluded_honest: Any
    divergent: Any
    lost: Any
    doubled: Any
    depth: Any
    benched: Any
    cpu_percent: Any
    peak_cpu_percent: Any
    memory_mb: Any
    peak_memory_mb: Any
    network_mbps: Any
    header_mbps: Any
    read_iops: Any
    write_iops: Any
    read_latency_ms: Any
    write_latency_ms: Any
    utilisation_cpu: Any
    utilisation_network: Any
    utilisation_disk: Any
    utilisation_memory: Any
    compaction_mb: Any
    storage_mb: Any
    reputation_byzantine: Any
    reputation_honest: Any
    latency_ms: Any  # [samples]
    rounds: Any
    confidence: Any
    disputed: Any
    weight: Any
    outcome: Any


def window(shape: Shape, now: Conditions, state: State, arrived, length_ms) -> tuple[State, Record]:
    """The state after one window, and its record. arrived: vertices issued; length_ms: int32."""
    key = random.threefry(
        *state.key, state.window.astype(jnp.uint32), random.counter(jnp.uint32(0), random.WINDOW)
    )
    state = defence.rejoin(now, _restarted(state))
    net = defence.sides(now, state, length_ms)
    load = admit(now, state, net, arrived, length_ms, resources.most_per_s(now))
    chosen = sample(shape, key, load, length_ms)
    peers = Peers(
        jnp.maximum(net.honest[chosen.side] - 1, 0),
        jnp.zeros(shape.samples, jnp.int32),
        net.byzantine[chosen.side],
        net.silent[chosen.side],
    )
    coin = vertex_coin(key, chosen.number)
    fate = votes.undisputed(shape, now, key, peers, coin)
    finish = finish_ms(shape, key, chosen, fate)
    flight, record = _depart(state.flight, chosen, fate, finish, length_ms)
    divergent, wrong = jnp.bool_(False), jnp.float32(0)
    if shape.disputed:
        dispute = _dispute(shape, now, key, net, load)
        record = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), record, dispute.record)
        flight = _depart_disputed(flight, dispute.fate, load.disputed, length_ms)
        happens = load.disputed > 0
        divergent = dispute.divergent & happens
        both = load.disputed + load.first.sum()
        share = real(load.disputed) / real(jnp.maximum(both, 1))
        wrong = jnp.where(happens, dispute.wrong * share, 0.0)
    state, ended = _arrive(state, flight, net, load)
    gathered = _gathered(state.nodes, load)
    state = _judge(now, state, net)._replace(gossip=Gossip(key, gathered, wrong))
    state = state._replace(
        totals=state.totals._replace(
            issued=state.totals.issued + load.arrived,
            dropped=state.totals.dropped + load.dropped,
            disputed=state.totals.disputed + load.disputed,
            divergent=state.totals.divergent + divergent.astype(jnp.int32),
            depth=state.totals.depth + _deeper(shape, key, chosen, load),
        ),
        queue=load.queue,
    )
    state, used = _use(now, state, net, load, length_ms)
    state = state._replace(window=state.window + 1, now_ms=state.now_ms + length_ms)
    return state, _record(shape, now, state, net, load, ended, used, record)


def _restarted(state: State) -> State:
    """Nodes whose time has come are back, and announce themselves."""
    nodes = state.nodes
    back = ~nodes.up & (nodes.up_at_ms <= state.now_ms)
    return state._replace(
        nodes=nodes._replace(
            up=nodes.up | back,
            silent_since_ms=jnp.where(back, ANSWERS, nodes.silent_since_ms),
            up_at_ms=jnp.where(back, NEVER, nodes.up_at_ms),
        )
    )


def vertex_coin(key: Key, number):
    """A uniform of each vertex that all Byzantine nodes share."""
    word, _ = random.threefry(*key, number, random.counter(jnp.uint32(0), random.VERTEX))
    return uniform(word)


def parents_of(shape: Shape, key: Key, chosen: Sample):
    """Earlier places of the sample that are each one's parents, int32 [samples, most], or -1."""
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


def finish_ms(shape: Shape, key: Key, chosen: Sample, fate: Fate):
    """When each vertex's attempt ends, ms from the window's start: not before its parents' ends.

    A child of a vertex that timed out or was rejected waits for that, and is re-parented then on
    vertices that are final.
    """
    own = chosen.at_ms + fate.after_ms
    parents = parents_of(shape, key, chosen)
    final = fate.outcome == FINALISED

    def place(i, finish):
        mine = parents[i]
        latest = jnp.where(mine >= 0, finish[jnp.maximum(mine, 0)], 0.0).max()
        waits = jnp.where(final[i], jnp.maximum(own[i], latest), own[i])
        return finish.at[i].set(waits)

    return lax.fori_loop(0, shape.samples, place, own)


def _deeper(shape: Shape, key: Key, chosen: Sample, load: Load):
    """Levels by which the window's vertices deepen the DAG."""
    first = load.first.sum() + load.disputed
    if shape.parents != "random":  # each vertex has the one before it as a parent
        return first
    parents = parents_of(shape, key, chosen)

    def place(i, depth):
        mine = parents[i]
        return depth.at[i].set(1 + jnp.where(mine >= 0, depth[jnp.maximum(mine, 0)], 0).max())

    depth = lax.fori_loop(0, shape.samples, place, jnp.zeros(shape.samples, jnp.int32))
    run = (chosen.exists & (chosen.attempt == 0)).sum()
    deepest = jnp.where(chosen.exists & (chosen.attempt == 0), depth, 0).max()
    return first * deepest // jnp.maximum(run, 1)


class Departed(NamedTuple):
    """The sampled part of a record."""

    latency_ms: Any
    rounds: Any
    confidence: Any
    disputed: Any
    weight: Any
    outcome: Any


def _depart(flight: Flight, chosen: Sample, fate: Fate, finish, length_ms):
    """Book each sampled vertex, and those for which it stands, in the window in which it ends."""
    fixed = constants()
    tries = fixed.attempts - 1
    weight, outcome = chosen.weight, jnp.where(chosen.exists, fate.outcome, votes.EMPTY)
    took = finish - chosen.at_ms
    ended = chosen.booked_ms + took
    ahead = windows_ahead(ended, length_ms)

    def book(ring, which, when, amount=weight):
        return ring.at[when].add(jnp.where(which, amount, 0))

    timed_out = outcome == TIMED_OUT
    last = chosen.attempt >= tries
    due = jnp.maximum(windows_ahead(ended + fixed.reissue_after_ms, length_ms), 1)
    tried = jnp.minimum(chosen.attempt, tries - 1)
    age = chosen.age_ms + took
    again = timed_out & ~last
    flight = Flight(
        finalised=book(flight.finalised, outcome == FINALISED, ahead),
        rejected=book(flight.rejected, outcome == REJECTED, ahead),
        given_up=book(flight.given_up, timed_out & last, ahead),
        again=flight.again.at[due, tried].add(jnp.where(again, weight, 0)),
        age_ms=flight.age_ms.at[due, tried].add(
            jnp.where(again, real(weight) * (age + fixed.reissue_after_ms), 0.0)
        ),
    )
    latency = jnp.where((outcome == FINALISED) & (weight > 0), age, jnp.nan)
    told = Departed(
        latency,
        fate.rounds,
        jnp.where(outcome == FINALISED, fate.confidence, jnp.nan),
        jnp.zeros_like(weight),
        weight,
        jnp.where(weight > 0, outcome, votes.EMPTY),
    )
    return flight, told


class Disputed(NamedTuple):
    fate: Fate
    divergent: Any
    wrong: Any
    record: Departed


def _dispute(shape: Shape, now: Conditions, key: Key, net: defence.Sides, load: Load) -> Disputed:
    """One vertex with a rival stands for all of the window's."""
    side, fixed = load.side, constants()
    number = jnp.uint32(2**31)
    coin = vertex_coin(key, number)
    word, _ = random.threefry(*key, number, random.counter(jnp.uint32(1), random.VERTEX))
    honest = jnp.where(load.disputed > 0, net.honest[side], 0)
    seen = jnp.where(
        (word & 1) == 1, fixed.double_spend_seen_first, 1 - fixed.double_spend_seen_first
    )
    ones = jnp.clip(whole(jnp.round(real(honest) * seen)), 1, jnp.maximum(honest, 1))
    peers = Peers(ones, honest - ones, net.byzantine[side], net.silent[side])
    rival = random.threefry(*key, jnp.uint32(1), random.counter(jnp.uint32(1), random.WINDOW))
    fell = votes.disputed(shape, now, rival, peers, ones, coin)
    none = load.disputed == 0
    outcome = jnp.where(none, votes.EMPTY, fell.fate.outcome)
    final = outcome == FINALISED
    record = Departed(
        jnp.where(final, fell.fate.after_ms, jnp.nan),
        fell.fate.rounds,
        jnp.where(final, fell.fate.confidence, jnp.nan),
        jnp.ones(1, jnp.int32),
        load.disputed[None],
        outcome,
    )
    return Disputed(fell.fate, fell.divergent, fell.wrong, record)


def _depart_disputed(flight: Flight, fate: Fate, count, length_ms) -> Flight:
    """A client that spends twice does not issue again what timed out."""
    middle = length_ms.astype(jnp.float32) / 2
    when = windows_ahead(middle + fate.after_ms, length_ms)[0]

    def book(ring, what):
        return ring.at[when].add(jnp.where(fate.outcome[0] == what, count, 0))

    return flight._replace(
        finalised=book(flight.finalised, FINALISED),
        rejected=book(flight.rejected, REJECTED),
        given_up=book(flight.given_up, TIMED_OUT),
    )


class Ended(NamedTuple):
    """Vertices that ended in a window, or stopped for a time (int32)."""

    finalised: Any
    rejected: Any
    given_up: Any
    timed_out: Any


def _arrive(state: State, flight: Flight, net: defence.Sides, load: Load) -> tuple[State, Ended]:
    """What ends in this window; nothing is finalised at nodes whose guard does not hold."""
    holding = jnp.where(net.holds, net.issuers, 0).sum()
    able = net.issuers.sum()
    share = jnp.where(able > 0, real(holding) / real(jnp.maximum(able, 1)), 0.0)

    def held_back(count):
        return count - whole(jnp.floor(real(count) * share + 0.5))

    late, late_rejected = held_back(flight.finalised[0]), held_back(flight.rejected[0])
    finalised, rejected = flight.finalised[0] - late, flight.rejected[0] - late_rejected
    back = late + late_rejected
    waiting = flight.again[0] - load.again
    age = jnp.where(waiting > 0, flight.age_ms[0], 0.0)
    fixed = constants()

    def shift(ring):
        return jnp.concatenate([ring[1:], jnp.zeros_like(ring[:1])])

    again = shift(flight.again)
    again = again.at[0].add(waiting).at[0, 0].add(back)
    ages = shift(flight.age_ms)
    ages = ages.at[0].add(age).at[0, 0].add(real(back) * (2.0 * fixed.reissue_after_ms))
    totals = state.totals
    totals = totals._replace(
        finalised=totals.finalised + finalised,
        rejected=totals.rejected + rejected,
        given_up=totals.given_up + flight.given_up[0],
    )
    after = Flight(
        shift(flight.finalised), shift(flight.rejected), shift(flight.given_up), again, ages
    )
    timed_out = (after.again.sum() + load.again.sum()) - state.flight.again.sum()
    ended = Ended(finalised, rejected, flight.given_up[0], timed_out)
    return state._replace(flight=after, totals=totals), ended


def _gathered(nodes: Nodes, load: Load):
    """Vertices on which each node's answers were gathered: those of its side, if it answers."""
    side = jnp.arange(SIDES)
    ran = load.first + jnp.where(side == load.side, load.disputed + load.again.sum(), 0)
    return jnp.where(nodes.silent_since_ms == ANSWERS, ran[nodes.side], 0)


def _judge(now: Conditions, state: State, net) -> State:
    """The reputation test on what gossip has brought of the window before."""
    key, gathered, wrong = state.gossip
    side = jnp.argmax(net.issuers)
    peers = Peers(net.honest[side], jnp.int32(0), net.byzantine[side], net.silent[side])

    def chance(vertex):
        coin = vertex_coin(key, vertex.astype(jnp.uint32))
        seen = votes.view(now, peers, 0, peers.ones, coin)
        mix, _ = now.adversary.answer(seen, jnp.int32(0))
        accept, told = votes.chance(now, mix[0, 1])
        return (told - accept) / jnp.maximum(told, 1e-9), told

    score, excluded = defence.evidence(now, state, key, gathered, wrong, chance)
    return state._replace(nodes=state.nodes._replace(score=score, excluded=excluded))


class Used(NamedTuple):
    """Resources taken in a window."""

    demand: resources.Demand
    rate: Any
    memory_mb: Any
    kills: Any
    read_iops: Any


def _use(now: Conditions, state: State, net, load: Load, length_ms) -> tuple[State, Used]:
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
    offered = (load.arrived + load.before.waiting.sum()).astype(jnp.float32) / seconds
    wanted = jnp.where(load.dropped + load.queue.waiting.sum() > 0, offered, rate)
    overloaded = nodes.up & (resources.demand(now, rate).cpu > nodes.capacity)
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
    at_once = resources.commits(rate) * fixed.disk_mb_per_s
    at_once = at_once + rate * now.payload_bytes / resources.MB
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
    reads = fixed.read_miss * rate
    return state, Used(resources.demand(now, wanted), rate, memory, killed.sum(), reads)


def _record(shape, now, state: State, net, load: Load, ended: Ended, used: Used, told) -> Record:
    fixed, nodes, totals = constants(), state.nodes, state.totals
    byzantine = jnp.arange(shape.nodes) >= now.honest
    running = nodes.up & nodes.member
    count = real(jnp.maximum(running.sum(), 1))
    alive = running.any()

    def mean(values):
        return jnp.where(running, values, 0.0).sum() / count

    taken = resources.demand(now, used.rate)
    cpu = jnp.minimum(taken.cpu / nodes.capacity, 1.0) * 100
    cpu = jnp.where(running, cpu, 0.0)
    network = jnp.where(alive, jnp.minimum(taken.network, 1.0) * now.link_mbps, 0.0)
    headers = resources.messages_per_s(now, fixed.messages_sent_per_peer) * fixed.header_bytes
    writes = jnp.minimum(used.rate, fixed.commits_per_s)
    disk = jnp.minimum(taken.disk + used.read_iops / fixed.disk_iops, 1.0)
    flight = state.flight
    waiting = state.queue.waiting.sum()
    in_flight = waiting + sum(part.sum() for part in (flight.finalised, flight.rejected))
    in_flight = in_flight + flight.given_up.sum() + flight.again.sum()
    done = totals.finalised + totals.rejected + totals.given_up + totals.dropped
    missing = totals.issued - done - in_flight
    standing = defence.reputation(nodes.score)
    standing = jnp.where(nodes.excluded, 0.0, standing)

    def among(which):
        members = which & nodes.member
        return jnp.where(members, standing, 0.0).sum() / real(jnp.maximum(members.sum(), 1))

    present = jnp.zeros(SIDES, jnp.int32).at[nodes.side].max(nodes.member.astype(jnp.int32))
    cut = (state.cut_since_ms >= 0) & (state.healed_ms < 0)
    return Record(
        issued=load.arrived,
        admitted=load.first.sum() + load.disputed,
        finalised=ended.finalised,
        rejected=ended.rejected,
        given_up=ended.given_up,
        dropped=load.dropped,
        timed_out=ended.timed_out + ended.given_up,
        oom_kills=used.kills,
        waiting=waiting,
        in_flight=in_flight,
        running=running.sum(),
        guard=net.holds.any().astype(jnp.int32),
        sides=jnp.where(cut, present.sum(), 1),
        progressing=jnp.where(net.holds, net.issuers, 0).sum(),
        excluded_byzantine=(nodes.excluded & byzantine).sum(),
        excluded_honest=(nodes.excluded & ~byzantine).sum(),
        divergent=totals.divergent,
        lost=jnp.maximum(missing, 0),
        doubled=jnp.maximum(-missing, 0),
        depth=totals.depth,
        benched=net.benched.max(),
        cpu_percent=mean(cpu),
        peak_cpu_percent=cpu.max(),
        memory_mb=mean(used.memory_mb),
        peak_memory_mb=jnp.where(running, used.memory_mb, 0.0).max(),
        network_mbps=network,
        header_mbps=jnp.where(alive, headers * 8 / resources.MB, 0.0),
        read_iops=used.read_iops,
        write_iops=writes,
        read_latency_ms=resources.access_ms(disk),
        write_latency_ms=resources.access_ms(disk),
        utilisation_cpu=used.demand.cpu,
        utilisation_network=used.demand.network,
        utilisation_disk=used.demand.disk,
        utilisation_memory=jnp.where(running, used.memory_mb / nodes.limit_mb, 0.0).max(),
        compaction_mb=state.compaction_mb,
        storage_mb=state.stored_mb,
        reputation_byzantine=among(byzantine),
        reputation_honest=among(~byzantine),
        **told._asdict(),
    )
