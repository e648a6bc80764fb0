"""`vecsim scenario=NAME`, a pattern, or `all`: run, judge, show, and write what came of it."""

import fnmatch
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vecsim import netcdf
from vecsim.errors import ConfigError, require
from vecsim.files import StoreError
from vecsim.scenario import config, export, report, verdict
from vecsim.scenario.criteria import judge_all
from vecsim.scenario.run import run_scenario
from vecsim.scenario.verdict import Outcome

FOLDER = Path("results/scenario")


def run(pattern: str, changes: Sequence[str], folder: Path | None, console: Console) -> int:
    """Run every scenario whose name fits; 0 if all show what they are to show, else 1.

    changes: `scenario.KEY=VALUE`, applied to each. folder: of the results, one folder for each
    scenario. A scenario that is complete there is read, one that was interrupted goes on.
    """
    chosen = list(_chosen(pattern))
    given = [_changed(config.load(name), changes) for name in chosen]
    folder = folder or FOLDER
    outcomes = []
    for number, scenario in enumerate(given, 1):
        name = scenario["name"]
        console.print(f"[{number}/{len(given)}] {name}: {config.shows(name)}", markup=False)
        outcomes.append(_one(scenario, folder / name))
        verdict.show([outcomes[-1]], console)
    if len(outcomes) > 1:
        console.print(verdict.summary(outcomes))
        console.print(verdict.by_category(outcomes))
        _write(folder / "summary.md", report.summary_markdown(outcomes))
        _write(folder / "summary.html", report.summary_html(outcomes))
    console.print(f"results  {folder}", markup=False)
    return verdict.exit_status(outcomes)


def _chosen(pattern: str) -> Iterator[str]:
    names = config.names()
    fits = names if pattern == "all" else fnmatch.filter(names, pattern)
    allowed = "all, a pattern such as *_byzantine_*, or a name: " + ", ".join(names[:3]) + ", ..."
    require(bool(fits), "scenario", pattern, allowed)
    yield from fits


def _changed(scenario: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The scenario with `scenario.KEY=VALUE` applied; unknown keys are found when it is parsed."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        changed = OmegaConf.from_dotlist(list(changes))
        whole = OmegaConf.merge({"scenario": scenario}, changed)
        plain: Any = OmegaConf.to_container(whole)
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigError(f"{' '.join(changes)}: {str(error).partition(chr(10))[0]}") from None
    return config.checked(plain["scenario"])


def _one(scenario: dict[str, Any], folder: Path) -> Outcome:
    """One scenario: read if it is complete and the same, else run, judged and written."""
    digest = hashlib.sha256(json.dumps(scenario, sort_keys=True).encode()).hexdigest()
    path = folder / "data.nc"
    if path.exists():
        data = netcdf.load(path)
        if data.attrs.get("digest") != digest:
            raise StoreError(f"{path} belongs to another scenario; choose another output")
        return Outcome(scenario, judge_all(config.criteria(scenario), data))
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial"
    data, verdicts = run_scenario(scenario, partial)
    shutil.rmtree(partial, ignore_errors=True)  # empty: complete runs take their files away
    outcome = Outcome(scenario, verdicts)
    exported = export.result(scenario, data, verdicts)
    export.write(exported, folder / "result.json")
    report.write(folder, outcome, data, config.shows(scenario["name"]))
    data.attrs["digest"] = digest
    netcdf.save(data, path)
    return outcome


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
