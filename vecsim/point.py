"""A point: everything that decides the distribution of one trial."""

import hashlib
import json
from typing import Any, Literal, NamedTuple

from vecsim.network import Network
from vecsim.types import Adversary, Protocol


class Point(NamedTuple):
    """One combination of parameters.

    n: nodes; byzantine_fraction: share of them that is Byzantine; initial_accept: share of the
    honest nodes that start at 1 (both rounded to a count); schedule: lockstep or async.
    """

    n: int
    byzantine_fraction: float
    initial_accept: float
    schedule: Literal["lockstep", "async"]
    protocol: Protocol
    adversary: Adversary
    network: Network

    @property
    def byzantine(self) -> int:
        return round(self.byzantine_fraction * self.n)

    @property
    def honest(self) -> int:
        return self.n - self.byzantine

    @property
    def start_ones(self) -> int:
        return round(self.initial_accept * self.honest)

    def parameters(self) -> dict[str, Any]:
        """The resolved parameters, nested, as plain values."""
        return {
            name: {"class": _name(value), **vars(value)} if hasattr(value, "__dict__") else value
            for name, value in self._asdict().items()
        }

    def hash(self) -> int:
        """64 bits that stand for the parameters (SHA-256 of their canonical JSON)."""
        text = json.dumps(self.parameters(), sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _name(component) -> str:
    return f"{type(component).__module__}.{type(component).__qualname__}"
