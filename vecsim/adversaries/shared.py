"""What several adversaries are made of."""

import jax.numpy as jnp

from vecsim.types import View

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


def collude(view: View, reject_share):
    """The colour on which all colluding nodes agree for the whole trial.

    On a disputed vertex the side that had fewer honest nodes at the start (0 on a tie); on an
    undisputed one the honest nodes' own colour, but for a share `reject_share` of all vertices,
    the same ones for every colluding node, the other colour.
    """
    fewer = (view.start_ones < view.honest - view.start_ones).astype(jnp.int32)
    undisputed = (view.start_ones == 0) | (view.start_ones == view.honest)
    rejects = view.trial_coin < jnp.asarray(reject_share, jnp.float32)
    return jnp.where(undisputed & ~rejects, 1 - fewer, fewer)
