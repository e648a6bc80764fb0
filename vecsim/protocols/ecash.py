"""eCash: the votes of Bitcoin ABC's pre- and post-consensus, one peer a poll.

Bitcoin ABC, `src/avalanche/voterecord.h` (2026-08): live for blocks since 2022, for transactions
since 2025-11.
"""

import equinox as eqx
import jax.numpy as jnp

from vecsim.errors import require
from vecsim.polls import Counts
from vecsim.types import Protocol

WINDOW = 8  # votes that are remembered, one bit each whether it was given and whether it was a yes


class Ecash(Protocol):
    """Ask one peer at a time; count the votes that leave the last eight of one mind.

    Yes is a vote for 1. The votes are conclusive when `conclusive` of the last eight say the same;
    neutral ones, and those before the first, count for neither side. A conclusive vote for the
    preference adds 1 to the confidence, one against it turns the preference and sets the confidence
    to 0, any other changes nothing. At `finalization_score` the preference is decided. A peer that
    does not answer gives no vote.

    A node gives up after more than `stale_votes` votes if they are also more than `stale_factor`
    times its confidence: it polls no more, and stays undecided.

    Cell: confidence << 19 | given << 11 | yes << 3 | decided << 1 | preference, where given and yes
    have a bit for each of the last eight votes, the latest in the lowest bit; then a word with the
    number of votes; with `distinct_voters` also a word for each of the last seven voters.
    """

    identity = "protocols.ecash.Ecash"
    counts = True
    neutral = True
    stops = True
    in_order = False  # one silent peer would hold up all others

    conclusive: int = 7  # of the last eight votes, 5 to 8
    finalization_score: int = 128  # confidence that decides, 1 to 255
    stale_votes: int = 4096  # votes after which a node may give up, 0 to 2^20 - 1
    stale_factor: int = 64  # votes for each point of confidence up to which it does not, 0 to 4096
    max_rounds: int = 10_000  # rounds after which a trial ends, 1 to 1048575
    # Whether a vote by one of the last seven voters is ignored; it matters with concentrated stake.
    distinct_voters: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        ranges = {
            "conclusive": (5, WINDOW),
            "finalization_score": (1, 255),
            "stale_votes": (0, 2**20 - 1),
            "stale_factor": (0, 4096),
            "max_rounds": (1, 2**20 - 1),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            require(low <= value <= high, f"protocol.{name}", value, f"{low} to {high}")

    @property
    def k(self):
        """One peer a poll."""
        return 1

    @property
    def quorums(self):
        """A single answer."""
        return 1, 1

    @property
    def voters(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        """Only where votes of recent voters are ignored."""
        return self.distinct_voters

    def fields(self):
        """The last eight votes and the confidence."""
        return {"yes": 2**WINDOW, "given": 2**WINDOW, "confidence": 256}

    def further(self):
        """The number of votes, and the last voters, a word each."""
        voters = [f"voter_{i}" for i in range(WINDOW - 1)] if self.distinct_voters else []
        return tuple({name: 2**32 - 1} for name in ("votes", *voters))

    def start(self, colour):
        """No vote yet."""
        none = jnp.zeros_like(colour)
        words = {name: none for sizes in (self.fields(), *self.further()) for name in sizes}
        return self.pack(preference=colour, **words)

    def step(self, cell, poll: Counts):
        """The vote of one peer, if it came."""
        one, zero = jnp.uint32(1), jnp.uint32(0)
        now = self.unpack(cell)
        kept = {name: value for name, value in vars(now).items() if name.startswith("voter_")}
        counts = poll.answered > zero
        if self.distinct_voters:
            voter = jnp.asarray(poll.voter, jnp.uint32) + one  # 0 is nobody
            for recent in kept.values():
                counts = counts & (recent != voter)
            shifted = zip(kept, (voter, *kept.values()), strict=False)
            kept = {name: jnp.where(counts, value, kept[name]) for name, value in shifted}
        told = (poll.answered > zero) & (poll.neutral == zero)
        agrees = poll.positive > zero
        said = jnp.where(agrees, now.preference, now.preference ^ one)  # the colour it votes for
        mask = jnp.uint32(2**WINDOW - 1)
        given = ((now.given << one) | told.astype(jnp.uint32)) & mask
        yes = ((now.yes << one) | (said & told.astype(jnp.uint32))) & mask
        enough = jnp.asarray(self.conclusive, jnp.uint32)
        for_one = _bits(yes & given) >= enough
        for_zero = _bits(~yes & given) >= enough
        colour = jnp.where(for_one, one, zero)
        sure = for_one | for_zero
        same = colour == now.preference
        confidence = jnp.where(sure, jnp.where(same, now.confidence + one, zero), now.confidence)
        preference = jnp.where(sure, colour, now.preference)

        def voted(after, before):
            return jnp.where(counts, after, before)

        confidence = voted(confidence, now.confidence)
        return self.pack(
            preference=voted(preference, now.preference),
            decided=confidence >= jnp.asarray(self.finalization_score, jnp.uint32),
            yes=voted(yes, now.yes),
            given=voted(given, now.given),
            confidence=confidence,
            votes=now.votes + counts.astype(jnp.uint32),
            **kept,
        )

    def gives_up(self, cell):
        """Stale: many votes, and few of them conclusive."""
        now = self.unpack(cell)
        limits = (jnp.asarray(v, jnp.uint32) for v in (self.stale_votes, self.stale_factor))
        votes, factor = limits
        return (now.votes > votes) & (now.votes > factor * now.confidence)


def _bits(window):
    """How many of the eight lowest bits are set, uint32."""
    return sum((window >> jnp.uint32(i)) & jnp.uint32(1) for i in range(WINDOW))
