"""The finished chunks of a store: their files, and the marks that vouch for them.

A mark holds the checksums of a chunk's files, tied to the store and to the chunk's place. It is
written last, by rename, so what is on disk is what is done, wherever a process was killed.
"""

import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vecsim.results.disk import LAYOUT
from vecsim.results.files import StoreError
from vecsim.results.layout import Index, Layout, Variable

WRITTEN = re.compile(r"\d+(\.[0-9a-f]+\.partial)?")  # names of chunk files, as Zarr writes them

Marks = dict[Index, list[int]]  # CRC-32 of the files of each finished chunk, one per variable


def mark_file(path: Path, index: Index) -> Path:
    return path / "vecsim" / "marks" / ".".join(map(str, index))


def chunk_file(path: Path, variable: Variable, index: Index) -> Path:
    return path.joinpath(variable.name, "c", *map(str, index), *["0"] * len(variable.inner))


def identity(path: Path) -> int:
    """The number that ties marks to their study and layout."""
    return zlib.crc32((path / LAYOUT).read_bytes())


def mark(store: int, index: Index, checksums: list[int]) -> str:
    """The text of a mark: checksums of the chunk's files, then one of these and their place."""
    text = " ".join(map(str, checksums))
    return f"{text} {zlib.crc32(f'{store} {index} {text}'.encode())}"


def read_marks(path: Path, layout: Layout) -> Marks:
    """The marks of the finished chunks; StoreError where a file is not a mark of this store."""
    marks: Marks = {}
    store = identity(path)
    directory = path / "vecsim" / "marks"
    for file in sorted(directory.iterdir()) if directory.is_dir() else ():
        try:
            index = tuple(map(int, re.findall(r"\d+", file.name)))
            layout.region(index)
            text = file.read_bytes().decode()
            *marks[index], _ = map(int, text.split())
            intact = mark_file(path, index) == file and text == mark(store, index, marks[index])
        except ValueError:
            intact = False
        if not (intact and len(marks[index]) == len(layout.variables)):
            raise _bad_chunk(path, f"vecsim/marks/{file.name} is not a mark", file)
    return marks


def _bad_chunk(path: Path, what: str, mark: Path) -> StoreError:
    return StoreError(f"{path} is damaged: {what}; delete {mark} to have its chunk computed again")


def require_whole(path: Path, layout: Layout, attrs: Mapping, marks: Marks) -> None:
    """StoreError where a study that was complete has lost marks."""
    if attrs["complete"] and (lost := math.prod(layout.grid) - len(marks)):
        first = next(index for index in np.ndindex(*layout.grid) if index not in marks)
        more = f" and {lost - 1} more" if lost > 1 else ""
        what = f"{path} was complete and lacks {mark_file(path, first).relative_to(path)}{more}"
        raise StoreError(f"{what}; the command that made it computes what is missing")


def read_chunk(path: Path, layout: Layout, index: Index, checksums: list[int]) -> list[bytes]:
    """The bytes of a finished chunk's files, one per variable, checked against its mark."""
    files, mark = [], mark_file(path, index)
    for variable, checksum in zip(layout.variables, checksums, strict=True):
        what = f"{variable.name}, chunk {mark.name},"
        try:
            files.append(chunk_file(path, variable, index).read_bytes())
        except FileNotFoundError:
            raise _bad_chunk(path, f"{what} is missing", mark) from None
        if zlib.crc32(files[-1]) != checksum:
            raise _bad_chunk(path, f"{what} differs from its checksum", mark)
    return files


def read_chunks(path: Path, layout: Layout, marks: Marks) -> Iterator[tuple[Index, list[bytes]]]:
    """`read_chunk` of every finished chunk; all damage is told at once, at the end."""
    wrong = {}
    for index, mark in marks.items():
        try:
            yield index, read_chunk(path, layout, index, mark)
        except StoreError as error:
            wrong[index] = error
    if len(wrong) == 1:
        raise wrong.popitem()[1]
    if wrong:
        names = " ".join(mark_file(path, index).name for index in wrong)
        advice = f"delete in {path / 'vecsim' / 'marks'} to have them computed again: {names}"
        what = f"{path} is damaged: {len(wrong)} chunks are not what was written"
        raise StoreError(f"{what}; {advice}")


def decode(layout: Layout, index: Index, files: list[bytes]) -> dict[str, np.ndarray]:
    """The values in a chunk's files: ten times faster than through zarr where chunks are small."""
    from numcodecs.zstd import decompress

    crop = tuple(slice(part.stop - part.start) for part in layout.region(index))
    values = {}
    for variable, file in zip(layout.variables, files, strict=True):
        content = decompress(file[:-4])  # the compressed bytes are followed by their CRC-32C
        array = np.frombuffer(content, np.dtype(variable.dtype).newbyteorder("<"))
        values[variable.name] = array.reshape(layout.chunks + layout.within(variable))[crop]
    return values


def remove_unmarked(path: Path, layout: Layout, marks: Marks) -> None:
    """Delete files that a killed process had begun to write."""
    (path / "vecsim" / "part").unlink(missing_ok=True)
    for variable in layout.variables:
        finished = {chunk_file(path, variable, index) for index in marks}
        for file in (path / variable.name).glob("c/**/*"):
            if file.is_file() and file not in finished and WRITTEN.fullmatch(file.name):
                file.unlink()
