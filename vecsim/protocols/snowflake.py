"""Snowflake. Team Rocket 2018, figure 3; with two thresholds as in avalanchego."""

import equinox as eqx
import jax.numpy as jnp

from vecsim.protocols.checks import check_run, check_sample
from vecsim.protocols.streak import count_run, run_left, run_length
from vecsim.types import Protocol, Quorum


class Snowflake(Protocol):
    """Count consecutive successes for one colour; decide it at beta of them.

    A poll with alpha_preference answers of a colour sets the preference; one with
    alpha_confidence also adds 1 to the counter, or restarts it after a change of colour. With
    equal alphas this is classic Snowflake, and at 15/15 of 20 what Avalanche runs in production.

    Cell: counter << 3 | decided << 1 | preference.
    """

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
        check_run(self)

    @property
    def quorums(self):
        return self.alpha_preference, self.alpha_confidence

    def cell_limit(self):
        return (int(run_length(self)) + 1) << 3

    def start(self, colour):
        return colour

    def step(self, cell, poll: Quorum):
        run = count_run(self, cell, poll.agree, poll.against, poll.confident)
        decides = run >= jnp.asarray(run_length(self) << 3, jnp.uint32)
        return jnp.where(decides, run | jnp.uint32(2), run)

    def remaining(self, cell, colour):
        return run_left(self, cell >> jnp.uint32(3), (cell & jnp.uint32(1)) == colour)
