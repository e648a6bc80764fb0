"""What several adversaries are made of."""

import equinox as eqx
import jax.numpy as jnp

from vecsim.errors import require
from vecsim.types import Adversary, View

REJECT, ACCEPT, SILENT = (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)
COLOURS = (REJECT, ACCEPT)  # the mix numbered c always answers c


def everybody(mix):
    """The same mix for every class of querier."""
    return jnp.broadcast_to(jnp.asarray(mix, jnp.int32), (1, 2))


def by_colour(for_zero, for_one):
    """One mix for queriers that prefer 0, one for those that prefer 1."""
    return jnp.stack([jnp.asarray(for_zero, jnp.int32), jnp.asarray(for_one, jnp.int32)])[None, :]


def minority(view: View):
    """The colour that fewer honest nodes prefer; 0 on a tie."""
    return (view.ones < view.honest - view.ones).astype(jnp.int32)


class Constant(Adversary):
    """Answers everybody in one way, the only one of its `mixes`."""

    def answer(self, view: View, memory):
        return everybody(0), memory


class Colluding(Adversary):
    """All push one colour for the whole trial.

    Of a disputed vertex the side that had fewer honest nodes at the start (0 on a tie). Of an
    undisputed one the honest nodes' own colour, except for a share `reject_share` of all vertices,
    which are the same ones for every colluding node: there the other colour.
    """

    mixes = COLOURS
    reject_share: eqx.AbstractVar[float]

    def __check_init__(self):
        require(0 <= self.reject_share <= 1, "adversary.reject_share", self.reject_share, "0 to 1")

    def answer(self, view: View, memory):
        fewer = (view.start_ones < view.honest - view.start_ones).astype(jnp.int32)
        undisputed = (view.start_ones == 0) | (view.start_ones == view.honest)
        rejects = view.trial_coin < jnp.asarray(self.reject_share, jnp.float32)
        return everybody(jnp.where(undisputed & ~rejects, 1 - fewer, fewer)), memory
