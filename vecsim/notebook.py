"""What the command line does, from Python."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecsim.cli import execute, plan_task
from vecsim.errors import ConfigError, require
from vecsim.model import trust
from vecsim.places import environment, require_working_folder
from vecsim.studies import overrides

if TYPE_CHECKING:
    import xarray as xr

# What a point may be described by, beside what it is made of.
ALSO = ("experiment", "packages", "defence", "sweep")


class Command:
    """What one command computes: its points, its results, and where they are.

    It is made by `vecsim.study`, which see. Nothing is computed before `run`.
    """

    def __init__(
        self,
        words: Sequence[Any],
        keywords: Mapping[str, Any],
        output: str | Path | None = None,
        config_dir: Any = None,
    ):
        environment()
        from vecsim import handed
        from vecsim.scenario import arguments

        require_working_folder()
        self._folders = trust.config_folders(config_dir)
        with handed.over(words, keywords) as given, command_session(self._folders):
            if arguments.concerns(given):
                allowed = "vecsim.scenario.run(NAME), for one by itself"
                raise ConfigError(f"scenario is no parameter of a study; allowed: {allowed}")
            self._task = composed(given, output, self._folders)
            self._plan = plan_task(self._task)

    @property
    def points(self) -> list[Any]:
        """What `data` has trials of, in order, the last swept dimension fastest: a `Point` each, as
        `vecsim.point` gives it, or the campaign planned there."""
        return list(self._plan.studies["data.zarr"].points)

    @property
    def output(self) -> Path:
        """The folder of the results."""
        return self._plan.output

    @property
    def data(self) -> xr.Dataset:
        """The outcomes, as far as they are computed; StoreError where nothing is. With
        defence=[off,on] those of the single decisions."""
        return self._read("data.zarr")

    @property
    def defended(self) -> xr.Dataset | None:
        """With defence=[off,on] those of the campaigns, else None."""
        there = "defended.zarr" in self._plan.studies
        return self._read("defended.zarr") if there else None

    def summary(self, level: float = 0.95) -> xr.Dataset:
        """The main estimates of `data`; see `dataset.vecsim.summary`. level: of the intervals."""
        return self.data.vecsim.summary(level)

    def run(self) -> Command:
        """Compute what is not yet there; the same again goes on where it was interrupted.

        Figures and a NetCDF file are made where `figure`, `theory` or `netcdf` was set.
        Returns the object itself.
        """
        from vecsim import progress, report

        task = self._task
        with command_session(self._folders):
            studies, folder = execute(task, progress.reporter(), plan=self._plan)
            wanted = {overrides.parse_word(word).key for word in task.words}
            if wanted & {"netcdf", "figure", "theory"}:
                drawn = bool(wanted & {"figure", "theory"}) and task.config.figure
                report.save_files(studies, folder, task.config.netcdf, drawn, task.config.theory)
        return self

    def _read(self, name: str) -> xr.Dataset:
        from vecsim.results import store

        path = self.output / name
        if not path.exists():
            raise store.StoreError(f"{path} does not exist; allowed: after run()")
        data = store.open(path)
        described = json.loads(json.dumps(self._plan.studies[name].config))
        if json.loads(data.attrs["config"]) != described:
            raise store.StoreError(f"{path} is of another study, or of less; allowed: after run()")
        return data


def run(
    words: Sequence[Any],
    keywords: Mapping[str, Any],
    output: str | Path | None = None,
    config_dir: Any = None,
) -> xr.Dataset:
    """The first dataset of a study, or that of a scenario; see `vecsim.run`."""
    from vecsim.scenario import arguments, single

    keys = [f"{key.replace('__', '.')}=" for key in keywords]
    if arguments.concerns([*(word for word in words if isinstance(word, str)), *keys]):
        return single.run(overrides.from_python(words, keywords), output, config_dir).data
    return Command(words, keywords, output, config_dir).run().data


def point(words: Sequence[Any], keywords: Mapping[str, Any], config_dir: Any = None):
    """The one point that words describe; see `vecsim.point`."""
    environment()
    from vecsim import composing, handed
    from vecsim.studies import sweep
    from vecsim.studies.resolve import unresolved

    require_working_folder()
    folders = trust.config_folders(config_dir)
    with handed.over(words, keywords) as given, command_session(folders):
        _check_keys(given)
        config = composed(given).config
        defence = config.defence
        single = defence in ("off", False)
        require(single, "defence", defence, "off, for a point of single decisions")
        trust.check_trusted(unresolved(config), {overrides.parse_word(word).key for word in given})

        def other(choices):
            return composing.compose_plain(
                [*given, *(f"{key}={name}" for key, name in choices.items())]
            )

        with trust.packages(config.packages):
            return sweep.single_point(config, other)


def _check_keys(given: Sequence[str]) -> None:
    """ConfigError where a word of `point` is about something else."""
    from vecsim.studies import obey

    others = set(obey.OTHERS) - {*ALSO} | {"scenario"}
    for key in map(lambda word: overrides.parse_word(word).key, given):
        if key.partition(".")[0] in others:
            names = ", ".join((*obey.SYSTEM, *ALSO))
            raise ConfigError(f"{key} is no part of a point; allowed: {names}")


@contextlib.contextmanager
def command_session(folders: Sequence[Path] = ()) -> Iterator[None]:
    """While this lasts words can be composed; what is wrong with them is a ConfigError.

    folders: of configuration, beside vecsim's own.
    """
    from vecsim import composing, places

    with composing.refusals(), composing.session([places.root("conf"), *folders]):
        yield


def composed(given: Sequence[str], output: str | Path | None = None, folders: Sequence[Path] = ()):
    """The task that some words describe. Within a `session`, with the same folders."""
    from omegaconf import open_dict

    from vecsim import composing, plan

    overrides.check_words(given)
    config = composing.compose(given)
    options = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    command = ["vecsim.run", *given, *(f"config_dir={folder}" for folder in folders)]
    return plan.Task(config, [*given], options, Path("results"), command, output)
