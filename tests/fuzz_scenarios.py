"""Wrong values in every place of a configuration, in an order that a seed fixes.

For scenarios, campaigns and whatever else is a mapping: `check` (without any simulation) must take
what it is given or refuse it with a ConfigError of one line that names what is allowed.
"""

import copy
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from vecsim.errors import ConfigError

WRONG = (
    *(None, True, False, 0, 1, -1, 1.5, 1e-300, 1e300, 10**400, -(10**400)),
    *(math.nan, math.inf, -math.inf, "", "abc", "1", "null", "../x", "\x1b[31m", "a b", "nan"),
    *([], [1], [[1]], [None], ["a"], [1, 2, 3], {}, {"a": 1}, {1: 2}, {"a": {"b": [1]}}, [{}]),
    *((1, 2), b"abc", {"metric": "avg_tps"}, {"name": 1}, {"_target_": "os.system"}),
)


def places(config: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value in a configuration, outer ones first."""
    items = enumerate(config) if isinstance(config, list) else ()
    items = config.items() if isinstance(config, dict) else items
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(config: Any, path: tuple, value: Any) -> Any:
    """A copy with another value in one place."""
    config = copy.deepcopy(config)
    section = config
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    return config


def wrong(config: dict[str, Any], count: int, seed: int) -> Iterator[tuple[tuple, Any, Any]]:
    """So many times a place, a value for it, and the configuration with that value there; some
    places are keys that do not exist."""
    rng = random.Random(seed)
    everywhere = list(places(config))
    for _ in range(count):
        path = rng.choice(everywhere)
        if rng.random() < 0.05:
            path = (*path[:-1], rng.choice(["speed", "", 1, "a.b"]))
            if isinstance(changed_section(config, path), list):
                continue
        value = rng.choice(WRONG)
        yield path, value, changed(config, path, copy.deepcopy(value))


def changed_section(config: Any, path: tuple) -> Any:
    for key in path[:-1]:
        config = config[key]
    return config


def outcome(check: Callable[[Any], object], config: Any) -> str:
    """ "" if the configuration is taken, else the line that refuses it; all else is an error."""
    try:
        check(config)
    except ConfigError as error:
        text = str(error)
        assert "\n" not in text, text
        assert "allowed" in text, text
        assert text.isprintable(), text
        assert len(text) < 1000, text
        return text
    return ""


def fuzz(check: Callable[[Any], object], config: dict[str, Any], count: int, seed: int) -> int:
    """How many of the changes were refused; AssertionError where one ends otherwise."""
    refused = 0
    for path, value, given in wrong(config, count, seed):
        try:
            refused += bool(outcome(check, given))
        except Exception as error:
            raise AssertionError(f"{path} = {value!r}: {type(error).__name__}: {error}") from error
    return refused
