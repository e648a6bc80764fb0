"""Studies that grow: what a smaller study of the same path holds is kept and taken over.

A point is known by its identity, 64 bits that stand for everything that decides the values of its
trials; trial i of a point is the same in every study. So when a store is asked for that holds every
point and trial of the one that is there, the one that is there is set aside, as `.NAME.before1`
beside it, and its values fill the new one, which else is made as if it had been asked for at once.
What is set aside is deleted when the new store is complete.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vecsim.results import chunks, disk
from vecsim.results.contents import read_points
from vecsim.results.layout import Index, Layout, Variable


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
                if first >= stop:  # past the last trial of a chunk that is not full
                    continue
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


def remove_earlier(path: Path) -> None:
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


def earlier_provenance(path: Path) -> list[dict[str, Any]]:
    """Where the values of a store come from, the oldest first, for the one that takes them over."""
    attrs = disk.read_metadata(path)[0]
    skipped = ("config", "complete", "vecsim_format", "extends")
    own = {key: value for key, value in attrs.items() if key not in skipped}
    return [*json.loads(attrs.get("extends", "[]")), own]
