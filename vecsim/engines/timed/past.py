"""What nodes preferred, and what Byzantine ones answered, in the ticks just past.

A query reads the preference of the node asked as it was when the query arrived, which the poller
learns half a round trip later. So the last ticks are kept, a bit for each node and tick:

    history   uint32 [words, trials, nodes]      bit i of word w: preference 32 w + i + 1 ticks ago
    mixes     int32 [ticks, groups, colour, trials]   how Byzantine nodes answered; tick t at t
                                                      modulo ticks
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

BITS = 32  # of a word
FURTHEST = BITS - 1  # ticks by which time may move on at once


class Past(NamedTuple):
    """The ticks before the present one of all trials; the arrays are described above."""

    history: Any
    mixes: Any

    @classmethod
    def of(cls, words: int, colours, mixes) -> "Past":
        """Nothing has changed so far. The arguments are as of `moved_on`."""
        history = jnp.broadcast_to(jnp.uint32(0) - colours, (words, *colours.shape))
        return cls(history, jnp.broadcast_to(mixes, (BITS * words, *mixes.shape)))

    def moved_on(self, now, ticks, colours, mixes) -> "Past":
        """The past after `ticks` more (int32 [trials], 0 to FURTHEST), in which nothing changed.

        now: int32 [trials], the first of these ticks. colours: uint32 [trials, nodes], preferences
        in them. mixes: int32 [groups, colour, trials], likewise.
        """
        by, history = ticks.astype(jnp.uint32)[:, None], self.history
        # All bits as the preference now; then each word's neighbour.
        newer = jnp.concatenate([(jnp.uint32(0) - colours)[None], history[:-1]])
        back = jnp.minimum(jnp.uint32(BITS) - by, jnp.uint32(BITS - 1))
        moved = jnp.where(by == 0, history, (history << by) | (newer >> back))
        length = self.mixes.shape[0]
        place = jnp.arange(length, dtype=jnp.int32)[:, None]
        within = jnp.remainder(place - now, length) < ticks
        return Past(moved, jnp.where(within[:, None, None], mixes, self.mixes))

    def preferred(self, nodes, ago):
        """What these nodes preferred so many ticks ago, uint32. nodes: int32, counted through all
        trials. ago: int32, of their shape; 0 for the tick just past."""
        word = self.history.reshape(self.history.shape[0], -1)[ago // BITS, nodes]
        return (word >> (ago % BITS).astype(jnp.uint32)) & jnp.uint32(1)

    def answered(self, trial, tick, group, colour):
        """Which mix Byzantine nodes of a trial played in a tick, int32, to queriers of a group and
        colour."""
        return self.mixes[jnp.remainder(tick, self.mixes.shape[0]), group, colour, trial]
