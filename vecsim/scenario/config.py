"""Reading scenarios: `conf/scenario/NAME.yaml`, its variants and its criteria."""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vecsim.errors import ConfigError, require
from vecsim.scenario.criteria import Criterion, parse
from vecsim.scenario.measure import known

CATEGORIES = ("infrastructure", "load", "stress", "soak", "chaos", "byzantine", "regression")
SIMULATED = (  # what the simulator reads; the rest is about judging
    "name",
    "category",
    "trials",
    "seed",
    "duration_s",
    "drain_s",
    "window_s",
    "cluster",
    "workload",
    "timeline",
)
KEYS = (*SIMULATED, "simulate", "variants", "probes", "expect", "criteria")


def folder() -> Path:
    """Where the scenarios are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return (inside if inside.is_dir() else package.parent / "conf") / "scenario"


def names() -> list[str]:
    """All scenarios, by category and then by name."""
    order = {path.stem: CATEGORIES.index(load(path.stem)["category"]) for path in _files()}
    return sorted(order, key=lambda name: (order[name], name))


def load(name: str) -> dict[str, Any]:
    """The configuration of one scenario, checked: the keys of `KEYS`."""
    known = [path.stem for path in _files()]
    require(name in known, "scenario", name, f"a file of {folder()}, or all")
    with (folder() / f"{name}.yaml").open(encoding="utf-8") as file:
        return checked(yaml.load(file, Loader=_Numbers)["scenario"])


def shows(name: str) -> str:
    """What a scenario shows: the comment at its head."""
    lines = (folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return next(line[1:].strip() for line in lines if not line.startswith("# @"))


def checked(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, or ConfigError: a key, metric or variant that does not exist."""
    for key in config:
        if key not in KEYS:
            raise ConfigError(f"scenario.{key} is no parameter; allowed: {', '.join(KEYS)}")
    category, expect = config.get("category"), config.get("expect", "passed")
    require(category in CATEGORIES, "scenario.category", category, ", ".join(CATEGORIES))
    require(expect in ("passed", "not_passed"), "scenario.expect", expect, "passed, not_passed")
    found = criteria(config)
    require(bool(found), "scenario.criteria", [], "one criterion or more")
    fails = any(criterion.expect == "fails" for criterion in found)
    require(fails == (expect == "not_passed"), "scenario.expect", expect, "as its criteria expect")
    for criterion in found:
        for name in criterion.variants():
            listed = ", ".join(variants(config))
            require(name in variants(config), "variant", name, listed or "none here")
        for name in criterion.metrics():
            require(known(name), "metric", name, "a variable of the dataset or a metric")
    return dict(config)


def criteria(config: Mapping[str, Any]) -> list[Criterion]:
    return [parse(section) for section in config.get("criteria") or ()]


def variants(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The configuration of every variant by name; one without a name where there are none."""
    given = config.get("variants") or {"": {}}
    result = {}
    for name, changes in given.items():
        changed = copy.deepcopy(dict(config))
        for path, value in changes.items():
            *parents, last = path.split(".")
            section = changed
            for parent in parents:
                section[parent] = section.get(parent) or {}
                section = section[parent]
            section[last] = value
        result[str(name)] = changed
    return result


def simulated(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the simulator is to know."""
    return {key: config[key] for key in SIMULATED if key in config}


def _files() -> list[Path]:
    return sorted(folder().glob("*.yaml"))


class _Numbers(yaml.SafeLoader):
    """YAML 1.2 numbers: 1e-4 is one, as in OmegaConf."""


_Numbers.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
