"""From a composed configuration to what a command will compute and where, without computing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from vecsim import device, places
from vecsim.engines.choose import ENGINES
from vecsim.errors import ConfigError, count, require
from vecsim.model import trust
from vecsim.studies import obey, overrides, runner, sweep
from vecsim.studies.resolve import Compose, unresolved
from vecsim.studies.sweep import Study

OPTIONS = ("protocol", "adversary", "network", "engine", "campaign", "estimator")


class Task(NamedTuple):
    """A composed configuration and where it comes from.

    words: the overrides. options: of each group, the one that was chosen;
    none where there were several. folder: of the results, where the configuration does not say.
    output: the folder that whoever called from Python set, who may choose any.
    """

    config: Any
    words: list[str]
    options: Mapping[str, Any]
    folder: Path
    command: list[str]
    output: str | Path | None = None

    @property
    def name(self) -> str:
        return self.options.get("experiment") or "study"


class Plan(NamedTuple):
    """studies and works: what is computed, by the name of the store."""

    studies: dict[str, Study]
    works: dict[str, Any]
    output: Path


def plan(task: Task, compose: Compose, bare: Callable[[], DictConfig]) -> Plan:
    """What the task computes, once everything is checked; ConfigError where it has no meaning.

    compose: the task's configuration with other options of groups. bare: the one without any word.
    """
    config = task.config
    overrides.check_words(task.words)
    for group in OPTIONS:
        if config.get(group) and task.options.get(group) is None:
            raise ConfigError(overrides.several(group, "[...]"))
    _check(config)
    device.configure(config.engine.cores)
    given = {
        each.key: each.text
        for each in map(overrides.parse_word, task.words)
        if "hydra" not in each.key
    }

    def trusted(config: DictConfig) -> DictConfig:
        trust.check_trusted(unresolved(config), given)
        return config

    def options(choices: Mapping[str, str]) -> DictConfig:
        return trusted(compose(choices))

    trusted(config)
    _check_experiment(task, given, bare)
    with trust.packages(config.get("packages")):
        studies = sweep.studies(task.name, config, options, given)
        output = Path(
            task.output
            or config.output
            or task.folder / f"{task.name}-{sweep.study_digest(studies)}"
        )
        require(not output.is_file(), "output", str(output), "a folder, not a file")
        if "figure" in given and config.figure:
            drawn = [each.stem for each in _scripts()]
            allowed = f"with experiment={', '.join(drawn)}, which have figures"
            require(task.name in drawn, "figure", True, allowed)
        if "theory" in given and config.theory:
            _check_theory(config, task.name)
        stores = dict(zip(store_names(studies), studies, strict=True))
        works = {name: _work(study, output, config) for name, study in stores.items()}
    for name, study in stores.items():
        try:
            runner.layout(study, works[name]).checked()
        except ValueError as error:
            raise ConfigError(f"sweep: {error}") from None
    return Plan(stores, works, output)


def store_names(studies: list[Study]) -> list[str]:
    """Of one study data.zarr; beside single decisions those of the cluster are defended.zarr."""
    return ["data.zarr", "defended.zarr"][: len(studies)]


def _work(study: Study, output: Path, config: DictConfig):
    """What a study computes: single decisions, or campaigns of the cluster."""
    if study.kind == "campaigns":
        from vecsim.studies.campaigns import Campaigns

        return Campaigns(study, output / "partial")
    from vecsim.studies.decisions import Decisions
    from vecsim.studies.design.designs import Designs
    from vecsim.studies.rare.rare_events import RareEvents
    from vecsim.studies.threshold import Threshold

    works = {
        "decisions": Decisions,
        "splitting": RareEvents,
        "threshold": Threshold,
        "design": Designs,
    }
    name: Any = study.estimator.get("name")
    require(study.kind in works, "estimator.name", name, f"plain, {', '.join([*works][1:])}")
    return works[study.kind](study, config.engine.memory_mb * 2**20)


def _check(config: DictConfig) -> None:
    """Raise ConfigError where what does not touch the results has no meaning."""
    engine = config.get("engine")
    require(isinstance(engine, DictConfig), "engine", engine, "an option, such as auto")
    name = engine.get("name")
    require(isinstance(name, str) and name in ENGINES, "engine.name", name, ", ".join(ENGINES))
    engine.memory_mb = count("engine.memory_mb", engine.get("memory_mb"), 1, 2**20)
    if engine.get("cores") is not None:
        engine.cores = count("engine.cores", engine.cores, 1, 4096)
    output = config.get("output")
    require(output is None or isinstance(output, str), "output", output, "a folder, or null")
    for key in ("netcdf", "figure", "theory"):
        require(isinstance(config.get(key), bool), key, config.get(key), "true or false")


def _check_experiment(task: Task, given: Mapping[str, str], bare: Callable[[], DictConfig]) -> None:
    """Raise ConfigError where an experiment sets what it may not, or what has no use."""
    config = task.config
    if "output" not in given:
        trust.check_output(config.get("output"))
    if config.get("defence") in ("on", True) and task.name != "study" and "defence" not in given:
        by_hand = {key.partition(".")[0] for key in given}
        written = unresolved(config)
        filed = {key: each for key, each in written.items() if key not in by_hand}
        obey.check_file(filed, unresolved(bare()), obey.used_by(written)["on"], task.name)


def _scripts() -> list[Path]:
    """What draws an experiment's figures, by its name."""
    return sorted(places.root("figures").glob("[!_]*.py"))


def _check_theory(config: DictConfig, name: str) -> None:
    """Raise ConfigError where what theory says would be drawn nowhere."""
    drawn = [
        each.stem for each in _scripts() if '.get("theory"' in each.read_text(encoding="utf-8")
    ]
    allowed = f"with figure=true and experiment={' or '.join(drawn)}"
    require(config.figure and name in drawn, "theory", True, allowed)
