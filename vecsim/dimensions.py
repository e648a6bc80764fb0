"""Swept parameters: their names and values from the configuration's `sweep`."""

from collections.abc import Iterator
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from vecsim.errors import require

MOST_POINTS = 1_000_000


class Dimension(NamedTuple):
    """A swept parameter: its key in the configuration, its name as a dimension, its values."""

    key: str
    name: str
    values: list


def dimensions(section: Any, prefix: str = "") -> Iterator[Dimension]:
    """Swept parameters; a nested mapping holds parameters of a group."""
    require(section is None or isinstance(section, dict), "sweep", section, "parameters and values")
    for key, values in (section or {}).items():
        full = f"{prefix}{key}"
        if isinstance(values, dict) and not set(values) <= {"start", "stop", "step", "num", "log"}:
            yield from dimensions(values, f"{full}.")
        else:
            yield Dimension(full, full.rpartition(".")[2], listed(f"sweep.{full}", values))


def listed(key: str, values: Any) -> list:
    """A list of values, or a range: start, stop (reached), and step, or num, evenly or by log."""
    if isinstance(values, dict):
        values = _range(key, values)
    allowed = "a list of different numbers or words, or a range {start, stop, step}"
    good = isinstance(values, list) and len(values) > 0
    good = good and all(isinstance(value, (int, float, str)) for value in values)
    require(good and len(set(values)) == len(values), key, values, allowed)
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
    require(good, key, given, allowed)
    count = min((stop - start) / step + 1e-9, MOST_POINTS) + 1 if by_step else num
    require(count <= MOST_POINTS, key, given, f"at most {MOST_POINTS} values")
    if by_step:
        values = start + step * np.arange(int(count))
    else:
        values = (np.geomspace if log else np.linspace)(start, stop, num)
    whole = isinstance(start, int) and isinstance(stop, int) and not isinstance(step, float)
    whole = whole and stop - start >= len(values) - 1  # else 0 to 1 in parts
    return [round(v) if whole else round(v, 12) for v in values.tolist()]


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
