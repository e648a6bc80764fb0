"""What configuration files from outside may do: set parameters and name components, nothing else.

An experiment that somebody shares, or a folder given by `--config-dir`, is data. It may not bring
code to run (components come from vecsim and from the packages that the command line names), steer
Hydra (callbacks, logging, launchers, folders), read the environment, choose an output outside the
working folder, or have a run watched.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from vecsim.errors import ConfigError, require
from vecsim.outside import SCHEME

RESOLVERS = ("share", "sum", "rest", "range")  # of `composing.register`: they compute, no more
SEARCH = "hydra.searchpath"  # Hydra's key for the folders of configuration
FUNCTION = re.compile(r"\$\{\s*([\w.]+)\s*:")  # a function that is called, ${NAME:...}
NESTED = re.compile(r"\$\{[^:}]*\$\{")  # a key, or a function, whose name is another key's value

# What is trusted now: packages besides vecsim, and classes by dotted path.
_packages: ContextVar[tuple[str, ...]] = ContextVar("packages", default=())
_classes: ContextVar[Mapping[str, type]] = ContextVar("classes", default=MappingProxyType({}))


def packages(names: Any) -> AbstractContextManager[None]:
    """While this lasts components may also come from these packages, named by their first part.

    It may be nested: what is trusted already stays so. names: one, a list, or None.
    ConfigError where a name is not a valid one.
    """
    listed = _listed(names)
    good = all(isinstance(name, str) and name.isidentifier() for name in listed)
    require(good, "packages", names, "names of packages, such as packages=[mypackage]")
    return _while(_packages, (*_packages.get(), *listed))


def handed(classes: Mapping[str, type]) -> AbstractContextManager[None]:
    """While this lasts these dotted paths mean these classes, which need not be importable."""
    return _while(_classes, classes)


@contextmanager
def _while(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """While this lasts the variable has this value."""
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)


def _listed(value: Any) -> Sequence[Any]:
    """None, one thing, or several, as several."""
    if value is None:
        return ()
    return value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def handed_over(target: str) -> type | None:
    """The class that was handed over under this dotted path, if one was."""
    return _classes.get().get(target)


def require_known(key: str, target: Any) -> None:
    """ConfigError unless the class at the dotted path `target` may be imported.

    key: the parameter that names it, for the message.
    """
    known = ("vecsim", *_packages.get())
    package = str(target).partition(".")[0]
    asked = package if package.isidentifier() else "NAME"
    allowed = f"a class of {', '.join(known)}, or packages={asked} on the command line"
    require(package in known, key, target, allowed)


def check_trusted(config: Mapping[str, Any], given: Collection[str]) -> None:
    """ConfigError where a composed configuration, not yet resolved, does what a file may not.

    given: keys that were set on the command line, where more is allowed.
    """
    allowed = f"values, other keys, and the functions {', '.join(RESOLVERS)}"
    for key, value in _leaves(config):
        require(value is None or isinstance(value, (str, int, float)), key, value, allowed)
        text = value if isinstance(value, str) else ""
        known = set(FUNCTION.findall(text)) <= {*RESOLVERS}
        require(known and not NESTED.search(text), key, value, allowed)
    for key in ("packages", "watch"):  # code that runs, files that are replaced
        if config.get(key) and key not in given:
            raise ConfigError(f"{key} is set by a file; allowed: {key}=... on the command line")


def check_inside(key: str, path: Any, kind: str) -> None:
    """ConfigError where a configuration file chooses a file or folder outside the working folder.

    path: the resolved value; anything but text is accepted here. kind: a file or a folder.
    """
    if isinstance(path, str) and path:
        inside = Path.cwd() in (Path.cwd() / path).resolve().parents
        allowed = f"a {kind} inside the working folder, or {key}={kind.upper()} on the command line"
        require(inside, key, path, allowed)


def require_folder(key: str, folder: Path) -> Path:
    """The folder of configuration; ConfigError unless there is one. key: what names it."""
    require(folder.is_dir(), key, str(folder), "a folder that exists")
    return folder


def config_folders(config_dir: Any) -> list[Path]:
    """Folders of configuration as a Python caller gives them: none, one, or a list of them.

    ConfigError where something else is given, or where a folder does not exist.
    """
    listed = _listed(config_dir)
    good = all(isinstance(each, (str, Path)) for each in listed)
    require(good, "config_dir", config_dir, "a folder, or a list of folders")
    return [require_folder("config_dir", Path(each)) for each in listed]


def searched(text: str) -> list[Path]:
    """Folders that an override adds to Hydra's search, from its text, [FOLDER, ...] in YAML.

    ConfigError where it is no such list, or where a folder does not exist.
    """
    listed: Any = None
    with suppress(yaml.YAMLError):
        listed = yaml.safe_load(text)
    allowed = "[FOLDER] or [file://FOLDER]"
    good = isinstance(listed, list) and all(isinstance(each, str) for each in listed)
    require(good, SEARCH, text, allowed)
    paths = [each.removeprefix("file://").removeprefix(f"{SCHEME}://") for each in listed]
    require(not any("://" in each for each in paths), SEARCH, text, allowed)
    return [require_folder(SEARCH, Path(each)) for each in paths]


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
