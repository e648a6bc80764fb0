"""What the command line does, from Python."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr
from omegaconf import open_dict

from vecsim import composing, handed, plan, progress, report
from vecsim.cli import execute
from vecsim.errors import ConfigError, require
from vecsim.model import trust
from vecsim.places import require_working_folder
from vecsim.results import store
from vecsim.scenario import arguments, single
from vecsim.studies import obey, overrides, sweep
from vecsim.studies.resolve import unresolved

# Keys that may describe a point although they are not among its parameters.
ALSO = ("preset", "experiment", "packages", "defence", "sweep")


class Command:
    """What one command computes: its points, its results, and where they are.

    Made by `vecsim.study`, which explains it. Nothing is computed before `run`.
    """

    def __init__(self, words: Sequence[Any], keywords: Mapping[str, Any], output, config_dir):
        require_working_folder()
        self._folders = trust.config_folders(config_dir)
        with handed.over(words, keywords) as given, composing.command_session(self._folders):
            if arguments.concerns(given):
                allowed = "vecsim.scenario.run(NAME), for one by itself"
                raise ConfigError(f"scenario is no parameter of a study; allowed: {allowed}")
            self._task = composed(given, output, self._folders)
            self._plan = plan.plan(self._task)

    @property
    def points(self) -> list[Any]:
        """The points of `data`, the last swept dimension varying fastest: each a `Point`, as from
        `vecsim.point`, or a planned campaign."""
        return list(self._plan.studies["data.zarr"].points)

    @property
    def output(self) -> Path:
        """The folder of the results."""
        return self._plan.output

    @property
    def data(self) -> xr.Dataset:
        """The outcomes computed so far; StoreError if there are none. With defence=[off,on] those
        of the single decisions."""
        return self._read("data.zarr")

    @property
    def defended(self) -> xr.Dataset | None:
        """The outcomes of the campaigns with defence=[off,on], else None."""
        return self._read("defended.zarr") if "defended.zarr" in self._plan.studies else None

    def summary(self, level: float = 0.95) -> xr.Dataset:
        """The main estimates of `data`; see `dataset.vecsim.summary`. level: of the intervals."""
        return self.data.vecsim.summary(level)

    def run(self) -> Command:
        """Compute what is missing; after an interruption, call it again to resume.

        Figures and a NetCDF file are made only where `figure`, `theory` or `netcdf` was set.
        Returns the object itself.
        """
        task = self._task
        with composing.command_session(self._folders):
            planned = execute(task, progress.reporter(), planned=self._plan)
            wanted = {overrides.parse_word(word).key for word in task.words}
            if wanted & {"netcdf", "figure", "theory"}:
                drawn = bool(wanted & {"figure", "theory"}) and task.config.figure
                whole, theory = task.config.netcdf, task.config.theory
                report.save_files(planned.studies, planned.folder, whole, drawn, theory)
        return self

    def _read(self, name: str) -> xr.Dataset:
        path = self._plan.folder / name
        if not path.exists():
            raise store.StoreError(f"{path} does not exist; allowed: after run()")
        data = store.open(path)
        described = json.loads(json.dumps(self._plan.studies[name].config))
        if json.loads(data.attrs["config"]) != described:
            raise store.StoreError(f"{path} is of another study, or of less; allowed: after run()")
        return data


def run(words: Sequence[Any], keywords: Mapping[str, Any], output, config_dir) -> xr.Dataset:
    """The first dataset of a study, or that of a scenario; see `vecsim.run`."""
    keys = [f"{key.replace('__', '.')}=" for key in keywords]
    if arguments.concerns([*(word for word in words if isinstance(word, str)), *keys]):
        return single.run(overrides.from_python(words, keywords), output, config_dir).data
    return Command(words, keywords, output, config_dir).run().data


def point(words: Sequence[Any], keywords: Mapping[str, Any], config_dir):
    """The one point that words describe; see `vecsim.point`."""
    require_working_folder()
    folders = trust.config_folders(config_dir)
    with handed.over(words, keywords) as given, composing.command_session(folders):
        _check_keys(given)
        task = composed(given)
        config = task.config
        allowed = "off, for a point of single decisions"
        require(config.defence in ("off", False), "defence", config.defence, allowed)
        by_hand = {key: text for key, text, _ in map(overrides.parse_word, given)}
        trust.check_trusted(unresolved(config), by_hand)
        with trust.packages(config.packages):
            compose = partial(composing.compose_options, given)
            made = sweep.single_point(config, compose, by_hand)
            if not config.get("sweep"):  # which may set anything anew
                plan.check_kept(config, task.options, by_hand, [made])
            return made


def _check_keys(given: Sequence[str]) -> None:
    """ConfigError where a word sets something that is no part of a point."""
    others = set(obey.OTHERS) - {*ALSO} | {"scenario"}
    for key, _, _ in map(overrides.parse_word, given):
        if key.partition(".")[0] in others:
            names = ", ".join((*obey.SYSTEM, *ALSO))
            raise ConfigError(f"{key} is no part of a point; allowed: {names}")


def composed(given: Sequence[str], output: str | Path | None = None, folders: Sequence[Path] = ()):
    """The task that words describe. To be called within a session with the same folders."""
    overrides.check_words(given)
    config = composing.compose(given)
    options = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    command = ["vecsim.run", *given, *(f"config_dir={folder}" for folder in folders)]
    return plan.Task(config, [*given], options, Path("results"), command, output)
