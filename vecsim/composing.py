"""The one way from words to a configuration.

Hydra composes files and words. Words that sweep a parameter are kept from it: it would merge their
range into that of a file, and it accepts no parameter of a group beside a list of the group's
options. They are put into `sweep` afterwards, under BY_HAND.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import product
from math import ceil
from pathlib import Path
from typing import ClassVar

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict

from vecsim import outside, places
from vecsim.errors import ConfigError
from vecsim.model import build, trust
from vecsim.studies import overrides
from vecsim.studies.dimensions import BY_HAND, listed

# Sections that accept parameters the configuration does not list: the component's class has them.
OPEN = ("sweep", "protocol", "adversary", "network", "stake", "latency", "polling", "campaign")
STEPS = ("start", "stop", "step")  # arguments of ${range:...}, in their order
# Keys of Hydra that vecsim ignores, and so refuses.
UNUSED = ("hydra.callbacks", "hydra/callbacks", "hydra.sweeper", "hydra/sweeper")

Words = list[str]  # overrides in Hydra's grammar


class Folders(SearchPathPlugin):
    """Tells Hydra which folders to search for configuration files when a session begins."""

    searched: ClassVar[Sequence[Path]] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Hydra calls this when a session begins."""
        for folder in self.searched:
            search_path.append("vecsim", f"{outside.SCHEME}://{folder}")


@contextlib.contextmanager
def session(folders: Sequence[Path] = ()) -> Iterator[None]:
    """Within this context configurations can be composed.

    folders: of configuration, in the order in which they are searched; vecsim's own comes last
    unless it is among them.
    """
    register()
    every = [*folders, places.root("conf")]
    Folders.searched = list(dict.fromkeys(each.resolve() for each in every))
    try:
        begun = hydra.initialize(config_path=None, job_name="vecsim", version_base="1.3")
    finally:
        Folders.searched = ()
    with begun, outside.closed():
        yield


@contextlib.contextmanager
def command_session(folders: Sequence[Path] = ()) -> Iterator[None]:
    """The session of a command: what Hydra finds wrong is a ConfigError.

    folders: of configuration, searched after vecsim's own.
    """
    with refusals(), session([places.root("conf"), *folders]):
        yield


def register() -> None:
    """Register with Hydra and OmegaConf what configurations may use.

    The sections in OPEN accept keys that they do not list. ${share:0.75,20} is 75 % of 20,
    rounded up; ${sum:60,30} is 90, ${rest:0.8} is 0.2; ${range:0,1,0.5} is [0, 0.5, 1].
    """
    for plugin in (outside.Checked, Folders):
        Plugins.instance().register(plugin)
    # The schema of hydra-ray-launcher, which lists no argument of ray.remote, would be merged with
    # vecsim's own file of that name, with a warning.
    ConfigStore.instance().repo["hydra"]["launcher"].pop("ray.yaml", None)
    ConfigStore.instance().store("open", OmegaConf.create({key: _open() for key in OPEN}))

    def exact(value) -> Decimal:
        return Decimal(str(value))

    functions = {
        "share": lambda share, total: ceil(exact(share) * exact(total)),
        "sum": lambda *terms: sum(terms),
        "rest": lambda share: float(1 - exact(share)),
        "range": lambda *ends: listed("range", dict(zip(STEPS, ends, strict=True))),
    }
    for name, function in functions.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def _open() -> DictConfig:
    return DictConfig({}, flags={"struct": False})


def compose(words: Sequence[str], name: str = "config", whole: bool = True) -> DictConfig:
    """The configuration that words describe, within a session.

    name: of the file that it starts from. whole: with Hydra's own settings, as `hydra`.
    """
    config = hydra.compose(name, told(words), return_hydra_config=whole)
    add_swept(config, words)
    return config


def compose_options(words: Sequence[str], choices: Mapping[str, str]) -> DictConfig:
    """The same without `hydra` and with other options. choices: group -> name of the option."""
    return compose([*words, *(f"{key}={name}" for key, name in choices.items())], whole=False)


def option_file(group: str, name: str | None) -> DictConfig | None:
    """The file of an option of a group, as it is written, within a session; None without one."""
    paths = (folder / group / f"{name}.yaml" for folder in outside.folders())
    path = next((path for path in paths if name and path.is_file()), None)
    found = OmegaConf.load(path) if path else None
    return found if isinstance(found, DictConfig) else None


def scenario(file: str, words: Sequence[str]) -> DictConfig:
    """The configuration of a scenario's file, changed by words, which may set any key of it."""
    node = {"defaults": ["_self_", file], "scenario": _open()}
    ConfigStore.instance().store(name="a_scenario", node=OmegaConf.create(node))
    return compose(words, "a_scenario", whole=False)


def told(words: Iterable[str]) -> list[str]:
    """Those of the words that Hydra is given; ConfigError where one has several values."""
    kept = []
    for each in parsed(words):
        _check(each)
        if each.key_or_group == trust.SEARCH:
            folders = trust.searched(each.get_value_string())
            paths = [f"{outside.SCHEME}://{folder.resolve()}" for folder in folders]
            kept.append(f"{trust.SEARCH}={overrides.literal(trust.SEARCH, paths)}")
        elif not _is_swept(each):
            kept.append(str(each.input_line))
    return kept


def searching(words: Iterable[str]) -> list[str]:
    """Those of the words that set Hydra's search path."""
    return [word for word in words if overrides.parse_word(word).key == trust.SEARCH]


def add_swept(config: DictConfig, words: Iterable[str]) -> None:
    """Add what the words sweep to what the files sweep."""
    mine: dict[str, object] = {}
    for each in parsed(words):
        if _is_swept(each):
            mine[each.key_or_group.removeprefix("sweep").removeprefix(".")] = each.value()
        elif each.key_or_group == "sweep" and each.is_delete():
            mine = {}
    files = config.get("sweep")
    with open_dict(config):
        if mine and files is None:
            config.sweep = {BY_HAND: mine}
        elif mine and isinstance(files, DictConfig):
            files[BY_HAND] = mine


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Within this context an error that Hydra raises becomes a ConfigError."""
    try:
        yield
    except build.COMPOSING as error:
        raise ConfigError(build.sentence(error)) from None
    except ValueError as error:
        if isinstance(error, ConfigError) or not build.raised_by_hydra(error):
            raise
        raise ConfigError(f"not to be composed: {build.sentence(error)}") from None


def jobs(words: Sequence[str]) -> tuple[list[Words], list[Words], Words]:
    """For each combination of the given values the words of its job, and those of them that differ
    between jobs; and the words about Hydra that all jobs share."""
    rows, several, shared = [], set(), []
    for each in parsed(words):
        key, line = each.get_key_element(), str(each.input_line)
        if each.is_hydra_override():
            shared.append(line)
        elif each.is_sweep_override():
            several.add(key)
            rows.append([f"{key}={value}" for value in _values(each)])
        else:
            rows.append([line if each.is_delete() else f"{key}={each.get_value_element_as_str()}"])
    made = [[*row] for row in product(*rows)]
    varied = [[word for word in row if word.partition("=")[0] in several] for row in made]
    return made, varied, shared


def parsed(words: Iterable[str]) -> list[Override]:
    """The words as Hydra parses them."""
    begun = GlobalHydra.instance()
    loader = begun.config_loader() if begun.is_initialized() else None
    return OverridesParser.create(loader).parse_overrides(list(words))


def _is_swept(override: Override) -> bool:
    key = f"{override.key_or_group}."
    return key.startswith("sweep.") and override.package is None and not override.is_delete()


def _check(override: Override) -> None:
    """ConfigError where a word has several values, or sets a key of UNUSED."""
    key, line = override.key_or_group, str(override.input_line)
    if key.startswith(UNUSED):
        raise ConfigError(f"{line} is not used; allowed: other keys of hydra, and KEY=A,B with -m")
    if override.is_sweep_override():
        values, jobs = f"[{override.get_value_string()}]", "-m (one job for each)"
        if override.is_hydra_override():
            raise ConfigError(f"{line} is several values; allowed: one, for all jobs")
        swept = f"sweep.{key.removeprefix('sweep.')}"
        if override.is_range_sweep():
            ranges = f"{swept}={{start: 0, stop: 1, step: 0.5}} (one dataset)"
            raise ConfigError(f"{line} makes jobs; allowed: {ranges}, or {jobs}")
        told = f"{line} is several values; allowed: {swept}={values} (one dataset), or {jobs}"
        raise ConfigError(told)


def _values(override: Override) -> list[str]:
    try:
        return list(override.sweep_string_iterator())
    except (HydraException, TypeError, ValueError, AssertionError):
        key = override.key_or_group
        raise ConfigError(f"{override.input_line} cannot be listed; allowed: {key}=A,B") from None
