"""The code of classes that were typed into a session, as into the cells of a notebook.

They have no file. Python keeps what was typed, by cell, for its tracebacks.
"""

import inspect
import linecache
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

PLAIN = (bool, int, float, str, tuple)  # types of globals that count by their values


def typed_text(class_: type) -> str:
    """The text of every cell in which the class, and what it uses of the same session, is written.

    "" where none is kept. Numbers and words that it uses follow, with their values.
    """
    session = vars(sys.modules[class_.__module__])
    waiting: list[Any] = [class_]
    seen, cells, values = [], set(), set()
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.append(each)
        for code in _codes(each):
            cells.add("".join(linecache.getlines(code.co_filename)))
            for name in code.co_names:
                used = session.get(name)
                if getattr(used, "__module__", None) == class_.__module__:
                    waiting.append(used)
                elif isinstance(used, PLAIN):
                    values.add(f"{name} = {used!r}\n")
        if isinstance(each, type):
            waiting += [base for base in each.__bases__ if base.__module__ == class_.__module__]
    written = "".join(sorted(cells))
    return written + "".join(sorted(values)) if written else ""


def _codes(each: Any) -> Iterator[CodeType]:
    """The code of a function, or of all functions of a class, with the functions within them."""
    waiting = list(vars(each).values()) if isinstance(each, type) else [each]
    while waiting:
        part = waiting.pop()
        if isinstance(part, CodeType):
            yield part
            waiting += [inner for inner in part.co_consts if isinstance(inner, CodeType)]
            continue
        # A property has its function in `fget`; Equinox wraps methods in an object of its own.
        function = getattr(part, "fget", None) or getattr(part, "method", part)
        waiting += [c for c in [getattr(inspect.unwrap(function), "__code__", None)] if c]
