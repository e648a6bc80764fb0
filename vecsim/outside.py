"""Configuration files as Hydra reads them: those from outside may hold data only.

The check is made where Hydra reads a file, so that what is checked is what is used, whatever link,
relative path or list of defaults led to it, and as OmegaConf parsed it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from vecsim import places
from vecsim.errors import ConfigError

ENVIRONMENT = "oc.env"  # OmegaConf's function that reads the environment
# Of every folder that is searched: Hydra would read one with the scheme `file` without a check.
SCHEME = "vecsim"
# Hydra's own source of files, by the scheme that it serves: its class is private.
_sources: Any = Plugins.instance().discover(ConfigSource)
_Files: Any = next(each for each in _sources if each.scheme() == "file")


class Checked(_Files):
    """A folder of files, read as Hydra reads files, and checked."""

    @staticmethod
    def scheme() -> str:
        """That of all folders which are searched: SCHEME."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """The file of that name, as Hydra reads it; ConfigError where it is nested too deeply, or
        comes from outside and holds more than data."""
        path = Path(self.path, f"{config_path.removesuffix('.yaml')}.yaml")
        try:
            result = super().load_config(config_path)
        except RecursionError:
            raise ConfigError(f"{path} is nested too deeply; allowed: settings") from None
        if not Path(os.path.realpath(path)).is_relative_to(places.root("conf").resolve()):
            _check(path, config_path, result)
        return result


def _check(path: Path, name: str, result: ConfigResult) -> None:
    """ConfigError where a file configures Hydra, or computes its list of defaults."""
    config = OmegaConf.to_container(result.config, resolve=False)
    section = config if isinstance(config, dict) else {}
    keys, listed = map(str, section), str(section.get("defaults", ""))
    reaches = any(key.partition(".")[0] == "hydra" for key in keys)
    reaches |= "hydra" in listed or "hydra" in Path(name).parts
    if reaches or "hydra" in (result.header.get("package") or ""):
        raise ConfigError(f"{path} configures Hydra; allowed: hydra.KEY=... on the command line")
    if "${" in listed:
        raise ConfigError(f"{path} has {listed} as its defaults; allowed: options by their names")


def folders() -> list[Path]:
    """The folders that Hydra searches, in order; vecsim's own folder if it has not begun."""
    if not GlobalHydra.instance().is_initialized():
        return [places.root("conf")]
    elements = GlobalHydra.instance().config_loader().get_search_path().get_path()
    paths = [each.path.partition("://") for each in elements if each.path]
    return [Path(path) for scheme, _, path in paths if scheme == SCHEME]


@contextlib.contextmanager
def closed() -> Iterator[None]:
    """Within this context no file can read the environment.

    It may be nested: the environment stays closed until the outermost context ends.
    """
    outermost = not _closed
    _closed.append(outermost)
    OmegaConf.register_new_resolver(ENVIRONMENT, _unread, replace=True)
    try:
        yield
    finally:
        _closed.pop()
        if outermost:
            OmegaConf.register_new_resolver(ENVIRONMENT, oc.env, replace=True)


# One entry for each `closed` that has begun and not ended: whether it is the outermost.
_closed: list[bool] = []


def _unread(name: str, *default: str) -> str:
    raise ConfigError(f"${{{ENVIRONMENT}:{name}}} reads the environment; allowed: values")
