"""Jobs of a multirun: what the driver does before and after them, and each job for itself."""

import atexit
import contextlib
import io
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from vecsim import device
from vecsim.errors import JobKilled
from vecsim.results import jobs
from vecsim.studies import overrides


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Within this, jobs are listed before they begin, and those that were killed are told of."""
    before = Plugins.instantiate_launcher

    def instantiate(self, **given) -> Launcher:
        return Watched(before(self, **given), given["config"])

    setattr(Plugins, "instantiate_launcher", instantiate)  # noqa: B010
    try:
        yield
    finally:
        setattr(Plugins, "instantiate_launcher", before)  # noqa: B010


class Watched(Launcher):
    """A launcher of Hydra's, watched by the driver."""

    def __init__(self, launcher: Launcher, config):
        self.launcher, self.config = launcher, config
        self.jobs: list[Sequence[str]] = []

    def setup(self, **_) -> None:
        """The launcher within is set up."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        hydra = self.config.hydra
        self.jobs += job_overrides
        folders: dict[Path, list[list[str]]] = {}
        for job in self.jobs:
            given = overrides.given(job)
            folders.setdefault(folder(hydra.sweep.dir, given), []).append(given)
        command = shlex.join(["vecsim", *overrides.given(list(hydra.overrides.task))])
        for path, listed in folders.items():
            jobs.write_list(path, command, listed)
        try:
            with _shared_cores(hydra.launcher, len(job_overrides)):
                found = self.launcher.launch(job_overrides, initial_job_idx)
        except BrokenExecutor:
            fewer = "fewer at once take less memory: hydra.launcher.n_jobs=1"
            raise JobKilled(f"a job was killed, and others with it; {AGAIN}; {fewer}") from None
        except Exception as error:
            if not type(error).__module__.startswith("submitit"):
                raise
            line = str(error).strip().partition("\n")[0]
            raise JobKilled(f"a job ended without a result; {AGAIN}; {line}") from None
        if "submitit" in str(hydra.launcher._target_):  # what they print is in their own logs
            for number, job in enumerate(job_overrides, initial_job_idx):
                given = overrides.given(job)
                about = jobs.read_record(folder(hydra.sweep.dir, given), given)
                if about.get("state") in ("refused", "failed"):
                    told = f"vecsim: {heading(number, given)}: {about.get('told')}"
                    print(told, file=sys.stderr, flush=True)
        return found


AGAIN = "the same command goes on"


def folder(multirun: str, given: Sequence[str]) -> Path:
    """Of the jobs of one experiment, in that of the multirun."""
    words = [text.lstrip("+").partition("=") for text in given]
    named = [value for key, _, value in words if key == "experiment"]
    return Path(multirun, named[-1] if named else "study")


def heading(number: int, given: Sequence[str]) -> str:
    return f"job {number} ({', '.join(given)})"


@contextlib.contextmanager
def _shared_cores(launcher: Any, count: int) -> Iterator[None]:
    """Processes of joblib that run at once share the cores."""
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
    """A job of a multirun, as it runs. Use in a `with`: what it prints stands under its name."""

    def __init__(self, hydra: Any, given: list[str]):
        self.folder, self.given = folder(hydra.sweep.dir, given), given
        self.name = heading(hydra.job.num, given)
        self.beside = "BasicLauncher" not in str(hydra.launcher._target_)

    def record(self, **about: Any) -> None:
        with contextlib.suppress(OSError):  # the job itself says what it cannot write
            jobs.record(self.folder, self.given, **about)

    def begun(self, output: Path, options: Mapping[str, str]) -> None:
        """What it computes is known, where, and by which names."""
        inside = output.is_relative_to(self.folder)
        where = str(output.relative_to(self.folder) if inside else output.absolute())
        self.results = {"output": where, "options": dict(options)}
        self.record(state="begun", **self.results)

    def failed(self, state: str, told: str) -> None:
        self.record(state=state, told=told)
        if "SUBMITIT_FOLDER" in os.environ:  # else the queue would call it completed
            atexit.register(_leave, 2 if state == "refused" else 1)

    def __enter__(self) -> "Job":
        self.record(state="begun")
        self.text = io.StringIO()
        self.redirected = contextlib.ExitStack()
        if self.beside:  # others print at the same time
            self.redirected.enter_context(contextlib.redirect_stdout(self.text))
        print(self.name, flush=True)
        return self

    def __exit__(self, kind, error, _) -> None:
        self.redirected.close()
        if self.beside:
            sys.stdout.write(self.text.getvalue())
            sys.stdout.flush()
        if error is None:
            self.record(state="done", **self.results)
        elif isinstance(error, Exception):
            told = f"{kind.__name__}: {error}"
            if jobs.read_record(self.folder, self.given).get("state") == "begun":
                self.failed("failed", told.partition("\n")[0])


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
