"""Asynchronous schedule: one uniformly chosen undecided node polls at a time.

A step is one poll, n steps are a round. The undecided nodes are kept as the first entries of a
list, so that the choice is one draw. Of nine honest nodes, 1 and 6 have decided; now node 3 polls
and decides, and the last undecided node takes its place:

    order   0 8 2 3 4 5 7 | 6 1    before: `tally.decided` is 2
    order   0 8 2 7 4 5 | 7 6 1    after: the entries behind the bar are never read
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vecsim.engines.agents.graph import poll_of
from vecsim.engines.agents.lockstep import class_rows
from vecsim.engines.agents.places import asked_one_by_one
from vecsim.engines.holders import minority_of_units
from vecsim.engines.rounds import run_batch
from vecsim.engines.trial import (
    Shape,
    Tables,
    Tally,
    TrialRecord,
    Trials,
    answers,
    common_word,
    view,
)
from vecsim.model import random
from vecsim.model.poll_draw import draw
from vecsim.polls import below
from vecsim.types import View, decided, preference


class _State(NamedTuple):
    """One trial between two polls."""

    cells: Any  # uint32 [nodes], a tuple of them where cells have several words
    order: Any  # int32 [nodes]: the undecided nodes, then others
    tally: Tally
    ones_at_round: Any  # int32: honest 1-holders when this round began, as polls count them
    memory: Any  # int32 [slots]: the adversary's
    record: TrialRecord


def _start(shape: Shape, trial: Trials) -> _State:
    """Nobody has polled yet, and all nodes are undecided."""
    nodes = jnp.arange(shape.nodes, dtype=jnp.int32)
    cells = trial.protocol.start(trial.starts_at_one(nodes))
    none, holders = jnp.int32(0), trial.holders
    units = None if holders is None else Tally(holders.start_ones, none, none)
    given_up = none if trial.protocol.stops else None
    tally = Tally(trial.start_ones, none, none, units, given_up)
    record = TrialRecord.start(trial).update(trial, tally, jnp.int32(0), jnp.int32(0), jnp.int32(1))
    ones = tally.counted.ones
    return _State(cells, nodes, tally, ones, trial.no_memory(), record)


def _advance(shape: Shape, trial: Trials, tables: Tables, state: _State, step) -> _State:
    """One poll, number step % n of its round; no node changes once the trial is over."""
    rule, tally = trial.protocol, state.tally
    position = step % trial.round_steps
    ones_at_round = jnp.where(position == 0, tally.counted.ones, state.ones_at_round)
    seen = view(trial, tables, tally, step // trial.round_steps, ones_at_round)
    seen = at_each_poll(trial, tables, tally, step, seen)
    mixes, memory = answers(trial, seen, state.memory)

    block = partial(random.threefry, *trial.key, step.astype(jnp.uint32))
    picked, word = block(jnp.uint32(random.PICK))
    words = block(jnp.uint32(random.POLL_WIDE)) if shape.kind.blocks else (word,)
    polling = trial.honest - tally.ended
    slot = below(picked, polling.astype(jnp.uint32)).astype(jnp.int32)
    node = state.order[slot]
    cell = jax.tree.map(lambda word: word[node], state.cells)

    if shape.places:
        counts = asked_one_by_one(shape, trial, state.cells, node[None], mixes, step)
        alone = jax.tree.map(lambda part: part[0] if jnp.ndim(part) else part, counts)
        poll = poll_of(trial, alone, seen.round)
    else:
        rows = class_rows(trial, tables, mixes, tally.counted.ones)
        poll = draw(shape.kind, rows, preference(cell), node >= trial.first_group, words, rule.k)
        if rule.common:
            poll = poll._replace(common=common_word(trial, seen.round))
    keep = partial(jnp.where, state.record.running)
    new = jax.tree.map(keep, rule.step(cell, poll), cell)

    decides = (decided(new) & ~decided(cell)).astype(jnp.int32)
    colour, before = preference(new).astype(jnp.int32), preference(cell).astype(jnp.int32)
    change = (colour - before, decides, decides * colour)
    units = tally.units
    if units is not None:
        held = trial.holders.units[node]
        units = Tally(*(total + held * more for total, more in zip(units[:3], change, strict=True)))
    given_up, ends = tally.given_up, decides
    if rule.stops:
        stops = (rule.gives_up(new) & ~decided(new)).astype(jnp.int32)
        given_up, ends = given_up + stops, decides + stops
    tally = Tally(*map(jnp.add, tally[:3], change))._replace(units=units, given_up=given_up)
    flips = (colour != before).astype(jnp.int32)
    return _State(
        cells=jax.tree.map(lambda cells, word: cells.at[node].set(word), state.cells, new),
        order=state.order.at[slot].set(jnp.where(ends > 0, state.order[polling - 1], node)),
        tally=tally,
        ones_at_round=ones_at_round,
        memory=jnp.where(position == trial.round_steps - 1, memory, state.memory),
        record=state.record.update(trial, tally, step + 1, flips, jnp.int32(1)),
    )


def at_each_poll(trial: Trials, tables: Tables, tally: Tally, step, seen: View) -> View:
    """The view with samples pooled for this poll, where the trial's adversary does so."""
    each = [adversary.every == "poll" for adversary in trial.adversaries]
    if not any(each):
        return seen
    if trial.holders is None:
        word, _ = random.threefry(*trial.key, step.astype(jnp.uint32), jnp.uint32(random.ADVERSARY))
        fresh = word < tables.pooled[trial.pooled_offset + tally.ones]
    else:
        fresh = minority_of_units(trial, step, tally.counted.ones)
    fresh = fresh.astype(jnp.int32)
    pooled = jnp.where(jnp.asarray(each)[trial.which], fresh, seen.pooled_minority)
    return seen._replace(pooled_minority=pooled)


def asynchronous_program(shape: Shape):
    """The function (trials, tables) -> Outcome."""
    start, advance = partial(_start, shape), partial(_advance, shape)
    return partial(run_batch, start, advance, lambda trial, state: state.tally.units)
