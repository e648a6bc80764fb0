"""Safety split: brings one group to a decision, then turns everybody to the other colour."""

import equinox as eqx
import jax.numpy as jnp

from vecsim.adversaries.shared import COLOURS, GROUPINGS
from vecsim.errors import require
from vecsim.types import Adversary, View


class SafetySplit(Adversary):
    """Feeds `target` to one group of honest nodes and holds the others at the other colour; once an
    honest node has decided `target`, pushes the other colour on everybody.

    The more nodes are fed, the sooner one decides, and the harder it is to turn them afterwards.
    With modest quorums the attack is strongest when it feeds a little less than half of the
    network; the larger the quorums, the fewer nodes it should feed (`estimator=design` searches for
    the worst share).

    With grouping `by_colour` the nodes that start at 1 are fed first, so that all fed nodes start
    at 1 if there are enough of those: an attacker who chooses what nodes see first also chooses
    whom to feed. With `random` it feeds honest nodes drawn anew in each trial, whatever they start
    at; with weighted stake also those that hold most (`largest`) or least (`smallest`).
    """

    identity = "adversaries.safety_split.SafetySplit"
    mixes = COLOURS

    groups = 2

    target: int = 1  # colour, 0 or 1
    fed: float = 0.45  # share of all nodes, or of all stake, that is fed, 0 to 1
    # by_colour, random, largest or smallest
    grouping: str = eqx.field(default="by_colour", static=True)

    later = ("grouping",)

    def __check_init__(self):
        require(self.target in (0, 1), "adversary.target", self.target, "0 or 1")
        require(0 <= self.fed <= 1, "adversary.fed", self.fed, "0 to 1")
        good = self.grouping in GROUPINGS
        require(good, "adversary.grouping", self.grouping, ", ".join(GROUPINGS))

    def first_group(self, honest, nodes):
        """The fed nodes: a share of all nodes, as far as there are so many honest ones."""
        return min(self.fed * nodes, honest)

    def answer(self, view: View, memory):
        """`target` to the fed group until a node has decided it; else, and to others, the other."""
        target = jnp.asarray(self.target, jnp.int32)
        won = jnp.where(target == 1, view.decided_1, view.decided_0) > 0
        fed = jnp.where(won, 1 - target, target)
        return jnp.broadcast_to(jnp.stack([fed, 1 - target])[:, None], (2, 2)), memory
