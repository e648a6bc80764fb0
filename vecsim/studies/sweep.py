"""From the configuration's `sweep` to labelled points, and the study they make."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from vecsim.engines.choose import engine_of
from vecsim.errors import ConfigError, count, require
from vecsim.model import build, trust
from vecsim.model.point import Point
from vecsim.model.sources import code_of
from vecsim.results.contents import SOURCES
from vecsim.results.estimate import Precision
from vecsim.results.files import file_digest, json_digest
from vecsim.results.layout import Beside
from vecsim.results.outcomes import RATES
from vecsim.studies import counts, obey, resolve
from vecsim.studies.dimensions import Dimension, Swept, dimensions, keys_of, own
from vecsim.studies.obey import CAMPAIGN, KNOWN, Given
from vecsim.studies.planned import TARGET, Planned, planned
from vecsim.studies.resolve import Compose, Plain

_MOST_TRIALS = 10**9  # per point: more are taken for a slip of the hand, and are never needed
TRIALS = 1000  # per point: what conf/config.yaml sets, so that files which say nothing are known
_NONE: Given = MappingProxyType({})  # nothing was set by hand
# The estimator of a study that only counts; it has no settings, and stays out of the stored config.
_PLAIN: Mapping[str, Any] = {"name": "plain"}  # a plain mapping: workers are sent it


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
    estimator: Mapping[str, Any] = _PLAIN  # `estimator` in the configuration
    estimators: Sequence[Mapping[str, Any]] = ()  # the same, resolved at each point

    @property
    def kind(self) -> str:
        """What it is a study of, as `vecsim.results.kinds` names it."""
        if isinstance(self.points[0], Planned):
            return "campaigns"
        name = str(self.estimator.get("name"))
        return "decisions" if name == _PLAIN["name"] else name

    @property
    def components(self) -> list[Any]:
        """Protocols, adversaries and networks of all points."""
        return [part for point in self.points for part in point.components]

    @property
    def sources(self) -> dict[str, str]:
        """Hashes of the files that hold the code of the study's own components, by file."""
        return self.config.get(SOURCES, {})

    @property
    def beside(self) -> dict[str, Beside]:
        """What else stands along the dimensions: parameters that move together, the number of
        Byzantine nodes where their share is swept, and how concentrated a weighted stake is."""
        zipped = {p.name: Beside((d.name,), p.labels) for d in self.dimensions for p in d.zipped}
        counted = (counts.beside, counts.effective)
        return zipped | {
            k: v for of in counted for k, v in of(self.dimensions, self.points).items()
        }


def studies(name: str, config: DictConfig, compose: Compose, given: Given = _NONE) -> list[Study]:
    """The studies that a configuration describes; ConfigError where it has no meaning.

    With `defence` off the trials are single decisions, with it on they are campaigns of the
    defended cluster; both are possible. compose: the same configuration with other options of
    groups. given: keys that were set by hand, with the texts of their values: what is not used, or
    swept as well, is refused.
    """
    compose, written, values = resolve.once(compose), *_read(config)
    is_section, section = partial(_is_section, written), values.get("sweep")
    swept = dimensions(section, is_section)
    wanted, used = _defence(values["defence"]), obey.used_by(written)
    obey.check_swept(swept, own(section, is_section), written, used, given, wanted)
    obey.check_given(given, used, wanted)
    values["seed"] = count("seed", values.get("seed"), 0, build.SEEDS - 1)
    made = []
    for each in wanted:
        mine = [d for d in swept if obey.is_used(d.parameters[0].key, used[each])]
        top = sorted(key for key in used[each] if key in values and key not in KNOWN)
        make, at_each = (_decisions, _single) if each == "off" else (_campaigns, resolve.resolved)
        every = list(at_each(mine, config, compose))
        made.append(make(name, given, mine, every, values, top))
    return made


def single_point(config: DictConfig, compose: Compose, given: Given = _NONE) -> Point:
    """The point of single decisions that a configuration describes.

    ConfigError where it describes several, or sweeps what is no part of a point; an adversary may
    be set without any Byzantine node. config, compose, given: as of `studies`.
    """
    written, values = _read(config)
    swept = dimensions(values.get("sweep"), partial(_is_section, written))
    used = resolve.references(written, obey.SYSTEM)
    for key in keys_of(swept):
        if not obey.is_used(key, used):
            allowed = ", ".join(obey.SYSTEM)
            raise ConfigError(f"sweep.{key} is no part of a point; allowed: {allowed}")
    many = ", ".join(f"{len(each.values)} of {each.name}" for each in swept)
    require(all(len(each.values) == 1 for each in swept), "sweep", many, "one value of each")
    [values] = _single(swept, config, compose)
    return _point(values, given, swept)


def _point(values: Plain, given: Given, swept: Swept) -> Point:
    """The point of a resolved configuration; a file of stake outside the working folder must be
    named by hand, in a word or in an object."""
    section = values.get("stake")
    section = section if isinstance(section, dict) else {}
    by_hand = not given.keys().isdisjoint(("stake.path", "sweep.stake.path"))
    if not by_hand and not trust.handed_over(str(section.get("_target_"))):
        trust.check_inside("stake.path", section.get("path"), "file")
    return build.build_point(values, {*given, *keys_of(swept)})


def _fullest(point: Point, values: Plain) -> Point:
    """The point with the most Byzantine nodes that its trials may have: those of a threshold have
    other fractions than the point, and with weighted stake other engines serve them."""
    section = values.get("estimator")
    high = section.get("high") if isinstance(section, dict) else None
    if not point.stake.weighted or not isinstance(high, float) or not 0 <= high < 1:
        return point  # a bad value is refused where it is used
    return point._replace(byzantine_fraction=high)


def _read(config: DictConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration unresolved, and its values without the campaign; ConfigError unless it has
    every key that it must have, and none that is of no use."""
    written = resolve.unresolved(config)
    text = json.dumps(written)
    for key in written.keys() - KNOWN:  # of use in interpolations only
        if f"${{{key}}}" not in text:
            raise ConfigError(f"{key} is no parameter; allowed: {', '.join(KNOWN)}")
    for key in ("estimator", "engine", "defence", CAMPAIGN):
        require(written.get(key) is not None, key, None, f"{key}=..., as --help shows it")
    return written, resolve.plain_values(_bare(config))


def _single(swept: Swept, config: DictConfig, compose: Compose) -> Iterator[dict[str, Any]]:
    """The configuration of every point of single decisions."""
    return resolve.resolved(swept, _bare(config), lambda choices: _bare(compose(choices)))


def _is_section(written: Mapping[str, Any], key: str) -> bool:
    """Whether a key of an unresolved configuration is a section of parameters."""
    top = written.get(key.partition(".")[0])
    return isinstance(resolve.at(written, key), dict) or ("." in key and isinstance(top, dict))


def _defence(given: Any) -> list[str]:
    words = {True: "on", False: "off"}  # what YAML makes of the words
    listed = given if isinstance(given, list) else [given]
    wanted = sorted(words[each] if isinstance(each, bool) else str(each) for each in listed)
    require(wanted in (["off"], ["on"], ["off", "on"]), "defence", given, "off, on, or [off, on]")
    return wanted


def _decisions(
    name: str, given: Given, swept: Swept, every: list[Plain], values: Plain, top: list[str]
) -> Study:
    """Of single decisions. every: the configuration of each point. top: other keys that decide
    the results."""
    trials = count("trials", values.get("trials"), 1, _MOST_TRIALS)
    precision = _precision(values.get("precision"), trials, given)
    require(isinstance(values["engine"], dict), "engine", values["engine"], "engine.name=auto, ...")

    def built(each: dict) -> tuple[Point, str]:
        point = _point(each, given, swept)
        return point, engine_of(_fullest(point, each), values["engine"].get("name"))

    points, engines = map(list, zip(*_at_each(swept, every, built), strict=True))
    estimator = values["estimator"]
    require(isinstance(estimator, dict), "estimator", estimator, "an option, such as plain")
    obey.check_effect(given, swept, points, estimator.get("name"))
    full = points[0].parameters()  # with what the class says where the file is silent
    timed = next((i for i, point in enumerate(points) if point.timed), None)
    times = {} if timed is None else points[timed].parameters()
    full |= {kind: times[kind] for kind in build.IN_TIME if kind in times}
    for kind in full.keys() & {*build.GROUPS}:
        del full[kind]["class"]
        full[kind][TARGET] = every[(timed or 0) if kind in build.IN_TIME else 0][kind][TARGET]
    stopped = precision._asdict() if precision else None
    kept = {"seed": values["seed"], "trials": trials, "precision": stopped, "sweep": _swept(swept)}
    kept |= full | {key: every[0][key] for key in top}
    kept["engine"] = ", ".join(sorted(set(engines)))
    kept |= _identity(points, engines)
    if any(len(point.kinds) > 1 for point in points):  # whole nodes, by kind, of every point
        kept["kinds"] = [point.adversary.told(point.byzantine) for point in points]
    if estimator != _PLAIN:
        kept["estimator"] = estimator
        none = "null: the interval's width follows from the trials"
        require(precision is None, "precision", values["precision"], none)
    estimators = [each["estimator"] for each in every]
    if any(each != estimator for each in estimators):
        kept["estimators"] = estimators
    most, block = (precision.max_trials, precision.min_trials) if precision else (trials, trials)
    result = kept, engines, estimator, estimators
    return Study(name, swept, points, most, block, precision, values["seed"], *result)


def _campaigns(
    name: str, given: Given, swept: Swept, every: list[Plain], values: Plain, top: list[str]
) -> Study:
    """Of campaigns of the defended cluster; all as of `_decisions`."""
    seed = values["seed"]
    points = _at_each(swept, every, lambda each: planned(each[CAMPAIGN], seed))
    share = "campaign.cluster.byzantine_fraction"
    obey.check_byzantine(given, keys_of(swept), [point.byzantine for point in points], share)
    trials, *others = {point.run.trials for point in points}
    require(not others, "sweep", "campaign.trials", "what may differ between points")
    kept = {"seed": seed, "sweep": _swept(swept)} | {k: every[0][k] for k in (CAMPAIGN, *top)}
    engines = ["cluster"] * len(points)
    kept |= _identity(points, engines)
    return Study(name, swept, points, trials, trials, None, seed, kept, engines)


def _at_each(swept: Swept, every: list[Plain], make: Callable[[Plain], Any]) -> list[Any]:
    """What is made of each point's configuration; a refusal says the swept values of the point."""
    made = []
    for each, place in zip(every, resolve.places(swept), strict=True):
        try:
            made.append(make(each))
        except ConfigError as error:
            where = ", ".join(f"{key}={value}" for key, value in place.items())
            raise ConfigError(f"{error} (at {where})" if where else str(error)) from None
    return made


def _bare(config: DictConfig) -> DictConfig:
    """Without the campaign, which refers to much and would slow single decisions down."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != CAMPAIGN])


def _swept(dimensions: list[Dimension]) -> dict[str, Any]:
    return {d.key: {each.key: each.values for each in d.zipped} or d.values for d in dimensions}


def _identity(points: list[Any], engines: list[str]) -> dict[str, Any]:
    """What stands for all parameters of the points, and for the code of components of others."""
    pairs = zip(points, engines, strict=True)
    hashes = ",".join(f"{point.hash():016x} {engine}" for point, engine in pairs)
    return {
        "points": file_digest(hashes.encode()),
        **code_of(part for point in points for part in point.components),
    }


def study_digest(studies: Sequence[Study]) -> str:
    """Eight characters that stand for everything that decides the results."""
    return json_digest([study.config for study in studies])[:8]


def _precision(section: Any, trials: int, given: Given) -> Precision | None:
    """When a point stops. Trials that were set by hand are the most, whatever a file says."""
    if section is None:
        return None
    good = isinstance(section, dict) and set(section) <= set(Precision._fields)
    require(good, "precision", section, f"null, or {', '.join(Precision._fields)}")
    if all(value is None for value in section.values()):
        return None
    by_hand = {key for key in given if key.partition(".")[0] == "precision"}
    target, width, least, most = map(section.get, Precision._fields)
    most_by_hand = "precision.max_trials" in given or "max_trials" in given.get("precision", "")
    if "trials" in given:
        allowed = f"by itself, or trials={trials} by itself"
        require(most is None or not most_by_hand, "precision.max_trials", most, allowed)
        most = trials
    elif most is not None and not most_by_hand:  # by files
        allowed = f"precision.max_trials, {most}, or that set to null"
        require(trials in (most, TRIALS), "trials", trials, allowed)
    require(target in [*RATES], "precision.target", target, ", ".join(RATES))
    good = isinstance(width, float) and 0 < width < 0.5
    require(good, "precision.half_width", width, "between 0 and 0.5")
    least = count("precision.min_trials", least, 1, _MOST_TRIALS)
    most = count("precision.max_trials", trials if most is None else most, 1, _MOST_TRIALS)
    if "trials" in given and least >= most and not by_hand:
        return None  # so few trials that a point would not stop before they are all done
    name = "trials" if "trials" in given else "precision.max_trials"
    require(least <= most, name, most, f"precision.min_trials, {least}, to {_MOST_TRIALS}")
    return Precision(target, width, least, most)
