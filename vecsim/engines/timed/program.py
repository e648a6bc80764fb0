"""Trials in simulated time. Every trial has a clock of its own, which goes from one tick in which
something happens to the next; a batch of trials makes one such step together:

    look     at polls that may have an answer more, or have timed out
    apply    results that are due, the oldest poll of a node first
    begin    as many polls as results were applied
    move on  to the next tick in which a poll must be looked at, or a round ends
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vecsim.engines.agents.graph import poll_of, tally_of
from vecsim.engines.timed.answers import counts_in, voters_of
from vecsim.engines.timed.batch import Batch
from vecsim.engines.timed.past import FURTHEST, Past
from vecsim.engines.timed.picking import for_each_set, until_none
from vecsim.engines.timed.polls import ENDED, FREE, OpenPolls, begin_polls, look_at, wait_of
from vecsim.engines.trial import Shape, Tables, Tally, TrialRecord, Trials, answers, view
from vecsim.types import Counts, decided, preference

AT_ONCE = 1024  # polls that are worked on together: hides the fixed cost of a step


class Pollers(NamedTuple):
    """The nodes of all trials, side by side."""

    cells: Any
    applied: Any  # int32 [all nodes]: results that each has applied, its own count of rounds
    # int32 [all nodes]: the slot of each one's oldest poll, among its own. It is `applied` modulo
    # the polls open at once, and kept as dividing for every node at every step is slow.
    oldest: Any
    going: Any  # bool [all nodes]: honest, and goes on polling
    decided_at: Any  # int32 [all nodes]: tick, -1 for never


class TimedState(NamedTuple):
    """A batch of trials between two steps."""

    now: Any  # int32 [trials]: tick
    nodes: Pollers
    flips: Any  # int32 [trials]: changes of preference in this step
    polls: OpenPolls
    past: Past
    memory: Any  # int32 [trials, slots]: the adversary's
    ones_at_round: Any  # int32 [trials]: honest 1-holders when this round began, as polls count
    record: TrialRecord


def _cells_by_trial(batch: Batch, cells: Any) -> Any:
    """The cells, [trials, nodes]."""
    return jax.tree.map(lambda words: words.reshape(-1, batch.shape.nodes), cells)


def _tally(batch: Batch, cells: Any) -> Tally:
    """The honest nodes of each trial, counted, [trials]."""
    number = jnp.arange(batch.shape.nodes, dtype=jnp.int32)
    tally = jax.vmap(tally_of, (0, None, 0))
    return tally(batch.trials, number, _cells_by_trial(batch, cells))


def _conduct(batch: Batch, tally: Tally, now, ones_at_round, memory):
    """How Byzantine nodes answer from now on, and what their adversaries then remember."""

    def one(trial: Trials, tally: Tally, now, ones, memory):
        return answers(trial, view(trial, batch.tables, tally, now, ones), memory)

    rounds = now // batch.trials.round_steps
    mixes, memory = jax.vmap(one)(batch.trials, tally, rounds, ones_at_round, memory)
    return jnp.moveaxis(mixes, 0, -1), memory


def _start(batch: Batch) -> TimedState:
    """Nobody has polled yet."""
    shape, trials = batch.shape, batch.trials
    number = jnp.arange(shape.nodes, dtype=jnp.int32)
    cells = jax.vmap(lambda trial: trial.protocol.start(trial.starts_at_one(number)))(trials)
    colours = preference(cells)
    cells = jax.tree.map(jnp.ravel, cells)
    going = (number < trials.honest[:, None]).reshape(-1)
    none, now = jnp.zeros(going.shape, jnp.int32), jnp.zeros_like(trials.honest)
    tally, memory = _tally(batch, cells), trials.no_memory(len(now))
    ones = tally.counted.ones
    mixes, _ = _conduct(batch, tally, now, ones, memory)
    polls = OpenPolls.none(shape, trials.timing.concurrent)
    wait = jax.vmap(partial(wait_of, batch.tables), (0, None, None))
    waits = wait(trials, number, jnp.zeros_like(number))
    first = jnp.where(trials.timing.rests_first[:, None], waits, 0).reshape(-1)
    return TimedState(
        now=now,
        nodes=Pollers(cells, none, none, going, none - 1),
        flips=now,
        polls=polls._replace(ready=first),
        past=Past.of(shape.timed.words, colours, mixes),
        memory=memory,
        ones_at_round=ones,
        record=jax.vmap(TrialRecord.start)(trials),
    )


def _going(batch: Batch, state: TimedState):
    """Which nodes go on in trials that do, bool [trials, nodes]."""
    running = state.record.running[:, None]
    return state.nodes.going.reshape(-1, batch.shape.nodes) & running


def _due(batch: Batch, state: TimedState):
    """Which polls are to be looked at, bool [all slots]."""
    due = state.polls.due.reshape(len(state.now), batch.shape.nodes, -1)
    now = state.now[:, None, None]
    return ((due == now) & _going(batch, state)[..., None]).reshape(-1)


def _may_begin(batch: Batch, state: TimedState):
    """The slots in which a poll begins now, bool [all slots]."""
    free, next_ = _free(batch, state)
    spaced = batch.trials.timing.spaced[:, None]
    ready = ~spaced | (state.polls.ready.reshape(spaced.shape[0], -1) <= state.now[:, None])
    # With a least time between polls they begin one by one, in their order.
    begins = free & ready[..., None] & (~spaced[..., None] | next_)
    return begins.reshape(-1)


def _free(batch: Batch, state: TimedState):
    """The slots in which polls are to begin, and which one is a node's next, bool [trials,
    nodes, slots]."""
    trials, slots = len(state.now), batch.shape.timed.slots
    due, number = (x.reshape(trials, -1, slots) for x in (state.polls.due, state.polls.number))
    concurrent = batch.trials.timing.concurrent[:, None, None]
    there = jnp.arange(slots, dtype=jnp.int32) < concurrent
    free = (due == FREE) & there & _going(batch, state)[..., None]
    next_ = jnp.where(free, number, FREE).min(axis=2, keepdims=True)
    return free, number == next_


def _head(batch: Batch, state: TimedState):
    """The slot of the next result of each node, among its own: int32 [all nodes]."""
    slots = batch.shape.timed.slots
    if batch.trials.protocol.in_order:
        return state.nodes.oldest
    ended = state.polls.due.reshape(-1, slots) == ENDED
    return jnp.argmax(ended, axis=1).astype(jnp.int32)


def _has_result(batch: Batch, state: TimedState):
    """Which nodes have a result to apply, bool [all nodes]."""
    due = state.polls.due.reshape(-1, batch.shape.timed.slots)
    next_ = jnp.take_along_axis(due, _head(batch, state)[:, None], axis=1)[:, 0]
    return (next_ == ENDED) & _going(batch, state).reshape(-1)


def _apply(batch: Batch, state: TimedState, places) -> TimedState:
    """These nodes apply their next results. places: int32 [m]."""
    nodes, polls, rule = state.nodes, state.polls, batch.trials.protocol
    node = jnp.minimum(places, len(nodes.going) - 1)
    which, trial = batch.trial_of(node)
    slot = node * batch.shape.timed.slots + _head(batch, state)[node]
    zeros, ones, neutral = counts_in(polls.counts[slot])
    cells = jax.tree.map(lambda words: words[node], nodes.cells)
    before = preference(cells)
    positive, answered = jnp.where(before == 1, ones, zeros), zeros + ones + neutral
    voter = voters_of(polls.asked[slot, 0])

    def one(trial: Trials, cell, positive, answered, neutral, voter, now):
        counts = Counts(positive, answered, neutral)
        if rule.voters:
            counts = counts._replace(voter=voter)
        new = trial.protocol.step(cell, poll_of(trial, counts, now // trial.round_steps))
        stops = trial.protocol.gives_up(new) if rule.stops else jnp.bool_(False)
        return new, decided(new) | stops

    every = trial, cells, positive, answered, neutral, voter, state.now[which]
    new, stops = jax.vmap(one)(*every)
    applied, next_ = nodes.applied[node] + 1, nodes.oldest[node] + 1
    next_ = jnp.where(next_ == trial.timing.concurrent, 0, next_)
    stops = stops | (applied >= trial.protocol.max_rounds)
    drop: Any = dict(mode="drop", unique_indices=True)
    at = jnp.where(places == node, slot, len(polls.due))
    newly = jnp.where(decided(new), state.now[which], -1)
    changed = (preference(new) != before) & (places == node)
    return state._replace(
        nodes=Pollers(
            cells=jax.tree.map(lambda a, b: a.at[places].set(b, **drop), nodes.cells, new),
            applied=nodes.applied.at[places].set(applied, **drop),
            oldest=nodes.oldest.at[places].set(next_, **drop),
            going=nodes.going.at[places].set(~stops, **drop),
            decided_at=nodes.decided_at.at[places].set(newly, **drop),
        ),
        flips=state.flips.at[which].add(changed.astype(jnp.int32)),
        polls=polls._replace(due=polls.due.at[at].set(FREE, **drop)),
    )


def _recorded(batch: Batch, state: TimedState) -> tuple[TimedState, Any]:
    """The state with what is known by now, and how Byzantine nodes answer from now on."""
    trials, now = batch.trials, state.now
    tally = _tally(batch, state.nodes.cells)
    ended = trials.honest - state.nodes.going.reshape(len(now), -1).sum(axis=1, dtype=jnp.int32)
    tally = tally._replace(given_up=ended - tally.decided)
    record = jax.vmap(TrialRecord.update)(
        state.record, trials, tally, now, state.flips, jnp.zeros_like(now), trials.timing.most
    )
    begins = now % trials.round_steps == 0
    ones = jnp.where(begins, tally.counted.ones, state.ones_at_round)
    conduct = _conduct(batch, tally, now, ones, state.memory)
    nothing = jnp.zeros_like(now)
    return state._replace(flips=nothing, record=record, ones_at_round=ones), conduct


def _moved_on(batch: Batch, state: TimedState, conduct) -> TimedState:
    """The state at the next tick of each trial in which something happens."""
    (mixes, memory), now, nodes = conduct, state.now, batch.shape.nodes
    due = state.polls.due.reshape(len(now), nodes, -1)
    going = _going(batch, state)
    due = jnp.where(going[..., None], due, FREE).min(axis=(1, 2))
    waits = _free(batch, state)[0].any(axis=2)
    ready = jnp.where(waits, state.polls.ready.reshape(-1, nodes), FREE).min(axis=1)
    rounds = batch.trials.round_steps
    boundary = now + rounds - now % rounds
    end = jnp.minimum(jnp.minimum(boundary, now + FURTHEST), batch.trials.timing.most)
    then = jnp.clip(jnp.minimum(due, ready), now, jnp.maximum(end, now))
    colours = preference(_cells_by_trial(batch, state.nodes.cells))
    past = state.past.moved_on(now, then - now, colours, mixes)
    memory = jnp.where((then == boundary)[:, None], memory, state.memory)
    return state._replace(now=then, past=past, memory=memory)


def timed_program(shape: Shape):
    """The function (trials, tables) -> Outcome, Tally of units, and what only this engine tells:
    the tick at which each node decided, int32 [trials, nodes], and queries, int32 [trials]."""

    def run(trials: Trials, tables: Tables):
        batch = Batch.of(shape, trials, tables)

        def looked(state: TimedState, places) -> TimedState:
            polls = look_at(batch, state.past, state.now, state.polls, places)
            return state._replace(polls=polls)

        def begun(state: TimedState, places) -> TimedState:
            return state._replace(polls=begin_polls(batch, state.now, state.polls, places))

        def step(state: TimedState) -> TimedState:
            state = for_each_set(partial(_due, batch), looked, AT_ONCE, state)
            state = until_none(partial(_has_result, batch), partial(_apply, batch), AT_ONCE, state)
            state, conduct = _recorded(batch, state)
            state = for_each_set(partial(_may_begin, batch), begun, AT_ONCE, state)
            return _moved_on(batch, state, conduct)

        state = _start(batch)
        state = lax.while_loop(lambda state: state.record.running.any(), step, state)
        shape_ = (len(state.now), shape.nodes)
        polls = state.polls.begun.reshape(shape_).sum(axis=1)
        outcome = state.record.outcome._replace(polls=polls)
        own = state.nodes.decided_at.reshape(shape_), state.polls.queries
        return outcome, state.record.units, *own

    return run
