"""From the configuration's `sweep` to labelled points, and the study they make."""

import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vecsim import build
from vecsim.cluster.config import Run, parse
from vecsim.dimensions import MOST_POINTS, Dimension, dimensions
from vecsim.engines.choose import engine_of
from vecsim.errors import ConfigError, require, whole
from vecsim.estimate import Precision
from vecsim.outcomes import RATES

CAMPAIGN = "campaign"
OTHERS = (
    *("seed", "trials", "precision", "sweep", "output", "netcdf", "figure", "theory", "engine"),
    *("defence", "estimator", CAMPAIGN),
)
KNOWN = (*build.NUMBERS, *build.GROUPS, *OTHERS)
MOST_TRIALS = 10**9
PLAIN: Mapping[str, Any] = MappingProxyType({"name": "plain"})
MEASURED = ("outcomes", "series")  # of a campaign: what is measured on it

Compose = Callable[[Mapping[str, str]], DictConfig]  # options of groups -> the configuration


class Study(NamedTuple):
    """What one command computes."""

    name: str
    dimensions: list[Dimension]
    points: list[Any]  # Point or Planned: each combination of values, the last dimension fastest
    trials: int  # per point, at most
    block: int  # trials of a point after which its precision is looked at
    precision: Precision | None
    seed: int
    config: dict[str, Any]  # everything that decides the results
    engines: list[str]  # what runs each point
    estimator: Mapping[str, Any] = PLAIN  # `estimator` in the configuration
    estimators: Sequence[Mapping[str, Any]] = ()  # the same, resolved at each point


class Planned(NamedTuple):
    """A point of a study of campaigns: what the defended cluster goes through, and what counts."""

    run: Run
    section: dict[str, Any]  # resolved, `campaign` in the configuration

    def hash(self) -> int:
        """64 bits that stand for the parameters."""
        text = json.dumps(self.section, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def studies(
    name: str, config: DictConfig, compose: Compose, given: Collection[str] = ()
) -> list[Study]:
    """The studies that a configuration describes; ConfigError where it has no meaning.

    With `defence` off the trials are single decisions, with it on they are campaigns of the
    defended cluster; both are possible. compose: the same configuration with other options of
    groups. given: keys that were set by hand, which must not be swept as well.
    """
    compose = _once(compose)
    plain, text = _plain(_bare(config)), json.dumps(_unresolved(config))
    for key in plain.keys() - KNOWN:  # of use in interpolations only
        if f"${{{key}}}" not in text:
            raise ConfigError(f"{key} is no parameter; allowed: {', '.join(KNOWN)}")
    whole("seed", plain.get("seed"), 0, build.SEEDS - 1)
    swept = list(dimensions(plain.get("sweep")))
    _check(swept, text, given)
    campaign = json.dumps(_unresolved(config)[CAMPAIGN])
    inside = [d for d in swept if _in_campaign(d.key, campaign)]
    outside = [d for d in swept if not d.key.startswith(f"{CAMPAIGN}.")]
    wanted = _defence(plain.get("defence"))
    if len(wanted) == 1:
        for dimension in swept:
            there = dimension in (inside if "on" in wanted else outside)
            allowed = f"what the campaign uses with defence={wanted[0]}"
            require(there, "sweep", dimension.key, allowed)
    make = {"off": partial(_decisions, outside), "on": partial(_campaigns, inside)}
    return [make[each](name, config, compose, plain) for each in wanted]


def _once(compose: Compose) -> Compose:
    """Composing is slow, and single decisions and campaigns want the same options."""
    made: dict[str, DictConfig] = {}

    def composed(choices: Mapping[str, str]) -> DictConfig:
        key = json.dumps(choices)
        if key not in made:
            made[key] = compose(choices)
        return made[key]

    return composed


def _defence(given: Any) -> list[str]:
    words = {True: "on", False: "off"}  # what YAML makes of the words
    listed = given if isinstance(given, list) else [given]
    wanted = [words[each] if isinstance(each, bool) else str(each) for each in listed]
    good = wanted in (["off"], ["on"], ["off", "on"], ["on", "off"])
    require(good, "defence", given, "off, on, or [off, on]")
    return sorted(wanted)


def _in_campaign(key: str, text: str) -> bool:
    """Whether a swept parameter is one of the campaign's, or one that it refers to."""
    group = key.partition(".")[0]
    return group == CAMPAIGN or f"${{{key}}}" in text or f"${{{group}}}" in text


def _decisions(
    dimensions: list[Dimension], name: str, config: DictConfig, compose: Compose, plain: dict
) -> Study:
    trials = whole("trials", plain.get("trials"), 1, MOST_TRIALS)
    precision = _precision(plain.get("precision"), trials)
    resolved = list(_resolved(dimensions, _bare(config), lambda choices: _bare(compose(choices))))
    points = [build.point(each) for each in resolved]
    engines = [engine_of(point, plain["engine"]["name"]) for point in points]
    started = any(point.network.start for point in points)
    twice = started and any(dimension.key == "initial_accept" for dimension in dimensions)
    require(not twice, "sweep", "initial_accept", "what network.start does not set already")
    kept = {key: plain[key] for key in ("seed", "trials", "precision")}
    kept["sweep"] = _swept(dimensions)
    kept |= {key: resolved[0][key] for key in (*build.NUMBERS, *build.GROUPS)}
    kept["engine"] = ", ".join(sorted(set(engines)))
    kept["points"] = _hash(points, engines)
    estimator = plain["estimator"]
    if estimator != PLAIN:
        kept["estimator"] = estimator
        none = "null: the interval's width follows from the trials"
        require(precision is None, "precision", plain["precision"], none)
    estimators = [each["estimator"] for each in resolved]
    if any(each != estimator for each in estimators):
        kept["estimators"] = estimators
    most = precision.max_trials if precision else trials
    block = precision.min_trials if precision else most
    settings = estimator, estimators
    return Study(
        name, dimensions, points, most, block, precision, plain["seed"], kept, engines, *settings
    )


def _campaigns(
    dimensions: list[Dimension], name: str, config: DictConfig, compose: Compose, plain: dict
) -> Study:
    sections = [each[CAMPAIGN] for each in _resolved(dimensions, config, compose)]
    points = [planned(section, plain["seed"]) for section in sections]
    trials = points[0].run.trials
    same = len({point.run.trials for point in points}) == 1
    require(same, "sweep", "campaign.trials", "what may differ between points")
    kept = {"seed": plain["seed"], "sweep": _swept(dimensions), CAMPAIGN: sections[0]}
    engines = ["cluster"] * len(points)
    kept["points"] = _hash(points, engines)
    return Study(name, dimensions, points, trials, trials, None, plain["seed"], kept, engines)


def planned(section: Any, seed: int) -> Planned:
    """What a campaign's section describes; ConfigError where it has no meaning."""
    require(isinstance(section, dict), CAMPAIGN, section, "duration_s, cluster, workload, ...")
    described = {key: value for key, value in section.items() if key not in MEASURED}
    return Planned(parse(described | {"seed": seed}), section)


def _bare(config: DictConfig) -> DictConfig:
    """Without the campaign, which refers to much and would slow single decisions down."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != CAMPAIGN])


def _swept(dimensions: list[Dimension]) -> dict[str, list]:
    return {dimension.key: dimension.values for dimension in dimensions}


def _hash(points: list[Any], engines: list[str]) -> str:
    pairs = zip(points, engines, strict=True)
    hashes = ",".join(f"{point.hash():016x} {engine}" for point, engine in pairs)
    return hashlib.sha256(hashes.encode()).hexdigest()


def digest(studies: Sequence[Study]) -> str:
    """Eight characters that stand for everything that decides the results."""
    text = json.dumps([study.config for study in studies], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore
    except OmegaConfBaseException as error:
        raise ConfigError(build.one_line(error)) from None


def _unresolved(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=False)  # type: ignore


def _precision(section: Any, trials: int) -> Precision | None:
    if section is None:
        return None
    allowed = ("target", "half_width", "min_trials", "max_trials")
    good = isinstance(section, dict) and set(section) <= set(allowed)
    require(good, "precision", section, f"null, or {', '.join(allowed)}")
    section = {"max_trials": trials, **section}
    target, width = section.get("target"), section.get("half_width")
    require(target in RATES, "precision.target", target, ", ".join(RATES))
    good = isinstance(width, float) and 0 < width < 0.5
    require(good, "precision.half_width", width, "between 0 and 0.5")
    whole("precision.min_trials", section.get("min_trials"), 1, MOST_TRIALS)
    whole("precision.max_trials", section["max_trials"], section["min_trials"], MOST_TRIALS)
    return Precision(**section)


def _check(dimensions: list[Dimension], text: str, given: Collection[str]) -> None:
    names = [dimension.name for dimension in dimensions]
    require(len(set(names)) == len(names), "sweep", names, "each parameter once")
    parameters = f"{', '.join((*build.NUMBERS, *build.GROUPS))}, or theirs, such as protocol.k"
    for key in (dimension.key for dimension in dimensions):
        group, _, field = key.partition(".")
        known = key in build.NUMBERS or (group in build.GROUPS and "." not in field)
        known = known or group == CAMPAIGN
        if not known and f"${{{key}}}" not in text:
            raise ConfigError(f"sweep.{key} is no parameter of a trial; allowed: {parameters}")
        if key in given:
            allowed = f"{key}=... with ~sweep.{key}, or sweep.{key}=[...] alone"
            raise ConfigError(f"{key} is both set and swept; allowed: {allowed}")
    total = prod(len(dimension.values) for dimension in dimensions)
    require(total <= MOST_POINTS, "sweep", f"{total} points", f"at most {MOST_POINTS}")


def _resolved(
    dimensions: list[Dimension], config: DictConfig, compose: Compose
) -> Iterator[dict[str, Any]]:
    """The configuration of every point."""
    groups = [dimension for dimension in dimensions if dimension.key in build.GROUPS]
    combine = _options(groups, config, compose)
    templates: dict[tuple, _Template] = {}
    for values in itertools.product(*(dimension.values for dimension in dimensions)):
        settings = {d.key: value for d, value in zip(dimensions, values, strict=True)}
        choices = {group.key: settings.pop(group.key) for group in groups}
        key = tuple(choices.values())
        if key not in templates:
            templates[key] = _Template(combine(choices))
        yield templates[key].resolved(settings)


def _options(
    groups: list[Dimension], config: DictConfig, compose: Compose
) -> Callable[[dict[str, str]], dict[str, Any]]:
    """How to make the unresolved configuration of one option of each group.

    Where options set nothing but their own section, each is composed once.
    """
    first = _unresolved(config)
    alone = {
        (group.key, option): _unresolved(compose({group.key: option}))
        for group in groups
        for option in group.values
    }
    if any(made | {key: None} != first | {key: None} for (key, _), made in alone.items()):
        return lambda choices: _unresolved(compose(choices))
    return lambda choices: first | {key: alone[key, option][key] for key, option in choices.items()}


class _Template:
    """A configuration but for the swept parameters."""

    def __init__(self, config: dict[str, Any]):
        self.config = OmegaConf.create(config)
        self.interpolates = "${" in json.dumps(config)
        # Plain dictionaries are a hundred times quicker to copy than OmegaConf's.
        self.text = json.dumps(_plain(self.config))

    def resolved(self, settings: dict[str, Any]) -> dict[str, Any]:
        if self.interpolates:
            for key, value in settings.items():  # the same keys each time
                OmegaConf.update(self.config, key, value)
            return _plain(self.config)
        plain = json.loads(self.text)
        for key, value in settings.items():
            section, _, field = key.rpartition(".")
            (plain[section] if section else plain)[field] = value
        return plain
