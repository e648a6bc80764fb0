"""Snowball. Team Rocket 2018, figure 4; with two thresholds as in avalanchego."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp

from vecsim.protocols.checks import check_run_length, check_sample
from vecsim.protocols.streak import count_run, run_left, run_length
from vecsim.types import Protocol, Quorum


class Snowball(Protocol):
    """Snowflake's counter, with a preference that follows the strength of each colour.

    The strength of a colour grows at every poll with alpha_preference answers for it; the
    preference moves only when the other strength is strictly greater. The counter follows the
    colour of the last such poll, and that colour is what a node decides.

    Cell: margin << 4 + w | counter << 4 | differs << 3 | decided << 1 | preference, where w is the
    width of the counter, `margin` is by how much the preferred colour is the stronger, and
    `differs` says that the last such poll was for the other colour. A margin of more than half
    of all polls can no longer be lost, so it stops growing there. A node that decides prefers from
    then on what it decided, as in avalanchego.
    """

    identity: ClassVar[str] = "protocols.snowball.Snowball"

    k: int = 20  # sample size, peers
    alpha_preference: int = 15  # answers that add strength, k/2 < alpha_preference <= k
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
        return {"differs": 2, "counter": run_length(self) + 1, "margin": self._most + 1}

    @property
    def _most(self):
        return self.max_rounds // 2 + 1

    def start(self, colour):
        return self.pack(preference=colour, differs=0, counter=0, margin=0)

    def step(self, cell, poll: Quorum):
        zero, one, now = jnp.uint32(0), jnp.uint32(1), self.unpack(cell)
        more = jnp.minimum(now.margin + one, jnp.asarray(self._most, jnp.uint32))
        turns = poll.against & (now.margin == zero)
        less = jnp.where(now.margin == zero, one, now.margin - one)
        margin = jnp.where(poll.agree, more, jnp.where(poll.against, less, now.margin))

        # The counter's colour as 0 for the preference before this poll, 1 for the other colour.
        quorum = poll.agree | poll.against
        same = now.differs == jnp.where(poll.against, one, zero)
        quorums = quorum & same, quorum & ~same, poll.confident
        counter, other = count_run(self, now.counter, now.differs, *quorums)

        decides = counter >= jnp.asarray(run_length(self), jnp.uint32)
        change = jnp.where(decides, other, jnp.where(turns, one, zero))
        return self.pack(
            preference=now.preference ^ change,
            decided=decides,
            differs=other ^ change,
            counter=counter,
            margin=margin,
        )

    def remaining(self, cell, colour):
        now = self.unpack(cell)
        return run_left(self, now.counter, (now.preference ^ now.differs) == colour)
