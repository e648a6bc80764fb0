"""Snowflake. Team Rocket 2018, figure 3; with two thresholds as in avalanchego
(`snow/consensus/snowball/binary_snowflake.go`).
"""

import jax.numpy as jnp

from vecsim.protocols.streak import Streak
from vecsim.types import Quorum


class Snowflake(Streak):
    """Count consecutive successes for one colour; decide it at beta of them.

    A poll with alpha_preference answers of a colour sets the preference; one with
    alpha_confidence also adds 1 to the counter, or restarts it after a change of colour. With
    equal alphas this is classic Snowflake, and at 15/15 of 20 what Avalanche runs in production
    (`DefaultParameters` in avalanchego's `snow/consensus/snowball/parameters.go`).

    Cell: counter << 3 | decided << 1 | preference.
    """

    identity = "protocols.snowflake.Snowflake"

    def fields(self):
        """The counter, up to `run_length`."""
        return {"counter": self.run_length + 1}

    def start(self, colour):
        """Nothing counted."""
        return self.pack(preference=colour, counter=0)

    def step(self, cell, poll: Quorum):
        """The counter's colour is the preference; a full counter decides it."""
        now = self.unpack(cell)
        counter, preference = self.count_run(now.counter, now.preference, *poll)
        decided = counter >= jnp.asarray(self.run_length, jnp.uint32)
        return self.pack(preference=preference, decided=decided, counter=counter)

    def remaining(self, cell, colour):
        """What the counter lacks; after a change of colour it begins anew."""
        now = self.unpack(cell)
        return self.run_left(now.counter, now.preference == colour)
