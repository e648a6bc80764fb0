"""From Hydra's configuration to components: the class of a component is its schema."""

import dataclasses
import importlib
import json
import math
import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from vecsim import trust
from vecsim.checks.component import check
from vecsim.errors import ConfigError, require
from vecsim.errors import one_line as raised_in_one_line
from vecsim.network import Network
from vecsim.point import Point
from vecsim.sources import is_own
from vecsim.types import Adversary, Protocol

GROUPS = ("protocol", "adversary", "network")
KINDS = {"protocol": Protocol, "adversary": Adversary, "network": Network}
NUMBERS = {"n": int, "byzantine_fraction": float, "initial_accept": float, "schedule": str}
SEEDS = 2**32
ALLOWED = {  # by the type of a field
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
}

UNKNOWN = (ConfigAttributeError, ConfigKeyError)
COMPOSING = (HydraException, OmegaConfBaseException, YAMLError)  # errors of a configuration


def root(name: str) -> Path:
    """The folder `conf` or `figures`: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def one_line(error: BaseException) -> str:
    """The message of an error of Hydra, OmegaConf or YAML in one line, without its internals."""
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {_joined(error)}"
    cause = error.__cause__
    if isinstance(cause, UNKNOWN) and isinstance(cause.parent_node, DictConfig):
        known = ", ".join(str(key) for key in cause.parent_node if key != "hydra") or "none"
        return f"{cause.full_key} is no parameter; allowed: {known}"
    if isinstance(cause, HydraException):
        return one_line(cause)
    text = _joined(error)
    if text.startswith("Ambiguous value for argument"):
        given = text.split("'")[1]
        key, _, values = given.partition("=")
        return (
            f"{given} is several values; allowed: sweep.{key}=[{values}] (one dataset), "
            f"or -m (one job for each)"
        )
    key = getattr(error, "full_key", None)
    return f"{key}: {text}" if key else text


def raised_by_hydra(error: BaseException) -> bool:
    """Whether an exception of no class of its own comes out of Hydra or OmegaConf."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return bool({"hydra", "omegaconf"} & set(Path(last.filename).parts))


def _joined(error: BaseException) -> str:
    text = str(error).partition("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("full_key:", "object_type="))]
    options = [i for i, line in enumerate(kept) if line.startswith("Available options")]
    if options:
        start = options[0] + 1
        return f"{' '.join(kept[: start - 1])}; allowed: {', '.join(kept[start:])}"
    return " ".join(line for line in kept if not line.startswith("See https:"))


def component(kind: str, section: Any):
    """The protocol, adversary or network that a section of the configuration describes."""
    good = isinstance(section, Mapping) and "_target_" in section
    require(good, kind, section, f"an option of the group, {kind}=NAME (--help lists them)")
    values = dict(section)
    target = values.pop("_target_")
    trust.require_known(f"{kind}._target_", target)
    return _built(kind, _class(kind, str(target)), json.dumps(values, sort_keys=True))


def _class(kind: str, target: str) -> Any:
    try:
        module, _, name = target.rpartition(".")
        class_: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{kind}._target_ is {target!r}: {one_line(error)}") from None
    except Exception as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{kind}._target_ is {target!r}, which raises {found}") from None
    good = (
        isinstance(class_, type)
        and dataclasses.is_dataclass(class_)
        and issubclass(class_, KINDS[kind])
    )
    require(good, f"{kind}._target_", target, f"a class that extends {KINDS[kind].__name__}")
    lacking = ", ".join(sorted(getattr(class_, "__abstractmethods__", ())))
    require(not lacking, f"{kind}._target_", target, f"a class that also has {lacking}")
    return class_


@lru_cache(maxsize=4096)
def _built(kind: str, class_: Any, section: str):
    values = json.loads(section)
    try:
        with raised_in_one_line(class_, "__check_init__", COMPOSING):
            schema = OmegaConf.structured(class_)
            made: Any = OmegaConf.to_object(OmegaConf.merge(schema, values))
    except OmegaConfBaseException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        fields = ", ".join(field.name for field in dataclasses.fields(class_)) or "none"
        if isinstance(error, UNKNOWN):
            raise ConfigError(
                f"{kind}.{error.key} is no parameter of {class_.__name__}; allowed: {fields}"
            ) from None
        types = {field.name: field.type for field in dataclasses.fields(class_)}
        if error.full_key in values:
            allowed = ALLOWED.get(types.get(error.full_key), "what its class says")
            require(False, f"{kind}.{error.full_key}", values[error.full_key], allowed)
        raise ConfigError(f"{kind}: {_joined(error)}; allowed: {fields}") from None
    if is_own(class_):  # the tests check vecsim's
        check(made)
    return made


def number(name: str, value: Any):
    """A top-level parameter of a point, as its own type."""
    kind = NUMBERS[name]
    if kind is str:
        good = isinstance(value, str)
    else:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        good = good and math.isfinite(value) and kind(value) == value
    many = f" (for several, sweep.{name}=[...])" if isinstance(value, list) else ""
    allowed = {int: "a whole number", float: "a number", str: "lockstep or async"}[kind]
    require(good, name, value, allowed + many)
    return kind(value)


def point(config: Mapping[str, Any]) -> Point:
    """The point that a resolved configuration describes; ConfigError where it has no meaning."""
    numbers: dict[str, Any] = {name: number(name, config.get(name)) for name in NUMBERS}
    parts: dict[str, Any] = {kind: component(kind, config.get(kind)) for kind in GROUPS}
    built = Point(**numbers, **parts)
    built.check()
    return built
