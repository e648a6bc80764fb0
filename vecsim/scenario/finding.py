"""Scenarios by name: `conf/scenario/NAME.yaml`, the same in folders of one's own, or any file.

They are composed by Hydra, so that they may build on one another (`defaults: [/scenario/OTHER]`)
and every key is set as in a study.
"""

import contextlib
import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vecsim import places
from vecsim.errors import require, within
from vecsim.scenario.config import CATEGORIES, checked

SUFFIX = ".yaml"  # by which a path is told from a name
# Found without composing every file, which would take long.
CATEGORY = re.compile(r"^\s+category:\s*(\w+)", re.MULTILINE)


def names(folders: Sequence[Path] = ()) -> list[str]:
    """All scenarios, by category and then by name.

    folders: configuration folders beside vecsim's own, each with a folder `scenario`.
    """
    order = {path.stem: _category(path) for path in _files(folders)}
    return sorted(order, key=lambda name: (order[name], name))


def chosen(pattern: Any, folders: Sequence[Path] = ()) -> list[str]:
    """The scenarios that a name, a pattern or `all` stands for; a path stands for itself.

    ConfigError where there is none.
    """
    found = names(folders)
    allowed = f"all, a pattern such as *_byzantine_*, FILE{SUFFIX}, or a name: "
    allowed += ", ".join(found[:3]) + ", ..."
    require(isinstance(pattern, str), "scenario", pattern, allowed)
    if pattern.endswith(SUFFIX):
        require(Path(pattern).is_file(), "scenario", pattern, "a file that is there")
        return [pattern]
    fits = found if pattern == "all" else fnmatch.filter(found, pattern)
    require(bool(fits), "scenario", pattern, allowed)
    return fits


def compose_scenario(
    name: str, changes: Sequence[str] = (), folders: Sequence[Path] = ()
) -> dict[str, Any]:
    """The configuration of one scenario, checked; ConfigError where there is none of that name, or
    a key or value has no meaning.

    changes: `scenario.KEY=VALUE` and so on, in Hydra's grammar.
    """
    from omegaconf import OmegaConf

    from vecsim import composing
    from vecsim.model import trust

    path = _path(name, folders)
    # What has a name is in a folder `scenario` of a configuration folder.
    folder = path.parent if name.endswith(SUFFIX) else path.parent.parent
    words = [change.lstrip("+") for change in changes]
    session = composing.session([folder, *folders])
    with within(f"scenario {name}"), composing.refusals(), session:
        made = composing.scenario(str(path.relative_to(folder).with_suffix("")), words)
        trust.check_trusted(OmegaConf.to_container(made, resolve=False), ())  # type: ignore[arg-type]
        plain: Any = OmegaConf.to_container(made, resolve=True, throw_on_missing=True)
    others = ", ".join(str(key) for key in plain if key != "scenario")
    allowed = f"a file with `# @package _global_` at its head and one section, scenario ({path})"
    require(not others and bool(plain), f"scenario {name}", others or None, allowed)
    section = plain["scenario"]
    return checked({"name": path.stem} | section if isinstance(section, dict) else section)


def shows(name: str, folders: Sequence[Path] = ()) -> str:
    """What a scenario shows: the first line of the comment at its head, "" if there is none."""
    lines = _path(name, folders).read_text(encoding="utf-8").splitlines()
    head = [line[1:].strip() for line in lines if line.startswith("#")]
    return next((line for line in head if line and not line.startswith("@")), "")


def _path(name: str, folders: Sequence[Path]) -> Path:
    if name.endswith(SUFFIX):
        return Path(name).resolve()
    found = [path for path in _files(folders) if path.stem == name]
    require(bool(found), "scenario", name, f"a file of {places.root('conf') / 'scenario'}, or all")
    allowed = f"a path: it is in {' and in '.join(str(path.parent) for path in found)}"
    require(len(found) == 1, "scenario", name, allowed)
    return found[0]


def _files(folders: Sequence[Path]) -> list[Path]:
    every = dict.fromkeys((places.root("conf"), *map(Path.resolve, folders)))
    return [path for each in every for path in sorted((each / "scenario").glob(f"*{SUFFIX}"))]


def _category(path: Path) -> int:
    """Its place among the categories; a file that cannot be read comes last, and is refused when it
    is run."""
    with contextlib.suppress(OSError, ValueError):
        if word := CATEGORY.search(path.read_text(encoding="utf-8")):
            return CATEGORIES.index(word[1])
    return len(CATEGORIES)
