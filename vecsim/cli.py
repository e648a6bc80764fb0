"""The command line: compose, configure JAX, run, save, show."""

import contextlib
import errno
import importlib.metadata
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vecsim import places, streams
from vecsim.studies import overrides

BAD, FAILED, KILLED, UNWRITTEN, STOPPED, UNREAD = 2, 3, 4, 74, 130, 141
# The same command can be tried again when there is room.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """`vecsim` and `python -m vecsim`.

    Exit codes: 0 done, 1 a scenario does not show what it should, 2 bad input, 3 a scenario came
    upon an error of vecsim's own, 4 a job of a multirun was killed, 74 output could not be written
    (disk full, quota, size of a file), 130 interrupted, 141 the reader of the output has gone.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    streams.stand_in()
    alone = argv is None  # the process is the command's own
    sys.argv = [sys.argv[0], *overrides.told(given)]
    environment()
    with streams.exiting_on_interrupt(STOPPED) if alone else contextlib.nullcontext():
        from vecsim import launch, outside
        from vecsim.errors import ConfigError, JobFailed, JobKilled
        from vecsim.results.files import StoreError
        from vecsim.scenario import arguments
    if alone:
        streams.listen()

    code = 0
    try:
        require_folder()
        with outside.closed():
            if arguments.concerns(given) and not {"--help", "-h"} & {*given}:
                code = _scenarios(given)
            else:
                with refusals(), launch.watched():
                    _hydra(given)
        sys.stdout.flush()  # what can't be written is told here
    except (ConfigError, StoreError) as error:
        return _fail(str(error), error.__cause__)
    except JobFailed as failed:
        return failed.args[0]
    except JobKilled as error:
        _fail(str(error))
        return KILLED
    except KeyboardInterrupt:
        print(streams.TOLD, file=sys.stderr)
        if alone:
            streams.skip_teardown(STOPPED)
        return STOPPED
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        streams.drop_output()
        return UNREAD
    except OSError as error:
        if error.filename is None:
            streams.drop_output()
        where = error.filename or "output"
        return _fail(f"{where}: {error.strerror or str(error).partition(chr(10))[0]}", error)
    if alone:
        streams.ignore_interrupts()
    return code


def require_folder() -> None:
    from vecsim.errors import ConfigError

    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError("the working folder is deleted; allowed: one that exists") from None


def planned(task):
    """What a task computes and where, without computing."""
    from hydra import compose

    from vecsim import plan

    def other(choices):
        options = [f"{group}={option}" for group, option in choices.items()]
        return compose("config", [*task.words, *options])

    def bare():
        paths = [word for word in task.words if word.startswith("hydra.searchpath=")]
        return compose("config", paths)

    return plan.plan(task, other, bare)


def execute(task, reporter, begun=lambda output, options: None) -> tuple[Any, Path]:
    """Compute what the task's stores still lack; returns the studies by store and their folder.

    begun: told the folder, and the options of groups by name, before anything is computed.
    """
    from vecsim import device, provenance, report
    from vecsim.model import build
    from vecsim.studies import runner

    device.forget_programs()  # of the studies before, in a notebook or a multirun
    studies, works, output = planned(task)
    options = {each: task.options[each] for each in build.GROUPS if task.options.get(each)}
    begun(output, options)
    about = provenance.provenance(task.command)
    about["options"] = options
    for name, study in studies.items():
        report.announce(study, about["device"])
        if not runner.run(study, works[name], output / name, about, reporter):
            report.complete()
    return studies, output


def _scenarios(given: list[str]) -> int:
    """Scenarios of the simulated cluster: scenario=NAME, a pattern or all."""
    import traceback

    from rich.console import Console

    from vecsim import device
    from vecsim.errors import ConfigError
    from vecsim.model import trust
    from vecsim.results.files import StoreError
    from vecsim.scenario import arguments, command

    words = arguments.read(given)
    device.configure(words.cores)
    try:
        with trust.packages(words.packages):
            return command.run(words, Console(soft_wrap=False))
    except (ConfigError, StoreError, OSError):
        raise
    except Exception:  # Python's own 1 would read as a criterion that does not hold
        traceback.print_exc()
        return FAILED


def _hydra(given: list[str]) -> None:
    """Do what the arguments ask for: jobs, help, the configuration, shell completion."""
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.utils import JobReturn, JobStatus

    from vecsim import plan
    from vecsim.errors import ConfigError
    from vecsim.model import trust

    plan.prepare()
    if "--version" in given:
        print(f"vecsim {importlib.metadata.version('vecsim')}")
        return
    parser = get_args_parser()

    def refuse(message: str):  # argparse would print its usage as well
        raise ConfigError(f"{message}; --help shows what there is")

    parser.error = refuse
    trust.check_options(parser.parse_args(sys.argv[1:]))
    overrides.check([word for word in given if not word.startswith("-")])

    def result(job: JobReturn):  # Hydra's own would print a line more than the job did
        if job.status == JobStatus.COMPLETED:
            return job._return_value
        raise job._return_value

    setattr(JobReturn, "return_value", property(result, JobReturn.return_value.fset))  # noqa: B010
    command = hydra.main(
        version_base="1.3", config_path=str(places.root("conf")), config_name="config"
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

    environment()  # a launcher's process has not come by way of `main`
    from vecsim import launch, outside, plan, progress, report
    from vecsim.errors import ConfigError, JobFailed
    from vecsim.results.files import StoreError

    plan.prepare()
    hydra = HydraConfig.get()
    multirun = hydra.mode is not None and hydra.mode.name == "MULTIRUN"
    if multirun and "VECSIM_GPUS" in os.environ:
        # Jobs of a multirun on one machine would all take the first GPU.
        gpus = os.environ["VECSIM_GPUS"].split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[hydra.job.num % len(gpus)]
    words = list(hydra.overrides.task)
    paths = [text for text in hydra.overrides.hydra if text.startswith("hydra.searchpath=")]
    options = dict(hydra.runtime.choices)
    given = overrides.given(words)
    job = launch.Job(hydra, given) if multirun else None
    folder = job.folder if job else Path("results")
    command = given if job else overrides.given(sys.argv[1:])
    task = plan.Task(config, [*paths, *words], options, folder, ["vecsim", *command])
    with job or contextlib.nullcontext():
        try:
            with outside.closed(), refusals():
                begun = [job.begun] if job else []
                studies, output = execute(task, progress.reporter(), *begun)
                report.show(studies, output, config.netcdf, config.figure, config.theory)
        except (ConfigError, StoreError) as error:
            if job:
                job.failed("refused", str(error))
            told = f"{job.name}: {error}" if job else str(error)
            raise JobFailed(_fail(told, error.__cause__)) from None


def environment() -> None:
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach us, to be told in one line
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA finds fault with its own compile cache


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """What Hydra finds wrong becomes a ConfigError."""
    from vecsim.errors import ConfigError
    from vecsim.model import build

    try:
        yield
    except build.COMPOSING as error:
        raise ConfigError(overrides.readable(build.sentence(error))) from None
    except ValueError as error:
        if isinstance(error, ConfigError) or not build.raised_by_hydra(error):
            raise
        message = overrides.readable(build.sentence(error))
        raise ConfigError(f"not to be composed: {message}") from None


def _fail(message: str, cause: BaseException | None = None) -> int:
    print(f"vecsim: {message}", file=sys.stderr, flush=True)
    return UNWRITTEN if isinstance(cause, OSError) and cause.errno in NO_ROOM else BAD
