"""How a study lies on disk: metadata, coordinates and the lock, and the checks of all three.

Beside the arrays of the Zarr group stands a subgroup `vecsim`, invisible to `xarray.open_zarr`,
with the lock, the layout, the checksums of every file that never changes, and the marks of finished
chunks (`vecsim.results.chunks`). Nothing is parsed before its checksum was right, and no link is
followed.
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
from typing import IO

import numpy as np

from vecsim.results.files import (
    StoreError,
    damaged,
    file_digest,
    read_checksums,
    require_own,
    write,
    write_checksums,
)
from vecsim.results.layout import Layout, leaves

FORMAT = 3
POINTS = "vecsim/points"  # their identities, beside the layout
CHECKSUMS, LAYOUT = "vecsim/checksums", "vecsim/zarr.json"


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A Ctrl-C is heard at the end of this, not within.

    Zarr writes in a thread of its own, which an interrupt of this one would leave with half a
    write and complaints about it on the terminal.
    """
    if threading.current_thread() is not threading.main_thread():  # hears no signals
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
    return StoreError(f"{path} is being written by another process; wait or choose another output")


def lock(path: Path, name: Path) -> IO[bytes]:
    """Keep other processes from writing in `path`, called `name`, until the file is closed.

    The kernel closes it when the process dies, however it dies.
    """
    file = (path / "vecsim" / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        deleted = os.fstat(file.fileno()).st_nlink == 0  # by a process that begins again
    except BlockingIOError:
        deleted = True
    if deleted:
        file.close()
        raise busy(name)
    return file


def create(
    path: Path,
    layout: Layout,
    attrs: dict,
    points: Sequence[int] = (),
    aside: Path | None = None,
) -> IO[bytes]:
    """Make an empty store and return its lock; it is renamed into place when complete.

    points: the identity of each, uint64. aside: what the store that is there becomes.
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
        state = {"format": FORMAT, "layout": layout.plain(), "study": study}
        group = {"zarr_format": 3, "node_type": "group", "attributes": state}
        replace(new, new / LAYOUT, json.dumps(group, indent=2))
        static = sorted(each for each in new.rglob("*") if each.is_file() and each.name != "lock")
        listed = [(str(each.relative_to(new)), file_digest(each.read_bytes())) for each in static]
        write_checksums(new / CHECKSUMS, listed)
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
    names = {"vecsim", "zarr.json", *layout.arrays}
    parts = re.compile(r"zarr\.[0-9a-f]{32}\.partial")  # Zarr writes these, then renames them
    good = not new.is_symlink() and new.is_dir()
    if not (good and all(each in names or parts.fullmatch(each) for each in os.listdir(new))):
        raise StoreError(f"{new} is in the way; delete it or choose another output")


def _create_arrays(path: Path, layout: Layout, attrs: dict) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    names = {"coordinates": " ".join(layout.beside)} if layout.beside else {}  # for xarray
    group = zarr.create_group(path, zarr_format=3, attributes=attrs | names)
    coordinates = {
        name: ((name,), np.array(v)) for name, v in {**layout.coords, **layout.inner}.items()
    }
    coordinates |= {name: (each.dims, layout.array(each)) for name, each in layout.beside.items()}
    for name, (dims, array) in coordinates.items():
        text = array.dtype.kind in "OU"
        stored = group.create_array(
            name,
            shape=array.shape,
            dtype=np.dtypes.StringDType() if text else array.dtype,
            chunks=array.shape,
            dimension_names=dims,
            attributes=layout.beside[name].attrs if name in layout.beside else None,
            config={"write_empty_chunks": True},
        )
        stored[...] = array.astype(np.dtypes.StringDType()) if text else array
    for variable in layout.variables:
        group.create_array(
            variable.name,
            shape=layout.shape + layout.within(variable),
            dtype=np.dtype(variable.dtype).newbyteorder("<"),
            chunks=layout.chunks + layout.within(variable),
            compressors=[ZstdCodec(level=3), Crc32cCodec()],
            fill_value=variable.missing,
            attributes=variable.stored_attrs,
            dimension_names=layout.dims + variable.inner,
        )
    with warnings.catch_warnings():  # xarray warns without consolidated metadata, zarr with it
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(path)


def read_metadata(path: Path) -> tuple[dict, Layout]:
    """The attributes and the layout of a store, once its metadata and coordinates are intact."""
    if not any((path / "vecsim" / part).exists() for part in ("zarr.json", "marks", "lock")):
        raise StoreError(f"{path} is not a vecsim store; choose another output")
    require_own(path)
    try:
        root = (path / "zarr.json").read_bytes()  # before its checksum: see `write_root`
        if not (path / CHECKSUMS).exists():
            _require_format(path, (path / LAYOUT).read_bytes())
        content = {"zarr.json": root}
        for name, checksums in _checksums(path).items():
            content[name] = content.get(name) or (path / name).read_bytes()
            if file_digest(content[name]) not in checksums:
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


def _checksums(path: Path) -> dict[str, list[str]]:
    try:
        listed = read_checksums(path / CHECKSUMS)
    except StoreError:
        if (path / CHECKSUMS).exists():
            raise damaged(path, f"{CHECKSUMS} was changed or cut off") from None
        raise damaged(path, f"{CHECKSUMS} is missing") from None
    return {name: [checksum for other, checksum in listed if other == name] for name, _ in listed}


def _require_format(path: Path, layout: bytes) -> None:
    found = re.search(rb'"format": (\d+)', layout)
    if found and int(found[1]) != FORMAT:
        which = f"{path} has format {int(found[1])}, and this vecsim reads {FORMAT}"
        raise StoreError(f"{which}; choose another output or the vecsim that wrote it")


def write_root(path: Path, root: dict) -> None:
    """Replace the metadata of the whole; a reader finds either, with its checksum."""
    before, text = (path / "zarr.json").read_bytes(), json.dumps(root, indent=2)
    if before != text.encode():
        listed = [entry for entry in read_checksums(path / CHECKSUMS) if entry[0] != "zarr.json"]
        now = [("zarr.json", file_digest(content)) for content in (before, text.encode())]
        write_checksums(path / CHECKSUMS, [*listed, *now])
        replace(path, path / "zarr.json", text)


def require_same(path: Path, kind: str, there: Mapping, here: Mapping) -> None:
    """Refuse a store of another config or layout, naming at most three differences."""
    old, new = leaves(there), leaves(here)
    keys = [key for key in new | old if (key in old, old.get(key)) != (key in new, new.get(key))]
    if keys:
        parts = [f"{key} is {show(old, key)} there, {show(new, key)} here" for key in keys[:3]]
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        message = f"{path} belongs to another {kind}: {'; '.join(parts)}{more}"
        raise StoreError(f"{message}; choose another output or delete it")


def show(config: dict, key: str) -> str:
    text = json.dumps(config[key]) if key in config else "absent"
    return text if len(text) <= 60 else f"{text[:57]}..."


def replace(path: Path, file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write(file, text.encode(), path / "vecsim" / "part")
