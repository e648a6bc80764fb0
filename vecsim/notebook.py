"""What the command line does, from Python."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vecsim.cli import environment, execute, require_working_folder
from vecsim.studies import overrides


def run(words: Sequence[Any], keywords: Mapping[str, Any], output: str | Path | None = None):
    """Compute a study, or read it if it is there, and return its dataset.

    words, keywords: as of `vecsim.run`. output: folder of the results; default
    results/<name>-<hash of the parameters>.
    """
    environment()
    from vecsim import composing, progress, report
    from vecsim.results import store
    from vecsim.scenario import arguments

    require_working_folder()
    given = overrides.from_python(words, keywords)
    if arguments.concerns(given):
        from rich.console import Console

        from vecsim.scenario import command

        asked = arguments.read_words(given)
        asked = asked._replace(output=asked.output if output is None else Path(output))
        return command.single(asked, Console())
    with composing.refusals(), composing.session():
        task = composed(given, output)
        studies, folder = execute(task, progress.reporter())
        wanted = {overrides.parse_word(word).key for word in task.words}
        if wanted & {"netcdf", "figure", "theory"}:
            drawn = bool(wanted & {"figure", "theory"}) and task.config.figure
            report.save_files(studies, folder, task.config.netcdf, drawn, task.config.theory)
    return store.open(folder / "data.zarr")


def composed(given: Sequence[str], output: str | Path | None = None):
    """The task that some words describe. Within a session of `composing`."""
    from omegaconf import open_dict

    from vecsim import composing, plan

    overrides.check_words(given)
    config = composing.compose(given)
    options = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return plan.Task(config, [*given], options, Path("results"), ["vecsim.run", *given], output)
