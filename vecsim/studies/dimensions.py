"""Swept parameters: their names and values from the configuration's `sweep`.

A key of `sweep` is a parameter, and has a list of values or a range; a mapping under a section's
name holds parameters of that section. A mapping under any other name is a zip: parameters whose
values move together, along one dimension of that name.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from vecsim.errors import ConfigError, require

BY_HAND = "-"  # in `sweep`: what the command line says, apart from files
MOST_POINTS = 1_000_000  # of a study: each has a configuration of its own in memory
DIGITS = 12  # decimal digits of a value of a range: fewer than floats have, so that 0.3 is 0.3
# Keys of a range; and what is allowed where a list or a zip is wrong, in words.
RANGE = ("start", "stop", "step", "num", "log")
LIST = "a list of different numbers or words, or a range {start, stop, step}"
ZIP = "{parameter: [values], another: [values]}, equally many, which move together"
ZIPPED = "a list of numbers or words, or of numbers and null"


class Dimension(NamedTuple):
    """A swept parameter: its key in the configuration, its name as a dimension, its values.

    zipped: parameters that move together along this dimension, whose values are then their labels.
    """

    key: str
    name: str
    values: list
    zipped: tuple["Dimension", ...] = ()

    @property
    def parameters(self) -> tuple["Dimension", ...]:
        """The parameters that are zipped, or the dimension itself where it is a single one."""
        return self.zipped or (self,)

    def settings(self, number: int) -> dict[str, Any]:
        """The parameters' values at the value of that number; of null, none."""
        values = {each.key: each.values[number] for each in self.parameters}
        return {key: value for key, value in values.items() if value is not None}

    @property
    def labels(self) -> list:
        """The values as a coordinate holds them: NaN for null."""
        return [math.nan if value is None else value for value in self.values]


Swept = list[Dimension]  # the dimensions of one study, the first varies slowest


def keys_of(dimensions: Iterable[Dimension]) -> list[str]:
    """Every parameter that is swept."""
    return [each.key for dimension in dimensions for each in dimension.parameters]


def dimensions(section: Any, is_section: Callable[[str], bool]) -> list[Dimension]:
    """The dimensions of a sweep; ConfigError where it has no meaning.

    is_section: whether a key of the configuration is a section.
    """
    found = []
    for key, values in by_key(section, is_section).items():
        if isinstance(values, dict) and not is_range(values):
            wrong = {*values} - {*RANGE} if {*values} & {*RANGE} else {}
            require(not wrong, f"a key of sweep.{key}", ", ".join(wrong), ", ".join(RANGE))
            found.append(_zip(key, values))
        else:
            found.append(Dimension(key, key.rpartition(".")[2], listed(f"sweep.{key}", values)))
    _check(found)
    return found


def own(section: Any, is_section: Callable[[str], bool]) -> list[str]:
    """The keys of `sweep` in files alone, whatever the command line says."""
    kept = {key: values for key, values in (section or {}).items() if key != BY_HAND}
    return list(by_key(kept, is_section))


def by_key(section: Any, is_section: Callable[[str], bool]) -> dict[str, Any]:
    """Values, ranges and zips by their key; those of the command line in place of others."""
    allowed = "parameters and values; ~sweep takes all away"
    require(section is None or isinstance(section, dict), "sweep", section, allowed)
    files = dict(section or {})
    by_hand, mine = files.pop(BY_HAND, {}), {}
    require(isinstance(by_hand, dict), f"sweep.{BY_HAND}", by_hand, allowed)
    for key, values in by_hand.items():
        if key == "":
            require(isinstance(values, dict) and len(values) > 0, "sweep", values, allowed)
        mine |= {key: values} if key else values
    pairs = [*files.items(), *mine.items()]
    return dict(chain.from_iterable(_flat(str(key), each, is_section) for key, each in pairs))


def _flat(key: str, values: Any, is_section: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict) and not is_range(values) and is_section(key):
        for name, value in values.items():
            yield from _flat(f"{key}.{name}", value, is_section)
    else:
        yield key, values


def is_range(values: dict) -> bool:
    """Whether a mapping has no keys but those of a range."""
    return set(values) <= set(RANGE)


def _zip(name: str, given: dict[str, Any]) -> Dimension:
    where = f"sweep.{name}"
    require(name.isidentifier(), where, given, f"{LIST}; or sweep.NAME={ZIP}")
    columns = []
    for key, values in given.items():
        own = _column(f"{where}: {key}", values)
        columns.append(Dimension(str(key), str(key).rpartition(".")[2], own))
    require(len({len(column.values) for column in columns}) == 1, where, given, ZIP)
    rows = zip(*(column.values for column in columns), strict=True)
    told = ([v for v in row if v is not None] for row in rows)
    labels = [", ".join(v if isinstance(v, str) else json.dumps(v) for v in row) for row in told]
    require(len(set(labels)) == len(labels), where, given, f"{ZIP}; and no two rows the same")
    return Dimension(name, name, labels, tuple(columns))


def _column(key: str, values: Any) -> list:
    """The values of a parameter of a zip; null may stand among numbers."""
    if not (isinstance(values, list) and None in values):
        return listed(key, values, different=False)
    numbers = [value for value in values if value is not None]
    require(len(numbers) > 0 and all(map(_finite, numbers)), key, values, ZIPPED)
    return values


def _check(dimensions: list[Dimension]) -> None:
    keys = keys_of(dimensions)
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"{key} is swept twice; allowed: once, by itself or in a zip")
    names = [d.name for d in dimensions]
    names += [each.name for d in dimensions for each in d.zipped]
    require(len(set(names)) == len(names), "sweep", names, "each parameter once")


def listed(key: str, values: Any, different: bool = True) -> list:
    """A list of values, or a range: start, stop (reached), and step, or num, evenly or by log.

    A value is a number, a word, a list or a mapping. different: whether no two may be the same.
    """
    if isinstance(values, dict):
        values = _range(key, values)
    good = isinstance(values, list) and len(values) > 0
    good = good and all(isinstance(value, (int, float, str, list, dict)) for value in values)
    require(good, key, values, LIST)
    marks = [json.dumps(v, sort_keys=True) if isinstance(v, (list, dict)) else v for v in values]
    require(not different or len(set(marks)) == len(marks), key, values, LIST)
    return values


def _range(key: str, given: dict[str, Any]) -> list:
    wanted: list[Any] = [given.get(name) for name in RANGE[:4]]
    start, stop, step, num = wanted
    log, by_step = given.get("log", False), given.keys() == {"start", "stop", "step"}
    good = all(map(_finite, (start, stop))) and start <= stop and isinstance(log, bool)
    good = good and (start > 0 or not log) and is_range(given)
    if by_step:
        good = good and _finite(step) and step > 0
    else:
        good = good and "step" not in given and _finite(num) and num == int(num) >= 2
    allowed = "{start, stop, step} or {start, stop, num, log}, start <= stop, step > 0, num >= 2"
    require(good, key, given, allowed)
    count = min((stop - start) / step + 1e-9, MOST_POINTS) + 1 if by_step else num
    require(count <= MOST_POINTS, key, given, f"at most {MOST_POINTS} values")
    whole = isinstance(start, int) and isinstance(stop, int) and not isinstance(step, float)
    whole = whole and stop - start >= int(count) - 1  # else 0 to 1 in parts
    exact = _values(start, stop, step, int(count), log)
    values = [round(v) if whole else float(f"{float(v):.{DIGITS}g}") for v in exact]
    to = "whole numbers" if whole else f"{DIGITS} digits"
    allowed = f"values that differ when rounded to {to}, such as fewer"
    require(len(set(values)) == len(values), key, given, allowed)
    return values


def _values(start, stop, step, count: int, log: bool) -> Iterator[Any]:
    """Exact, as the decimals that were written, but for log."""
    if log:
        yield from np.geomspace(start, stop, count).tolist()
        return
    low, high = (Fraction(Decimal(str(end))) for end in (start, stop))
    each = Fraction(Decimal(str(step))) if step is not None else (high - low) / (count - 1)
    yield from (low + i * each for i in range(count))


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
