"""What is said on the command line about scenarios: `scenario=...` and all that goes with it."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vecsim.errors import ConfigError, require, whole

ALLOWED = (
    "scenario=NAME, scenario.KEY=VALUE, output=FOLDER, engine.cores=NUMBER, "
    "packages=NAME, --config-dir FOLDER, and -m with several values"
)
MOST_CORES = 4096
SEARCH = "hydra.searchpath"


class Wanted(NamedTuple):
    """Scenarios to be run with the same changes.

    pattern: a name, a pattern, all or a path. changes: in Hydra's grammar. varied: those of them
    that differ between the jobs of a multirun.
    """

    pattern: Any
    changes: list[str]
    varied: list[str]


class Words(NamedTuple):
    """A command line about scenarios."""

    wanted: list[Wanted]
    folders: list[Path]  # of configuration, beside vecsim's own
    output: Path | None
    cores: int | None
    packages: Any = None  # that components may come from, beside vecsim


def concerns(arguments: Sequence[str]) -> bool:
    """Whether a command line is about scenarios."""
    return any(text.lstrip("+~").startswith(("scenario=", "scenario.")) for text in arguments)


def read(arguments: Sequence[str]) -> Words:
    """ConfigError, in one line, where scenarios cannot be told what is given."""
    from hydra._internal.utils import get_args_parser
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from vecsim.model import build

    parser = get_args_parser()

    def refuse(message: str):  # argparse would print its usage as well
        raise ConfigError(f"{message}; allowed: {ALLOWED}")

    parser.error = refuse
    given = vars(parser.parse_intermixed_args(list(arguments)))
    texts, several = given.pop("overrides"), given.pop("multirun")
    folder = given.pop("config_dir")
    for option, value in given.items():
        if value:
            raise ConfigError(f"--{option.replace('_', '-')} is not for scenarios; {ALLOWED}")
    try:
        overrides = OverridesParser.create().parse_overrides(texts)
    except HydraException as error:
        raise ConfigError(build.sentence(error)) from None
    _check(overrides, several)
    alone: dict[str, Any] = {override.key_or_group: override.value() for override in overrides}
    folders = [Path(folder)] if folder else []
    folders += _searched(alone.get(SEARCH, []))
    for each in folders:
        require(each.is_dir(), "--config-dir", str(each), "a folder that is there")
    output, cores = alone.get("output"), alone.get("engine.cores")
    good = output is None or (isinstance(output, str) and bool(output))
    require(good, "output", output, "a folder")
    if cores is not None:
        whole("engine.cores", cores, 1, MOST_CORES)
    path = None if output is None else Path(output)
    return Words(list(_jobs(overrides)), folders, path, cores, alone.get("packages"))


def _check(overrides: Sequence[Any], several: bool) -> None:
    keys = [override.key_or_group for override in overrides if not override.is_delete()]
    for override in overrides:
        key, text = override.key_or_group, override.input_line
        known = key in ("scenario", "output", "engine.cores", "packages", SEARCH)
        good = known or (key.startswith("scenario.") and override.package is None)
        if not good:
            raise ConfigError(f"{key} is no parameter of scenarios; allowed: {ALLOWED}")
        if known and override.is_delete():
            raise ConfigError(f"{text} takes away what is not there; allowed: {ALLOWED}")
        if keys.count(key) > 1:
            raise ConfigError(f"{key} is set twice; allowed: {key}=... once")
        if override.is_sweep_override() and not (several and key.startswith("scenario")):
            value = text.partition("=")[2]
            lists = f"{key}=[{value}] (a list), or " if key.startswith("scenario.") else ""
            raise ConfigError(
                f"{key} is several values; allowed: {lists}-m (one job for each value of "
                f"scenario and scenario.KEY)"
            )
    if "scenario" not in keys:
        raise ConfigError("scenario is not set; allowed: scenario=NAME, a pattern, or all")


def _jobs(overrides: Sequence[Any]) -> Iterator[Wanted]:
    """Every combination of the values given, one of them for each key."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    about = [each for each in overrides if each.key_or_group.startswith("scenario")]
    for combination in itertools.product(*(_values(each) for each in about)):
        pattern, changes, varied = None, [], []
        for override, text in zip(about, combination, strict=True):
            if override.key_or_group == "scenario":
                pattern = parser.parse_override(text).value()
                continue
            changes.append(text)
            if override.is_sweep_override():
                varied.append(text)
        yield Wanted(pattern, changes, varied)


def _values(override: Any) -> list[str]:
    if not override.is_sweep_override():
        return [override.input_line]
    try:
        values = list(override.sweep_string_iterator())
    except (TypeError, ValueError, AssertionError):
        key = override.key_or_group
        raise ConfigError(f"{override.input_line} cannot be listed; allowed: {key}=A,B") from None
    return [f"{override.get_key_element()}={value}" for value in values]


def _searched(given: Any) -> list[Path]:
    allowed = "[file://FOLDER]"
    require(isinstance(given, list), SEARCH, given, allowed)
    for each in given:
        require(isinstance(each, str) and each.startswith("file://"), SEARCH, given, allowed)
    return [Path(each.removeprefix("file://")) for each in given]
