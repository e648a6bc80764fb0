"""The one way from words to a configuration.

Hydra composes files and words. What is swept by hand it is not told: it would merge a range into
the one of a file, and takes no parameter of a group beside a list of the group's options. That is
put into `sweep` afterwards, under BY_HAND.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import product
from math import ceil
from pathlib import Path
from typing import ClassVar, NamedTuple

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict

from vecsim import outside, places
from vecsim.errors import ConfigError
from vecsim.model import build, trust
from vecsim.studies import overrides
from vecsim.studies.dimensions import BY_HAND, listed

# Here a parameter may be set that the configuration does not list: its class says what there is.
OPEN = ("sweep", "protocol", "adversary", "network", "campaign")
STEPS = ("start", "stop", "step")
SCENARIO = "of_scenario"  # the configuration of one scenario, beside the study's, `config`
UNUSED = ("hydra.callbacks", "hydra/callbacks", "hydra.sweeper", "hydra/sweeper")


class WordsOfJob(NamedTuple):
    """One of the jobs of a multirun. varied: those of its words that differ between jobs."""

    words: list[str]
    varied: list[str]


class Folders(SearchPathPlugin):
    """Where Hydra looks for files of configuration, while a session begins."""

    searched: ClassVar[Sequence[Path]] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in self.searched:
            search_path.append("vecsim", f"{outside.SCHEME}://{folder}")


@contextlib.contextmanager
def session(folders: Sequence[Path] = ()) -> Iterator[None]:
    """While this lasts configurations can be composed.

    folders: of configuration, in the order in which they are searched; vecsim's own is the last
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


def register() -> None:
    """Tell Hydra and OmegaConf what configurations may use.

    The groups of OPEN take keys beside those that they list. ${share:0.75,20} is 75 % of 20,
    rounded up; ${sum:60,30} is 90, ${rest:0.8} is 0.2; ${range:0,1,0.5} is [0, 0.5, 1].
    """
    for plugin in (outside.Checked, Folders):
        Plugins.instance().register(plugin)
    store = ConfigStore.instance().store
    store(name="open", node=OmegaConf.create({key: _open() for key in OPEN}))
    scenario = {"defaults": ["_self_", {"scenario": None}], "scenario": _open()}
    store(name=SCENARIO, node=OmegaConf.create(scenario))

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


def compose(words: Sequence[str], name: str = "config") -> DictConfig:
    """The configuration that words describe, with Hydra's own as `hydra`. Within a session."""
    config = hydra.compose(name, told(words), return_hydra_config=True)
    add_swept(config, words)
    return config


def compose_plain(words: Sequence[str], name: str = "config") -> DictConfig:
    """The same without Hydra's own."""
    config = compose(words, name)
    with open_dict(config):
        del config["hydra"]
    return config


def told(words: Iterable[str]) -> list[str]:
    """What Hydra is told of the words; ConfigError where one has several values."""
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


def add_swept(config: DictConfig, words: Iterable[str]) -> None:
    """Put what the words sweep beside what files sweep."""
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
    """What Hydra finds wrong becomes a ConfigError."""
    try:
        yield
    except build.COMPOSING as error:
        raise ConfigError(build.sentence(error)) from None
    except ValueError as error:
        if isinstance(error, ConfigError) or not build.raised_by_hydra(error):
            raise
        raise ConfigError(f"not to be composed: {build.sentence(error)}") from None


def jobs(words: Sequence[str]) -> tuple[list[WordsOfJob], list[str]]:
    """Every combination of the values given, as jobs, and the words about Hydra that all share."""
    rows, several, shared = [], set(), []
    for each in parsed(words):
        key, line = each.get_key_element(), str(each.input_line)
        if each.is_hydra_override():
            _check(each)
            shared.append(line)
        elif each.is_sweep_override():
            several.add(key)
            rows.append([f"{key}={value}" for value in _values(each)])
        else:
            value = "" if each.is_delete() else each.get_value_element_as_str()
            rows.append([line if each.is_delete() else f"{key}={value}"])
    made = []
    for row in product(*rows):
        varied = [word for word in row if word.partition("=")[0] in several]
        made.append(WordsOfJob(list(row), varied))
    return made, shared


def parsed(words: Iterable[str]) -> list[Override]:
    """The words as Hydra understands them."""
    begun = GlobalHydra.instance()
    loader = begun.config_loader() if begun.is_initialized() else None
    return OverridesParser.create(loader).parse_overrides(list(words))


def _is_swept(override: Override) -> bool:
    key = f"{override.key_or_group}."
    return key.startswith("sweep.") and override.package is None and not override.is_delete()


def _check(override: Override) -> None:
    """ConfigError where a word has several values, or is not used."""
    key, line = override.key_or_group, str(override.input_line)
    if key.startswith(UNUSED):
        raise ConfigError(f"{line} is not used; allowed: other keys of hydra, and KEY=A,B with -m")
    if override.is_sweep_override():
        values, jobs = override.get_value_string(), "-m (one job for each)"
        if override.is_hydra_override():
            raise ConfigError(f"{line} is several values; allowed: one, for all jobs")
        swept = f"sweep.{key.removeprefix('sweep.')}"
        if override.is_range_sweep():
            ranges = f"{swept}={{start: 0, stop: 1, step: 0.5}} (one dataset)"
            raise ConfigError(f"{line} makes jobs; allowed: {ranges}, or {jobs}")
        raise ConfigError(
            f"{line} is several values; allowed: {swept}=[{values}] (one dataset), or {jobs}"
        )


def _values(override: Override) -> list[str]:
    try:
        return list(override.sweep_string_iterator())
    except (TypeError, ValueError, AssertionError):
        key = override.key_or_group
        raise ConfigError(f"{override.input_line} cannot be listed; allowed: {key}=A,B") from None
