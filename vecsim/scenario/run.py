"""Running a scenario: its variants through the simulator, its probes, its criteria."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from vecsim.errors import require
from vecsim.scenario.config import checked, criteria, simulated, variants
from vecsim.scenario.criteria import Verdict, judge_all
from vecsim.scenario.probes import PROBES


def run_scenario(
    config: Mapping[str, Any], folder: Path | None = None
) -> tuple[xr.Dataset, list[Verdict]]:
    """The raw outcomes of a scenario and the verdict on each of its criteria.

    config: what is under `scenario:`. The dataset holds the run of the cluster, with a dimension
    `variant` where there are several, and what the probes measured. folder: where runs are saved
    as they go, to go on from when they were interrupted.
    """
    config = checked(config)
    for name in config.get("probes") or ():
        require(name in PROBES, "scenario.probes", name, ", ".join(PROBES))
    runs = {
        name: _run(changed, folder and folder / (name or "run"))
        for name, changed in variants(config).items()
    }
    data = next(iter(runs.values())) if config.get("variants") is None else joined(runs)
    data.attrs["config"] = json.dumps(config)
    return data, judge_all(criteria(config), data)


def _run(config: dict[str, Any], folder: Path | None) -> xr.Dataset:
    """One variant: simulated unless the scenario says otherwise, then probed."""
    data = xr.Dataset()
    began = time.perf_counter()
    if config.get("simulate", True):
        from vecsim.cluster import simulate

        data = simulate(simulated(config), folder)
        # As variables they may differ between variants.
        for name in ("nodes", "byzantine", "duration_s"):
            data[name] = data.attrs[name]
    trials = config.get("trials", 8)
    wall = np.full(trials, time.perf_counter() - began)
    about = {"long_name": "wall time of the simulation", "units": "s", "measured": "vecsim itself"}
    data["wall_s"] = ("trial", wall, about)
    for name in config.get("probes") or ():
        for metric, values in PROBES[name].measure(config | {"trials": trials}).items():
            dims = ("trial", f"{metric}_draw")[: values.ndim]
            data[metric] = (dims, values, {"probe": name})
    return data


def joined(runs: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Runs as one dataset over `variant`; shorter ones are padded with NaN.

    Variants may differ in their windows, so `time_s` and `length_s` become variables over both.
    """
    runs = {name: data.reset_coords() for name, data in runs.items()}
    longest: dict[Any, int] = {}
    for data in runs.values():
        for dim, size in data.sizes.items():
            longest[dim] = max(size, longest.get(dim, 0))
    padded = []
    for data in runs.values():
        missing = {dim: (0, longest[dim] - size) for dim, size in data.sizes.items()}
        missing = {dim: width for dim, width in missing.items() if width[1]}
        padded.append(data.pad(missing) if missing else data)
    names = xr.Variable("variant", np.array([*runs], dtype=object))
    whole: Any = xr.concat(padded, names, data_vars="all", join="exact", combine_attrs="override")
    return whole
