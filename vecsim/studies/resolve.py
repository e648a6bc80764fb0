"""The configuration of every point of a sweep, and what a part of the configuration refers to."""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vecsim.errors import ConfigError
from vecsim.model import build
from vecsim.studies.dimensions import Swept

Plain = dict[str, Any]  # by their keys: a configuration as plain values, or some of them
Compose = Callable[[Mapping[str, str]], DictConfig]  # options of groups -> the configuration
# A reference to another key, as the text of the configuration has it: ${protocol.k}.
REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")


def plain_values(config: DictConfig) -> Plain:
    """As plain values, interpolations resolved; ConfigError where one cannot be."""
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore
    except OmegaConfBaseException as error:
        raise ConfigError(build.sentence(error)) from None


def unresolved(config: DictConfig) -> Plain:
    """As plain values, interpolations as their text."""
    return OmegaConf.to_container(config, resolve=False)  # type: ignore


def references(config: Mapping[str, Any], keys: Iterable[str]) -> set[str]:
    """The keys, and those that they refer to, those that these refer to, and so on.

    config: unresolved.
    """
    found, open_ = set(), list(keys)
    while open_:
        key = open_.pop()
        if key not in found:
            found.add(key)
            open_ += REFERENCE.findall(json.dumps(at(config, key)))
    return found


def at(config: Any, key: str) -> Any:
    """The part of a configuration of that key; None where there is none."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def is_used(key: str, used: Iterable[str]) -> bool:
    """Whether a key, part of it, or what it is part of, is among the used ones."""
    return any(f"{key}.".startswith(f"{u}.") or f"{u}.".startswith(f"{key}.") for u in used)


def once(compose: Compose) -> Compose:
    """The same, with each choice of options composed once: single decisions and campaigns want the
    same ones, and composing is slow."""
    composed = cache(lambda choices: compose(dict(choices)))
    return lambda choices: composed(tuple(choices.items()))


def places(dimensions: Swept) -> Iterator[Plain]:
    """The swept parameters of every point, the last dimension fastest."""
    along = ([d.settings(i) for i in range(len(d.values))] for d in dimensions)
    for settings in itertools.product(*along):
        yield {key: value for part in settings for key, value in part.items()}


def resolved(dimensions: Swept, config: DictConfig, compose: Compose) -> Iterator[Plain]:
    """The configuration of every point, the last dimension fastest.

    config: as composed, before anything is swept. compose: the same with other options of groups.
    ConfigError where a swept key is no parameter.
    """
    groups = [each for d in dimensions for each in d.parameters if each.key in build.GROUPS]
    combine = _options(groups, config, compose)
    keys = [group.key for group in groups]
    template = cache(lambda *options: _filled(combine(dict(zip(keys, options, strict=True)))))
    for settings in places(dimensions):
        yield template(*map(settings.pop, keys))(settings)


def _options(groups: Swept, config: DictConfig, compose: Compose) -> Callable[[Plain], Plain]:
    """How to make the unresolved configuration of one option of each group.

    Where options set nothing but their own section, each is composed once.
    """
    first = unresolved(config)
    pairs = dict.fromkeys((group.key, option) for group in groups for option in group.values)
    alone = {(key, option): unresolved(compose({key: option})) for key, option in pairs}
    if any(made | {key: None} != first | {key: None} for (key, _), made in alone.items()):
        return lambda choices: unresolved(compose(choices))
    return lambda choices: first | {key: alone[key, option][key] for key, option in choices.items()}


def _filled(config: Plain) -> Callable[[Plain], Plain]:
    """How to put swept parameters into a configuration."""
    composed, interpolates = OmegaConf.create(config), "${" in json.dumps(config)
    # Plain dictionaries are a hundred times quicker to copy than OmegaConf's.
    text = json.dumps(plain_values(composed))
    changed: Plain = {}  # what the settings of points before stand in place of

    def filled(settings: Plain) -> Plain:
        key = ""
        try:
            if interpolates:
                for key in settings.keys() - changed.keys():
                    changed[key] = at(config, key)
                for key, value in (changed | settings).items():
                    OmegaConf.update(composed, key, value, merge=False)
                return plain_values(composed)
            made = json.loads(text)
            for key, value in settings.items():
                section, _, field = key.rpartition(".")
                (at(made, section) if section else made)[field] = value
            return made
        except ConfigError:
            raise
        except (OmegaConfBaseException, TypeError, ValueError, AttributeError):
            told = f"sweep.{key} is no parameter; allowed: those that there are"
            raise ConfigError(told) from None

    return filled
