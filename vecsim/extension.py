"""Studies that grow: what a smaller study of the same path holds is kept and taken over.

A point is known by its identity, 64 bits that stand for everything that decides the values of its
trials; trial i of a point is the same in every study. So when a store is asked for that holds every
point and trial of the one that is there, the one that is there is set aside, as `.NAME.before1`
beside it, and its values fill the new one, which else is made as if it had been asked for at once.
What is set aside is deleted when the new store is complete.
"""

import contextlib
import json
import math
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vecsim import chunks, disk
from vecsim.files import StoreError, damaged
from vecsim.layout import Index, Layout, Variable, leaves

SOURCES = "sources"  # of the configuration: files with code that is not vecsim's
OTHER = "or another output"
TOLD = 3  # differences that are named
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
    raise StoreError(f"{held}; allowed: {there} {more}, {OTHER}".replace("  ", " "))


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
        more = f" and {len(parts) - TOLD} more" if len(parts) > TOLD else ""
        what = f"{'; '.join(parts[:TOLD])}{more}"
    elif len(lost) > TOLD or not there.layout.coords:
        what = f"{len(lost)} other points"
    else:
        named = "; ".join(there.label(number) for number in lost)
        what = f"not the same but for their names: {named}"
    return f"belongs to another config: {what}; choose another output or delete it"


class Source:
    """A store that was set aside."""

    def __init__(self, path: Path):
        self.path = path
        self.attrs, self.layout = disk.read_metadata(path)
        self.marks = chunks.read_marks(path, self.layout)
        listed = read_points(path, self.layout)
        self.number = {point: number for number, point in enumerate(listed)}
        self.chunk = lru_cache(maxsize=4)(self._chunk)

    def _chunk(self, index: Index) -> dict[str, np.ndarray]:
        files = chunks.read_chunk(self.path, self.layout, index, self.marks[index])
        return chunks.decode(self.layout, index, files)

    def held(self, point: int, block: int) -> tuple[range, dict[str, np.ndarray]] | None:
        """Trials of a finished chunk, and the point's values for them; None where there is none."""
        shape, chunks = self.layout.shape[:-1], self.layout.chunks
        place = np.unravel_index(self.number[point], shape)
        cell = tuple(int(i) // size for i, size in zip(place, chunks, strict=False))
        index = (*cell, block)
        if index not in self.marks:
            return None
        row = tuple(int(i) % size for i, size in zip(place, chunks, strict=False))
        region = self.layout.region(index)[-1]
        values = {name: array[row] for name, array in self.chunk(index).items()}
        return range(region.start, region.stop), values


class Earlier:
    """Everything that was set aside for one store."""

    def __init__(self, path: Path):
        self.sources = [Source(aside) for aside in asides(path)]

    def take(
        self, point: int, trials: np.ndarray, variables: Iterable[Variable], into: Mapping
    ) -> np.ndarray:
        """Put the values that are there into the rows of `into` ([trials, ...] by variable);
        returns for which trials (ascending, without gaps) there are none (bool)."""
        lacking = np.ones(len(trials), bool)
        for source in self.sources:
            if point not in source.number:
                continue
            size = source.layout.chunks[-1]
            last = min(int(trials[-1]), source.layout.trials - 1)
            for block in range(int(trials[0]) // size, last // size + 1):
                found = source.held(point, block)
                if found is None:
                    continue
                held, values = found
                first = max(held.start, int(trials[0]))
                stop = min(held.stop, int(trials[-1]) + 1)
                theirs = slice(first - held.start, stop - held.start)
                ours = np.arange(first, stop) - int(trials[0])
                run = was_run({name: array[theirs] for name, array in values.items()})
                for variable in variables:
                    into[variable.name][ours[run]] = values[variable.name][theirs][run]
                lacking[ours[run]] = False
        return lacking

    def count(self, points: Iterable[int]) -> int:
        """Trials of these points, each counted as often as it is named, that need not be run."""
        total = 0
        for point in points:
            known: set[int] = set()
            for source in self.sources:
                for block in range(source.layout.grid[-1] if point in source.number else 0):
                    found = source.held(point, block)
                    if found is not None:
                        known.update(found[0].start + np.flatnonzero(was_run(found[1])))
            total += len(known)
        return total


def was_run(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which trials [trials] have been run: those with any value that is not missing."""
    found = []
    for array in values.values():
        given = array != -1 if array.dtype.kind == "i" else ~np.isnan(array)
        found.append(given.reshape(len(given), -1).any(axis=1))
    return np.any(found, axis=0)


def read_points(path: Path, layout: Layout) -> list[int]:
    """The identity of each point; of stores that were made without them, none."""
    if not (path / disk.POINTS).exists():
        return []
    points = np.frombuffer((path / disk.POINTS).read_bytes(), "<u8").tolist()
    if len(points) != math.prod(layout.shape[:-1]):
        raise damaged(path, f"{disk.POINTS} does not fit the layout")
    return points


def asides(path: Path) -> list[Path]:
    """Stores that were set aside for the one at this path, the first one first."""
    return [each for each in _named(path) if (each / "vecsim" / "zarr.json").is_file()]


def next_aside(path: Path) -> Path:
    """Where the store at this path goes when it is set aside."""
    last = _named(path)[-1:]
    number = int(last[0].name.rpartition("before")[2]) if last else 0
    return path.with_name(f".{path.name}.before{number + 1}")


def _named(path: Path) -> list[Path]:
    name = re.compile(rf"\.{re.escape(path.name)}\.before(\d+)")
    found = [(name.fullmatch(each.name), each) for each in path.parent.glob(".*.before*")]
    return [each for _, each in sorted((int(m[1]), each) for m, each in found if m)]


def remove(path: Path) -> None:
    """Delete what was set aside for the store at this path, which holds all of it.

    What vecsim did not write stays where it is.
    """
    for aside in _named(path):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # begun before
            state = json.loads((aside / "vecsim" / "zarr.json").read_bytes())["attributes"]
            layout = Layout(**state["layout"]).checked()
            for name in layout.arrays:
                shutil.rmtree(aside / name, ignore_errors=True)
            (aside / "zarr.json").unlink(missing_ok=True)
        shutil.rmtree(aside / "vecsim", ignore_errors=True)
        with contextlib.suppress(OSError):
            aside.rmdir()


def provenance(path: Path) -> list[dict[str, Any]]:
    """Where the values of a store come from, the oldest first, for the one that takes them over."""
    attrs = disk.read_metadata(path)[0]
    skipped = ("config", "complete", "vecsim_format", "extends")
    own = {key: value for key, value in attrs.items() if key not in skipped}
    return [*json.loads(attrs.get("extends", "[]")), own]
