"""Snowflake. Team Rocket 2018, figure 3; with two thresholds as in avalanchego."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp

from vecsim.protocols.checks import check_run_length, check_sample
from vecsim.protocols.streak import count_run, run_left, run_length
from vecsim.types import Protocol, Quorum


class Snowflake(Protocol):
    """Count consecutive successes for one colour; decide it at beta of them.

    A poll with alpha_preference answers of a colour sets the preference; one with
    alpha_confidence also adds 1 to the counter, or restarts it after a change of colour. With
    equal alphas this is classic Snowflake, and at 15/15 of 20 what Avalanche runs in production.

    Cell: counter << 3 | decided << 1 | preference.
    """

    identity: ClassVar[str] = "protocols.snowflake.Snowflake"

    k: int = 20  # sample size, peers
    alpha_preference: int = 15  # answers that set the preference, k/2 < alpha_preference <= k
    alpha_confidence: int = 15  # answers that count, alpha_preference <= alpha_confidence <= k
    beta: int = 20  # successes in a row that decide, >= 1
    max_rounds: int = 200
    # The published variants; the 2018 paper has False, "gt" and 0.
    reset_on_failure: bool = eqx.field(static=True, default=True)
    decide_when: str = eqx.field(static=True, default="ge")  # ge or gt
    count_after_flip: int = eqx.field(static=True, default=1)  # 0 or 1

    def __check_init__(self):
        check_sample(self)
        check_run_length(self)

    @property
    def quorums(self):
        return self.alpha_preference, self.alpha_confidence

    def fields(self):
        return {"counter": run_length(self) + 1}

    def start(self, colour):
        return self.pack(preference=colour, counter=0)

    def step(self, cell, poll: Quorum):
        now = self.unpack(cell)
        counter, preference = count_run(self, now.counter, now.preference, *poll)
        decided = counter >= jnp.asarray(run_length(self), jnp.uint32)
        return self.pack(preference=preference, decided=decided, counter=counter)

    def remaining(self, cell, colour):
        now = self.unpack(cell)
        return run_left(self, now.counter, now.preference == colour)
