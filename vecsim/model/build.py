"""From Hydra's configuration to components: the class of a component is its schema."""

import dataclasses
import importlib
import json
import re
import sys
import traceback
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from vecsim import outside
from vecsim.adversaries.mixture import Mixture
from vecsim.errors import ConfigError, name_of, raised_by, require, within
from vecsim.latencies.latency import Latency
from vecsim.model import trust
from vecsim.model.checks.component import check
from vecsim.model.point import SCHEDULES, Point
from vecsim.model.sources import is_own
from vecsim.network import Network
from vecsim.polling import Polling
from vecsim.stakes.stake import Stake
from vecsim.types import Adversary, Protocol

# Groups of options that name a component, with the class that it must extend.
COMPONENTS = {"protocol": Protocol, "adversary": Adversary, "network": Network, "stake": Stake}
COMPONENTS |= {"latency": Latency, "polling": Polling}
IN_TIME = ("latency", "polling")  # those that only matter in simulated time
GROUPS = tuple(COMPONENTS)  # their names, in the order of a point's fields
# The other parameters of a point, with their types.
NUMBERS = {"n": int, "byzantine_fraction": float, "initial_accept": float, "schedule": str}
USUAL_N = 1000  # what conf/config.yaml sets, so that files which say nothing are known
SEEDS = 2**32  # seeds are below this number: a seed is one random word of 32 bits
WHOLE, NUMBER = "a whole number", "a number"  # what messages call an int and a float
LISTS = "a list of lists of whole numbers"  # and what they call several of several
TABLE = "a list of lists of numbers"
MIXTURE = name_of(Mixture)  # the one class whose parameters are components themselves

UNKNOWN = (ConfigAttributeError, ConfigKeyError)  # errors of a key that does not exist
COMPOSING = (HydraException, OmegaConfBaseException, YAMLError)  # errors of a configuration


def sentence(error: BaseException) -> str:
    """The message of an error of Hydra, OmegaConf or YAML in one line, without its internals.

    It says what is allowed, as the messages of ConfigError do.
    """
    if isinstance(error, OverrideParseException):
        allowed = "KEY=VALUE, where text with =, commas or blanks is in quotes"
        return f"{error.override}: {_joined(error)}; allowed: {allowed}"
    cause = error.__cause__
    if isinstance(cause, UNKNOWN) and isinstance(cause.parent_node, DictConfig):
        known = ", ".join(str(key) for key in cause.parent_node if key != "hydra") or "none"
        return f"{cause.full_key} is no parameter; allowed: {known}"
    if isinstance(cause, HydraException):
        return sentence(cause)
    text = _joined(error)
    if text.startswith("Could not delete"):
        key = text.split("'")[1]
        return f"~{key} takes nothing away; allowed: ~KEY of a key that there is (--cfg job)"
    if "; allowed: " not in text:
        text = f"{text}; allowed: keys that there are, and values like theirs (--cfg job)"
    key = getattr(error, "full_key", None)
    return f"{key}: {text}" if key else text


def raised_by_hydra(error: BaseException) -> bool:
    """Whether an exception was raised by code of Hydra or OmegaConf, whatever its class is."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return bool({"hydra", "omegaconf"} & set(Path(last.filename).parts))


def _joined(error: BaseException) -> str:
    """The lines of a message in one, without search paths and names of types."""
    text = str(error).partition("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("full_key:", "object_type="))]
    for i, line in enumerate(kept):
        if line.startswith("Available options"):
            return f"{' '.join(kept[:i])}; allowed: {', '.join(kept[i + 1 :])}"
    return " ".join(line for line in kept if not line.startswith("See https:"))


def component(kind: str, section: Any):
    """The component that a section of the configuration describes, a protocol for example.

    kind: one of GROUPS. ConfigError where the class is unknown or not trusted, where a parameter
    does not exist or is out of its range, or where a class from outside breaks its promises.
    """
    good = isinstance(section, Mapping) and "_target_" in section
    require(good, kind, section, f"an option of the group, {kind}=NAME (--help lists them)")
    values = dict(section)
    target = str(values.pop("_target_"))
    if kind == "adversary" and target == MIXTURE:
        return _mixture(values)
    class_ = class_of(kind, target)
    # What reads a file is read each time, as the file may have changed.
    build = _built.__wrapped__ if getattr(class_, "reads", False) else _built
    return build(kind, class_, json.dumps(values, sort_keys=True))


def _mixture(section: dict[str, Any]) -> Adversary:
    """A mixture, whose kinds are options of the group `adversary`, or name a class of their own."""
    others = ", ".join(sorted(section.keys() - {"of"}))
    require(not others, "adversary", others, "of, and nothing else, in a mixture")
    allowed = "{NAME: share, ...}, or {NAME: {share: ..., parameters}, ...}"
    of: Any = section.get("of")
    require(isinstance(of, dict), "adversary.of", of, allowed)
    kinds = {}
    for name, given in of.items():
        parameters = dict(given) if isinstance(given, dict) else {"share": given}
        require("share" in parameters, f"adversary.of.{name}", given, allowed)
        share = parameters.pop("share")
        with within(f"adversary.of.{name}"):
            section = {} if "_target_" in parameters else option("adversary", name)
            section |= parameters
            single = section.get("_target_") != MIXTURE
            require(single, "adversary", name, "kinds that are no mixtures themselves")
            kinds[name] = component("adversary", section), share
    return Mixture.of(kinds)


def option(kind: str, name: str) -> dict[str, Any]:
    """The section of an option of a group, found where Hydra finds it.

    ConfigError where there is no such option, or where its file does what a file may not.
    """
    found = {p.stem: p for folder in outside.folders() for p in folder.glob(f"{kind}/*.yaml")}
    require(name in found, kind, name, ", ".join(sorted(found)))
    section: Any = OmegaConf.to_container(OmegaConf.load(found[name]))
    trust.check_trusted({kind: section}, ())
    good = isinstance(section, dict) and all(isinstance(key, str) for key in section)
    require(good, kind, name, "a section with _target_ and parameters")
    return section


def class_of(kind: str, target: str) -> Any:
    """The class of that dotted path; ConfigError unless it is trusted, and a complete one of the
    kind."""
    key, allowed = f"{kind}._target_", f"a class that extends {COMPONENTS[kind].__name__}"
    trust.require_known(key, target)
    try:
        module, _, name = target.rpartition(".")
        class_: Any = trust.handed_over(target) or getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{key} is {target!r}; allowed: {allowed} ({sentence(error)})") from None
    except Exception as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{key} is {target!r}, which raises {found}") from None
    good = isinstance(class_, type) and issubclass(class_, COMPONENTS[kind])
    require(good, key, target, allowed)
    lacking = ", ".join(sorted(getattr(class_, "__abstractmethods__", ())))
    require(not lacking, key, target, f"a class that also has {lacking}")
    return class_


@lru_cache(maxsize=4096)
def _built(kind: str, class_: Any, section: str):
    """The component of this class, checked if it is not vecsim's. section: its parameters in JSON,
    so that equal ones are built once.
    """
    values = json.loads(section)
    types = {field.name: _word(field.type) for field in dataclasses.fields(class_) if field.init}
    for name, value in values.items():
        if types.get(name) in (LISTS, TABLE):
            good = isinstance(value, list) and all(isinstance(each, list) for each in value)
            require(good, f"{kind}.{name}", value, types[name])
        if types.get(name) == TABLE:  # within lists OmegaConf takes no whole number for a float
            values[name] = [[_real(each) for each in row] for row in value]
        if types.get(name) == WHOLE and isinstance(value, float) and value.is_integer():
            values[name] = int(value)  # 1e3 is 1000
    try:
        with raised_by(class_, "__check_init__", COMPOSING):
            made: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(class_), values))
    except OmegaConfBaseException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        fields = ", ".join(types) or "none"
        if isinstance(error, UNKNOWN):
            told = f"{kind}.{error.key} is no parameter of {class_.__name__}"
            raise ConfigError(f"{told}; allowed: {fields}") from None
        name = re.split(r"[.\[]", str(error.full_key or ""))[0]
        if name in types:
            require(False, f"{kind}.{name}", values.get(name), types[name])
        raise ConfigError(f"{kind}: {_joined(error)}; allowed: {fields}") from None
    if is_own(class_):  # the tests check vecsim's
        check(made)
    return made


def _word(annotation: Any) -> str:
    """What a message calls the values that a field of this type takes."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    words = {"int": WHOLE, "float": NUMBER, "bool": "true or false", "str": "a word"}
    lists = {"tuple[list[float": TABLE, "tuple[list": LISTS, "tuple[str": "a list of words"}
    lists |= {"tuple": "a list of numbers"}
    listed = (told for start, told in lists.items() if start in str(annotation))
    return words.get(text) or next(listed, "another kind")


def _real(value: Any) -> Any:
    """A whole number as a float; anything else as it is."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(name: str, value: Any):
    """A top-level parameter of a point, as its own type; ConfigError for a value of another."""
    kind = NUMBERS[name]
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    number = real and abs(value) <= sys.float_info.max and kind(value) == value
    good = isinstance(value, str) if kind is str else number
    many = f" (for several, sweep.{name}=[...])" if isinstance(value, list) else ""
    allowed = {int: WHOLE, float: NUMBER, str: ", ".join(SCHEDULES)}[kind]
    require(good, name, value, allowed + many)
    return kind(value)


def build_point(config: Mapping[str, Any], given: Collection[str] = ()) -> Point:
    """The point that a resolved configuration describes; ConfigError where it has no meaning.

    given: keys that were set or swept. With a weighted stake others follow it: there are as many
    nodes as it has, and nodes may poll themselves.
    """
    numbers: dict[str, Any] = {name: _number(name, config.get(name)) for name in NUMBERS}
    parts: dict[str, Any] = {kind: component(kind, config.get(kind)) for kind in GROUPS}
    if parts["stake"].weighted:
        if parts["stake"].nodes and "n" not in given and numbers["n"] == USUAL_N:
            numbers["n"] = parts["stake"].nodes
        if "network.exclude_self" not in given:
            section = {**config["network"], "exclude_self": False}
            parts["network"] = component("network", section)
    built = Point(**numbers, **parts)
    built.check()
    return built
