"""One scenario from Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from vecsim.places import environment, require_working_folder
from vecsim.scenario.judging import Verdict


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


def run(words: Sequence[str], output: str | Path | None, config_dir: Any) -> Judged:
    """Run the scenario that words of the command line are about, or read it where it is complete.

    output, config_dir: as for `vecsim.scenario.run`. ConfigError where the words have no meaning or
    stand for several scenarios; StoreError where the results on disk are damaged.
    """
    environment()
    from rich.console import Console

    from vecsim import outside
    from vecsim.model import trust
    from vecsim.scenario import arguments, command

    require_working_folder()
    folders = trust.config_folders(config_dir)
    said = arguments.read_words(words)
    place = said.output if output is None else Path(output)
    said = said._replace(output=place, folders=[*folders, *said.folders])
    with outside.closed():
        job, outcome, data = command.run_one(said, Console())
    return Judged(data, list(outcome.verdicts), outcome.good, job.folder)
