"""The check of any component: its numbers are data, and its own code does as it must."""

import dataclasses
from functools import lru_cache
from typing import Any

from vecsim.errors import name_of, require
from vecsim.model.checks.adversary import check_adversary
from vecsim.model.checks.protocol import check_protocol
from vecsim.network import Network
from vecsim.types import Adversary, Protocol

DECLARED = {Protocol: ("counts", "decides"), Adversary: ("mixes", "groups", "pools", "memories")}
CHECKED = 4096  # components that are remembered


def check(component: Protocol | Adversary | Network) -> None:
    """Raise ConfigError unless a component keeps what its interface promises.

    Nodes of a protocol are followed through thousands of polls, an adversary through hundreds of
    rounds of several trials (the same ones each time), so that a fault in what hardly ever comes
    up may be missed. Takes milliseconds, and at the first component of a class a fraction of a
    second.
    """
    kinds = [kind for kind in DECLARED if isinstance(component, kind)]
    allowed = "a protocol, an adversary or a network"
    require(bool(kinds) or isinstance(component, Network), "component", component, allowed)
    if isinstance(component, Adversary) and len(component.kinds) > 1:  # a mixture
        for kind in component.kinds:
            check(kind)
    elif kinds:
        fields = dataclasses.fields(component)
        _check_fields(component, fields, DECLARED[kinds[0]])
        values = tuple(getattr(component, field.name) for field in fields)
        _check(component, tuple(map(type, values)))


@lru_cache(maxsize=CHECKED)
def _check(component: Any, types: tuple[type, ...]) -> None:
    """types: of the values of its fields, for 20 and 20.0 are equal."""
    if isinstance(component, Protocol):
        check_protocol(component)
    else:
        check_adversary(component)


def _check_fields(component: Any, fields: Any, declared: tuple[str, ...]) -> None:
    """A number in a field is data, in a program that serves all its values; the rest is static."""
    name = name_of(component)
    for field in fields:
        value = getattr(component, field.name)
        allowed = f"a constant of the class: {field.name} = ..., without a type"
        require(field.name not in declared, f"{name}.{field.name}", "a field", allowed)
        if field.metadata.get("static"):
            allowed = "a number, text, a bool or None, as its field is static"
            good = isinstance(value, (int, float, str, type(None)))
        else:
            allowed = "a number, a bool, or a tuple of them; text with eqx.field(static=True)"
            listed = value if isinstance(value, tuple) else (value,)
            good = all(isinstance(each, (int, float)) for each in listed) or value is None
        require(good, f"{name}.{field.name}", value, allowed)
