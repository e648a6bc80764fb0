"""Stall: votes against the querier whenever that spoils its quorum."""

import jax.numpy as jnp

from vecsim.adversaries.shared import COLOURS, SILENT, by_colour
from vecsim.types import Adversary, View


class Stall(Adversary):
    """Votes against the querier while honest nodes alone are expected to give it less than
    alpha_preference answers of its own colour, so that Byzantine votes decide whether it has a
    quorum; otherwise silent, since a vote could then only help the other colour.
    """

    identity = "adversaries.stall.Stall"
    mixes = (*COLOURS, SILENT)

    def answer(self, view: View, memory):
        """Compares k (own peers) / peers, the answers expected of honest nodes, with alpha."""
        agree = view.honest - view.ones - view.exclude_self, view.ones - view.exclude_self
        spoils_0, spoils_1 = (view.k * each < view.alpha * view.peers for each in agree)
        return by_colour(jnp.where(spoils_0, 1, 2), jnp.where(spoils_1, 0, 2)), memory
