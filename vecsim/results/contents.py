"""What decides the values of a store, and whether a study may go on from what is there."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vecsim.results import disk
from vecsim.results.files import StoreError, damaged
from vecsim.results.layout import Layout, leaves

SOURCES = "sources"  # key of the configuration: digests of files with code that is not vecsim's
_INSTEAD = "choose another output or delete it"  # the advice at the end of a refusal
_NAMED = 3  # differences in a message, which is one line
_SHOWN = 60  # characters of a value in a message
# Keys that identities of points stand for, or that only say which trials are run.
OF_POINTS = (
    *("trials", "precision", "sweep", "points", "kinds", "engine", "estimators", "campaign"),
    *("n", "byzantine_fraction", "initial_accept", "schedule", "protocol", "adversary", "network"),
    *("stake", "latency", "polling"),
)


class Contents(NamedTuple):
    """What decides the values of a store: configuration, layout, and the identity of each point.

    config: everything that decides the results. points: 64 bits each, in the order of the swept
    dimensions. grows: what a later study may have more of, "trials" (and points), "points", or None
    for nothing.
    """

    config: Mapping[str, Any]
    layout: Layout
    points: Sequence[int]
    grows: str | None = "trials"

    @classmethod
    def of(cls, path: Path) -> "Contents":
        """Those of a store on disk; StoreError where its metadata is damaged."""
        attrs, layout = disk.read_metadata(path)
        return cls(json.loads(attrs["config"]), layout, read_points(path, layout))

    def label(self, number: int) -> str:
        """The swept values of a point."""
        place = np.unravel_index(number, self.layout.shape[:-1])
        named = zip(self.layout.coords.items(), place, strict=True)
        return ", ".join(f"{name}={values[i]}" for (name, values), i in named)


def read_points(path: Path, layout: Layout) -> list[int]:
    """The identity of each point, 64 bits, in the order of the swept dimensions (the last one runs
    fastest); none where a store was made without them. StoreError where they do not fit."""
    if not (path / disk.POINTS).exists():
        return []
    points = np.frombuffer((path / disk.POINTS).read_bytes(), "<u8").tolist()
    if len(points) != math.prod(layout.shape[:-1]):
        raise damaged(path, f"{disk.POINTS} does not fit the layout")
    return points


def require_more(path: Path, there: Contents, here: Contents) -> None:
    """StoreError, one line, unless what is wanted here holds all that is there."""
    _require_sources(path, there.config.get(SOURCES, {}), here.config.get(SOURCES, {}))
    if not (there.points and here.points):  # an older store, or nothing to know points by
        require_same(path, there._replace(points=()), here._replace(points=()))
    moving = {*OF_POINTS, SOURCES} | _swept(there.config) | _swept(here.config)
    fixed = ({k: v for k, v in each.config.items() if k not in moving} for each in (there, here))
    _require_same(path, "config", *fixed)
    held = (
        {"variables": [(v.name, v.inner) for v in each.variables], "inner": dict(each.inner)}
        for each in (there.layout, here.layout)
    )
    _require_same(path, "layout", *held)
    if here.grows != "trials":
        _require_fixed(path, there, here)
    known = set(here.points)
    lost = [number for number, point in enumerate(there.points) if point not in known]
    if lost:
        what = _other_points(there, here, lost)
        raise StoreError(f"{path} belongs to another config: {what}; {_INSTEAD}")
    old, new = there.layout.trials, here.layout.trials
    _require(new >= old, f"trials is {new}, {path} holds {old}", f"{old} or more")
    _require_precision(path, there.config.get("precision"), here.config.get("precision"))


def require_same(path: Path, there: Contents, here: Contents) -> None:
    """StoreError, one line, unless both are the same study, point by point."""
    _require_same(path, "config", there.config, here.config)
    _require_same(path, "layout", there.layout.described(), here.layout.described())
    if there.points != here.points:
        raise StoreError(f"{path} holds points with other identities; {_INSTEAD}")


def _require_same(path: Path, kind: str, there: Mapping, here: Mapping) -> None:
    """Refuse a store of another config or layout, naming some differences."""
    if found := _differences(there, here):
        raise StoreError(f"{path} belongs to another {kind}: {_some(found.values())}; {_INSTEAD}")


def _differences(there: Mapping, here: Mapping) -> dict[str, str]:
    """What differs between two nested mappings of JSON values, in words, by dotted key."""
    old, new, absent = leaves(there), leaves(here), object()
    return {
        key: f"{key} is {_shown(old, key)} there, {_shown(new, key)} here"
        for key in new | old
        if old.get(key, absent) != new.get(key, absent)
    }


def _shown(config: Mapping, key: str) -> str:
    text = json.dumps(config[key]) if key in config else "absent"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _some(differences: Collection[str]) -> str:
    """The first differences, and how many more there are."""
    more = len(differences) - _NAMED
    return "; ".join(islice(differences, _NAMED)) + (f" and {more} more" if more > 0 else "")


def _swept(config: Mapping[str, Any]) -> set[str]:
    """The parameters in which the points differ; of those that move together, each."""
    sweep = config.get("sweep") or {}
    return set(sweep).union(*(each for each in sweep.values() if isinstance(each, Mapping)))


def _require_sources(path: Path, there: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Files with code that both have must be the same; more protocols may bring more of them."""
    changed = [file for file in there if here.get(file, there[file]) != there[file]]
    if changed:
        verb = "has" if len(changed) == 1 else "have"
        what = f"{', '.join(changed)} {verb} changed since {path} was begun"
        raise StoreError(f"{what}; {_INSTEAD}")


def _require(good: bool, held: str, allowed: str) -> None:
    """StoreError unless it is good. held: what differs from the store that is there."""
    if not good:
        raise StoreError(f"{held}; allowed: {allowed}, or another output")


def _require_fixed(path: Path, there: Contents, here: Contents) -> None:
    """StoreError unless the number of trials is the same, and the sweep too where points depend on
    one another: for estimators whose trials depend on how many there are."""
    name = f"estimator={here.config['estimator']['name']}"
    old, new = there.layout.trials, here.layout.trials
    allowed = f"{old}, for {name} places them by how many there are"
    _require(new == old, f"trials is {new}, {path} holds {old}", allowed)
    good = here.grows is not None or here.config.get("sweep") == there.config.get("sweep")
    _require(good, f"sweep is not what {path} holds", f"the same, for {name} compares all points")


def _require_precision(path: Path, there: Any, here: Any) -> None:
    """No point may stop before it did there. there, here: what `precision` says, or None."""
    if here is None or here == there:
        return
    held = f"precision is {json.dumps(here)}, {path} holds every trial"
    _require(there is not None, held, "null")
    held = f"precision.target is {here['target']}, {path} has stopped by {there['target']}"
    _require(here["target"] == there["target"], held, f"{there['target']}, precision=null")
    for name, good, more in (
        ("half_width", here["half_width"] <= there["half_width"], "or less"),
        ("min_trials", here["min_trials"] % there["min_trials"] == 0, "or a multiple of it"),
    ):
        held = f"precision.{name} is {here[name]}, {path} holds {there[name]}"
        _require(good, held, f"{there[name]} {more}")


def _other_points(there: Contents, here: Contents, lost: list[int]) -> str:
    """What is there and not here, in words. lost: numbers of the points there."""
    before, after = there.config.get("sweep") or {}, here.config.get("sweep") or {}
    parts = []
    for key in (key for key in before if key in after):
        if gone := [str(value) for value in before[key] if value not in after[key]]:
            parts.append(f"sweep.{key} lacks {', '.join(gone)}")
    skipped = ("points", "sweep", "precision", "trials", *before, *after)
    both = ({k: v for k, v in each.config.items() if k in OF_POINTS} for each in (there, here))
    for key, difference in _differences(*both).items():
        if not any(f"{key}.".startswith(f"{name}.") for name in skipped):
            parts.append(difference)
    for kind, one, other in (("", before, after), ("not ", after, before)):
        parts += [f"{key} is {kind}swept there" for key in one if key not in other]
    if parts:
        return _some(parts)
    if len(lost) > _NAMED or not there.layout.coords:
        return f"{len(lost)} other points"
    return f"not the same but for their names: {'; '.join(map(there.label, lost))}"
