"""What configuration files from outside may do: set parameters and name components, nothing else.

An experiment that somebody shares, or a folder given by `--config-dir`, is data. It may not bring
code to run (components come from vecsim and from the packages that the command line names), steer
Hydra (callbacks, logging, launchers, folders), read the environment, or choose an output outside
the working folder.
"""

import contextlib
import re
from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import yaml

from vecsim.errors import ConfigError, require

RESOLVERS = ("share", "sum", "rest", "range")  # functions of `plan.prepare`
SEARCH = "hydra.searchpath"
FUNCTION = re.compile(r"\$\{\s*([\w.]+)\s*:")

_packages: ContextVar[tuple[str, ...]] = ContextVar("packages", default=())


@contextlib.contextmanager
def packages(names: Any) -> Iterator[None]:
    """While this lasts components may also come from these packages, named by their first part."""
    listed = [names] if isinstance(names, str) else () if names is None else names
    good = isinstance(listed, Sequence) and all(isinstance(name, str) for name in listed)
    good = good and all(name.isidentifier() for name in listed)
    require(good, "packages", names, "names of packages, such as packages=[mypackage]")
    before = _packages.set(tuple(listed))
    try:
        yield
    finally:
        _packages.reset(before)


def require_known(key: str, target: Any) -> None:
    """ConfigError unless the class at this dotted path may be imported."""
    known = ("vecsim", *_packages.get())
    package = str(target).partition(".")[0]
    asked = package if package.isidentifier() else "NAME"
    allowed = f"a class of {', '.join(known)}, or packages={asked} on the command line"
    require(package in known, key, target, allowed)


def check(config: Mapping[str, Any], given: Collection[str]) -> None:
    """ConfigError where a composed configuration, not resolved, does what a file may not.

    given: keys that were set on the command line, where more is allowed.
    """
    for key, value in _texts(config):
        for function in FUNCTION.findall(value):
            allowed = f"values, other keys, and the functions {', '.join(RESOLVERS)}"
            require(function in RESOLVERS, key, value, allowed)
    if config.get("packages") and "packages" not in given:
        raise ConfigError("packages is set by a file; allowed: packages=... on the command line")
    output = config.get("output")
    if isinstance(output, str) and "output" not in given:
        inside = Path.cwd() in (Path.cwd() / output).resolve().parents
        allowed = "a folder inside the working folder, or output=FOLDER on the command line"
        require(inside, "output", output, allowed)


def check_options(options: Namespace) -> None:
    """ConfigError where options of Hydra would replace vecsim's configuration, or unpickle a file,
    or where the folders of configuration that are given reach for Hydra's own."""
    for name in ("config_path", "config_name", "experimental_rerun"):
        allowed = "--config-dir FOLDER, beside vecsim's own configuration"
        option, value = f"--{name.replace('_', '-')}", getattr(options, name)
        require(value is None, option, value, allowed)
    if options.config_dir is not None:
        check_folder(Path(options.config_dir))
    for word in options.overrides:
        if word.lstrip("+").startswith(f"{SEARCH}="):
            for folder in _searched(word.partition("=")[2]):
                check_folder(folder)


def _searched(text: str) -> list[Path]:
    """Folders of Hydra's search path, as an override gives them."""
    allowed = "[FOLDER] or [file://FOLDER]"
    listed: Any
    try:
        listed = yaml.safe_load(text)
    except yaml.YAMLError:
        listed = None
    good = isinstance(listed, list) and all(isinstance(each, str) for each in listed)
    require(good, SEARCH, text, allowed)
    paths = [each.removeprefix("file://") for each in listed]
    require(not any("://" in each for each in paths), SEARCH, text, allowed)
    return [Path(each) for each in paths]


def check_folder(folder: Path) -> None:
    """ConfigError where a file below a folder of configuration reaches for Hydra's own."""
    require(folder.is_dir(), "--config-dir", str(folder), "a folder that exists")
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        if "hydra" in path.relative_to(folder).parts:
            raise ConfigError(
                f"{path} configures Hydra; allowed: hydra.KEY=... on the command line"
            )
        if path.suffix == ".yaml":
            _check_file(path)


def _check_file(path: Path) -> None:
    """Errors of YAML are Hydra's to tell, once it reads the file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    reaches = any("@package" in line and "hydra" in line for line in text.splitlines())
    with contextlib.suppress(yaml.YAMLError):
        for document in yaml.safe_load_all(text):
            if isinstance(document, dict):
                listed = str(document.get("defaults", ""))
                reaches |= "hydra" in document or "hydra" in listed
                reaches |= any(str(key).startswith("hydra.") for key in document)
    if reaches:
        raise ConfigError(f"{path} configures Hydra; allowed: hydra.KEY=... on the command line")


def _texts(section: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a nested configuration, with its dotted key."""
    if isinstance(section, Mapping):
        for name, value in section.items():
            yield from _texts(value, f"{key}.{name}".lstrip("."))
    elif isinstance(section, (list, tuple)):
        for value in section:
            yield from _texts(value, key)
    elif isinstance(section, str):
        yield key, section
