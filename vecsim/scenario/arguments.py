"""What is said on the command line about scenarios: `scenario=...` and all that goes with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vecsim.errors import ConfigError, require
from vecsim.model import trust
from vecsim.studies import overrides
from vecsim.watching.place import WatchPlace, read_place

# What refusals say is allowed.
_ALLOWED = (
    "scenario=NAME, scenario.KEY=VALUE, output=FOLDER, engine.cores=NUMBER, "
    "packages=NAME, watch=FILE.prom, --config-dir FOLDER, and -m with several values"
)
_KEYS = ("scenario", "output", "engine.cores", "packages", "watch", trust.SEARCH)


class WantedScenarios(NamedTuple):
    """Scenarios to be run with the same changes.

    pattern: a name, a pattern, all or a path. changes: in Hydra's grammar. varied: those of them
    that differ between the jobs of a multirun.
    """

    pattern: Any
    changes: list[str]
    varied: list[str]


class ScenarioWords(NamedTuple):
    """A command line about scenarios."""

    wanted: list[WantedScenarios]
    folders: list[Path]  # of configuration, beside vecsim's own
    output: Path | None
    cores: Any
    packages: Any = None  # that components may come from, beside vecsim
    watch: WatchPlace | None = None  # where it shows what runs


def concerns(arguments: Sequence[str]) -> bool:
    """Whether a command line is about scenarios."""
    return any(text.lstrip("+~").startswith(("scenario=", "scenario.")) for text in arguments)


def read_words(arguments: Sequence[str]) -> ScenarioWords:
    """A command line about scenarios, read; ConfigError, one line, where it says what scenarios
    cannot be told."""
    from vecsim import composing, options

    asked = options.parse_options(arguments)
    for option in ("cfg", "shell_completion"):
        if getattr(asked, option):
            raise ConfigError(f"--{option.replace('_', '-')} is not for scenarios; {_ALLOWED}")
    with composing.refusals():
        parsed = composing.parsed(asked.overrides)
        overrides.check_words(asked.overrides)
        _check(parsed, asked.multirun)
        jobs, varied, _ = composing.jobs(asked.overrides)
        wanted = []
        for words, own in zip(jobs, varied, strict=True):
            about = {each.key_or_group: each for each in composing.parsed(words)}
            pattern = about["scenario"].value()
            wanted.append(WantedScenarios(pattern, _changes(words), _changes(own)))
    alone: dict[str, Any] = {each.key_or_group: each.value() for each in parsed}
    texts = {each.key: each.text for each in map(overrides.parse_word, asked.overrides)}
    folders = [*asked.folders, *trust.searched(texts.get(trust.SEARCH, "[]"))]
    output = alone.get("output")
    good = output is None or (isinstance(output, str) and bool(output))
    require(good, "output", output, "a folder")
    path = None if output is None else Path(output)
    watch = read_place(alone.get("watch"))
    cores, packages = alone.get("engine.cores"), alone.get("packages")
    return ScenarioWords(wanted, folders, path, cores, packages, watch)


def _changes(words: Sequence[str]) -> list[str]:
    """Those of the words that change a scenario."""
    return [word for word in words if overrides.parse_word(word).key.startswith("scenario.")]


def _check(overrides: Sequence[Any], several: bool) -> None:
    for override in overrides:
        key, text = override.key_or_group, override.input_line
        known = key in _KEYS
        if not (known or key.startswith("scenario.")) or override.package is not None:
            raise ConfigError(f"{key} is no parameter of scenarios; allowed: {_ALLOWED}")
        if known and override.is_delete():
            raise ConfigError(f"{text} takes away what is not there; allowed: {_ALLOWED}")
        if override.is_sweep_override() and not (several and key.startswith("scenario")):
            value = text.partition("=")[2]
            lists = f"{key}=[{value}] (a list), or " if key.startswith("scenario.") else ""
            jobs = "-m (one job for each value of scenario and scenario.KEY)"
            raise ConfigError(f"{key} is several values; allowed: {lists}{jobs}")
    if all(override.key_or_group != "scenario" for override in overrides):
        raise ConfigError("scenario is not set; allowed: scenario=NAME, a pattern, or all")
