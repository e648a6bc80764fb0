"""What configuration files from outside may do: set parameters and name components, nothing else.

An experiment that somebody shares, or a folder given by `--config-dir`, is data. It may not bring
code to run (components come from vecsim and from the packages that the command line names), steer
Hydra (callbacks, logging, launchers, folders), read the environment, or choose an output outside
the working folder.
"""

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from vecsim.errors import ConfigError, require
from vecsim.outside import SCHEME

RESOLVERS = ("share", "sum", "rest", "range")  # functions of `composing.register`
SEARCH = "hydra.searchpath"
FUNCTION = re.compile(r"\$\{\s*([\w.]+)\s*:")
NESTED = re.compile(r"\$\{[^:}]*\$\{")  # a key, or a function, whose name is another key's value

_packages: ContextVar[tuple[str, ...]] = ContextVar("packages", default=())
_classes: ContextVar[Mapping[str, type]] = ContextVar("classes", default=MappingProxyType({}))


@contextlib.contextmanager
def packages(names: Any) -> Iterator[None]:
    """While this lasts components may also come from these packages, named by their first part.

    It may be entered within itself: what is trusted stays so.
    """
    listed = [names] if isinstance(names, str) else () if names is None else names
    good = isinstance(listed, Sequence) and all(isinstance(name, str) for name in listed)
    good = good and all(name.isidentifier() for name in listed)
    require(good, "packages", names, "names of packages, such as packages=[mypackage]")
    before = _packages.set((*_packages.get(), *listed))
    try:
        yield
    finally:
        _packages.reset(before)


@contextlib.contextmanager
def handed(classes: Mapping[str, type]) -> Iterator[None]:
    """While this lasts these dotted paths mean these classes, which need not be importable."""
    before = _classes.set(classes)
    try:
        yield
    finally:
        _classes.reset(before)


def handed_over(target: str) -> type | None:
    """The class that was handed over under this dotted path."""
    return _classes.get().get(target)


def require_known(key: str, target: Any) -> None:
    """ConfigError unless the class at this dotted path may be imported."""
    known = ("vecsim", *_packages.get())
    package = str(target).partition(".")[0]
    asked = package if package.isidentifier() else "NAME"
    allowed = f"a class of {', '.join(known)}, or packages={asked} on the command line"
    require(package in known, key, target, allowed)


def check_trusted(config: Mapping[str, Any], given: Collection[str]) -> None:
    """ConfigError where a composed configuration, not resolved, does what a file may not.

    given: keys that were set on the command line, where more is allowed.
    """
    allowed = f"values, other keys, and the functions {', '.join(RESOLVERS)}"
    for key, value in _leaves(config):
        require(value is None or isinstance(value, (str, int, float)), key, value, allowed)
        text = value if isinstance(value, str) else ""
        functions = FUNCTION.findall(text)
        require(functions == [f for f in functions if f in RESOLVERS], key, value, allowed)
        require(not NESTED.search(text), key, value, allowed)
    if config.get("packages") and "packages" not in given:
        raise ConfigError("packages is set by a file; allowed: packages=... on the command line")


def check_output(output: Any) -> None:
    """ConfigError where a file chooses a folder outside the working folder; resolved."""
    if isinstance(output, str):
        inside = Path.cwd() in (Path.cwd() / output).resolve().parents
        allowed = "a folder inside the working folder, or output=FOLDER on the command line"
        require(inside, "output", output, allowed)


def require_folder(key: str, folder: Path) -> None:
    """ConfigError unless there is such a folder of configuration. key: what names it."""
    require(folder.is_dir(), key, str(folder), "a folder that exists")


def config_folders(config_dir: Any) -> list[Path]:
    """Folders of configuration as Python names them: none, one, or a list of them."""
    one = [] if config_dir is None else [config_dir]
    listed: list[Any] = [*config_dir] if isinstance(config_dir, (list, tuple)) else one
    good = all(isinstance(each, (str, Path)) for each in listed)
    require(good, "config_dir", config_dir, "a folder, or a list of folders")
    for each in listed:
        require_folder("config_dir", Path(each))
    return [Path(each) for each in listed]


def searched(text: str) -> list[Path]:
    """Folders that an override has Hydra search; ConfigError where it says what is none."""
    allowed = "[FOLDER] or [file://FOLDER]"
    listed: Any
    try:
        listed = yaml.safe_load(text)
    except yaml.YAMLError:
        listed = None
    good = isinstance(listed, list) and all(isinstance(each, str) for each in listed)
    require(good, SEARCH, text, allowed)
    paths = [each.removeprefix("file://").removeprefix(f"{SCHEME}://") for each in listed]
    require(not any("://" in each for each in paths), SEARCH, text, allowed)
    for each in paths:
        require_folder(SEARCH, Path(each))
    return [Path(each) for each in paths]


def _leaves(section: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a nested configuration that is not nested itself, with its dotted key."""
    if isinstance(section, Mapping):
        for name, value in section.items():
            yield from _leaves(value, f"{key}.{name}".lstrip("."))
    elif isinstance(section, (list, tuple)):
        for value in section:
            yield from _leaves(value, key)
    else:
        yield key, section
