"""NetCDF files: whole, unchanged, or refused before the HDF5 library sees them."""

import os
import re
from pathlib import Path

import h5netcdf
import numpy as np
import pytest
import xarray as xr

import vecsim
from vecsim.results import netcdf
from vecsim.results.files import StoreError

DATA = xr.Dataset(
    {
        "rounds": (("n", "trial"), np.array([[1.5, np.nan], [3.0, 4.0]]), {"units": "rounds"}),
        "lost": ("trial", np.array([2**40, 1])),
        "kind": ("n", np.array(["a", "bé"], dtype=object)),
    },
    {"n": [10, 20]},
    {"seed": 7},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    netcdf.save_netcdf(DATA, tmp_path / "data.nc")
    return tmp_path / "data.nc"


def refusal(path: Path, monkeypatch) -> str:
    """The line of a refusal; HDF5, which damaged files can keep busy for ever, is not asked."""
    with monkeypatch.context() as patch:
        patch.setattr(xr, "load_dataset", lambda *_, **__: pytest.fail("HDF5 was asked"))
        with pytest.raises(StoreError) as caught:
            vecsim.open(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reads_back_here_and_elsewhere(path: Path):
    xr.testing.assert_identical(vecsim.open(path), DATA)
    xr.testing.assert_identical(xr.load_dataset(path, engine="h5netcdf"), DATA)
    with h5netcdf.File(path) as file:
        assert sorted(file.variables) == ["kind", "lost", "n", "rounds"]
    assert os.listdir(path.parent) == ["data.nc"]


def test_attributes_become_text_or_numbers(path: Path):
    netcdf.save_netcdf(DATA.assign_attrs(extra={"a": [1, None]}, flag=True), path)
    about = {"seed": 7, "extra": '{"a": [1, null]}', "flag": "true"}
    assert vecsim.open(path).attrs == about


def test_any_changed_byte_is_refused(path: Path, monkeypatch):
    whole = path.read_bytes()
    places = [*range(0, len(whole), 97), *range(len(whole) - 90, len(whole))]
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        line = refusal(path, monkeypatch)
        assert line.startswith(f"{path} "), place
        assert "is damaged" in line or "no vecsim checksum" in line, place
    for length in (0, 1, 79, 80, len(whole) // 2, len(whole) - 80, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "no vecsim checksum at its end: it was cut off" in refusal(path, monkeypatch)
    path.write_bytes(whole[:400] + whole[480:])
    assert "is damaged: it differs from the checksum" in refusal(path, monkeypatch)


def test_files_of_others_are_refused(path: Path, monkeypatch):
    DATA.to_netcdf(path, engine="h5netcdf")
    assert "or another program" in refusal(path, monkeypatch)
    path.unlink()
    os.mkfifo(path)  # reading it would never end
    assert refusal(path, monkeypatch) == f"{path} is no ordinary file"


def test_a_sealed_file_that_is_no_netcdf(path: Path):
    from vecsim.results.files import write_sealed

    write_sealed(path, b"thesis")
    with pytest.raises(StoreError, match="no NetCDF file"):
        vecsim.open(path)


@pytest.mark.parametrize("name", ["data.nc", "data.nc.part"])
def test_links_are_not_followed(path: Path, name: str, tmp_path: Path):
    other = tmp_path / "thesis.txt"
    other.write_text("years of work")
    path.unlink()
    (tmp_path / name).symlink_to(other)
    netcdf.save_netcdf(DATA, path)
    assert other.read_text() == "years of work"
    assert not path.is_symlink()
    xr.testing.assert_identical(vecsim.open(path), DATA)


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match=re.escape(f"{path}: No space left on device")):
        netcdf.save_netcdf(DATA.assign_attrs(seed=8), path)
    assert os.listdir(path.parent) == ["data.nc"]
    assert vecsim.open(path).seed == 7


def test_the_summaries_of_the_experiments_open():
    files = sorted((Path(__file__).parents[1] / "experiments").glob("*/*.nc"))
    assert len(files) >= 13
    for file in files:
        assert vecsim.open(file).data_vars
