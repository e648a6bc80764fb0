"""Studies: written chunk by chunk by one process, read back as one labelled dataset."""

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import xarray as xr

from vecsim.errors import GOES_ON
from vecsim.results import accessor as _accessor  # noqa: F401  (registers `dataset.vecsim`)
from vecsim.results import contents, disk, extension, netcdf
from vecsim.results.chunks import Chunks
from vecsim.results.contents import Contents
from vecsim.results.extension import Earlier
from vecsim.results.files import StoreError, one_line
from vecsim.results.layout import Index, Layout, Variable, json_safe

__all__ = ["Layout", "Store", "StoreError", "Variable", "open"]


STORES = "data.zarr", "defended.zarr"  # names of a study's store in its folder


class Store:
    """A study being written. `done` (bool over the chunk grid) says which chunks are on disk."""

    def __init__(self, chunks: Chunks, *locks: IO[bytes]):
        self.path, self.layout = chunks.path, chunks.layout
        self._chunks, self._locks = chunks, locks
        self.done = np.zeros(self.layout.grid, bool)
        for index in chunks.marks:
            self.done[index] = True

    @classmethod
    def open_or_create(
        cls,
        path: str | Path,
        layout: Layout,
        config: Mapping,
        attrs: Mapping,
        points: Sequence[int] = (),
        grows: str | None = "trials",
    ) -> "Store":
        """Start the study at `path`, go on with it, or with more than there is; StoreError where
        none of these is possible.

        `config` is everything that decides the results; `attrs` are recorded when the study
        starts. points: the identity of each (64 bits), without which a store is not extended.
        grows: what there may be more of (see `Contents`). A refusal changes nothing on disk.
        """
        layout = layout.checked()
        config = json.loads(json.dumps(config))
        here = Contents(config, layout, points, grows)
        now = {"vecsim_format": disk.FORMAT, "complete": 0, "config": json.dumps(config)}
        about = json_safe(attrs) | now
        with one_line(path):
            path = Path(path).resolve()
            if not path.exists() or (path.is_dir() and not any(path.iterdir())):
                for aside in extension.asides(path):  # a process was killed after it set it aside
                    contents.require_more(path, Contents.of(aside), here)
                    about["extends"] = json.dumps(extension.earlier_provenance(aside))
                lock = disk.create(path, layout, about, points)
                return cls(Chunks(path, layout), lock)
            there = Contents.of(path)
            same = (there.config, there.layout.described()) == (config, layout.described())
            if not same:
                contents.require_more(path, there, here)
            lock = disk.lock(path, path)
            try:
                chunks = Chunks(path, there.layout)
                for _ in chunks.read_all():
                    pass
                if same:
                    chunks.remove_unmarked()
                    return cls(chunks, lock)
                if len(chunks.marks) == math.prod(there.layout.grid):
                    extension.remove_earlier(path)
                about["extends"] = json.dumps(extension.earlier_provenance(path))
                new = disk.create(path, layout, about, points, extension.next_aside(path))
                return cls(Chunks(path, layout), new, lock)  # the old lock, too, keeps others out
            except BaseException:
                lock.close()
                raise

    @cached_property
    def earlier(self) -> Earlier:
        """The stores that were set aside for this one, until it is complete."""
        return Earlier(self.path)

    def write(self, index: Index, values: Mapping[str, Any]) -> None:
        """Write one chunk, an array of the chunk's shape per variable; done when this returns.

        ValueError where an array is missing or has another shape, StoreError where the operating
        system refuses.
        """
        region = self.layout.region(index)
        shape = tuple(part.stop - part.start for part in region)
        shapes = {v.name: shape + self.layout.within(v) for v in self.layout.variables}
        if {name: np.shape(value) for name, value in values.items()} != shapes:
            raise ValueError(f"chunk {index} is {', '.join(shapes)}, each of shape {shape}")
        with one_line(self.path), disk.uninterrupted():
            self.done[index] = False
            self._chunks.write(index, values)
            self.done[index] = True

    def read(self, index: Index) -> dict[str, np.ndarray]:
        """The values of one finished chunk, checked against its mark.

        ValueError where it is not finished, StoreError where it has changed since.
        """
        if not self.done[index]:
            raise ValueError(f"chunk {index} is not done")
        with one_line(self.path):
            return self._chunks.values(index)

    def attributes(self) -> dict[str, Any]:
        """What is recorded of the study so far."""
        return json.loads((self.path / "zarr.json").read_bytes())["attributes"]

    def record(self, attrs: Mapping) -> None:
        """Add to what is recorded of the study, or replace it."""
        with one_line(self.path):
            root = json.loads((self.path / "zarr.json").read_bytes())
            root["attributes"] |= json_safe(attrs)
            disk.write_root(self.path, root)

    def finish(self, attrs: Mapping) -> None:
        """Mark the study complete, add `attrs` (wall time ...) and release the store."""
        self.record({**attrs, "complete": 1})
        self.remove_earlier()
        self.close()

    def remove_earlier(self) -> None:
        """Delete what was set aside for this store, which takes no more of it."""
        with one_line(self.path):
            extension.remove_earlier(self.path)

    def close(self) -> None:
        """Release the store for other processes, finished or not."""
        for lock in self._locks:
            lock.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def open(path: str | Path) -> xr.Dataset:
    """Load a study, finished or not (missing trials are NaN), or a NetCDF file of vecsim's.

    path: a store, or the folder that a run names, where that holds one. StoreError where there is
    none, or several, or it is damaged.
    """
    path = Path(path)
    with one_line(path):
        if not path.exists():
            going = f"; it was being extended, and {GOES_ON}"
            raise StoreError(f"{path} does not exist{going if extension.asides(path) else ''}")
        if not path.is_dir():
            return netcdf.load_netcdf(path)
        inside = [each for each in STORES if (path / each).is_dir()]
        if len(inside) > 1:
            allowed = " or ".join(str(path / each) for each in inside)
            raise StoreError(f"{path} holds {' and '.join(inside)}; allowed: {allowed}")
        return _open_group(path / inside[0] if inside else path)


def _open_group(path: Path) -> xr.Dataset:
    attrs, layout = disk.read_metadata(path)
    chunks = Chunks(path, layout)
    chunks.require_whole(attrs)
    try:
        arrays = {v.name: v.unset(layout.shape + layout.within(v)) for v in layout.variables}
    except (MemoryError, ValueError):  # of more bytes than there are addresses
        raise StoreError(f"{path} holds more than fits into memory") from None
    for index, files in chunks.read_all():
        for name, values in chunks.values(index, files).items():
            arrays[name][layout.region(index)] = values
    variables = {
        v.name: (layout.dims + v.inner, arrays[v.name], v.stored_attrs) for v in layout.variables
    }
    return xr.decode_cf(xr.Dataset(variables, layout.coordinates(), attrs)).load()
