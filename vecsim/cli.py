"""The command line: compose, configure JAX, run, save, show."""

import contextlib
import errno
import importlib.metadata
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vecsim import streams
from vecsim.errors import ConfigError, JobKilled
from vecsim.places import environment, require_working_folder
from vecsim.results.files import StoreError
from vecsim.studies import overrides

# Exit codes, explained in `main`; 74 is EX_IOERR, 130 and 141 are what shells use.
BAD, FAILED, KILLED, UNWRITTEN, STOPPED, UNREAD = 2, 3, 4, 74, 130, 141
# Errors of a full disk: the same command can be tried again when there is room.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """`vecsim` and `python -m vecsim`. argv: the arguments; those of the process if None.

    Exit codes: 0 done, 1 a scenario does not show what it should, 2 bad input, 3 an error of
    vecsim itself in a scenario, 4 a job of a multirun or a worker was killed, 74 output could not
    be written (disk full, quota, file size), 130 interrupted, 141 the reader of the output has
    gone. What ended with 2 will do so again; after any other the same command may be tried again.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    streams.stand_in()
    alone = argv is None  # the process runs this command and nothing else
    environment()
    with streams.exiting_on_interrupt(STOPPED) if alone else contextlib.nullcontext():
        importlib.import_module("vecsim.launch")  # imports everything that is slow to import
    if alone:
        streams.listen()

    try:
        require_working_folder()
        code = _command(given)
        sys.stdout.flush()  # a failed write is reported here
    except (ConfigError, StoreError) as error:
        return _fail(str(error), error.__cause__)
    except JobKilled as error:
        return _fail(str(error), code=KILLED)
    except KeyboardInterrupt:
        print(streams.TOLD, file=sys.stderr)
        if alone:
            streams.skip_teardown(STOPPED)
        return STOPPED
    except BrokenPipeError:  # the reader of the output has gone, as `head` does
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


def execute(task, reporter, begun=lambda output, options: None, planned=None):
    """Compute what the task's stores still lack; return its `plan.Plan`.

    reporter: hears of progress, a `vecsim.studies.tally.Reporter`.
    begun: called with the folder and the chosen options of the groups before anything is computed.
    planned: the result of `plan.plan` for the task, if there is one already.
    """
    from vecsim import device, plan, provenance, report
    from vecsim.model import build
    from vecsim.studies import executors, runner
    from vecsim.watching.study import watching_reporter
    from vecsim.watching.watch import watched

    device.forget_programs()  # of earlier studies, in a notebook or a multirun
    planned = planned or plan.plan(task)
    options = {each: task.options[each] for each in build.GROUPS if task.options.get(each)}
    begun(planned.output, options)
    about = {**provenance.provenance(task.command), "options": options}
    if planned.shard.of > 1:
        about["stores"] = [*planned.studies]  # all of which are merged
    with watched(planned.watch, planned.folder) as watch:
        for name, study in planned.studies.items():
            work, engine = planned.works[name], planned.engine
            report.announce(study, executors.computed_by(engine, about["device"]), planned.shard)
            hears = watching_reporter(reporter, watch, study, name)
            executor = executors.executor_for(engine, planned.assignment(name), work)
            path = planned.folder / name
            if not runner.run_study(work, path, about, hears, executor, planned.shard):
                print("complete, nothing to compute", flush=True)
    return planned


def _command(given: list[str]) -> int:
    """Do what the arguments ask for: jobs, help, the configuration, shell completion."""
    from vecsim import composing, launch, options, showing, subcommands
    from vecsim.scenario import arguments

    if given and given[0] in subcommands.SUBCOMMANDS:
        return subcommands.run(*given)
    asked = options.parse_options(given)
    words = asked.overrides
    if asked.version:
        print(f"vecsim {importlib.metadata.version('vecsim')}")
        return 0
    about_scenarios = arguments.concerns(words)
    if about_scenarios and not asked.help:
        return _scenarios(given)
    with composing.command_session(asked.folders):
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
            return launch.run_job_here(words, partial(_job, [words], given))
    return 0


def _scenarios(given: list[str]) -> int:
    """Scenarios of the simulated cluster: scenario=NAME, a pattern or all."""
    import traceback

    from rich.console import Console

    from vecsim.scenario import arguments, command

    try:
        return command.run_command(arguments.read_words(given), Console(soft_wrap=False))
    except (ConfigError, StoreError, OSError):
        raise
    except Exception:  # Python's exit code 1 would read as a criterion that does not hold
        traceback.print_exc()
        return FAILED


def _job(jobs: list[list[str]], command: list[str] | None, config):
    """One job, in this process or in one that a launcher has started: a `launch.Ended`.

    jobs: the words of every job, by its number. command: what was typed; None in a multirun, whose
    jobs have words of their own. An exception is returned: Hydra would print a line of its own
    about one that it catches.
    """
    from hydra.core.hydra_config import HydraConfig

    environment()  # a launcher's process has not called `main`
    from vecsim import composing, device, launch, outside, plan, progress, report

    hydra = HydraConfig.get()
    number = hydra.job.num if command is None else 0
    if command is None:
        device.take_gpu(number)  # else all jobs of a multirun on one machine would take the first
    words = jobs[number]
    composing.register()
    composing.add_swept(config, words)
    job = launch.Job(hydra, words) if command is None else None
    if job and job.on_ray and (elsewhere := job.not_shared(hydra.runtime.cwd)):
        return launch.Ended(elsewhere)
    folder = job.folder if job else Path("results")
    begun = [job.begun] if job else []
    options = dict(hydra.runtime.choices)
    paths = composing.searching(hydra.overrides.hydra) if job else []
    task = plan.Task(config, [*paths, *words], options, folder, ["vecsim", *(command or words)])
    code: int | Exception = 0
    try:
        with job or contextlib.nullcontext(), outside.closed(), composing.refusals():
            planned = execute(task, progress.reporter(), *begun)
            report.show_studies(planned, config.netcdf, config.figure, config.theory)
    except (ConfigError, StoreError) as error:
        code = _fail(f"{job.name}: {error}" if job else str(error), error.__cause__)
    except Exception as error:
        code = error
    return launch.Ended(code, job.text.getvalue() if job and job.on_ray else "")


def _fail(message: str, cause: BaseException | None = None, code: int = BAD) -> int:
    print(f"vecsim: {message}", file=sys.stderr, flush=True)
    return UNWRITTEN if isinstance(cause, OSError) and cause.errno in NO_ROOM else code
