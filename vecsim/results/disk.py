"""How a study lies on disk: metadata, coordinates and the lock, and the checks of all three.

Beside the arrays, the Zarr group has a subgroup `vecsim`, which `xarray.open_zarr` does not see:

    study.zarr/zarr.json          metadata and attributes of the group
    study.zarr/NAME/              an array: a coordinate or an outcome
    study.zarr/vecsim/lock        held by the process that writes
    study.zarr/vecsim/zarr.json   the layout
    study.zarr/vecsim/points      the points' identities
    study.zarr/vecsim/checksums   of every file that never changes
    study.zarr/vecsim/marks/0.1   of a finished chunk (`vecsim.results.chunks`)

Nothing is parsed before its checksum is found right, and no link is followed.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from vecsim.results import files
from vecsim.results.files import StoreError, damaged, file_digest
from vecsim.results.layout import Layout

COMPRESSION = 3  # of compression by Zstandard: its default, which loses little to slower ones
FORMAT = 3  # version of the format on disk; a store of another one is refused
POINTS = "vecsim/points"  # the points' identities, little-endian uint64
CHECKSUMS, LAYOUT = "vecsim/checksums", "vecsim/zarr.json"  # paths in the store


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delays a Ctrl-C until the end of the block.

    Zarr writes in a thread of its own; an interrupt of this thread would leave it with half a
    write, and complaints about that on the terminal.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    heard = []
    before = signal.signal(signal.SIGINT, lambda *caught: heard.append(caught))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            signal.raise_signal(signal.SIGINT)


def busy(path: Path) -> StoreError:
    """The error where another process is writing the store at `path`."""
    return StoreError(f"{path} is being written by another process; wait or choose another output")


def lock(path: Path, name: Path) -> IO[bytes]:
    """Keep other processes from writing in `path` until the file is closed; StoreError where one
    does. name: the path that its message tells."""
    return held((path / "vecsim" / "lock").open("ab"), name)


def held(file: IO[bytes], name: Path) -> IO[bytes]:
    """The file, locked until it is closed; StoreError, and closed, where another process has it.

    The kernel closes it when the process dies, however it dies.
    """
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink:  # else deleted by a process that begins again
            return file
    file.close()
    raise busy(name)


def create(
    path: Path, layout: Layout, attrs: dict, points: Sequence[int] = (), aside: Path | None = None
) -> IO[bytes]:
    """Make an empty store and return its lock; it is renamed into place when complete.

    points: the identity of each, uint64. aside: the new path of the store that is there. StoreError
    where another process is at work, or a folder of another origin is in the way.
    """
    new = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if new.exists() or new.is_symlink():  # left by a process that was killed, or else locked
            _require_begun(new, layout)
            (new / "vecsim").mkdir(exist_ok=True)
            with lock(new, path):
                shutil.rmtree(new)
        (new / "vecsim" / "marks").mkdir(parents=True)
        file = lock(new, path)
    except (FileExistsError, FileNotFoundError):  # another process creates the same store
        raise busy(path) from None
    try:
        with uninterrupted():
            _create_arrays(new, layout, attrs)
        if points:
            (new / POINTS).write_bytes(np.array(points, "<u8").tobytes())
        study = zlib.crc32(attrs["config"].encode())
        state = {"format": FORMAT, "layout": layout._asdict(), "study": study}
        group = {"zarr_format": 3, "node_type": "group", "attributes": state}
        replace(new, new / LAYOUT, json.dumps(group, indent=2))
        static = sorted(each for each in new.rglob("*") if each.is_file() and each.name != "lock")
        digests = [(str(each.relative_to(new)), file_digest(each.read_bytes())) for each in static]
        files.write_checksums(new / CHECKSUMS, digests)
        with uninterrupted():
            if aside:
                path.rename(aside)
            new.rename(path)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        file.close()
        raise
    return file


def _require_begun(new: Path, layout: Layout) -> None:
    """StoreError unless all in the folder is what `create` makes."""
    # Zarr writes the partial files, then renames them.
    names = "|".join(map(re.escape, ["vecsim", "zarr.json", *layout.arrays]))
    made = re.compile(rf"{names}|zarr\.[0-9a-f]{{32}}\.partial")
    if new.is_symlink() or not new.is_dir() or not all(map(made.fullmatch, os.listdir(new))):
        raise StoreError(f"{new} is in the way; delete it or choose another output")


def _create_arrays(path: Path, layout: Layout, attrs: dict) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    names = {"coordinates": " ".join(layout.beside)} if layout.beside else {}  # for xarray
    group = zarr.create_group(path, zarr_format=3, attributes=attrs | names)

    def array(name: str, shape, chunks, dtype, dims, about: Mapping, **options: Any):
        named: Any = {"dimension_names": dims, "attributes": about}
        return group.create_array(name, shape=shape, chunks=chunks, dtype=dtype, **named, **options)

    for name, (dims, values, about) in layout.coordinates().items():
        plain = values.astype(np.dtypes.StringDType()) if values.dtype.kind in "OU" else values
        options = {"config": {"write_empty_chunks": True}}
        array(name, plain.shape, plain.shape, plain.dtype, dims, about, **options)[...] = plain
    options = {"compressors": [ZstdCodec(level=COMPRESSION), Crc32cCodec()]}
    for v in layout.variables:
        shape, chunks = (part + layout.within(v) for part in (layout.shape, layout.chunks))
        dims, dtype = layout.dims + v.inner, np.dtype(v.dtype).newbyteorder("<")
        array(v.name, shape, chunks, dtype, dims, v.stored_attrs, fill_value=v.missing, **options)
    # xarray warns without consolidated metadata, zarr with it.
    with warnings.catch_warnings(action="ignore"):
        zarr.consolidate_metadata(path)


def read_metadata(path: Path) -> tuple[dict, Layout]:
    """The attributes and the layout of a store; StoreError unless it is one, of this format, and
    its metadata and coordinates are intact."""
    if not any((path / "vecsim" / part).exists() for part in ("zarr.json", "marks", "lock")):
        raise StoreError(f"{path} is not a vecsim store; choose another output")
    with files.one_line(path):
        files.require_own(path)
    try:
        root = (path / "zarr.json").read_bytes()  # before its checksum: see `write_root`
        if not (path / CHECKSUMS).exists():
            _require_format(path, (path / LAYOUT).read_bytes())
        listed = _checksums(path)  # of the root metadata there may be two
        content = {name: (path / name).read_bytes() for name, _ in listed} | {"zarr.json": root}
        for name in content:
            if (name, file_digest(content[name])) not in listed:
                raise damaged(path, f"{name} was changed or cut off")
    except FileNotFoundError as error:
        name = Path(error.filename).relative_to(path)
        raise damaged(path, f"{name} is missing") from None
    _require_format(path, content[LAYOUT])
    try:
        layout = Layout(**json.loads(content[LAYOUT])["attributes"]["layout"]).checked()
        attrs = json.loads(root)["attributes"]
        json.loads(attrs["config"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # made by hand
        raise damaged(path, "its metadata has no meaning") from None
    return attrs, layout


def _checksums(path: Path) -> list[tuple[str, str]]:
    """The files that the store lists, with their digests."""
    try:
        return files.read_checksums(path / CHECKSUMS)
    except StoreError:
        what = "was changed or cut off" if (path / CHECKSUMS).exists() else "is missing"
        raise damaged(path, f"{CHECKSUMS} {what}") from None


def _require_format(path: Path, layout: bytes) -> None:
    found = re.search(rb'"format": (\d+)', layout)
    if found and int(found[1]) != FORMAT:
        which = f"{path} has format {int(found[1])}, and this vecsim reads {FORMAT}"
        raise StoreError(f"{which}; choose another output or the vecsim that wrote it")


def write_root(path: Path, root: dict) -> None:
    """Replace the root metadata; a reader finds the old or the new file, with its checksum."""
    before, text = (path / "zarr.json").read_bytes(), json.dumps(root, indent=2)
    if before != text.encode():
        digests = files.read_checksums(path / CHECKSUMS)
        now = [("zarr.json", file_digest(content)) for content in (before, text.encode())]
        kept = [(name, digest) for name, digest in digests if name != "zarr.json"]
        files.write_checksums(path / CHECKSUMS, kept + now)
        replace(path, path / "zarr.json", text)


def replace(path: Path, file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    files.write(file, text.encode(), path / "vecsim" / "part")
