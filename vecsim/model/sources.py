"""The code of components that are not vecsim's: it belongs to the identity of a study."""

import ast
import importlib.util
import inspect
import linecache
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from vecsim.errors import ConfigError, require
from vecsim.results.files import file_digest

_OWN = "vecsim"  # the package whose code is no part of a study's identity
INSTALLED = {"site-packages", "dist-packages"}  # folders whose code belongs to no study
_PLAIN = (bool, int, float, str, tuple)  # types of a session's globals that count by their values

# By file: the spec of the module as it was imported, which a reload makes anew, and the file's
# hash when it was first read here.
_imported: dict[Path, tuple[Any, str]] = {}


def is_own(class_: type) -> bool:
    """Whether a class is the user's own: not one of vecsim's."""
    return class_.__module__.partition(".")[0] != _OWN


def code_of(components: Iterable[Any]) -> dict[str, dict[str, str]]:
    """{"sources": `sources` of the components' classes}, or {} where all are vecsim's.

    For a mixture the classes of its kinds count. The result can be joined to a configuration.
    """
    found = sources({type(kind) for each in components for kind in getattr(each, "kinds", (each,))})
    return {"sources": found} if found else {}


def sources(classes: Iterable[type]) -> dict[str, str]:
    """A hash (16 hexadecimal digits) of every file that the classes' code is in, except vecsim's.

    Those are the files of their modules and of what these import, as far as import statements say,
    except Python's own and installed packages (in `site-packages`); data files that they read
    are not among them. Names are relative to the folder of the package, `mypackage/blizzard.py`.
    For a class that was typed into a session, as in a notebook, what was typed is hashed, under the
    class's name.
    ConfigError where a file has changed since it was imported, or where a class has neither a file
    nor text that was typed.
    """
    found: dict[str, str] = {}
    for class_ in sorted({c for c in classes if is_own(c)}, key=lambda c: c.__module__):
        module = sys.modules[class_.__module__]
        name = f"{class_.__module__}.{class_.__qualname__}"
        if not getattr(module, "__file__", None):
            text = _typed_text(class_)
            require(bool(text), name, "a class without a file", "one of a module with a file")
            found[name] = _short(text.encode())
            continue
        files = _with_imported(module)
        alone = sum(path.stat().st_size > 0 for path, _ in files) == 1
        for path, each in files:
            found[path.relative_to(_home(path, each)).as_posix()] = _hash(path, each, alone)
    return dict(sorted(found.items()))


def _home(path: Path, module: ModuleType) -> Path:
    """The folder that contains the module's top package, or the module where it has none."""
    above = path.parent if path.stem == "__init__" else path
    return above.parents[module.__name__.count(".")]


def _with_imported(module: ModuleType) -> list[tuple[Path, ModuleType]]:
    """The module and what it imports, directly or not, of its own package or not installed, each
    with its file."""
    top = module.__name__.partition(".")[0]
    waiting, found = [module.__name__], {}
    while waiting:
        name = waiting.pop()
        each = sys.modules.get(name)
        if name not in found and each is not None and _belongs(each, top):
            found[name] = each
            waiting += _mentioned(each)
    files = [(getattr(each, "__file__", None), each) for each in found.values()]
    return [(Path(file).resolve(), each) for file, each in files if file]


def _belongs(module: ModuleType, top: str) -> bool:
    """Whether a module is of the package `top`, or neither vecsim's, Python's nor installed."""
    first, file = module.__name__.partition(".")[0], getattr(module, "__file__", None)
    if first in (top, _OWN) or first in sys.stdlib_module_names or not file:
        return first == top
    return not INSTALLED & set(Path(file).resolve().parts)


def _mentioned(module: ModuleType) -> Iterator[str]:
    """Names of modules that a module's import statements may mean, and of its packages."""
    yield from _packages(module.__name__)
    file = str(getattr(module, "__file__", None) or "")
    if not file.endswith(".py"):
        return
    try:
        tree = ast.parse(Path(file).read_bytes())
    except SyntaxError:  # it has changed since it was imported, which `_hash` tells
        return
    for node in ast.walk(tree):
        base = ""
        if isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            base = f"{importlib.util.resolve_name(relative, module.__package__ or '')}."
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield from _packages(base + alias.name)


def _packages(name: str) -> Iterator[str]:
    """The packages that a module is in, the outermost first, and the module."""
    return accumulate(name.split("."), "{}.{}".format)


def _hash(path: Path, module: ModuleType, alone: bool) -> str:
    """The hash of the file as it was imported; ConfigError where it is another one now.

    alone: whether it is the only file of the class's code, so that reloading it is enough.
    """
    now = _short(path.read_bytes())
    spec = module.__spec__
    if path not in _imported or (alone and _imported[path][0] is not spec):
        _imported[path] = spec, "" if _older(spec, path) else now
    if _imported[path][1] != now:
        again = f", or importlib.reload of {module.__name__}" if alone else ""
        told = f"{path} has changed since it was imported; allowed: a new session{again}"
        raise ConfigError(told)
    return now


def _short(content: bytes) -> str:
    return file_digest(content)[:16]


def _older(spec: Any, path: Path) -> bool:
    """Whether what was imported, before anybody looked, was an earlier state of the file.

    Python notes the file's time and size with the compiled code that it keeps.
    """
    cached = Path(getattr(spec, "cached", None) or "")
    kept = cached.is_file() and os.access(cached.parent, os.W_OK) and not sys.dont_write_bytecode
    if not kept:
        return False
    flags, *noted = struct.unpack("<4x3I", cached.read_bytes()[:16])
    state = path.stat()
    # With flags set, Python compares the file's contents instead of its time and size.
    return not flags and noted != [int(state.st_mtime) % 2**32, state.st_size % 2**32]


def _typed_text(class_: type) -> str:
    """The text of every cell in which the class, and what it uses of the same session, is written.

    Python keeps what was typed, by cell, for its tracebacks; "" where none is kept. Numbers and
    words that it uses follow, with their values.
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
                elif isinstance(used, _PLAIN):
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
