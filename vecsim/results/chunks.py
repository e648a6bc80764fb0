"""The finished chunks of a store: their files, and the marks that vouch for them.

A mark holds the checksums of a chunk's files, tied to the store and to the chunk's place. It is
written last, by rename, so what is on disk is what is done, wherever a process was killed.
"""

import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vecsim.results import disk, files
from vecsim.results.files import StoreError
from vecsim.results.layout import Index, Layout, Variable

WRITTEN = re.compile(r"\d+(\.[0-9a-f]+\.partial)?")  # names of chunk files, as Zarr writes them


class Chunks:
    """The finished chunks of a store; StoreError where a file is not a mark of this store.

    marks: by a chunk's index in the grid, the CRC-32 of its files, one per variable.
    """

    def __init__(self, path: Path, layout: Layout):
        self.path, self.layout = path, layout
        self.marks: dict[Index, list[int]] = {}
        # The number that ties marks to their study and layout.
        self._identity = zlib.crc32((path / disk.LAYOUT).read_bytes())
        for file in sorted((path / "vecsim" / "marks").glob("*")):
            try:
                index = tuple(map(int, re.findall(r"\d+", file.name)))
                layout.region(index)
                text = file.read_bytes().decode()
                *self.marks[index], _ = map(int, text.split())
                intact = self.mark_file(index) == file and text == self._mark(index)
            except ValueError:
                intact = False
            if not (intact and len(self.marks[index]) == len(layout.variables)):
                raise self._bad(f"vecsim/marks/{file.name} is not a mark", file)

    def mark_file(self, index: Index) -> Path:
        """The path of a chunk's mark: `vecsim/marks/0.1` for chunk (0, 1)."""
        return self.path / "vecsim" / "marks" / ".".join(map(str, index))

    def files(self, index: Index) -> list[Path]:
        """The files of a chunk, one per variable."""
        place, variables = ("c", *map(str, index)), self.layout.variables
        return [self.path.joinpath(v.name, *place, *["0"] * len(v.inner)) for v in variables]

    def write(self, index: Index, values: Mapping[str, Any]) -> None:
        """Write the files of a chunk, then its mark. values: as `values` returns them.

        The bytes are those that zarr would write, ten times faster where chunks are small.
        """
        self.mark_file(index).unlink(missing_ok=True)
        self.marks.pop(index, None)
        checksums = []
        for variable, file in zip(self.layout.variables, self.files(index), strict=True):
            content = self._encoded(variable, values[variable.name])
            file.parent.mkdir(parents=True, exist_ok=True)
            files.write(file, content, self.path / "vecsim" / "part")
            checksums.append(zlib.crc32(content))
        self.marks[index] = checksums
        disk.replace(self.path, self.mark_file(index), self._mark(index))

    def _encoded(self, variable: Variable, values: Any) -> bytes:
        """The bytes of a chunk's file: little-endian, compressed, followed by their CRC-32C."""
        from google_crc32c import value as crc32c
        from numcodecs.zstd import compress

        shape = self.layout.chunks + self.layout.within(variable)
        values = np.asarray(values, variable.dtype)
        if values.shape != shape:  # at the end of the grid
            whole = variable.unset(shape)
            whole[tuple(map(slice, values.shape))] = values
            values = whole
        plain = np.ascontiguousarray(values, np.dtype(variable.dtype).newbyteorder("<"))
        packed = compress(plain, disk.COMPRESSION)
        return packed + crc32c(packed).to_bytes(4, "little")

    def _mark(self, index: Index) -> str:
        """The text of a mark: checksums of the chunk's files, then one of these and their place."""
        text = " ".join(map(str, self.marks[index]))
        return f"{text} {zlib.crc32(f'{self._identity} {index} {text}'.encode())}"

    def _bad(self, what: str, mark: Path) -> StoreError:
        again = f"delete {mark} to have its chunk computed again"
        return StoreError(f"{self.path} is damaged: {what}; {again}")

    def require_whole(self, attrs: Mapping) -> None:
        """StoreError where a study that was complete has lost marks."""
        if attrs["complete"] and (lost := math.prod(self.layout.grid) - len(self.marks)):
            first = next(index for index in np.ndindex(self.layout.grid) if index not in self.marks)
            more = f" and {lost - 1} more" if lost > 1 else ""
            lacks = f"lacks {self.mark_file(first).relative_to(self.path)}{more}"
            what = f"{self.path} was complete and {lacks}"
            raise StoreError(f"{what}; the command that made it computes what is missing")

    def read(self, index: Index) -> list[bytes]:
        """The bytes of a finished chunk's files, checked against its mark."""
        found, mark = [], self.mark_file(index)
        parts = zip(self.layout.variables, self.files(index), self.marks[index], strict=True)
        for variable, file, checksum in parts:
            there = file.exists()
            found.append(file.read_bytes() if there else b"")
            if not there or zlib.crc32(found[-1]) != checksum:
                wrong = "differs from its checksum" if there else "is missing"
                raise self._bad(f"{variable.name}, chunk {mark.name}, {wrong}", mark)
        return found

    def read_all(self) -> Iterator[tuple[Index, list[bytes]]]:
        """`read` of every finished chunk; all damage is told at once, at the end."""
        wrong = {}
        for index in self.marks:
            try:
                yield index, self.read(index)
            except StoreError as error:
                wrong[index] = error
        if len(wrong) == 1:
            raise wrong.popitem()[1]
        if wrong:
            names = " ".join(self.mark_file(index).name for index in wrong)
            where = self.path / "vecsim" / "marks"
            what = f"{self.path} is damaged: {len(wrong)} chunks are not what was written"
            raise StoreError(f"{what}; delete in {where} to have them computed again: {names}")

    def values(self, index: Index, files: list[bytes] | None = None) -> dict[str, np.ndarray]:
        """The values of a finished chunk, by variable: [points along each swept dimension, trials,
        the variable's own dimensions], int32 or float64; smaller at the ends of the grid.

        files: its bytes, where they have been read. Ten times faster than through zarr where chunks
        are small.
        """
        from numcodecs.zstd import decompress

        layout, values = self.layout, {}
        crop = tuple(slice(part.stop - part.start) for part in layout.region(index))
        for variable, file in zip(layout.variables, files or self.read(index), strict=True):
            content = decompress(file[:-4])  # the compressed bytes are followed by their CRC-32C
            array = np.frombuffer(content, np.dtype(variable.dtype).newbyteorder("<"))
            values[variable.name] = array.reshape(layout.chunks + layout.within(variable))[crop]
        return values

    def remove_unmarked(self) -> None:
        """Delete files that a killed process had begun to write."""
        (self.path / "vecsim" / "part").unlink(missing_ok=True)
        finished = {file for index in self.marks for file in self.files(index)}
        for variable in self.layout.variables:
            for file in (self.path / variable.name).glob("c/**/*"):
                if file.is_file() and file not in finished and WRITTEN.fullmatch(file.name):
                    file.unlink()
