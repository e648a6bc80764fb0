"""The check of any component: its numbers are data, and its code does as its interface says."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from vecsim.errors import name_of, require
from vecsim.latencies.latency import Latency
from vecsim.model.checks.adversary import check_adversary
from vecsim.model.checks.declared import DECLARED
from vecsim.model.checks.latency import check_latency
from vecsim.model.checks.protocol import check_protocol
from vecsim.model.checks.stake import check_stake
from vecsim.network import Network
from vecsim.polling import Polling
from vecsim.stakes.stake import Stake
from vecsim.types import Adversary, Protocol

# By kind: the check of its own code, and the constants of the class that must not be fields.
CHECKS: dict[type, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    Protocol: (check_protocol, DECLARED),
    Adversary: (check_adversary, ("mixes", "neutral", "groups", "pools", "memories")),
}
CHECKED = 4096  # checked components that are remembered: more than a sweep has, a few bytes each


def check(component: Protocol | Adversary | Network | Stake | Latency | Polling) -> None:
    """Raise ConfigError unless a component keeps what its interface promises.

    Nodes of a protocol are followed through thousands of polls, an adversary through hundreds of
    rounds of several trials (the same ones each time), so that a fault in what hardly ever comes
    up may be missed. Takes milliseconds, and at the first component of a class a fraction of a
    second.
    """
    allowed = "a protocol, an adversary, a network, a stake, a latency or a polling"
    kinds = (*CHECKS, Network, Stake, Latency, Polling)
    require(isinstance(component, kinds), "component", component, allowed)
    if isinstance(component, Stake):  # which no program is compiled for: its fields may be any
        check_stake(component)
        return
    if isinstance(component, Latency):
        check_latency(component)
        return
    if isinstance(component, Polling):  # which has no code of its own to check
        return
    if isinstance(component, Adversary) and len(component.kinds) > 1:  # a mixture
        for kind in component.kinds:
            check(kind)
        return
    for kind, (check_code, declared) in CHECKS.items():
        if isinstance(component, kind):
            _check_fields(component, declared)
            _check_once(check_code, component, tuple(map(type, vars(component).values())))


@lru_cache(maxsize=CHECKED)
def _check_once(check_code: Callable[[Any], None], component: Any, types: tuple[type, ...]) -> None:
    """Check a component unless an equal one was. types: of its fields' values, as 20 == 20.0."""
    check_code(component)


def _check_fields(component: Any, declared: tuple[str, ...]) -> None:
    """A number in a field is data, in a program that serves all its values; the rest is static."""
    for field in dataclasses.fields(component):
        name, value = f"{name_of(component)}.{field.name}", getattr(component, field.name)
        allowed = f"a constant of the class: {field.name} = ..., without a type"
        require(field.name not in declared, name, "a field", allowed)
        if field.metadata.get("static"):
            allowed = "a number, text, a bool or None, as its field is static"
            good = isinstance(value, (int, float, str, type(None)))
        else:
            allowed = "a number, a bool, or a tuple of them; text with eqx.field(static=True)"
            good = _is_data(value) or value is None
        require(good, name, value, allowed)


def _is_data(value: Any) -> bool:
    """Whether a value is a number, or a tuple of numbers or of such tuples."""
    return (
        all(map(_is_data, value)) if isinstance(value, tuple) else isinstance(value, (int, float))
    )
