"""The metrics record: fifteen figures of a run, and what the campaign would cost on machines."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import xarray as xr
import yaml

from vecsim.scenario.criteria import Estimate, estimate, metrics


def record(data: xr.Dataset) -> dict[str, Estimate]:
    """The metrics record of one variant: means over trials with their 95 % intervals."""
    return {field: estimate(values) for field, values in metrics(data).items()}


def cost_usd(config: dict[str, Any]) -> float:
    """What the time with load would cost on rented machines, in USD; nodes share machines."""
    constants = _constants()
    nodes = (config.get("cluster") or {}).get("nodes", 1000)
    machines = math.ceil(nodes / constants["nodes_per_machine"]["value"])
    hours = config.get("duration_s", 0) / 3600
    return machines * hours * constants["machine_usd_per_hour"]["value"]


@lru_cache
def _constants() -> dict[str, Any]:
    # Read as a file: importing the simulator would start JAX.
    path = Path(__file__).resolve().parents[1] / "cluster" / "constants.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))
