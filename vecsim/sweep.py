"""From the configuration's `sweep` to labelled points, and the study they make."""

import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from math import isfinite, prod
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vecsim import build
from vecsim.errors import ConfigError, require, whole
from vecsim.estimate import Precision
from vecsim.point import Point

TARGETS = ("finalised", "disagreement", "stalled", "unanimous")
OTHERS = ("seed", "trials", "precision", "sweep", "output", "netcdf", "figure", "theory", "engine")
KNOWN = (*build.NUMBERS, *build.GROUPS, *OTHERS)
MOST_POINTS = 1_000_000
MOST_TRIALS = 10**9

Compose = Callable[[Mapping[str, str]], DictConfig]  # options of groups -> the configuration


class Dimension(NamedTuple):
    """A swept parameter: its key in the configuration, its name as a dimension, its values."""

    key: str
    name: str
    values: list


class Study(NamedTuple):
    """What one command computes."""

    name: str
    dimensions: list[Dimension]
    points: list[Point]  # every combination of values, the last dimension fastest
    trials: int  # per point, at most
    block: int  # trials of a point after which its precision is looked at
    precision: Precision | None
    seed: int
    config: dict[str, Any]  # everything that decides the results


def study(name: str, config: DictConfig, compose: Compose, given: Collection[str] = ()) -> Study:
    """The study that a configuration describes; ConfigError where it has no meaning.

    compose: the same configuration with other options of groups. given: keys that were set by
    hand, which must not be swept as well.
    """
    plain, text = _plain(config), json.dumps(_unresolved(config))
    for key in plain.keys() - KNOWN:  # of use in interpolations only
        if f"${{{key}}}" not in text:
            raise ConfigError(f"{key} is no parameter; allowed: {', '.join(KNOWN)}")
    seed = whole("seed", plain.get("seed"), 0, build.SEEDS - 1)
    trials = whole("trials", plain.get("trials"), 1, MOST_TRIALS)
    precision = _precision(plain.get("precision"), trials)
    dimensions = list(_dimensions(plain.get("sweep")))
    _check(dimensions, text, given)
    resolved = list(_resolved(dimensions, config, compose))
    points = [build.point(each) for each in resolved]
    kept = {key: plain[key] for key in ("seed", "trials", "precision", "sweep")}
    kept |= {key: resolved[0][key] for key in (*build.NUMBERS, *build.GROUPS)}
    hashes = ",".join(f"{point.hash():016x}" for point in points)
    kept["points"] = hashlib.sha256(hashes.encode()).hexdigest()
    most = precision.max_trials if precision else trials
    block = precision.min_trials if precision else most
    return Study(name, dimensions, points, most, block, precision, seed, kept)


def digest(study: Study) -> str:
    """Eight characters that stand for everything that decides the results."""
    return hashlib.sha256(json.dumps(study.config, sort_keys=True).encode()).hexdigest()[:8]


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
    require(target in TARGETS, "precision.target", target, ", ".join(TARGETS))
    good = isinstance(width, float) and 0 < width < 0.5
    require(good, "precision.half_width", width, "between 0 and 0.5")
    whole("precision.min_trials", section.get("min_trials"), 1, MOST_TRIALS)
    whole("precision.max_trials", section["max_trials"], section["min_trials"], MOST_TRIALS)
    return Precision(**section)


def _dimensions(section: Any, prefix: str = "") -> Iterator[Dimension]:
    """Swept parameters; a nested mapping holds parameters of a group."""
    require(section is None or isinstance(section, dict), "sweep", section, "parameters and values")
    for key, values in (section or {}).items():
        full = f"{prefix}{key}"
        if isinstance(values, dict) and not set(values) <= {"start", "stop", "step", "num", "log"}:
            yield from _dimensions(values, f"{full}.")
        else:
            yield Dimension(full, full.rpartition(".")[2], _values(full, values))


def _check(dimensions: list[Dimension], text: str, given: Collection[str]) -> None:
    names = [dimension.name for dimension in dimensions]
    require(len(set(names)) == len(names), "sweep", names, "each parameter once")
    parameters = f"{', '.join((*build.NUMBERS, *build.GROUPS))}, or theirs, such as protocol.k"
    for key in (dimension.key for dimension in dimensions):
        group, _, field = key.partition(".")
        known = key in build.NUMBERS or (group in build.GROUPS and "." not in field)
        if not known and f"${{{key}}}" not in text:
            raise ConfigError(f"sweep.{key} is no parameter of a trial; allowed: {parameters}")
        if key in given:
            allowed = f"{key}=... with ~sweep.{key}, or sweep.{key}=[...] alone"
            raise ConfigError(f"{key} is both set and swept; allowed: {allowed}")
    total = prod(len(dimension.values) for dimension in dimensions)
    require(total <= MOST_POINTS, "sweep", f"{total} points", f"at most {MOST_POINTS}")


def _values(key: str, values: Any) -> list:
    """A list of values, or a range: start, stop (reached), and step, or num, evenly or by log."""
    if isinstance(values, dict):
        values = _range(key, values)
    allowed = "a list of different numbers or words, or a range {start, stop, step}"
    good = isinstance(values, list) and len(values) > 0
    good = good and all(isinstance(value, (int, float, str)) for value in values)
    require(good and len(set(values)) == len(values), f"sweep.{key}", values, allowed)
    return values


def _range(key: str, given: dict[str, Any]) -> list:
    wanted: list[Any] = [given.get(name) for name in ("start", "stop", "step", "num")]
    start, stop, step, num = wanted
    log, by_step = given.get("log", False), given.keys() == {"start", "stop", "step"}
    good = all(map(_finite, (start, stop))) and start <= stop and (start > 0 or not log)
    if by_step:
        good = good and _finite(step) and step > 0
    else:
        good = good and "step" not in given and isinstance(num, int) and num >= 2
    allowed = "{start, stop, step} or {start, stop, num, log}, start <= stop, step > 0, num >= 2"
    require(good, f"sweep.{key}", given, allowed)
    count = min((stop - start) / step + 1e-9, MOST_POINTS) + 1 if by_step else num
    require(count <= MOST_POINTS, f"sweep.{key}", given, f"at most {MOST_POINTS} values")
    if by_step:
        values = start + step * np.arange(int(count))
    else:
        values = (np.geomspace if log else np.linspace)(start, stop, num)
    whole = isinstance(start, int) and isinstance(stop, int) and not isinstance(step, float)
    whole = whole and stop - start >= len(values) - 1  # else 0 to 1 in parts
    return [round(v) if whole else round(v, 12) for v in values.tolist()]


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


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

    Composing is slow: where options set nothing but their own section, each is composed once.
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
            config = self.config.copy()
            for key, value in settings.items():
                OmegaConf.update(config, key, value)
            return _plain(config)
        plain = json.loads(self.text)
        for key, value in settings.items():
            section, _, field = key.rpartition(".")
            (plain[section] if section else plain)[field] = value
        return plain
