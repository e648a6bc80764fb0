"""What went wrong, in one line that a user can act on."""

from collections.abc import Callable
from typing import Any

LONGEST = 100  # characters of a wrong value that are shown
MOST = 1e300  # not infinite, nor a whole number that no float can hold


class ConfigError(ValueError):
    """A configuration that has no meaning; raised before anything is compiled."""


class JobFailed(Exception):
    """A job ended with an error that the user has been told already."""


def require(condition: bool, name: str, value, allowed: str) -> None:
    """Raise ConfigError unless the condition holds."""
    if not condition:
        text = repr(value)
        short = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
        raise ConfigError(f"{name} is {short}; allowed: {allowed}")


def number(
    name: str, value: Any, allowed: str, good: Callable[[float], bool] = lambda _: True
) -> Any:
    """The value, or ConfigError unless it is a finite number that is `good`.

    allowed: what good ones are, "0 to 1".
    """
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    require(real and abs(value) <= MOST and good(value), name, value, f"a number, {allowed}")
    return value


def whole(name: str, value: Any, low: int, high: int) -> int:
    """The value, or ConfigError unless it is a whole number in [low, high]."""
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    require(good, name, value, f"a whole number, {low} to {high}")
    return value
