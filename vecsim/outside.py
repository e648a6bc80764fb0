"""Files of configuration as Hydra reads them: those from outside may hold data only.

Checked where Hydra reads a file, so that what is checked is what is used: by whatever link,
relative path or list of defaults it was reached, and as OmegaConf understood it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from vecsim import places
from vecsim.errors import ConfigError

ENVIRONMENT = "oc.env"
SCHEME = "vecsim"  # of every folder that is searched: Hydra would read `file` without a check


class Checked(ConfigSource):
    """A folder of files, read as Hydra reads files, and checked."""

    def __init__(self, provider: str, path: str):
        super().__init__(provider, path)
        sources = Plugins.instance().discover(ConfigSource)
        [files] = [each for each in sources if each.scheme() == "file"]  # type: ignore
        self.files: ConfigSource = files(provider, f"file://{self.path}")  # type: ignore

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def available(self) -> bool:
        return self.files.available()

    def is_group(self, config_path: str) -> bool:
        return self.files.is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        return self.files.is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return self.files.list(config_path, results_filter)

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, f"{config_path.removesuffix('.yaml')}.yaml")
        try:
            result = self.files.load_config(config_path)
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


def folders() -> list[Path]:
    """Where Hydra looks for files, in its order; vecsim's own where it has not begun."""
    if not GlobalHydra.instance().is_initialized():
        return [places.root("conf")]
    elements = GlobalHydra.instance().config_loader().get_search_path().get_path()
    paths = [each.path.partition("://") for each in elements if each.path]
    return [Path(path) for scheme, _, path in paths if scheme == SCHEME]


@contextlib.contextmanager
def closed() -> Iterator[None]:
    """While this lasts no file can read the environment.

    It may be entered within itself: what is closed stays so until the outermost one ends.
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


_closed: list[bool] = []


def _unread(name: str, *default: str) -> str:
    raise ConfigError(f"${{{ENVIRONMENT}:{name}}} reads the environment; allowed: values")
