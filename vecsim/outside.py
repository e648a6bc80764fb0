"""Checks configuration files from outside as Hydra reads them: they may hold data only.

Done where Hydra reads a file, so that what is checked is what is used: by whatever link, relative
path or list of defaults it was reached, and as OmegaConf understood it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource as HydraFiles
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from vecsim import places
from vecsim.errors import ConfigError

ENVIRONMENT = "oc.env"


class FileConfigSource(HydraFiles):  # named as Hydra's, which registers only one of a name
    """Files of configuration, those from outside as far as they may be."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        try:
            result = super().load_config(config_path)
        except RecursionError:
            raise ConfigError(f"{path} is nested too deeply; allowed: settings") from None
        own = Path(os.path.realpath(path)).is_relative_to(places.root("conf").resolve())
        if not own:
            _check(path, config_path, result)
        return result


def _check(path: Path, name: str, result: ConfigResult) -> None:
    """ConfigError where a file reaches for Hydra's own."""
    config = OmegaConf.to_container(result.config, resolve=False)
    section = config if isinstance(config, dict) else {}
    keys, listed = map(str, section), str(section.get("defaults", ""))
    reaches = any(key.partition(".")[0] == "hydra" for key in keys)
    reaches |= "hydra" in listed or "hydra" in Path(name).parts
    if reaches or "hydra" in (result.header.get("package") or ""):
        raise ConfigError(f"{path} configures Hydra; allowed: hydra.KEY=... on the command line")
    if "${" in listed:
        raise ConfigError(f"{path} has {listed} as its defaults; allowed: options by their names")


@contextlib.contextmanager
def closed() -> Iterator[None]:
    """While this lasts files from outside are checked, and none can read the environment.

    It may be entered within itself: what is closed stays so until the outermost one ends.
    """
    Plugins.instance()  # registers Hydra's own
    types = SourcesRegistry.instance().types
    if types["file"] is FileConfigSource:
        yield
        return
    before, types["file"] = types["file"], FileConfigSource
    OmegaConf.register_new_resolver(ENVIRONMENT, _unread, replace=True)
    try:
        yield
    finally:
        types["file"] = before
        OmegaConf.register_new_resolver(ENVIRONMENT, oc.env, replace=True)


def _unread(name: str, *default: str) -> str:
    raise ConfigError(f"${{{ENVIRONMENT}:{name}}} reads the environment; allowed: values")
