"""Snowball. Team Rocket 2018, figure 4; with two thresholds as in avalanchego
(`snow/consensus/snowball/binary_snowball.go`).
"""

import jax.numpy as jnp

from vecsim.protocols.streak import Streak
from vecsim.types import Quorum


class Snowball(Streak):
    """Snowflake's counter, with a preference that follows the strength of each colour.

    The strength of a colour grows at every poll with alpha_preference answers for it; the
    preference moves only when the other strength is strictly greater. The counter follows the
    colour of the last such poll, and that colour is what a node decides.

    Cell: margin << 4 + w | counter << 4 | differs << 3 | decided << 1 | preference, where w is the
    width of the counter, `margin` is the strength of the preferred colour minus that of the other,
    and `differs` says that the last such poll was for the other colour. A margin of more than half
    of all polls can no longer be lost, so it stops growing there. A node that decides a colour
    prefers it from then on, as in avalanchego.
    """

    identity = "protocols.snowball.Snowball"

    def fields(self):
        """`differs`, the counter up to `run_length`, the margin up to half of all polls."""
        return {"differs": 2, "counter": self.run_length + 1, "margin": self._most + 1}

    @property
    def _most(self):
        """The margin at which it stops growing, polls: more than half of them all."""
        return self.max_rounds // 2 + 1

    def start(self, colour):
        """Both strengths equal, nothing counted."""
        return self.pack(preference=colour, differs=0, counter=0, margin=0)

    def step(self, cell, poll: Quorum):
        """The margin moves by 1 with every quorum; one against an even margin turns the preference.
        The counter moves as Snowflake's, for a colour of its own.
        """
        zero, one, now = jnp.uint32(0), jnp.uint32(1), self.unpack(cell)
        more = jnp.minimum(now.margin + one, jnp.asarray(self._most, jnp.uint32))
        turns = poll.against & (now.margin == zero)
        less = jnp.where(now.margin == zero, one, now.margin - one)
        margin = jnp.where(poll.agree, more, jnp.where(poll.against, less, now.margin))

        # The counter's colour as 0 for the preference before this poll, 1 for the other colour.
        quorum = poll.agree | poll.against
        same = now.differs == jnp.where(poll.against, one, zero)
        quorums = quorum & same, quorum & ~same, poll.confident
        counter, other = self.count_run(now.counter, now.differs, *quorums)

        decides = counter >= jnp.asarray(self.run_length, jnp.uint32)
        change = jnp.where(decides, other, jnp.where(turns, one, zero))
        fields = {"differs": other ^ change, "counter": counter, "margin": margin}
        return self.pack(preference=now.preference ^ change, decided=decides, **fields)

    def remaining(self, cell, colour):
        """What the counter lacks; the margin does not matter to a decision."""
        now = self.unpack(cell)
        return self.run_left(now.counter, (now.preference ^ now.differs) == colour)
