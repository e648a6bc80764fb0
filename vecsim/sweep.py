"""From the configuration's `sweep` to labelled points, and the study they make."""

import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vecsim import build
from vecsim.errors import ConfigError, require, whole
from vecsim.estimate import Precision
from vecsim.point import Point

TARGETS = ("finalised", "disagreement", "stalled", "unanimous")
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


def study(name: str, compose: Compose, given: Collection[str] = ()) -> Study:
    """The study that a configuration describes; ConfigError where it has no meaning.

    given: keys that were set by hand, which must not be swept as well.
    """
    first = compose({})
    plain = _plain(first)
    seed, trials = plain["seed"], plain["trials"]
    whole("seed", seed, 0, build.SEEDS - 1)
    whole("trials", trials, 1, MOST_TRIALS)
    precision = _precision(plain["precision"], trials)
    dimensions = list(_dimensions(plain["sweep"]))
    names = [dimension.name for dimension in dimensions]
    require(len(set(names)) == len(names), "sweep", names, "each parameter once")
    for key in (dimension.key for dimension in dimensions):
        require(key not in given, key, "both set and swept", f"set it, or sweep.{key}, or ~sweep.{key}")
    total = int(np.prod([len(dimension.values) for dimension in dimensions]))
    require(total <= MOST_POINTS, "sweep", f"{total} points", f"at most {MOST_POINTS}")
    resolved = list(_resolved(dimensions, compose))
    points = [build.point(config) for config in resolved]
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


def _values(key: str, values: Any) -> list:
    """A list of values, or a range: start, stop (reached), and step, or num, evenly or by log."""
    if isinstance(values, dict):
        values = _range(key, values)
    allowed = "a list of different numbers or words, or a range {start, stop, step}"
    good = isinstance(values, list) and len(values) > 0
    good = good and all(isinstance(value, (int, float, str)) for value in values)
    require(good and len(set(values)) == len(values), f"sweep.{key}", values, allowed)
    return values


def _range(key: str, given: dict) -> list:
    start, stop, step, num = (given.get(name) for name in ("start", "stop", "step", "num"))
    numbers = all(isinstance(v, (int, float)) for v in (start, stop, num if step is None else step))
    allowed = "{start, stop, step} or {start, stop, num, log}, start <= stop, step > 0, num >= 2"
    require(
        numbers and start <= stop and (step is None) != (num is None),
        f"sweep.{key}",
        given,
        allowed,
    )
    if step is not None:
        require(step > 0, f"sweep.{key}", given, allowed)
        values = start + step * np.arange(int((stop - start) / step + 1e-9) + 1)
    else:
        require(num >= 2 and (start > 0 or not given.get("log")), f"sweep.{key}", given, allowed)
        values = (np.geomspace if given.get("log") else np.linspace)(start, stop, int(num))
    whole = isinstance(start, int) and isinstance(stop, int) and not isinstance(step, float)
    return [round(v) if whole else round(v, 12) for v in values.tolist()]


def _resolved(dimensions: list[Dimension], compose: Compose) -> Iterator[dict[str, Any]]:
    """The configuration of every point."""
    groups = [dimension.key in build.GROUPS for dimension in dimensions]
    composed: dict[tuple, tuple[DictConfig, bool]] = {}
    for values in itertools.product(*(dimension.values for dimension in dimensions)):
        choices = tuple(v for v, group in zip(values, groups, strict=True) if group)
        if choices not in composed:
            keys = [d.key for d, group in zip(dimensions, groups, strict=True) if group]
            config = compose(dict(zip(keys, choices, strict=True)))
            composed[choices] = config, "${" in OmegaConf.to_yaml(config)
        config, interpolates = composed[choices]
        settings = {
            d.key: v for d, v, group in zip(dimensions, values, groups, strict=True) if not group
        }
        yield _with_settings(config, settings, interpolates)


def _with_settings(config: DictConfig, settings: dict, interpolates: bool) -> dict[str, Any]:
    for key in settings:
        known = OmegaConf.select(config, key, throw_on_missing=False, default=_with_settings)
        require(known is not _with_settings, f"sweep.{key}", settings[key], "a known parameter")
    if interpolates:
        config = config.copy()
        for key, value in settings.items():
            OmegaConf.update(config, key, value)
        return _plain(config)
    # Plain dictionaries are a hundred times quicker to copy than OmegaConf's.
    plain = json.loads(json.dumps(_plain(config)))
    for key, value in settings.items():
        *path, last = key.split(".")
        section = plain
        for part in path:
            section = section[part]
        section[last] = value
    return plain
