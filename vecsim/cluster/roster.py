"""One adversary of several, by number: runs with different ones share a compiled program."""

from typing import Any

import jax.numpy as jnp

from vecsim.types import Adversary, View


class OneOf(Adversary):
    """Behaves as `members[which]`.

    `which` is traced, so that clusters with different adversaries share a program; the members'
    classes, and so their order, are what it is compiled for.
    """

    members: tuple[Adversary, ...]
    which: Any  # int32

    @classmethod
    def of(cls, adversary: Adversary, roster: tuple[Adversary, ...]) -> "OneOf":
        """`adversary` among one of each class in `roster`; ValueError if its class is not there."""
        which = [type(member) for member in roster].index(type(adversary))
        return cls((*roster[:which], adversary, *roster[which + 1 :]), jnp.int32(which))

    @property
    def mixes(self):  # type: ignore[override]
        """The mixes of all members, one after another."""
        return tuple(mix for member in self.members for mix in member.mixes)

    def answer(self, view: View, memory):
        """The mix that the chosen member plays, int32 [1, 2] into `mixes`, and its memory (int32).

        Every member is asked, since which one counts is known at run time only.
        """
        first, mixes, memories = 0, [], []
        for member in self.members:
            mix, kept = member.answer(view, memory)
            mixes.append(jnp.broadcast_to(mix[:1], (1, 2)) + first)
            memories.append(jnp.asarray(kept, jnp.int32))
            first += len(member.mixes)
        return jnp.stack(mixes)[self.which], jnp.stack(memories)[self.which]


def answering(adversary: Adversary):
    """The largest probability with which a misbehaving node answers at all, over all its mixes."""
    if isinstance(adversary, OneOf):
        return jnp.asarray([answering(m) for m in adversary.members], jnp.float32)[adversary.which]
    return max(accept + reject for accept, reject in adversary.mixes)
