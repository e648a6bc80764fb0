"""One adversary of several, by number: runs with different ones share a compiled program."""

from typing import Any

import jax.numpy as jnp

from vecsim.types import Adversary, View


class OneOf(Adversary):
    """Behaves as `members[which]`; `which` is data."""

    members: tuple[Adversary, ...]
    which: Any  # int32

    @classmethod
    def of(cls, adversary: Adversary, roster: tuple[Adversary, ...]) -> "OneOf":
        """`adversary` among one of each class in `roster`."""
        classes = [type(member) for member in roster]
        which = classes.index(type(adversary))
        members = (*roster[:which], adversary, *roster[which + 1 :])
        return cls(members, jnp.int32(which))

    @property
    def mixes(self):  # type: ignore[override]
        return tuple(mix for member in self.members for mix in member.mixes)

    def answer(self, view: View, memory):
        first, mixes, memories = 0, [], []
        for member in self.members:
            mix, kept = member.answer(view, memory)
            mixes.append(jnp.broadcast_to(mix[:1], (1, 2)) + first)
            memories.append(jnp.asarray(kept, jnp.int32))
            first += len(member.mixes)
        return jnp.stack(mixes)[self.which], jnp.stack(memories)[self.which]


def answering(adversary: Adversary):
    """The largest probability with which a misbehaving node answers at all."""
    if isinstance(adversary, OneOf):
        return jnp.asarray([answering(m) for m in adversary.members], jnp.float32)[adversary.which]
    return max(accept + reject for accept, reject in adversary.mixes)
