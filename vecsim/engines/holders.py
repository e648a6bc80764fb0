"""Trials whose nodes hold more or less stake than others: what they hold, and what is pooled.

Polls draw units of stake, and adversaries count them. Four nodes, the last one Byzantine, of which
the first and the third start at 1:

    units        5 1 3 2      honest 9, byzantine 2, start_ones 8
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vecsim.model import random
from vecsim.polls import below

POOLED = 512  # pooled answers that are drawn at once: enough to fill the vector units of a CPU


class Holders(NamedTuple):
    """Units of a weighted stake in each trial; every leaf has a leading axis of trials, int32.

    Where there are holders, View and thresholds count units; only Outcome and Tally count nodes.
    The population engine keeps no nodes and has no tables, only numbers of units.
    """

    units: Any  # [nodes]: of each node: honest ones in the engine's order, then Byzantine by kind
    honest: Any
    byzantine: Any  # in the network
    kinds: Any  # [kinds]: the same, of each kind (population)
    start_ones: Any  # of honest nodes that start at 1
    samples: Any  # answers that Byzantine nodes pool each time
    # [mixes, colour]: first row of the thresholds of a colour that no honest node prefers
    rows: Any
    scale: Any  # rows of thresholds from one unit to the next
    shared_fate: Any  # bool: all places of a node in a poll give the same answer

    @classmethod
    def of(cls, held: Any, k: int, adversary: Any) -> "Holders":
        """Of trials that hold so much, without what only nodes and tables need.

        held: their `Holdings`. k: answers to one poll.
        """
        pooling = adversary.pooling(tuple(held.kinds.T)) if adversary.pools else 0 * held.honest
        known = dict(honest=held.honest_units, byzantine=held.kind_units.sum(axis=1))
        known |= dict(kinds=held.kind_units, start_ones=held.one_units, samples=k * pooling)
        return cls(**(dict.fromkeys(cls._fields) | known))


def minority_of_units(trial: Any, number, ones):
    """Whether 1 is the minority among the answers that Byzantine nodes have pooled (bool).

    They ask honest units, drawn one by one and independently. trial: its Trials. number: int32, of
    the round or, where they pool for every poll, of the poll. ones: int32, honest units that
    prefer 1.
    """
    holders, purpose = trial.holders, jnp.uint32(random.REPEATS)
    key = trial.key[0], trial.key[1]
    first, second = random.threefry(*key, number.astype(jnp.uint32), purpose)
    honest, block = holders.honest.astype(jnp.uint32), jnp.arange(POOLED, dtype=jnp.uint32)
    samples, ones = (jnp.asarray(part, jnp.int32) for part in (holders.samples, ones))

    def more(state):
        asked, found = state
        draw = asked.astype(jnp.uint32) + block
        even, odd = random.threefry(first, second, draw >> jnp.uint32(1), jnp.uint32(0))
        word = jnp.where((draw & jnp.uint32(1)) == 0, even, odd)
        one = below(word, honest).astype(jnp.int32) < ones
        wanted = draw.astype(jnp.int32) < samples
        return asked + POOLED, found + (one & wanted).sum(dtype=jnp.int32)

    none = jnp.int32(0), jnp.int32(0)
    _, found = jax.lax.while_loop(lambda state: state[0] < samples, more, none)
    return 2 * found < samples


def stake_shares(holders: Holders, units: Any) -> dict[str, np.ndarray]:
    """What outcomes are as shares of stake, by name [trials]. units: their Tally at the end."""
    total = np.maximum(holders.honest, 1)  # places without a trial have none
    parts = {
        "start_ones": holders.start_ones,
        "final_ones": units.ones,
        "decided_0": units.decided - units.decided_1,
        "decided_1": units.decided_1,
        "undecided": holders.honest - units.decided,
    }
    shares = {f"{name}_stake": part / total for name, part in parts.items()}
    return {"byzantine_stake": holders.byzantine / (total + holders.byzantine), **shares}


def equal_shares(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same where all nodes hold the same. values: outcomes by name [trials]."""
    honest = values["decided_0"] + values["decided_1"] + values["undecided"]
    names = ("start_ones", "final_ones", "decided_0", "decided_1", "undecided")
    shares = {f"{name}_stake": values[name] / honest for name in names}
    return {"byzantine_stake": values["admitted"] / (honest + values["admitted"]), **shares}
