"""A mixture: Byzantine nodes of several kinds, each with its share."""

import itertools
import json
import math
from collections.abc import Mapping
from fractions import Fraction
from operator import attrgetter
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from vecsim.errors import require
from vecsim.types import Adversary, View, identity_of

MOST_WAYS = 64  # combinations of one mix of each kind: each may need a threshold table of its own


class Mixture(Adversary):
    """Byzantine nodes of several kinds; each node answers as its own kind does.

    Each kind gets its share of the Byzantine nodes, in whole nodes by the largest remainder (of
    equal remainders the kind whose class comes first in the alphabet takes precedence). All kinds
    see the same view, in which `byzantine` counts all of them, and the same coins of the round and
    of the trial. Pooled samples are shared too; only kinds that pool make them. Each kind has its
    own memory. At most one kind may distinguish groups of honest nodes.

    members, shares, names: one for each kind; shares are above 0 and add up to 1. ConfigError where
    the kinds cannot be combined.
    """

    identity = "adversaries.mixture.Mixture"

    members: tuple[Adversary, ...]
    shares: tuple[float, ...]
    names: tuple[str, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, kinds: Mapping[str, tuple[Adversary, float]]) -> Adversary:
        """The mixture of named kinds with these shares; their order does not matter.

        A kind with all nodes is returned as it is. ConfigError where the shares do not add up to 1,
        or where the kinds cannot be combined.
        """
        shares = {name: share for name, (_, share) in kinds.items()}
        allowed = "{NAME: share, ...}, shares of 0 to 1 that add up to 1"
        good = all(map(_is_share, shares.values())) and abs(math.fsum(shares.values()) - 1) < 1e-9
        require(good, "adversary.of", shares, allowed)
        there = [(name, *kind) for name, kind in kinds.items() if kind[1] > 0]
        for name, member, _ in there:
            allowed = "kinds that are no mixtures themselves"
            require(not isinstance(member, Mixture), "adversary.of", name, allowed)
        there.sort(key=lambda kind: (json.dumps(_described(kind[1]), sort_keys=True), kind[2]))
        names, members, numbers = zip(*there, strict=True)
        return members[0] if len(members) == 1 else cls(members, tuple(map(float, numbers)), names)

    def __check_init__(self):
        apart = [name for name, kind in self._named() if kind.groups > 1]
        allowed = "at most one kind that tells groups of honest nodes apart"
        require(len(apart) <= 1, "adversary.of", ", ".join(apart), allowed)
        pooling = {kind.every for kind in self.members if kind.pools}
        named = ", ".join(name for name, kind in self._named() if kind.pools)
        require(len(pooling) <= 1, "adversary.of", named, "kinds that pool equally often")
        number = math.prod(len(kind.mixes) for kind in self.members)
        allowed = f"kinds that together may answer in {MOST_WAYS} ways at most, not {number}"
        require(number <= MOST_WAYS, "adversary.of", ", ".join(self.names), allowed)

    def _named(self):
        return zip(self.names, self.members, strict=True)

    def parameters(self) -> dict[str, Any]:
        """Share, class and parameters of each kind; the names are left out."""
        listed = zip(self.members, self.shares, strict=True)
        return {"of": [[share, _described(kind)] for kind, share in listed]}

    @property
    def title(self) -> str:
        """The names of the kinds."""
        return f"mixture of {', '.join(self.names)}"

    @property
    def ways(self):
        """Every combination of one mix of each kind; the mix of the last kind changes fastest."""
        return tuple(itertools.product(*(kind.mixes for kind in self.members)))

    @property
    def neutrals(self):
        """P(an answer for neither colour) of every kind, in the order of `ways`."""
        each = (tuple(chance for (chance,) in kind.neutrals) for kind in self.members)
        return tuple(itertools.product(*each))

    # What engines ask of any adversary.
    kinds = property(attrgetter("members"))
    groups = property(attrgetter("_grouping.groups"))  # pyright: ignore[reportAssignmentType]
    grouping = property(attrgetter("_grouping.grouping"))
    pools = property(lambda self: any(kind.pools for kind in self.members))  # pyright: ignore[reportAssignmentType]
    memories = property(lambda self: len(self.members))  # pyright: ignore[reportAssignmentType]

    @property
    def every(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How often the kinds that pool do so: all of them equally often."""
        return next((kind.every for kind in self.members if kind.pools), "round")

    @property
    def _grouping(self) -> Adversary:
        """The kind that distinguishes groups, or any if none does."""
        return max(self.members, key=lambda kind: kind.groups)

    @property
    def admission(self) -> float:
        """The average over all Byzantine identities; exactly 1 where every kind is admitted."""
        rates = [float(kind.admission) for kind in self.members]
        if all(rate == 1 for rate in rates):
            return 1.0
        return math.fsum(map(math.prod, zip(self.shares, rates, strict=True)))

    def divided(self, byzantine: int) -> tuple[int, ...]:
        """Whole nodes of each kind, by the largest remainder of exact quotas."""
        shares = [Fraction(repr(float(share))) for share in self.shares]
        quotas = [byzantine * share / sum(shares) for share in shares]
        numbers = [math.floor(quota) for quota in quotas]
        order = sorted(range(len(quotas)), key=lambda i: numbers[i] - quotas[i])
        for i in order[: byzantine - sum(numbers)]:
            numbers[i] += 1
        return tuple(numbers)

    def told(self, byzantine: int) -> dict[str, int]:
        """The numbers of `divided`, by the names under which the kinds were given."""
        return dict(zip(self.names, self.divided(byzantine), strict=True))

    def first_group(self, honest, nodes):
        """That of the kind that distinguishes groups."""
        return self._grouping.first_group(honest, nodes)

    def answer(self, view: View, memory):
        """The number of the combination in `ways`, and the memories of all kinds, int32 [kinds]."""
        way, kept = jnp.zeros((self.groups, 2), jnp.int32), []
        for i, kind in enumerate(self.members):
            mix, after = kind.answer(view, memory[i])
            way = way * jnp.int32(len(kind.mixes)) + jnp.broadcast_to(mix, (self.groups, 2))
            kept.append(jnp.asarray(after, jnp.int32))
        return way, jnp.stack(kept)


def _is_share(share: Any) -> bool:
    return isinstance(share, (int, float)) and not isinstance(share, bool) and 0 <= share <= 1


def _described(kind: Adversary) -> list:
    return [identity_of(kind), kind.parameters()]
