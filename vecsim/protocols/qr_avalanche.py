"""QR-Avalanche: a streak of quorums and a moving average of agreement, plain (no defence)."""

import jax.numpy as jnp

from vecsim.errors import require
from vecsim.protocols.checks import check_sample
from vecsim.types import Counts, Protocol

SCALE = 2**22 - 1  # a confidence of 1 in fixed point: a cell has 32 - CONFIDENCE = 22 bits for it
CONFIDENCE = 10  # bits of a cell below its confidence: 3 common ones and 7 of the streak


class QrAvalanche(Protocol):
    """Finalise a preference after beta successes in a row at a confidence of 0.95 or more.

    Of the replies received, `positive` agree with the node's preference (1 = this vertex, 0 = its
    rival, or nothing). A poll with at least alpha of them is a success; confidence becomes
    0.9 confidence + 0.1 positive / answered. At least alpha replies for the other colour change the
    preference and reset streak and confidence.

    Cell: confidence << 10 | streak << 3 | decided << 1 | preference. The confidence is an integer
    from 0 to 2^22 - 1, so that the comparison with its threshold is exact and the same on every
    device; the rounding moves it by less than 4e-6.
    """

    identity = "protocols.qr_avalanche.QrAvalanche"
    counts = True
    settled_by_quorums = True
    k: int = 30  # sample size, peers
    alpha: int = 24  # replies that make a success, k/2 < alpha <= k
    beta: int = 20  # successes in a row that finalise, 1 to 127
    confidence_threshold: float = 0.95  # least confidence that finalises, 0 to 1
    initial_confidence: float = 0.5  # at the start and after a change of preference, 0 to 1
    max_rounds: int = 100  # rounds after which a node gives up

    def __check_init__(self):
        check_sample(self)
        require(1 <= self.beta <= 127, "protocol.beta", self.beta, "1 to 127")
        for name in ("confidence_threshold", "initial_confidence"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"protocol.{name}", value, "0 to 1")
        require(self.max_rounds >= 1, "protocol.max_rounds", self.max_rounds, "1 or more")

    @property
    def quorums(self):
        """alpha twice: every quorum counts."""
        return self.alpha, self.alpha

    def fields(self):
        """Seven bits of streak, 22 of confidence, whatever beta is, so that `parts` can split."""
        return {"streak": 128, "confidence": SCALE + 1}

    @property
    def least_confidence(self):
        """The confidence at which a node may decide, in fixed point, uint32."""
        return jnp.uint32(jnp.ceil(jnp.float32(self.confidence_threshold) * SCALE))

    def confidence(self, cell):
        """The confidence of cells, 0 to 1, float32."""
        return self.unpack(cell).confidence.astype(jnp.float32) / SCALE

    @staticmethod
    def parts(cell):
        """The confidence in fixed point and the other bits of cells, arrays of JAX or NumPy."""
        return cell >> CONFIDENCE, cell & (2**CONFIDENCE - 1)

    @staticmethod
    def joined(confidence, rest):
        """The cells made of these parts, the inverse of `parts`."""
        return (confidence << CONFIDENCE) | rest

    def start(self, colour):
        """No streak, and the initial confidence."""
        initial = jnp.uint32(jnp.round(jnp.float32(self.initial_confidence) * SCALE))
        return self.pack(preference=colour, streak=0, confidence=initial)

    def step(self, cell, poll: Counts):
        """The moving average in whole numbers of 1 / SCALE: 0.9 confidence is rounded to nearest,
        0.1 positive / answered down. A poll that nobody answers ends the streak and leaves the
        confidence.
        """
        one, ten = jnp.uint32(1), jnp.uint32(10)
        alpha, beta = (jnp.asarray(v, jnp.uint32) for v in (self.alpha, self.beta))
        now, positive = self.unpack(cell), poll.positive
        streak = jnp.where(positive >= alpha, jnp.minimum(now.streak + one, beta), jnp.uint32(0))
        share = jnp.uint32(2**32 // 10) // jnp.maximum(poll.answered, one)
        averaged = (now.confidence * jnp.uint32(9) + jnp.uint32(5)) // ten
        averaged = jnp.minimum(averaged + ((share * positive) >> ten), jnp.uint32(SCALE))
        confidence = jnp.where(poll.answered == 0, now.confidence, averaged)
        decided = (streak >= beta) & (confidence >= self.least_confidence)
        fields = {"streak": streak, "confidence": confidence}
        kept = self.pack(preference=now.preference, decided=decided, **fields)
        return jnp.where(poll.answered - positive >= alpha, self.start(now.preference ^ one), kept)

    def remaining(self, cell, colour):
        """The longer of what the streak and what the confidence still lack, int32.

        Each poll leaves 0.9 of the distance between confidence and 1. A holder of the other colour
        turns in its first poll, and begins anew.
        """

        def left(cell):
            doubt = 1 - self.confidence(cell)
            allowed = jnp.maximum(1 - jnp.float32(self.confidence_threshold), 1 / SCALE)
            surer = jnp.ceil(jnp.log(allowed / jnp.maximum(doubt, 1 / SCALE)) / jnp.log(0.9))
            missing = self.beta - self.unpack(cell).streak.astype(jnp.int32)
            return jnp.maximum(jnp.maximum(missing, surer.astype(jnp.int32)), 1)

        turned = 1 + left(self.start(jnp.asarray(colour, jnp.uint32)))
        return jnp.where((cell & jnp.uint32(1)) == colour, left(cell), turned)
