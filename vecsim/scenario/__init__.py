"""Scenarios: a simulated cluster under load and faults, and criteria that its figures must meet.

>>> import vecsim
>>> judged = vecsim.scenario.run("ci_smoke_test", trials=2)  # doctest: +SKIP
>>> judged.passed, judged.verdicts  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

    from vecsim.scenario.judging import Verdict

__all__ = ["run"]


class Judged(NamedTuple):
    """What came of a scenario.

    data: its dataset (see README, "The defended cluster"). verdicts: what came of each criterion.
    passed: whether it shows what it must: every criterion holds, or fails where that is expected.
    output: the folder of its results.
    """

    data: xr.Dataset
    verdicts: list[Verdict]
    passed: bool
    output: Path


def run(
    name: str | Path,
    /,
    output: str | Path | None = None,
    config_dir: str | Path | Sequence[str | Path] | None = None,
    **changes: Any,
) -> Judged:
    """Run one scenario, judge it, and write what came of it; one that is complete is read.

    name: of the scenario, or the path of its file. output: folder in which that of the scenario is
    made; default results/scenario. config_dir: folder of configuration beside vecsim's own, or a
    list of them. changes: keys of the scenario, `trials=2, cluster={"nodes": 20}, duration_s=20`;
    a mapping sets its own keys and leaves the others, two underscores stand for the dot.
    ConfigError, one line, where a key or a value has no meaning, before anything runs, or where the
    name stands for several scenarios; StoreError where the results on disk are damaged.
    """
    from vecsim import places

    places.environment()
    from pathlib import Path

    from rich.console import Console

    from vecsim import outside
    from vecsim.model import trust
    from vecsim.scenario import arguments, command
    from vecsim.studies import overrides

    keywords = {f"scenario.{key}": value for key, value in changes.items()}
    words = overrides.from_python((), {"scenario": name, **keywords})
    places.require_working_folder()
    folders = trust.config_folders(config_dir)
    said = arguments.read_words(words)
    place = said.output if output is None else Path(output)
    said = said._replace(output=place, folders=[*folders, *said.folders])
    with outside.closed():
        job, outcome, data = command.run_one(said, Console())
    return Judged(data, list(outcome.verdicts), outcome.good, job.folder)
