"""Datasets as single NetCDF files that are known to be unchanged before HDF5 sees them.

The last line of the file is text, the SHA-256 of all before it; other programs ignore it. Damaged
files can keep the HDF5 library busy for ever, so the line is checked first. HDF5 writes to memory
only: a disk that fills up while it writes would crash the process.
"""

import io
from pathlib import Path

import xarray as xr

from vecsim.results.files import damaged, one_line, read_sealed, write_sealed
from vecsim.results.layout import json_safe


def save_netcdf(dataset: xr.Dataset, path: str | Path) -> None:
    """Save a dataset as one NetCDF file, compressed and with checksums; replaces `path` whole.

    Attributes that are neither text nor number are saved as JSON. StoreError where the operating
    system refuses.
    """
    dataset = dataset.drop_encoding()
    dataset.attrs = json_safe(dataset.attrs)
    encoding = {}
    for name, variable in dataset.variables.items():
        variable.attrs = json_safe(variable.attrs)
        if variable.ndim and variable.dtype.kind in "iuf":
            encoding[name] = {"zlib": True, "fletcher32": True}
    memory = io.BytesIO()
    dataset.to_netcdf(memory, engine="h5netcdf", encoding=encoding)
    with one_line(path):
        write_sealed(Path(path), memory.getbuffer())


def load_netcdf(path: str | Path) -> xr.Dataset:
    """The dataset of a file that `save_netcdf` wrote, in memory.

    StoreError where the file has changed since, or has no checksum: a file of an older vecsim or
    of another program, which `xarray.open_dataset` reads unchecked.
    """
    path = Path(path)
    data = read_sealed(path)
    try:
        return xr.load_dataset(io.BytesIO(data), engine="h5netcdf")
    except (OSError, ValueError, KeyError, RuntimeError):
        raise damaged(path, "it is no NetCDF file") from None
