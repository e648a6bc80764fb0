"""The command line, and the same for notebooks: compose, configure JAX, run, save, show."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

BAD, FAILED, STOPPED, UNREAD = 2, 3, 130, 141
# Here a parameter may be set that the configuration does not list: its class says what there is.
OPEN = ("sweep.", "protocol.", "adversary.", "network.", "precision.", "campaign.")
RANGES = ("sweep.", "estimator.fed=")
CLEAR = "=null"


class Task(NamedTuple):
    """A composed configuration and where it comes from."""

    config: Any
    overrides: list[str]  # what composing it again takes
    name: str
    folder: Path  # of the results, where the configuration does not say
    command: list[str]


def main(argv: Sequence[str] | None = None) -> int:
    """`vecsim` and `python -m vecsim`.

    Exit codes: 0 done, 1 a scenario does not show what it should, 2 bad input, 3 a scenario came
    upon an error of vecsim's own, 130 interrupted.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    sys.argv = [sys.argv[0], *_opened(given)]
    _environment()
    from vecsim.errors import ConfigError, JobFailed
    from vecsim.files import StoreError
    from vecsim.scenario import arguments

    try:
        if arguments.concerns(given) and not {"--help", "-h"} & {*given}:
            return _scenarios(given)
        with _one_line():
            _hydra(given)
    except (ConfigError, StoreError) as error:
        return _fail(str(error))
    except JobFailed:
        return BAD
    except KeyboardInterrupt:
        print("vecsim: stopped; the same command goes on from here", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    return 0


def run(*overrides: str, output: str | Path | None = None):
    """Compute a study, or read it if it is there, and return its dataset.

    overrides: as on the command line. output: folder of the results; default: as there.
    """
    _environment()
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from vecsim import build, report, store
    from vecsim.scenario import arguments

    if arguments.concerns(overrides):
        return _scenario(overrides, output)

    given = _opened(overrides)
    conf = str(build.root("conf").resolve())
    with _one_line(), initialize_config_dir(conf, version_base="1.3"):
        _register_resolvers()
        config = compose("config", given, return_hydra_config=True)
        name = config.hydra.runtime.choices.get("experiment") or "study"
        with open_dict(config):
            del config["hydra"]
            config.output = config.output if output is None else str(output)
        task = Task(config, given, name, Path("results"), ["vecsim.run", *overrides])
        _, folder = execute(task, report.reporter())
    return store.open(folder / "data.zarr")


def _scenario(overrides: Sequence[str], output: str | Path | None):
    """The dataset of one scenario."""
    from rich.console import Console

    from vecsim import device
    from vecsim.scenario import arguments, command

    words = arguments.read(overrides)
    words = words._replace(output=words.output if output is None else Path(output))
    device.configure(words.cores)
    return command.single(words, Console())


def execute(task: Task, reporter) -> tuple[Any, Path]:
    """Compute what the task's stores still lack; returns the studies by store and their folder."""
    from hydra import compose

    from vecsim import device, provenance, report, runner, sweep
    from vecsim.errors import ConfigError, require

    given = [text.partition("=")[0].strip("+") for text in _set(task.overrides)]
    for key in given:
        if given.count(key) > 1:
            raise ConfigError(f"{key} is set twice; allowed: {key}=... once")
    check(task.config)

    def composed(choices):
        options = [f"{group}={option}" for group, option in choices.items()]
        return compose("config", [*task.overrides, *options])

    device.configure(task.config.engine.cores)
    studies = sweep.studies(task.name, task.config, composed, given)
    output = Path(task.config.output or task.folder / f"{task.name}-{sweep.digest(studies)}")
    require(not output.is_file(), "output", str(output), "a folder, not a file")
    about = provenance.provenance(task.command)
    stores = dict(zip(store_names(studies), studies, strict=True))
    works = {name: _work(study, output, task.config) for name, study in stores.items()}
    for name, study in stores.items():
        report.announce(study, about["device"])
        runner.run(study, works[name], output / name, about, reporter)
    return stores, output


def store_names(studies) -> list[str]:
    """Of one study data.zarr; beside single decisions those of the cluster are defended.zarr."""
    return ["data.zarr", "defended.zarr"][: len(studies)]


def _work(study, output: Path, config):
    """What a study computes: single decisions, or campaigns of the cluster."""
    from vecsim.sweep import Planned

    if isinstance(study.points[0], Planned):
        from vecsim.campaigns import Campaigns

        return Campaigns(study, output / "partial")
    from vecsim.decisions import Decisions
    from vecsim.design import Designs
    from vecsim.errors import require
    from vecsim.rare import RareEvents
    from vecsim.threshold import Threshold

    works = {
        "plain": Decisions,
        "splitting": RareEvents,
        "threshold": Threshold,
        "design": Designs,
    }
    name = study.estimator.get("name")
    require(name in works, "estimator.name", name, ", ".join(works))
    return works[name](study, config.engine.memory_mb * 2**20)


def check(config) -> None:
    """Raise ConfigError where what does not touch the results has no meaning."""
    from vecsim.engines.choose import ENGINES
    from vecsim.errors import require, whole

    engine = config.get("engine") or {}
    require(engine.get("name") in ENGINES, "engine.name", engine.get("name"), ", ".join(ENGINES))
    whole("engine.memory_mb", engine.get("memory_mb"), 1, 2**20)
    cores = engine.get("cores")
    whole("engine.cores", 1 if cores is None else cores, 1, 4096)
    output = config.get("output")
    require(output is None or isinstance(output, str), "output", output, "a folder, or null")
    for key in ("netcdf", "figure", "theory"):
        require(isinstance(config.get(key), bool), key, config.get(key), "true or false")


def _scenarios(given: list[str]) -> int:
    """Scenarios of the simulated cluster: scenario=NAME, a pattern or all."""
    import traceback

    from rich.console import Console

    from vecsim import device
    from vecsim.errors import ConfigError
    from vecsim.files import StoreError
    from vecsim.scenario import arguments, command

    words = arguments.read(given)
    device.configure(words.cores)
    try:
        return command.run(words, Console(soft_wrap=False))
    except (ConfigError, StoreError, BrokenPipeError):
        raise
    except Exception:  # Python's own 1 would read as a criterion that does not hold
        traceback.print_exc()
        return FAILED


def _hydra(given: list[str]) -> None:
    """Do what the arguments ask for: jobs, help, the configuration, shell completion."""
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.utils import JobReturn, JobStatus

    from vecsim import build
    from vecsim.errors import ConfigError

    _register_resolvers()
    parser = get_args_parser()

    def refuse(message: str):  # argparse would print its usage as well
        raise ConfigError(f"{message}; --help shows what there is")

    parser.error = refuse
    parser.parse_args(sys.argv[1:])

    def result(job: JobReturn):  # Hydra's own would print a line more than the job did
        if job.status == JobStatus.COMPLETED:
            return job._return_value
        raise job._return_value

    setattr(JobReturn, "return_value", property(result, JobReturn.return_value.fset))  # noqa: B010
    command = hydra.main(
        version_base="1.3", config_path=str(build.root("conf")), config_name="config"
    )(_job)
    if "--help" in given or "-h" in given:
        from vecsim import report

        with report.wrapped():
            command()
    else:
        command()


def _job(config) -> None:
    """One job, in this process or in another one that a launcher has started."""
    from hydra.core.hydra_config import HydraConfig

    from vecsim import report
    from vecsim.errors import ConfigError, JobFailed
    from vecsim.files import StoreError

    _register_resolvers()
    hydra = HydraConfig.get()
    multirun = hydra.mode is not None and hydra.mode.name == "MULTIRUN"
    if multirun and "VECSIM_GPUS" in os.environ:
        # Jobs of a multirun on one machine would all take the first GPU.
        gpus = os.environ["VECSIM_GPUS"].split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[hydra.job.num % len(gpus)]
    overrides = list(hydra.overrides.task)
    paths = [text for text in hydra.overrides.hydra if text.startswith("hydra.searchpath=")]
    name = hydra.runtime.choices.get("experiment") or "study"
    folder = Path(hydra.sweep.dir, name) if multirun else Path("results")
    command = _set(overrides if multirun else sys.argv[1:])
    task = Task(config, [*paths, *overrides], name, folder, ["vecsim", *command])
    try:
        with _one_line():
            studies, output = execute(task, report.reporter())
            report.show(studies, output, config.netcdf, config.figure, config.theory)
    except (ConfigError, StoreError) as error:
        which = ", ".join(_set(overrides))
        which = f"job {hydra.job.num} ({which}): " if multirun else ""
        _fail(f"{which}{error}")
        raise JobFailed from None


def _environment() -> None:
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach us, to be told in one line
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA finds fault with its own compile cache


def _set(overrides: list[str]) -> list[str]:
    """The overrides as they were given."""
    opened = tuple(f"++{key}" for key in OPEN)
    kept = [text for text in overrides if not text.endswith(CLEAR)]
    return [text.removeprefix("++") if text.startswith(opened) else text for text in kept]


def _opened(arguments: Sequence[str]) -> list[str]:
    opened = []
    for text in arguments:
        if text.startswith(RANGES):  # replaces the range that is there, instead of merging
            opened.append(f"++{text.partition('=')[0]}{CLEAR}")
        opened.append(f"++{text}" if text.startswith(OPEN) else text)
    return opened


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """What Hydra finds wrong becomes a ConfigError."""
    from vecsim import build
    from vecsim.errors import ConfigError

    try:
        yield
    except build.COMPOSING as error:
        raise ConfigError(build.one_line(error)) from None
    except ValueError as error:
        if isinstance(error, ConfigError) or not build.raised_by_hydra(error):
            raise
        raise ConfigError(f"not to be composed: {build.one_line(error)}") from None


def _fail(message: str) -> int:
    print(f"vecsim: {message}", file=sys.stderr, flush=True)
    return BAD


def _register_resolvers() -> None:
    """Functions for use in configurations: ${share:0.75,20} is 75 % of 20, rounded up;
    ${sum:60,30} is 90, ${rest:0.8} is 0.2."""
    from math import ceil

    from omegaconf import OmegaConf

    functions = {
        "share": lambda share, total: ceil(round(share * total, 9)),
        "sum": lambda *terms: sum(terms),
        "rest": lambda share: round(1 - share, 9),
    }
    for name, function in functions.items():
        OmegaConf.register_new_resolver(name, function, replace=True)
