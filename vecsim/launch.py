"""Jobs of a multirun: what the driver does before and after them, and what each job does."""

import contextlib
import io
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, run_job
from hydra.experimental.callback import Callback
from hydra.types import HydraContext

from vecsim import composing, device, ray_jobs, streams
from vecsim.errors import GOES_ON, ConfigError, JobKilled, first_line, require
from vecsim.results import files, jobs
from vecsim.studies import overrides


class Ended(NamedTuple):
    """What a job returns: its exit code, or the exception where vecsim itself fails; its output
    where the driver is to print it."""

    code: int | Exception
    text: str = ""


def run_job_here(words: Sequence[str], task: Callable[[Any], Any]) -> int:
    """Run one job in this process; return its exit code. task: gets the composed configuration."""
    config = composing.compose([*_without_mode(words), "hydra.mode=RUN"])
    return _code(run_job(task, config, "hydra.run.dir", None, _context()))


def multirun(words: Sequence[str], task: Callable[[list[list[str]]], Callable[[Any], Any]]) -> int:
    """Run one job for each combination of values with Hydra's launcher; return the first exit code
    that is not 0, or 0. All jobs are composed and listed on disk before the first one begins.

    task: takes the words of all jobs and returns what a job runs.
    """
    listed, _, shared = composing.jobs(_without_mode(words))
    configs = [composing.compose([*job, *shared, "hydra.mode=MULTIRUN"]) for job in listed]
    for config in configs:
        allowed = "null with -m, whose jobs would be shown in one place"
        require(config.get("watch") is None, "watch", config.get("watch"), allowed)
    hydra = configs[0].hydra
    for config in configs if "joblib" in str(hydra.launcher._target_).lower() else ():
        workers = config.get("engine", {}).get("workers")
        allowed = "null or tcp://HOST:PORT with hydra/launcher=joblib, whose jobs are processes"
        require(not isinstance(workers, int), "engine.workers", workers, allowed)
    on_ray = ray_jobs.on_ray(hydra)
    if on_ray:
        ray_jobs.require_installed(hydra)
    made = Plugins.instance().instantiate_launcher(_context(), task(listed), configs[0])
    _write_lists(words, hydra.sweep.dir, listed)
    try:
        with ray_jobs.connected(hydra) if on_ray else _shared_cores(hydra.launcher, len(listed)):
            returned = made.launch([composing.told(job) for job in listed], 0)
        for job in returned:
            print(job.return_value.text, end="", flush=True)
        if on_ray or "submitit" in str(hydra.launcher._target_):  # stderr is in their logs
            _print_errors(hydra.sweep.dir, listed)
        return next(filter(None, map(_code, returned)), 0)
    except BrokenExecutor:
        fewer = "fewer at once take less memory: hydra.launcher.n_jobs=1"
        raise JobKilled(f"a job was killed, and others with it; {GOES_ON}; {fewer}") from None
    except Exception as error:
        if not (_of_queue(error) or ray_jobs.is_lost(error)):
            raise
        others = ", and others with it" if on_ray else ""
        said = str(error).strip().splitlines()[1:2]
        state = [line for line in said if "(state: " in line]  # such as CANCELLED
        line = " ".join([first_line(error), *state])
        raise JobKilled(f"a job ended without a result{others}; {GOES_ON}; {line}") from None


def _write_lists(words: Sequence[str], multirun: str, listed: list[list[str]]) -> None:
    """Write into each folder of jobs which there should be. multirun: the folder of all."""
    folders: dict[Path, list[list[str]]] = {}
    for job in listed:
        folders.setdefault(folder(multirun, job), []).append(job)
    task_words = [word for word in words if not overrides.parse_word(word).key.startswith("hydra")]
    for path, jobs_there in folders.items():
        jobs.write_list(path, shlex.join(["vecsim", *task_words]), jobs_there)


def _print_errors(multirun: str, listed: list[list[str]]) -> None:
    """Print what jobs that were refused or failed have recorded. multirun: the folder of all."""
    for number, job in enumerate(listed):
        about = jobs.read_record(folder(multirun, job), job)
        if about.get("state") in ("refused", "failed"):
            told = f"vecsim: {_heading(number, job)}: {about.get('told')}"
            print(told, file=sys.stderr, flush=True)


def _of_queue(error: BaseException) -> bool:
    """Whether submitit raised an error: a job is lost, or it is told that its time is over."""
    return type(error).__module__.startswith("submitit")


def _without_mode(words: Sequence[str]) -> list[str]:
    return [word for word in words if overrides.parse_word(word).key != "hydra.mode"]


def _context() -> HydraContext:
    callbacks: Any = Callback()  # does nothing
    return HydraContext(GlobalHydra.instance().config_loader(), callbacks)


def _code(job: JobReturn) -> int:
    """The exit code that a job returned; an exception that it returned is raised."""
    if isinstance(job.return_value.code, Exception):
        raise job.return_value.code
    return job.return_value.code


def folder(multirun: str, given: Sequence[str]) -> Path:
    """The folder of the jobs of one experiment, inside that of the multirun: its name, or `study`.

    given: the words of a job.
    """
    words = [text.lstrip("+").partition("=") for text in given]
    named = [value for key, _, value in words if key == "experiment"]
    return Path(multirun, named[-1] if named else "study")


def _heading(number: int, given: Sequence[str]) -> str:
    return f"job {number} ({', '.join(given)})"


@contextlib.contextmanager
def _shared_cores(launcher: Any, count: int) -> Iterator[None]:
    """Divide the cores among the processes of joblib that run at the same time."""
    if launcher.get("n_jobs") is None:
        yield
        return
    from joblib import effective_n_jobs

    at_once = min(effective_n_jobs(launcher.n_jobs), count)
    os.environ[device.SHARE] = str(max(1, device.cores() // at_once))
    try:
        yield
    finally:
        del os.environ[device.SHARE]


class Job:
    """A running job of a multirun, as a context: its output is printed under its name.

    hydra: Hydra's own settings for the job. given: the words of the job.
    """

    def __init__(self, hydra: Any, given: list[str]):
        self.folder, self.given = folder(hydra.sweep.dir, given), given
        self.name = _heading(hydra.job.num, given)
        self.beside = "BasicLauncher" not in str(hydra.launcher._target_)
        self.on_ray = ray_jobs.on_ray(hydra)
        self.text = io.StringIO()

    def not_shared(self, driver: str) -> ConfigError | None:
        """The error that the driver's folder, with its list of jobs, is not on this machine."""
        if os.getcwd() == driver and any(self.folder.glob("jobs-*.json")):
            return None
        told = f"{self.name}: {driver} is not there on {socket.gethostname()}"
        return ConfigError(f"{told}; allowed: a folder that all nodes share")

    def record(self, **about: Any) -> None:
        """Write what has become of the job; about: as of `vecsim.results.jobs.write_record`."""
        with contextlib.suppress(OSError):  # the job itself reports what it cannot write
            jobs.write_record(self.folder, self.given, **about)

    def begun(self, output: Path, options: Mapping[str, str]) -> None:
        """Record that the job computes, its folder and the chosen options of the groups."""
        inside = output.is_relative_to(self.folder)
        where = str(output.relative_to(self.folder) if inside else output.absolute())
        self.results = {"output": where, "options": dict(options)}
        self.record(state="begun", **self.results)

    def __enter__(self) -> "Job":
        self.record(state="begun")
        self.redirected = contextlib.ExitStack()
        if self.beside:  # others print at the same time
            self.redirected.enter_context(contextlib.redirect_stdout(self.text))
        print(self.name, flush=True)
        return self

    def __exit__(self, kind, error, _) -> None:
        self.redirected.close()
        if self.beside and not self.on_ray:
            print(self.text.getvalue(), end="", flush=True)
        if error is None:
            self.record(state="done", **self.results)
        elif isinstance(error, Exception):
            refused = isinstance(error, (ConfigError, files.StoreError))
            told = str(error) if refused else f"{kind.__name__}: {error}".partition("\n")[0]
            if not _of_queue(error):  # at its time limit a job was stopped, and that is recorded
                self.record(state="refused" if refused else "failed", told=told)
            if "SUBMITIT_FOLDER" in os.environ:  # otherwise the queue would call it completed
                streams.skip_teardown(2 if refused else 1)
