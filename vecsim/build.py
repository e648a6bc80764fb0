"""From Hydra's configuration to components: the class of a component is its schema."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vecsim.errors import ConfigError, require
from vecsim.point import Point
from vecsim.types import Adversary, Protocol

GROUPS = ("protocol", "adversary", "network")
NUMBERS = {"n": int, "byzantine_fraction": float, "initial_accept": float, "schedule": str}
SEEDS = 2**32


def root(name: str) -> Path:
    """The folder `conf` or `figures`: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def one_line(error: Exception) -> str:
    """The message of an error of Hydra or OmegaConf in one line, without its internals."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(("full_key:", "object_type="))]
    return " ".join(kept)


def component(kind: str, section: Mapping[str, Any]):
    """The protocol, adversary or network that a section of the configuration describes."""
    return _component(kind, json.dumps(section, sort_keys=True))


@lru_cache(maxsize=4096)
def _component(kind: str, section: str):
    values = json.loads(section)
    require(isinstance(values, dict) and "_target_" in values, kind, values, f"a {kind} option")
    target = values.pop("_target_")
    try:
        class_ = get_class(target)
    except Exception as error:
        raise ConfigError(f"{kind}._target_ is {target!r}: {one_line(error)}") from None
    try:
        schema = OmegaConf.structured(class_)
        return OmegaConf.to_object(OmegaConf.merge(schema, values))
    except OmegaConfBaseException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        key = f"{kind}.{error.full_key}" if error.full_key else kind
        fields = ", ".join(class_.__dataclass_fields__) or "none"
        raise ConfigError(f"{key}: {one_line(error)}; parameters are: {fields}") from None


def number(name: str, value: Any):
    """A top-level parameter of a point, as its own type."""
    kind = NUMBERS[name]
    good = (
        isinstance(value, str)
        if kind is str
        else (
            isinstance(value, (int, float)) and not isinstance(value, bool) and kind(value) == value
        )
    )
    require(good, name, value, {int: "a whole number", float: "a number", str: "a word"}[kind])
    return kind(value)


def point(config: Mapping[str, Any]) -> Point:
    """The point that a resolved configuration describes; ConfigError where it has no meaning."""
    numbers = {name: number(name, config[name]) for name in NUMBERS}
    parts = {kind: component(kind, config[kind]) for kind in GROUPS}
    require(isinstance(parts["protocol"], Protocol), "protocol", config["protocol"], "a protocol")
    fits = isinstance(parts["adversary"], Adversary)
    require(fits, "adversary", config["adversary"], "an adversary")
    built = Point(**numbers, **parts)
    built.check()
    return built
