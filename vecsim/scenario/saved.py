"""What is on disk of a scenario that is not complete: its lock, and what was finished so far.

OUTPUT/NAME/partial/VARIANT/ holds a run as it goes (`vecsim.cluster.checkpoint`) and, once it has
ended, `data.nc`. Nothing is removed before the results of the whole scenario are on disk, and then
only what is written here. Links are not followed.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from vecsim.results import netcdf
from vecsim.results.disk import held
from vecsim.results.files import StoreError, json_digest, one_line

# Names in a scenario's folder; WHOLE stands for the variant of a scenario that has none.
PARTIAL, LOCK, DATA, WHOLE = "partial", ".lock", "data.nc", "run"


def load_same(path: Path, digest: str) -> xr.Dataset | None:
    """The outcomes in a file, None where there is no file; StoreError where they are damaged or of
    another scenario. digest: of what decides the outcomes."""
    if not path.exists():
        return None
    data = netcdf.load_netcdf(path)
    if data.attrs.get("digest") != digest:
        raise StoreError(f"{path} belongs to another scenario; choose another output")
    return data


class Saved:
    """One variant on disk. name: of the variant, "" for a scenario without; about: what decides its
    outcomes. StoreError where its folder is a link."""

    def __init__(self, partial: Path, name: str, about: Mapping[str, Any]):
        self.folder = partial / (name or WHOLE)
        self.path = self.folder / DATA
        self.digest = json_digest(about)
        with one_line(partial):
            for folder in (partial, self.folder):
                _require_no_link(folder)

    def load(self) -> xr.Dataset | None:
        """The outcomes of the variant, None where it is not finished; StoreError where they are
        damaged or of another scenario."""
        data = load_same(self.path, self.digest)
        if data is not None:
            del data.attrs["digest"]
        return data

    def save(self, data: xr.Dataset) -> xr.Dataset:
        """Write the outcomes; returns them as they read back."""
        self.folder.mkdir(parents=True, exist_ok=True)
        netcdf.save_netcdf(data.assign_attrs(digest=self.digest), self.path)
        found = self.load()
        assert found is not None
        return found


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from working in a folder, which is made if need be; StoreError where one
    does."""
    path = folder / LOCK
    with one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _require_no_link(path)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    with held(os.fdopen(number, "r+b"), folder):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def remove_saved(partial: Path, names: Iterable[str]) -> None:
    """Remove what was saved of these variants, and the folders that are then empty."""
    from vecsim.cluster import checkpoint

    if not partial.is_dir() or partial.is_symlink():
        return
    folders = [partial / (name or WHOLE) for name in names]
    for folder in folders:
        if folder.is_dir() and not folder.is_symlink():
            for path in (folder / DATA, folder / f"{DATA}.part"):
                path.unlink(missing_ok=True)
            checkpoint.remove_checkpoint(folder)
    for folder in (*folders, partial):
        with contextlib.suppress(OSError):  # it is gone, or something of another's is there
            folder.rmdir()


def _require_no_link(path: Path) -> None:
    if path.is_symlink():
        raise StoreError(f"{path} is a link, which vecsim does not follow")
