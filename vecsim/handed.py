"""Components that are passed from Python as objects.

During a command, an object is an option of its group under a name that words can use
(`protocol=object/Blizzard`), so that there is only one way from words to a configuration.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore

from vecsim.adversaries.mixture import Mixture
from vecsim.errors import ConfigError, name_of, plain_value, require
from vecsim.model import build, trust
from vecsim.studies import overrides

_FOLDER = "object"  # of the options that are objects, in each group
# Types of a keyword's value that configuration can express; anything else is taken for an object.
SAID = (str, bool, int, float, Mapping, list, tuple)


@contextlib.contextmanager
def over(words: Sequence[Any], keywords: Mapping[str, Any]) -> Iterator[list[str]]:
    """Words and keywords as words; within this context they may stand for objects.

    An object's class, and others of its package, may be named within the context. ConfigError, one
    line, where an object is no component, or one that no configuration can describe.
    """
    objects = {key: keywords[key] for key in build.GROUPS if _is_object(keywords.get(key))}
    named = {key: f"{_FOLDER}/{type(each).__name__}" for key, each in objects.items()}
    given = overrides.from_python(words, {**keywords, **named})
    classes: dict[str, type] = {}
    for key, each in objects.items():
        _check(key, each, given)
        classes |= {name_of(kind): type(kind) for kind in (each, *getattr(each, "kinds", ()))}
    packages = {name.partition(".")[0] for name in classes}
    with trust.handed(classes), trust.packages(sorted(packages)), contextlib.ExitStack() as stack:
        for key, each in objects.items():
            stack.enter_context(_option(key, each))
        yield given


def _is_object(value: Any) -> bool:
    """Whether a keyword's value is an object; NumPy's numbers and arrays are not."""
    return value is not None and not isinstance(value, SAID) and not hasattr(value, "tolist")


def _check(key: str, each: Any, given: Sequence[str]) -> None:
    kind = build.COMPONENTS[key]
    allowed = f"{key}=NAME, {{parameter: value, ...}}, or an object whose class extends"
    require(isinstance(each, kind), key, each, f"{allowed} {kind.__name__}")
    for word in map(overrides.parse_word, given):
        if word.key.startswith(f"{key}."):
            allowed = f"in the object, {key}={type(each).__name__}(...)"
            raise ConfigError(f"{word.key} is {word.text}; allowed: {allowed}")


@contextlib.contextmanager
def _option(key: str, each: Any) -> Iterator[None]:
    """Within this context the group of that key has the object as an option."""
    section = _section(key, each)
    again = _section(key, build.component(key, section))
    allowed = "an object that its parameters describe, without ${"
    require(again == section and "${" not in json.dumps(section), key, each, allowed)
    store, group = ConfigStore.instance(), f"{key}/{_FOLDER}"
    store.store(type(each).__name__, section, group=group, package=key)
    try:
        yield
    finally:
        del store.repo[key][_FOLDER]


def _section(key: str, each: Any) -> dict[str, Any]:
    """A component as a section of a configuration: its class and all of its parameters."""
    if isinstance(each, Mixture):
        kinds = zip(each.names, each.members, each.shares, strict=True)
        of = {name: {"share": share, **_section(key, kind)} for name, kind, share in kinds}
        return {"_target_": name_of(each), "of": of}
    section: dict[str, Any] = {"_target_": name_of(each)}
    for field in (field for field in dataclasses.fields(each) if field.init):
        value = getattr(each, field.name)
        value = value.tolist() if hasattr(value, "tolist") else value  # of NumPy or JAX
        plain_value(f"{key}.{field.name}", value)
        section[field.name] = list(value) if isinstance(value, tuple) else value
    return section
