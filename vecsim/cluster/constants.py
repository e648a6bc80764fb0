"""The constants of the model, read from constants.yaml, where each has its reason; without JAX."""

import math
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml


@lru_cache
def constants() -> Any:
    """The model's constants by name, with the units that the file says; `profiles` are mappings of
    round_trip_ms, [least, largest], and loss, of each message."""
    text = Path(__file__).with_name("constants.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)
    profiles = entries.pop("profiles")
    return SimpleNamespace(profiles=profiles, **{k: each["value"] for k, each in entries.items()})


def cost_usd(nodes: int, duration_s: float) -> float:
    """What a campaign of duration_s would cost on rented machines, which nodes share, in USD."""
    fixed = constants()
    machines = math.ceil(nodes / fixed.nodes_per_machine)
    return machines * duration_s / 3600 * fixed.machine_usd_per_hour
