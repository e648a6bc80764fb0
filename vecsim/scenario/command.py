"""`vecsim scenario=NAME`, a pattern, or `all`: run, judge, show, and write what came of it."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr
from rich.console import Console

from vecsim import device
from vecsim.cluster.config import parse_run
from vecsim.errors import require, within
from vecsim.model import trust
from vecsim.results import netcdf
from vecsim.results.files import StoreError, json_digest, one_line
from vecsim.scenario import config, export, finding, report, saved, verdict
from vecsim.scenario.arguments import ScenarioWords, WantedScenarios
from vecsim.scenario.judging import judge_all
from vecsim.scenario.simulate import Tell, own_code, prepare, run_scenario
from vecsim.scenario.verdict import ScenarioOutcome
from vecsim.studies import counts, obey, overrides
from vecsim.studies.planned import Planned
from vecsim.watching.scenario import WatchedScenarios
from vecsim.watching.watch import watched

SUITE = Path("results/scenario")  # of all results, unless the command names another folder
EVERY_S = 10.0  # of wall time between lines that stay: a log of a day's run remains readable


class _Job(NamedTuple):
    """A scenario to be run."""

    config: dict[str, Any]
    about: str  # what it shows
    folder: Path  # of its results
    varied: str  # what is particular about it in a multirun, "" if it is alone
    nodes: list[str]  # lines that say how many are Byzantine


def run_command(words: ScenarioWords, console: Console) -> int:
    """Run scenarios; returns the exit status, 0 if all show what they must, else 1.

    All are checked before the first one runs. One that is complete in its folder is read, one that
    was interrupted goes on.
    """
    folder, outcomes = words.output or SUITE, []
    with _ready(words) as (jobs, shown):
        for number, job in enumerate(jobs, 1):
            name = ScenarioOutcome(job.config, [], job.varied).name
            text = f"[{number}/{len(jobs)}] {name}{': ' if job.about else ''}{job.about}"
            for line in (text, *job.nodes):
                console.print(verdict.plain_text(line), markup=False, highlight=False)
            outcomes.append(_one(job, console, shown))
            verdict.show_verdicts(outcomes[-1], console)
    if len(outcomes) > 1:
        verdict.show_summary(outcomes, console)
        with one_line(folder):
            report.write_summary(folder, outcomes)
    console.print(f"results  {verdict.plain_text(str(folder))}", markup=False, soft_wrap=True)
    return 0 if all(outcome.good for outcome in outcomes) else 1


def run_one(words: ScenarioWords, console: Console) -> tuple[_Job, ScenarioOutcome, xr.Dataset]:
    """Run one scenario, or read it; returns it, what came of it, and its dataset. ConfigError where
    the words stand for several."""
    with _ready(words) as (jobs, shown):
        require(len(jobs) == 1, "scenario", [job.config["name"] for job in jobs], "one at a time")
        return (
            jobs[0],
            _one(jobs[0], console, shown),
            netcdf.load_netcdf(jobs[0].folder / saved.DATA),
        )


@contextlib.contextmanager
def _ready(words: ScenarioWords) -> Iterator[tuple[list[_Job], WatchedScenarios]]:
    """The scenarios, this machine and the packages of components as they want them, and what shows
    how far they are."""
    device.configure(words.cores)
    with trust.packages(words.packages):
        jobs = planned_scenarios(words)
        with watched(words.watch, words.output or SUITE) as watch:
            yield jobs, WatchedScenarios(watch, len(jobs))


def planned_scenarios(words: ScenarioWords) -> list[_Job]:
    """The scenarios that a command line asks for, checked; ConfigError where one has no meaning, or
    two would write to one folder."""
    jobs = [job for wanted in words.wanted for job in _jobs(wanted, words)]
    folders = [job.folder for job in jobs]
    for job in jobs:
        allowed = "a name for each scenario"
        require(folders.count(job.folder) == 1, "scenario.name", job.config["name"], allowed)
    return jobs


def _jobs(wanted: WantedScenarios, words: ScenarioWords) -> Iterator[_Job]:
    for name in finding.chosen(wanted.pattern, words.folders):
        given = finding.compose_scenario(name, wanted.changes, words.folders)
        with within(f"scenario {given['name']}"):
            given = prepare(given)
        about = finding.shows(name, words.folders)
        own = given["name"]
        if wanted.varied:
            own += f"-{json_digest({'varied': sorted(wanted.varied)})[:8]}"
        folder = (words.output or SUITE) / own
        yield _Job(given, about, folder, ", ".join(wanted.varied), _nodes(given, wanted.changes))


def _nodes(given: dict[str, Any], changes: list[str]) -> list[str]:
    """Lines that say how many nodes are Byzantine; ConfigError where a change is about none."""
    described = map(config.simulated, config.variants(given).values())
    points = [Planned(parse_run(each), {}) for each in described]
    keys = [overrides.parse_word(change).key for change in changes]
    share = "scenario.cluster.byzantine_fraction"
    obey.check_byzantine(keys, (), (point.byzantine for point in points), share)
    lines = counts.range_of(points), counts.rounded(points)
    return [f"  {line}" for line in lines if line]


def _one(job: _Job, console: Console, shown: WatchedScenarios) -> ScenarioOutcome:
    """One scenario, done, and shown to be."""
    outcome = _done(job, console, shown)
    shown.judged(outcome.good)
    return outcome


def _done(job: _Job, console: Console, shown: WatchedScenarios) -> ScenarioOutcome:
    """One scenario: read if it is complete and the same, else run, judged and written."""
    digest = json_digest(job.config | own_code(job.config))
    partial, names = job.folder / saved.PARTIAL, config.variants(job.config)
    with _told(job.folder):
        found = _read(job, digest)
    if found:
        # Its writer was killed in the end.
        if partial.exists() or (job.folder / saved.LOCK).exists():
            with contextlib.suppress(StoreError), saved.locked(job.folder):
                saved.remove_saved(partial, names)
        return found
    with saved.locked(job.folder), _told(job.folder):
        if found := _read(job, digest):  # another process has just written it
            return found
        with _telling(console) as tell:
            show = shown.of(job.folder.name)
            data, verdicts = run_scenario(job.config, partial, tell, show)
        outcome = ScenarioOutcome(job.config, verdicts, job.varied)
        _reports(job, outcome, data)
        data.attrs |= {"digest": digest, "verdicts": json.dumps(export.plain_verdicts(verdicts))}
        netcdf.save_netcdf(data, job.folder / saved.DATA)
        saved.remove_saved(partial, names)
    return outcome


def _read(job: _Job, digest: str) -> ScenarioOutcome | None:
    """What is complete, its result verified; reports that are gone are written again."""
    data = saved.load_same(job.folder / saved.DATA, digest)
    if data is None:
        return None
    outcome = ScenarioOutcome(job.config, judge_all(config.criteria(job.config), data), job.varied)
    if (job.folder / export.RESULT).exists():
        export.read_result(job.folder / export.RESULT)
    if not all((job.folder / name).exists() for name in (export.RESULT, *report.PAGES)):
        _reports(job, outcome, data)
    return outcome


def _reports(job: _Job, outcome: ScenarioOutcome, data: xr.Dataset) -> None:
    exported = export.result_json(job.config, data, outcome.verdicts)
    export.write_result(exported, job.folder / export.RESULT)
    report.write_report(job.folder, outcome, data, job.about)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turns an error of the operating system into a StoreError, but for a pipe whose reader has
    gone."""
    try:
        with one_line(folder):
            yield
    except StoreError as error:
        if isinstance(error.__cause__, BrokenPipeError):
            raise error.__cause__ from None
        raise


@contextlib.contextmanager
def _telling(console: Console) -> Iterator[Tell]:
    """Gives a function that shows what is being done: on a terminal as one line that changes,
    elsewhere as a line at first and then every ten seconds at most."""
    began, last = time.monotonic(), -EVERY_S

    def tell(text: str) -> None:
        nonlocal last
        spent = time.monotonic() - began
        line = f"  {verdict.plain_text(text)}, {spent:,.0f} s"
        if live:
            live.update(line)
        elif spent - last >= EVERY_S:
            last = spent
            console.print(line, markup=False, highlight=False)

    with console.status("starting") if console.is_terminal else contextlib.nullcontext() as live:
        yield tell
