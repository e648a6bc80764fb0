"""Mixes, answers and base classes that several adversaries share."""

import equinox as eqx
import jax.numpy as jnp

from vecsim.errors import require
from vecsim.types import Adversary, View

# (P(answers 1), P(answers 0)); the rest is silence.
REJECT, ACCEPT, SILENT = (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)
# What `Adversary.grouping` may be.
GROUPINGS = ("by_colour", "random", "largest", "smallest")
COLOURS = (REJECT, ACCEPT)  # the mix numbered c always answers c


def everybody(mix):
    """The same mix for every class of querier, int32 [1 group, 2 colours]."""
    return jnp.broadcast_to(jnp.asarray(mix, jnp.int32), (1, 2))


def by_colour(for_zero, for_one):
    """A mix for queriers that prefer 0, one for those that prefer 1: int32 [1 group, 2 colours]."""
    return jnp.stack([jnp.asarray(for_zero, jnp.int32), jnp.asarray(for_one, jnp.int32)])[None, :]


def minority(view: View):
    """The colour that fewer honest nodes prefer, int32; 0 on a tie."""
    return (view.ones < view.honest - view.ones).astype(jnp.int32)


class Constant(Adversary):
    """Answers everybody in one way, the only one of its `mixes`."""

    def answer(self, view: View, memory):
        """Mix 0, always."""
        return everybody(0), memory


class Colluding(Adversary):
    """All push one colour for the whole trial.

    On a disputed vertex this is the colour of fewer honest nodes at the start (0 on a tie). On an
    undisputed vertex it is the honest nodes' own colour, except on a share `reject_share` of all
    vertices, the same for every colluding node, where it is the other colour.
    """

    mixes = COLOURS
    reject_share: eqx.AbstractVar[float]

    def __check_init__(self):
        require(0 <= self.reject_share <= 1, "adversary.reject_share", self.reject_share, "0 to 1")

    def answer(self, view: View, memory):
        """One colour to everybody, fixed by the start and by the trial's own coin."""
        fewer = (view.start_ones < view.honest - view.start_ones).astype(jnp.int32)
        undisputed = (view.start_ones == 0) | (view.start_ones == view.honest)
        rejects = view.trial_coin < jnp.asarray(self.reject_share, jnp.float32)
        return everybody(jnp.where(undisputed & ~rejects, 1 - fewer, fewer)), memory
