"""Programs that step all trials of a batch together until the last one is over."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vecsim.engines.trial import Tables, TrialRecord, Trials, view


class _Rounds(NamedTuple):
    """One trial between two lockstep rounds."""

    nodes: Any  # the program's own
    memory: Any  # int32 [slots]: the adversary's
    record: TrialRecord


def in_lockstep(begin: Callable, count: Callable, move: Callable) -> Callable:
    """The function (trials, tables) -> Outcome of a program that steps all nodes together.

    begin(trial): its nodes before the first round. count(trial, nodes): their Tally, and the
    preferences that the last polls changed. move(trial, tables, nodes, view, memory): nodes and
    memory after a round.

    Units of those that decided are counted at the end alone, unless the adversary looks at them, as
    that costs half as much as a round; so nodes stay as they are once their trial is over.
    """

    def start(trial: Trials):
        record = TrialRecord.start(trial)._replace(units=None)
        return _Rounds(begin(trial), trial.no_memory(), record)

    def advance(trial: Trials, tables: Tables, state: _Rounds, round_):
        tally, flips = count(trial, state.nodes)
        nodes, polls = tally._replace(units=None), trial.honest - tally.ended
        record = state.record.update(trial, nodes, round_, flips, polls)
        seen = view(trial, tables, tally, round_, tally.counted.ones)
        moved, memory = move(trial, tables, state.nodes, seen, state.memory)
        if trial.holders is not None:
            moved = jax.tree.map(partial(jnp.where, record.running), moved, state.nodes)
        return _Rounds(moved, memory, record)

    def units(trial: Trials, state: _Rounds):
        return count(trial, state.nodes)[0].units

    return partial(run_batch, start, advance, units)


def run_batch(start: Callable, advance: Callable, units: Callable, trials: Trials, tables: Tables):
    """Outcomes of trials that are stepped together until all are over, and at the end the Tally of
    units (None unless stake is weighted).

    start(trial): its state, which has a `record`. advance(trial, tables, state, step): the state
    after another step, when `step` of them have been made. units(trial, state): the Tally of units
    at the end. All are for one trial, and are mapped over all.
    """

    def body(carry):
        step, states = carry
        return step + 1, jax.vmap(advance, (0, None, 0, None))(trials, tables, states, step)

    carry = jnp.int32(0), jax.vmap(start)(trials)
    _, states = jax.lax.while_loop(lambda carry: carry[1].record.running.any(), body, carry)
    return states.record.outcome, jax.vmap(units)(trials, states)
