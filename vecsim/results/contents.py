"""What decides the values of a store, and whether a study may go on from what is there."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vecsim.results import disk
from vecsim.results.files import StoreError, damaged
from vecsim.results.layout import Layout, leaves

SOURCES = "sources"  # of the configuration: files with code that is not vecsim's
OTHER = "or another output"
_TOLD = 3  # differences that are named
# What the identities of points stand for, or what only says which trials are run.
OF_POINTS = (
    *("trials", "precision", "sweep", "points", "kinds", "engine", "estimators", "campaign"),
    *("n", "byzantine_fraction", "initial_accept", "schedule", "protocol", "adversary", "network"),
)


class Contents(NamedTuple):
    """What decides the values of a store: configuration, layout, and the identity of each point.

    grows: what there may be more of, "trials" (and points), "points", or nothing.
    """

    config: Mapping[str, Any]
    layout: Layout
    points: Sequence[int]
    grows: str | None = "trials"

    @classmethod
    def of(cls, path: Path) -> "Contents":
        attrs, layout = disk.read_metadata(path)
        return cls(json.loads(attrs["config"]), layout, read_points(path, layout))

    def label(self, number: int) -> str:
        """The swept values of a point."""
        place = np.unravel_index(number, self.layout.shape[:-1])
        named = zip(self.layout.coords.items(), place, strict=True)
        return ", ".join(f"{name}={values[i]}" for (name, values), i in named)


def read_points(path: Path, layout: Layout) -> list[int]:
    """The identity of each point; of stores that were made without them, none."""
    if not (path / disk.POINTS).exists():
        return []
    points = np.frombuffer((path / disk.POINTS).read_bytes(), "<u8").tolist()
    if len(points) != math.prod(layout.shape[:-1]):
        raise damaged(path, f"{disk.POINTS} does not fit the layout")
    return points


def require_more(path: Path, there: Contents, here: Contents) -> None:
    """StoreError, in words, unless what is wanted here holds all that is there."""
    _require_sources(path, there.config.get(SOURCES, {}), here.config.get(SOURCES, {}))
    if not (there.points and here.points):  # an older store, or nothing to know points by
        disk.require_same(path, "config", there.config, here.config)
        disk.require_same(path, "layout", there.layout.described(), here.layout.described())
    moving = {*OF_POINTS, SOURCES} | _swept(there.config) | _swept(here.config)
    old, new = (
        {key: value for key, value in each.config.items() if key not in moving}
        for each in (there, here)
    )
    if old != new:
        disk.require_same(path, "config", old, new)
    old, new = (
        {"variables": [(v.name, v.inner) for v in each.variables], "inner": dict(each.inner)}
        for each in (there.layout, here.layout)
    )
    disk.require_same(path, "layout", old, new)
    if here.grows != "trials":
        _require_fixed(path, there, here)
    known = set(here.points)
    lost = [number for number, point in enumerate(there.points) if point not in known]
    if lost:
        raise StoreError(f"{path} {_other_points(there, here, lost)}")
    if here.layout.trials < there.layout.trials:
        _less(path, "trials", here.layout.trials, there.layout.trials, "or more")
    _require_precision(path, there.config.get("precision"), here.config.get("precision"))


def _swept(config: Mapping[str, Any]) -> set[str]:
    """What the points differ in; of parameters that move together, each."""
    sweep = config.get("sweep") or {}
    return set(sweep).union(*(each for each in sweep.values() if isinstance(each, Mapping)))


def _require_sources(path: Path, there: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Files with code that both have must be the same; more protocols may bring more of them."""
    changed = [file for file in there if here.get(file, there[file]) != there[file]]
    if changed:
        verb = "has" if len(changed) == 1 else "have"
        what = f"{', '.join(changed)} {verb} changed since {path} was begun"
        raise StoreError(f"{what}; choose another output or delete it")


def _less(path: Path, name: str, here: Any, there: Any, more: str) -> None:
    held = f"{name} is {here}, {path} holds {there}"
    raise StoreError(f"{held}; allowed: {there} {more}, {OTHER}")


def _require_fixed(path: Path, there: Contents, here: Contents) -> None:
    """Of a study whose trials depend on their number, or its points on one another."""
    name = f"estimator={here.config['estimator']['name']}"
    old, new = there.layout.trials, here.layout.trials
    if new != old:
        why = f"{old}, for {name} places them by how many there are"
        raise StoreError(f"trials is {new}, {path} holds {old}; allowed: {why}, {OTHER}")
    if here.grows is None and here.config.get("sweep") != there.config.get("sweep"):
        held = f"sweep is not what {path} holds"
        raise StoreError(f"{held}; allowed: the same, for {name} compares all points, {OTHER}")


def _require_precision(path: Path, there: dict | None, here: dict | None) -> None:
    """No point may stop before it did there."""
    if here is None or here == there:
        return
    if there is None:
        raise StoreError(
            f"precision is {json.dumps(here)}, {path} holds every trial; allowed: null, {OTHER}"
        )
    if here["target"] != there["target"]:
        allowed = f"{there['target']}, precision=null, {OTHER}"
        held = f"{path} has stopped by {there['target']}"
        raise StoreError(f"precision.target is {here['target']}, {held}; allowed: {allowed}")
    if here["half_width"] > there["half_width"]:
        _less(path, "precision.half_width", here["half_width"], there["half_width"], "or less")
    if here["min_trials"] % there["min_trials"]:
        more = "or a multiple of it"
        _less(path, "precision.min_trials", here["min_trials"], there["min_trials"], more)


def _other_points(there: Contents, here: Contents, lost: list[int]) -> str:
    """What is there and not here."""
    before, after = there.config.get("sweep") or {}, here.config.get("sweep") or {}
    swept = [key for key in before if key in after and before[key] != after[key]]
    parts = []
    for key in swept:
        gone = [value for value in before[key] if value not in after[key]]
        if gone:
            parts.append(f"sweep.{key} lacks {', '.join(map(str, gone))}")
    old, new = (
        leaves({key: value for key, value in each.config.items() if key in OF_POINTS})
        for each in (there, here)
    )
    skipped = ("points", "sweep", "precision", "trials", *before, *after)
    for key in new | old:
        if any(key == name or key.startswith(f"{name}.") for name in skipped):
            continue
        if (key in old, old.get(key)) != (key in new, new.get(key)):
            parts.append(f"{key} is {disk.show(old, key)} there, {disk.show(new, key)} here")
    for kind, one, other in (("", before, after), ("not ", after, before)):
        parts += [f"{key} is {kind}swept there" for key in one if key not in other]
    if parts:
        more = f" and {len(parts) - _TOLD} more" if len(parts) > _TOLD else ""
        what = f"{'; '.join(parts[:_TOLD])}{more}"
    elif len(lost) > _TOLD or not there.layout.coords:
        what = f"{len(lost)} other points"
    else:
        named = "; ".join(there.label(number) for number in lost)
        what = f"not the same but for their names: {named}"
    return f"belongs to another config: {what}; choose another output or delete it"
