"""What the command line does, from Python."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vecsim.cli import environment, execute, require_folder
from vecsim.errors import ConfigError, require
from vecsim.model import trust
from vecsim.studies import overrides

# What a point may be described by, beside what it is made of.
ALSO = ("experiment", "packages", "defence", "sweep")


def run(
    words: Sequence[Any],
    keywords: Mapping[str, Any],
    output: str | Path | None = None,
    config_dir: Any = None,
):
    """Compute a study, or read it if it is there, and return its dataset.

    words, keywords, config_dir: as of `vecsim.run`. output: folder of the results; default
    results/<name>-<hash of the parameters>.
    """
    environment()
    from vecsim import handed, progress, report
    from vecsim.results import store
    from vecsim.scenario import arguments

    require_folder()
    folders = trust.folders(config_dir)
    with handed.over(words, keywords) as given:
        if arguments.concerns(given):
            return _scenario(given, output, folders)
        with session(folders):
            task = composed(given, output, folders)
            studies, folder = execute(task, progress.reporter())
            wanted = {overrides.parse(word).key for word in task.words}
            if wanted & {"netcdf", "figure", "theory"}:
                drawn = bool(wanted & {"figure", "theory"}) and task.config.figure
                report.save(studies, folder, task.config.netcdf, drawn, task.config.theory)
    return store.open(folder / "data.zarr")


def point(words: Sequence[Any], keywords: Mapping[str, Any], config_dir: Any = None):
    """The one point that words describe; see `vecsim.point`."""
    environment()
    from vecsim import composing, handed
    from vecsim.studies import sweep
    from vecsim.studies.resolve import unresolved

    require_folder()
    folders = trust.folders(config_dir)
    with handed.over(words, keywords) as given, session(folders):
        _check_keys(given)
        config = composed(given).config
        defence = config.defence
        single = defence in ("off", False)
        require(single, "defence", defence, "off, for a point of single decisions")
        trust.check(unresolved(config), {overrides.parse(word).key for word in given})

        def other(choices):
            return composing.plain([*given, *(f"{key}={name}" for key, name in choices.items())])

        with trust.packages(config.packages):
            return sweep.single(config, other)


def _check_keys(given: Sequence[str]) -> None:
    """ConfigError where a word of `point` is about something else."""
    from vecsim.studies import obey

    others = set(obey.OTHERS) - {*ALSO} | {"scenario"}
    for key in map(lambda word: overrides.parse(word).key, given):
        if key.partition(".")[0] in others:
            names = ", ".join((*obey.SYSTEM, *ALSO))
            raise ConfigError(f"{key} is no part of a point; allowed: {names}")


@contextlib.contextmanager
def session(folders: Sequence[Path] = ()) -> Iterator[None]:
    """While this lasts words can be composed; what is wrong with them is a ConfigError.

    folders: of configuration, beside vecsim's own.
    """
    from vecsim import composing, places

    with composing.refusals(), composing.session([places.root("conf"), *folders]):
        yield


def _scenario(given: Sequence[str], output: str | Path | None, folders: Sequence[Path]):
    """The dataset of one scenario."""
    from rich.console import Console

    from vecsim import device, outside
    from vecsim.scenario import arguments, command

    words = arguments.read(given)
    words = words._replace(
        output=words.output if output is None else Path(output), folders=[*folders, *words.folders]
    )
    device.configure(words.cores)
    with outside.closed(), trust.packages(words.packages):
        return command.single(words, Console())


def composed(given: Sequence[str], output: str | Path | None = None, folders: Sequence[Path] = ()):
    """The task that some words describe. Within a `session`, with the same folders."""
    from omegaconf import open_dict

    from vecsim import composing, plan

    overrides.check(given)
    config = composing.compose(given)
    options = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    command = ["vecsim.run", *given, *(f"config_dir={folder}" for folder in folders)]
    return plan.Task(config, [*given], options, Path("results"), command, output)
