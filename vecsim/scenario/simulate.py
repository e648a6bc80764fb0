"""Running a scenario: its variants through the simulator, its probes, its criteria."""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from vecsim.errors import within
from vecsim.model.sources import code_of
from vecsim.scenario.config import DEFAULT_TRIALS, checked, criteria, simulated, variants
from vecsim.scenario.judging import Verdict, judge_all
from vecsim.scenario.probes import PROBES
from vecsim.scenario.saved import Saved

Tell = Callable[[str], None]  # is called with what is being done, in a few words
Show = Callable[[str, Any], None]  # is called with a variant's name and its cluster as it runs


def prepare(config: Mapping[str, Any]) -> dict[str, Any]:
    """The checked configuration; ConfigError, before anything runs, where it has no meaning."""
    from vecsim.cluster.campaign import check_run
    from vecsim.cluster.config import parse_run

    config = checked(config)
    for name, changed in variants(config).items():
        with within(name and f"variant {name}"):
            check_run(parse_run(simulated(changed)))
    return config


def run_scenario(
    config: Mapping[str, Any],
    folder: Path | None = None,
    tell: Tell = lambda text: None,
    show: Show = lambda variant, cluster: None,
) -> tuple[xr.Dataset, list[Verdict]]:
    """The raw outcomes of a scenario and the verdict on each of its criteria.

    config: what is under `scenario:`. The dataset holds the run of the cluster, with a dimension
    `variant` where there are several, and what the probes measured. folder: where runs are saved
    as they go, and finished variants until the caller removes them (`vecsim.scenario.saved`): an
    interrupted scenario goes on from there. ConfigError where the configuration has no meaning;
    StoreError where what was saved is damaged or of another scenario.
    """
    config = prepare(config)
    runs, changed = {}, variants(config)
    for number, (name, variant) in enumerate(changed.items(), 1):
        which = f"variant {name} ({number} of {len(changed)}), " if name else ""
        saved = Saved(folder, name, _about(variant)) if folder else None
        runs[name] = _run(
            variant,
            saved,
            lambda text, which=which: tell(f"{which}{text}"),
            partial(show, name),
        )
    data = runs[""] if "" in runs else joined(runs)
    data.attrs["config"] = json.dumps(config)
    return data, judge_all(criteria(config), data)


def _about(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the outcomes of a variant."""
    beside = {key: config[key] for key in ("simulate", "probes") if key in config}
    return simulated(config) | beside | own_code(config)


def own_code(config: Mapping[str, Any]) -> dict[str, Any]:
    """The code of its variants' adversaries, where it is not vecsim's: digests of files, to be
    joined to all else that decides the outcomes."""
    from vecsim.cluster.config import parse_run

    run = [each for each in variants(config).values() if each.get("simulate", True)]
    return code_of(parse_run(simulated(each)).cluster.adversary for each in run)


def _run(
    config: dict[str, Any], saved: Saved | None, tell: Tell, show: Callable[[Any], None]
) -> xr.Dataset:
    """One variant: as it was saved, or simulated unless the scenario says otherwise, and probed."""
    if saved and (found := saved.load()) is not None:
        return found
    data = xr.Dataset()
    began = time.perf_counter()
    if config.get("simulate", True):
        from vecsim.cluster import simulate

        def passed(now_s: float, end_s: float) -> None:
            tell(f"{now_s:,.0f} of {end_s:,.0f} s simulated")

        data = simulate(simulated(config), saved and saved.folder, tell=passed, show=show)
        # As variables they may differ between variants.
        for name in ("nodes", "byzantine", "duration_s"):
            data[name] = data.attrs[name]
    trials = config.get("trials", DEFAULT_TRIALS)
    wall = np.full(trials, time.perf_counter() - began)
    about = {"long_name": "wall time of the simulation", "units": "s", "measured": "vecsim itself"}
    data["wall_s"] = ("trial", wall, about)
    for name in config.get("probes") or ():
        tell(f"probe {name}")
        for metric, found in PROBES[name](config | {"trials": trials}).items():
            values = np.asarray(found, float)
            values = values if values.ndim else np.full(trials, values)
            dims = ("trial", f"{metric}_draw")[: values.ndim]
            data[metric] = (dims, values, {"probe": name})
    return saved.save(data) if saved else data


def joined(runs: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Runs as one dataset over `variant`; shorter ones are padded with NaN.

    Variables are (variant, trial, window) or (variant, trial, window, sample). Variants may differ
    in their windows, so `time_s` and `length_s` become variables over (variant, window).
    """
    given = [data.reset_coords() for data in runs.values()]
    padded = []
    for data in given:
        most = {dim: max(each.sizes.get(dim, 0) for each in given) for dim in data.sizes}
        missing = {d: (0, most[d] - size) for d, size in data.sizes.items() if size < most[d]}
        padded.append(data.pad(missing) if missing else data)
    names = xr.Variable("variant", np.array([*runs], dtype=object))
    whole: Any = xr.concat(padded, names, data_vars="all", join="exact", combine_attrs="override")
    return whole
