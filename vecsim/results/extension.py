"""Studies that grow: a larger study takes over the values of a smaller one at the same path.

A point is known by its identity, 64 bits that stand for everything that decides the values of its
trials; trial i of a point is the same in every study. Where the new study holds every point and
trial of the store that is there, that store is set aside, as `.NAME.before1` beside it. Its values
fill the new store, which is otherwise made as if it had been asked for at once. The old store is
deleted when the new one is complete.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vecsim.results import disk
from vecsim.results.chunks import Chunks
from vecsim.results.contents import read_points
from vecsim.results.layout import Layout


class Source(Chunks):
    """A store that was set aside; StoreError where it is damaged. number: of each point, by its
    identity."""

    def __init__(self, path: Path):
        super().__init__(path, disk.read_metadata(path)[1])
        self.number = {point: i for i, point in enumerate(read_points(path, self.layout))}
        self.chunk = lru_cache(maxsize=4)(self.values)  # neighbouring points share chunks

    def held(self, point: int, first: int, stop: int) -> Iterator[tuple[np.ndarray, Mapping]]:
        """Numbers and values of the point's trials that were run, for each finished chunk that
        overlaps trials `first` to `stop` (exclusive)."""
        if point not in self.number:
            return
        *sizes, size = self.layout.chunks
        place = np.unravel_index(self.number[point], self.layout.shape[:-1])
        cell, row = np.divmod(place, sizes)  # the chunk, and where the point is in it
        for block in range(first // size, -(-min(stop, self.layout.trials) // size)):
            index = (*cell.tolist(), block)
            if index in self.marks:
                values = {name: array[tuple(row)] for name, array in self.chunk(index).items()}
                run = np.flatnonzero(was_run(values))
                yield block * size + run, {name: array[run] for name, array in values.items()}


class Earlier:
    """Everything that was set aside for one store."""

    def __init__(self, path: Path):
        self.sources = [Source(aside) for aside in asides(path)]

    def take(self, point: int, trials: np.ndarray, into: Mapping[str, np.ndarray]) -> np.ndarray:
        """Put the values that are there into the rows of `into` ([trials, ...] by variable);
        returns for which of the trials (ascending numbers) there are none (bool)."""
        lacking = np.ones(len(trials), bool)
        for source in self.sources:
            for held, values in source.held(point, int(trials[0]), int(trials[-1]) + 1):
                _, ours, theirs = np.intersect1d(trials, held, True, return_indices=True)
                for name, rows in into.items():
                    rows[ours] = values[name][theirs]
                lacking[ours] = False
        return lacking

    def count(self, points: Iterable[int]) -> int:
        """Trials of these points, each counted as often as it is named, that need not be run."""
        total = 0
        for point in points:
            found = [source.held(point, 0, source.layout.trials) for source in self.sources]
            total += len({number for held, _ in chain(*found) for number in held.tolist()})
        return total


def was_run(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which trials [trials] have been run: those with any value that is not missing."""
    found = []
    for array in values.values():
        found.append((~is_missing(array)).any(axis=tuple(range(1, array.ndim))))
    return np.any(found, axis=0)


def is_missing(array: np.ndarray) -> np.ndarray:
    """Which values are missing (bool, in the same shape): -1 of whole numbers, NaN of others."""
    return array == -1 if array.dtype.kind == "i" else np.isnan(array)


def asides(path: Path) -> list[Path]:
    """Stores that were set aside for the one at this path, the first one first."""
    return [each for each in _named(path).values() if (each / "vecsim" / "zarr.json").is_file()]


def next_aside(path: Path) -> Path:
    """Where the store at this path goes when it is set aside."""
    return path.with_name(f".{path.name}.before{max(_named(path), default=0) + 1}")


def _named(path: Path) -> dict[int, Path]:
    """Folders with the name of a store set aside, by their ascending numbers."""
    name = re.compile(rf"\.{re.escape(path.name)}\.before(\d+)")
    found = [(name.fullmatch(each.name), each) for each in path.parent.glob(".*.before*")]
    return dict(sorted((int(match[1]), each) for match, each in found if match))


def remove_earlier(path: Path) -> None:
    """Delete what was set aside for the store at this path, which holds all of it.

    What vecsim did not write stays where it is.
    """
    for aside in _named(path).values():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # begun before
            state = json.loads((aside / "vecsim" / "zarr.json").read_bytes())["attributes"]
            for name in Layout(**state["layout"]).checked().arrays:
                shutil.rmtree(aside / name, ignore_errors=True)
            (aside / "zarr.json").unlink(missing_ok=True)
        shutil.rmtree(aside / "vecsim", ignore_errors=True)
        with contextlib.suppress(OSError):
            aside.rmdir()


def earlier_provenance(path: Path) -> list[dict[str, Any]]:
    """Where the values of a store come from, the oldest first: its attributes at each stage, which
    the store that takes them over records."""
    attrs = disk.read_metadata(path)[0]
    skipped = ("config", "complete", "vecsim_format", "extends")
    own = {key: value for key, value in attrs.items() if key not in skipped}
    return [*json.loads(attrs.get("extends", "[]")), own]
