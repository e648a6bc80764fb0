"""The command line: compose, configure JAX, run, save, show."""

import contextlib
import errno
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vecsim import streams
from vecsim.places import environment, require_working_folder
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
    environment()
    with streams.exiting_on_interrupt(STOPPED) if alone else contextlib.nullcontext():
        importlib.import_module("vecsim.launch")  # with it all that takes long to import
        from vecsim.errors import ConfigError, JobKilled
        from vecsim.results.files import StoreError
    if alone:
        streams.listen()

    code = 0
    try:
        require_working_folder()
        code = _command(given)
        sys.stdout.flush()  # what can't be written is told here
    except (ConfigError, StoreError) as error:
        return _fail(str(error), error.__cause__)
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


def plan_task(task):
    """What a task computes and where, without computing."""
    from vecsim import composing, plan

    def other(choices):
        return composing.compose_plain(
            [*task.words, *(f"{key}={name}" for key, name in choices.items())]
        )

    def bare():
        return composing.compose_plain(composing.searching(task.words))

    return plan.plan(task, other, bare)


def execute(task, reporter, begun=lambda output, options: None, plan=None) -> tuple[Any, Path]:
    """Compute what the task's stores still lack; returns the studies by store and their folder.

    begun: told the folder, and the options of groups by name, before anything is computed. plan:
    what `planned` gave of the task, where it was asked before.
    """
    from vecsim import device, provenance, report
    from vecsim.model import build
    from vecsim.studies import runner

    device.forget_programs()  # of the studies before, in a notebook or a multirun
    studies, works, output = plan or plan_task(task)
    options = {each: task.options[each] for each in build.GROUPS if task.options.get(each)}
    begun(output, options)
    about = provenance.provenance(task.command)
    about["options"] = options
    for name, study in studies.items():
        report.announce(study, about["device"])
        if not runner.run_study(study, works[name], output / name, about, reporter):
            report.announce_complete()
    return studies, output


def _command(given: list[str]) -> int:
    """Do what the arguments ask for: jobs, help, the configuration, shell completion."""
    from functools import partial

    from vecsim import composing, launch, options, places, showing
    from vecsim.scenario import arguments

    asked = options.parse_options(given)
    words = asked.overrides
    if asked.version:
        print(f"vecsim {importlib.metadata.version('vecsim')}")
        return 0
    about_scenarios = arguments.concerns(words)
    if about_scenarios and not asked.help:
        return _scenarios(given)
    with composing.refusals(), composing.session([places.root("conf"), *asked.folders]):
        if asked.shell_completion:
            showing.completion(words)
            return 0
        overrides.check_words(words)
        if asked.help:
            showing.usage([] if about_scenarios else words, asked.resolve)
        elif asked.cfg:
            showing.configuration(words, asked.cfg, asked.package, asked.resolve)
        elif asked.multirun or "hydra.mode=MULTIRUN" in words:
            return launch.multirun(words, lambda jobs: partial(_job, jobs, None))
        else:
            return launch.run_jobs(words, partial(_job, [words], given))
    return 0


def _scenarios(given: list[str]) -> int:
    """Scenarios of the simulated cluster: scenario=NAME, a pattern or all."""
    import traceback

    from rich.console import Console

    from vecsim.errors import ConfigError
    from vecsim.results.files import StoreError
    from vecsim.scenario import arguments, command

    try:
        return command.run_command(arguments.read_words(given), Console(soft_wrap=False))
    except (ConfigError, StoreError, OSError):
        raise
    except Exception:  # Python's own 1 would read as a criterion that does not hold
        traceback.print_exc()
        return FAILED


def _job(jobs: list[list[str]], command: list[str] | None, config) -> int | Exception:
    """One job, in this process or in another one that a launcher has started.

    jobs: the words of every job, by its number. command: what was typed; None in a multirun, whose
    jobs have words of their own. Returns the exit code; what goes wrong in vecsim itself as well,
    for Hydra would print a line of its own about what it catches.
    """
    from hydra.core.hydra_config import HydraConfig

    environment()  # a launcher's process has not come by way of `main`
    from vecsim import composing, launch, outside, plan, progress, report
    from vecsim.errors import ConfigError
    from vecsim.results.files import StoreError

    hydra = HydraConfig.get()
    number = hydra.job.num if command is None else 0
    if command is None and "VECSIM_GPUS" in os.environ:
        # Jobs of a multirun on one machine would all take the first GPU.
        gpus = os.environ["VECSIM_GPUS"].split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    words = jobs[number]
    composing.register()
    composing.add_swept(config, words)
    job = launch.Job(hydra, words) if command is None else None
    folder = job.folder if job else Path("results")
    begun = [job.begun] if job else []
    options, typed = dict(hydra.runtime.choices), words if command is None else command
    paths = composing.searching(hydra.overrides.hydra) if job else []
    task = plan.Task(config, [*paths, *words], options, folder, ["vecsim", *typed])
    try:
        with job or contextlib.nullcontext(), outside.closed(), composing.refusals():
            studies, output = execute(task, progress.reporter(), *begun)
            report.show_studies(studies, output, config.netcdf, config.figure, config.theory)
    except (ConfigError, StoreError) as error:
        return _fail(f"{job.name}: {error}" if job else str(error), error.__cause__)
    except Exception as error:
        return error
    return 0


def _fail(message: str, cause: BaseException | None = None) -> int:
    print(f"vecsim: {message}", file=sys.stderr, flush=True)
    return UNWRITTEN if isinstance(cause, OSError) and cause.errno in NO_ROOM else BAD
