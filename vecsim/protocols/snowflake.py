"""Snowflake. Team Rocket 2018, figure 3; with two thresholds, and with several conditions, as in
avalanchego (`snow/consensus/snowball/binary_snowflake.go`).
"""

from itertools import pairwise
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from vecsim.errors import require
from vecsim.protocols.streak import LONGEST_RUN, Streak
from vecsim.types import Levels, Quorum


def _tuples(pairs: Any) -> Any:
    """Lists of lists as tuples: components are hashable."""
    return tuple(map(tuple, pairs))


class Snowflake(Streak):
    """Count consecutive successes for one colour; decide it at beta of them.

    A poll with alpha_preference answers of a colour sets the preference; one with
    alpha_confidence also adds 1 to the counter, or restarts it after a change of colour. With
    equal alphas this is classic Snowflake, and at 15/15 of 20 what Avalanche runs in production
    (`DefaultParameters` in avalanchego's `snow/consensus/snowball/parameters.go`).

    With `conditions` there are several such pairs of alpha_confidence and beta, each with a counter
    of its own (termination conditions in that file): the more answers polls have, the fewer of them
    decide. The first counter that is full, in the order of the conditions, decides, and those
    behind it stay as they were.

    Cell: counter << 3 | decided << 1 | preference; with several conditions the counter of the first
    one in the lowest bits.
    """

    identity = "protocols.snowflake.Snowflake"

    # Pairs (alpha, beta) in place of alpha_confidence and beta; empty: those. alpha: answers,
    # alpha_preference to k, ascending. beta: polls in a row, 1 to 1048575, not ascending.
    conditions: tuple[list[int], ...] = eqx.field(default=(), converter=_tuples)

    def __check_init__(self):
        if not self.conditions:
            return
        given, low, k = [list(pair) for pair in self.conditions], self.alpha_preference, self.k
        good = all(len(pair) == 2 for pair in given)
        if good:
            alphas, betas = zip(*given, strict=True)
            good = low <= alphas[0] and alphas[-1] <= k and betas[-1] >= 1
            good = good and betas[0] <= LONGEST_RUN and all(a < b for a, b in pairwise(alphas))
            good = good and all(a >= b for a, b in pairwise(betas))
        allowed = f"[[alpha, beta], ...], alphas ascending from alpha_preference to k, {low} to {k}"
        allowed = f"{allowed}, betas not ascending, 1 to {LONGEST_RUN}"
        require(good, "protocol.conditions", given, allowed)
        allowed = "fewer, or smaller betas: the state of a node must fit 32 bits"
        require(self.cell_limit() <= 2**32, "protocol.conditions", given, allowed)

    def parameters(self):
        """Without what has no effect; a single condition as the two parameters that it sets."""
        known = super().parameters()
        pairs = known.pop("conditions")
        if len(pairs) == 1:
            [(known["alpha_confidence"], known["beta"])] = pairs
        elif pairs:
            del known["alpha_confidence"], known["beta"]
            known["conditions"] = pairs
        return known

    @property
    def replaced(self):
        """The parameters of a single condition, where there are others."""
        return dict.fromkeys(("alpha_confidence", "beta") if self.conditions else (), "conditions")

    @property
    def _pairs(self) -> tuple[Any, ...]:
        """The conditions, also where there is one that the other parameters set."""
        return self.conditions or ((self.alpha_confidence, self.beta),)

    @property
    def quorums(self):
        """alpha_preference, then the alpha of each condition."""
        return self.alpha_preference, *(alpha for alpha, _ in self._pairs)

    @property
    def run_length(self):
        """Value of the first counter at which a node decides."""
        return self.run_length_of(self._pairs[0][1])

    @property
    def least_beta(self):
        """The smallest beta of a condition, polls."""
        return self._pairs[-1][1]

    @property
    def _lengths(self) -> dict[str, Any]:
        """By the counter of each condition, its value at which a node decides."""
        if len(self._pairs) == 1:
            return {"counter": self.run_length}
        lengths = (self.run_length_of(beta) for _, beta in self._pairs)
        return {f"counter_{i}": length for i, length in enumerate(lengths, 1)}

    def fields(self):
        """The counters, up to the lengths of their runs."""
        return {name: length + 1 for name, length in self._lengths.items()}

    def start(self, colour):
        """Nothing counted."""
        return self.pack(preference=colour, **dict.fromkeys(self._lengths, 0))

    def step(self, cell, poll: Quorum | Levels):
        """The counters' colour is the preference; the first full counter decides it."""
        now, zero = self.unpack(cell), jnp.uint32(0)
        colour, preference, decided, counters = now.preference, now.preference, None, {}
        for i, (name, length) in enumerate(self._lengths.items()):
            before = getattr(now, name)
            confident = poll.level > jnp.uint32(i + 1) if i else poll.confident
            quorum = poll.agree, poll.against, confident
            counter, preference = self.count_run(before, colour, *quorum)
            if decided is not None:  # by a condition before: only a change of colour clears it
                counter = jnp.where(decided, jnp.where(poll.against, zero, before), counter)
            full = counter >= jnp.asarray(length, jnp.uint32)
            decided = full if decided is None else decided | full
            counters[name] = counter
        return self.pack(preference=preference, decided=decided, **counters)

    def remaining(self, cell, colour):
        """What the counter that lacks least lacks; after a change of colour it begins anew."""
        now = self.unpack(cell)
        same = now.preference == colour
        lengths = self._lengths.items()
        left = [self.run_left(getattr(now, name), same, length) for name, length in lengths]
        return jnp.stack(left).min(axis=0) if len(left) > 1 else left[0]
