"""What went wrong, in one line that a user can act on."""

import contextlib
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

LONGEST = 100  # characters of a wrong value that are shown, so that a message stays one line
GOES_ON = "the same command goes on"  # part of messages about what ended before it was complete
_MOST = 1e300  # largest number allowed: neither infinite nor an integer beyond all floats


class ConfigError(ValueError):
    """A configuration that has no meaning; raised before anything is compiled."""


class JobKilled(Exception):
    """A job of a multirun, or a worker of a study, ended without a result."""


class WorkerError(JobKilled):
    """A worker's answer that cannot be right; nothing of it is kept."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return str(error).strip().partition("\n")[0]


def require(condition: bool, name: str, value, allowed: str) -> None:
    """Raise ConfigError unless the condition holds. allowed: the values that would be valid."""
    if not condition:
        text = repr(value)
        short = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
        raise ConfigError(f"{name} is {short}; allowed: {allowed}")


def mapping(
    where: str, given: Any, known: Collection[str], prefix: str | None = None
) -> Mapping[str, Any]:
    """A section with no other keys than these. prefix: of its keys, default `where` and a dot."""
    require(isinstance(given, Mapping), where, given, f"a mapping with {', '.join(known)}")
    for key in given:
        if key not in known:
            name = f"{where}.{key}" if prefix is None else f"{prefix}{key}"
            raise ConfigError(f"{name} is no parameter; allowed: {', '.join(known)}")
    return given


def plain_value(name: str, value: Any) -> None:
    """ConfigError unless the value consists of JSON types, with text as keys."""
    if isinstance(value, (list, tuple)):
        for place, each in enumerate(value):
            plain_value(f"{name}[{place}]", each)
    elif isinstance(value, dict):
        for key, each in value.items():
            require(isinstance(key, str), f"a key in {name}", key, "text")
            plain_value(f"{name}.{key}", each)
    else:
        good = value is None or isinstance(value, (bool, int, float, str))
        require(good, name, value, "text, numbers, true, false, null, lists and mappings")


def number(name: str, value: Any, allowed: str, good: Callable = lambda _: True) -> Any:
    """The value; ConfigError unless it is a finite number for which `good` is true.

    allowed: describes good numbers, such as "0 to 1".
    """
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    require(real and abs(value) <= _MOST and good(value), name, value, f"a number, {allowed}")
    return value


def whole(name: str, value: Any, low: int, high: int) -> int:
    """The value; ConfigError unless it is a whole number in [low, high]."""
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    require(good, name, value, f"a whole number, {low} to {high}")
    return value


def count(name: str, value: Any, low: int, high: int) -> int:
    """As `whole`, for a number that may be written as 1e3."""
    is_whole = isinstance(value, float) and value.is_integer()
    return whole(name, int(value) if is_whole else value, low, high)


def is_number(value: Any, whole: bool = False) -> bool:
    """Whether a value is a number, which NumPy or JAX may have made. whole: and a whole one."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return not whole or isinstance(value, int) or value.is_integer()


def name_of(component: Any) -> str:
    """The dotted name of a component's class, or of a class, as `_target_` has it."""
    class_ = component if isinstance(component, type) else type(component)
    return f"{class_.__module__}.{class_.__qualname__}"


@contextlib.contextmanager
def within(what: str, kind: type[Exception] = ConfigError) -> Iterator[None]:
    """An error within this context becomes a ConfigError that says what it is about, or nothing."""
    try:
        yield
    except kind as error:
        raise ConfigError(f"{what}: {error}" if what else str(error)) from None


@contextlib.contextmanager
def raised_by(component: Any, method: str, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Within this context an error in a component's code becomes a ConfigError that says where.

    component: it, or its class. but: errors that pass unchanged.
    """
    try:
        yield
    except (ConfigError, *but):
        raise
    except Exception as error:
        name = name_of(component)
        where = [
            f" ({Path(frame.f_code.co_filename).name}, line {line})"
            for frame, line in traceback.walk_tb(error.__traceback__)
            if name.startswith(f"{frame.f_globals.get('__name__')}.")
        ]
        kind, text = type(error).__name__, " ".join(str(error).split("\n\n")[0].split())
        short = text if len(text) <= 2 * LONGEST else f"{text[: 2 * LONGEST]}..."
        hint = ""
        if kind.startswith(("Tracer", "Concretization")):
            hint = "; allowed: jnp.where in place of if, and, or, int() and the like on its inputs"
        elif "'Quorum' object has no attribute" in text:
            hint = "; allowed: agree, against, confident, level, or counts = True"
        elif "'Levels' object has no attribute" in text:
            hint = "; allowed: agree, against, level, confident, or counts = True"
        elif "'Counts' object has no attribute" in text:
            hint = "; allowed: positive, answered, what the class declares, or counts = False"
        found = f"{kind}: {short}{where[-1] if where else ''}{hint}"
        raise ConfigError(f"{name}.{method} raises {found}") from None
