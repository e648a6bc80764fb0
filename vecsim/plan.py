"""From a composed configuration to what a command will compute and where, without computing."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from vecsim import composing, device, places
from vecsim.engines.choose import ENGINES
from vecsim.errors import ConfigError, count, number, require, within
from vecsim.model import build, trust
from vecsim.model.point import Point
from vecsim.results.shards import Shard
from vecsim.results.store import STORES
from vecsim.studies import executors, obey, overrides, resolve, runner, sweep
from vecsim.studies.assignment import Assignment
from vecsim.studies.dimensions import keys_of
from vecsim.studies.work import Work
from vecsim.watching.place import WatchPlace, read_place

# Groups of which one option must be chosen, if there is any.
OPTIONS = (
    "protocol",
    "adversary",
    "network",
    "stake",
    "latency",
    "polling",
    "engine",
    "campaign",
    "estimator",
)


class Task(NamedTuple):
    """A composed configuration and where it comes from.

    words: the overrides. options: the chosen option of each group, None where there were several.
    folder: where the folder of the results is made, unless the configuration sets it. command: as
    stored with the results. output: the folder of the results set from Python, which may be any.
    """

    config: Any
    words: list[str]
    options: Mapping[str, Any]
    folder: Path
    command: list[str]
    output: str | Path | None = None

    @property
    def name(self) -> str:
        """Of the experiment; `study` where there is none."""
        return self.options.get("experiment") or "study"


class Plan(NamedTuple):
    """What a command computes.

    studies: by the name of their store (`data.zarr`, `defended.zarr`). works: a `Work` for each,
    under the same name. output: the folder of the results. engine: how it is computed, `engine` in
    the configuration. shard: which part of it. watch: where it shows how far it is.
    """

    studies: dict[str, sweep.Study]
    works: dict[str, Work]
    output: Path
    engine: Mapping[str, Any]
    shard: Shard
    watch: WatchPlace | None

    @property
    def folder(self) -> Path:
        """Where the stores are."""
        return self.output / self.shard.folder

    def assignment(self, name: str) -> Assignment:
        """What workers are sent of the study of this store."""
        return _assignment(self.studies[name], self.folder, self.engine)


def plan(task: Task) -> Plan:
    """Check everything and return what the task computes; ConfigError where it has no meaning."""
    config = task.config
    overrides.check_words(task.words)
    for group in OPTIONS:
        if config.get(group) and task.options.get(group) is None:
            raise ConfigError(overrides.several(group, overrides.ANY))
    _check(config)
    # Of workers the cores are theirs alone.
    device.configure(config.engine.cores if config.engine.workers is None else None)
    parsed = map(overrides.parse_word, task.words)
    given = {key: text for key, text, _ in parsed if "hydra" not in key}

    def trusted(config: DictConfig) -> DictConfig:
        trust.check_trusted(resolve.unresolved(config), given)
        return config

    def options(choices: Mapping[str, str]) -> DictConfig:
        return _served(trusted(composing.compose_options(task.words, choices)))

    trusted(config)
    _check_experiment(task, given)
    with trust.packages(config.get("packages")):
        _served(config)
        studies = sweep.studies(task.name, config, options, given)
        for study in studies:
            moving = {*given, *keys_of(study.dimensions)}
            check_kept(config, task.options, moving, study.points)
        usual = task.folder / f"{task.name}-{sweep.study_digest(studies)}"
        output = Path(task.output or config.output or usual)
        require(not output.is_file(), "output", str(output), "a folder, not a file")
        shard = Shard.parse(config.shard)
        for key in ("netcdf", "figure", "theory"):
            good = shard.of == 1 or key not in given or not config[key]
            require(good, key, True, f"without shard={shard}, when all shards are merged")
        if "figure" in given and config.figure:
            drawn = _drawn()
            allowed = f"with experiment={', '.join(drawn)}, which have figures"
            require(task.name in drawn, "figure", True, allowed)
        if "theory" in given and config.theory:
            drawn = _drawn('.get("theory"')
            allowed = f"with figure=true and experiment={' or '.join(drawn)}"
            require(config.figure and task.name in drawn, "theory", True, allowed)
        stores: dict[str, sweep.Study] = dict(zip(STORES, studies, strict=False))
        engine = dict(config.engine)
        folder = output / shard.folder
        works = {name: _assignment(each, folder, engine).work() for name, each in stores.items()}
    for name, study in stores.items():
        with within("sweep", ValueError):
            runner.layout(study, works[name]).checked()
    return Plan(stores, works, output, engine, shard, read_place(config.get("watch")))


def _assignment(study: sweep.Study, folder: Path, engine: Mapping[str, Any]) -> Assignment:
    return Assignment(study, engine["memory_mb"] * 2**20, folder / "partial")


def _check(config: DictConfig) -> None:
    """Raise ConfigError where a setting that does not affect the results has no meaning."""
    engine = config.get("engine")
    require(isinstance(engine, DictConfig), "engine", engine, "an option, such as auto")
    name = engine.get("name")
    require(isinstance(name, str) and name in ENGINES, "engine.name", name, ", ".join(ENGINES))
    executors.check_workers(engine.get("workers"))
    if engine.get("cores") is not None:
        engine.cores = count("engine.cores", engine.cores, 1, device.MOST_CORES)
    price = engine.get("price_per_core_hour")
    if price is not None:
        number("engine.price_per_core_hour", price, "0 or more, or null", lambda v: v >= 0)
    engine.memory_mb = count("engine.memory_mb", engine.get("memory_mb"), 1, 2**20)
    output = config.get("output")
    require(output is None or isinstance(output, str), "output", output, "a folder, or null")
    read_place(config.get("watch"))
    for key in ("netcdf", "figure", "theory"):
        require(isinstance(config.get(key), bool), key, config.get(key), "true or false")


def _check_experiment(task: Task, given: Mapping[str, str]) -> None:
    """Raise ConfigError where an experiment sets what it may not set, or what is not used."""
    config = task.config
    if "output" not in given:
        trust.check_inside("output", config.get("output"), "folder")
    # What a preset sets looks like the experiment's; with campaigns presets are refused later.
    told = not given.keys().isdisjoint(("defence", "preset"))
    if config.get("defence") in ("on", True) and task.name != "study" and not told:
        by_hand = {key.partition(".")[0] for key in given}
        written = resolve.unresolved(config)
        filed = {key: each for key, each in written.items() if key not in by_hand}
        bare = resolve.unresolved(composing.compose(composing.searching(task.words), whole=False))
        obey.check_file(filed, bare, obey.used_by(written)["on"], task.name)


def check_kept(
    config: DictConfig, options: Mapping[str, Any], moving: Collection[str], points: Iterable[Any]
) -> None:
    """Raise ConfigError where the file of the experiment or of the preset sets what a point has
    otherwise.

    A weighted stake says how many nodes there are, and that they may poll themselves, where nobody
    set it; the composed configuration does not tell who did, if it is what vecsim itself sets.
    An option of `network` is no such file, as all of them say exclude_self; nor is a file that an
    experiment has among its defaults. moving: keys that words set or anything sweeps.
    """
    found = [composing.option_file(group, options.get(group)) for group in ("preset", "experiment")]
    files = [resolve.unresolved(each) for each in found if each is not None]
    for point in (point for point in points if isinstance(point, Point)):
        made = {"n": point.n, "network.exclude_self": point.network.exclude_self}
        for key, value in made.items():
            if key not in moving and any(resolve.at(file, key) is not None for file in files):
                wanted, allowed = OmegaConf.select(config, key), f"{str(value).lower()}, or unset"
                require(wanted == value, key, wanted, f"{allowed}, with this stake")


def _served(config: DictConfig) -> DictConfig:
    """The configuration; ConfigError where it is of a design for another protocol than designs
    serve. Those lack what an experiment of designs refers to, such as protocol.k, and would be
    refused for that."""
    written = resolve.unresolved(config)
    if resolve.at(written, "estimator.name") == "design":
        from vecsim.studies.design.designs import check_rule

        if target := resolve.at(written, "protocol._target_"):
            check_rule(build.class_of("protocol", str(target)))
    return config


def _drawn(code: str = "") -> list[str]:
    """The experiments with a figure script that contains this code."""
    scripts = sorted(places.root("figures").glob("[!_]*.py"))
    return [each.stem for each in scripts if code in each.read_text(encoding="utf-8")]
