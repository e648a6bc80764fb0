#!/usr/bin/env bash
# Counts appended to a Zarr store.
#
# One would assume: appending values that the stored type cannot hold is an error, or widens the
# store, or at least warns.
#
# Seen with xarray 2026.9.0 and zarr 3.1.6: a dataset of int64 appended to a store of int32 is cast
# without a word, and 4294967301 (2^32 + 5) reads back as 5. Appending along an existing dimension
# never compares the types.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check xarray==2026.9.0 zarr==3.1.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import warnings

import numpy as np
import xarray as xr

warnings.simplefilter("error", RuntimeWarning)
small = xr.Dataset({"polls": ("trial", np.array([1, 2], np.int32))})
large = xr.Dataset({"polls": ("trial", np.array([2**32 + 5], np.int64))})
small.to_zarr("a.zarr", consolidated=False)
large.to_zarr("a.zarr", append_dim="trial", consolidated=False)
found = xr.open_zarr("a.zarr", consolidated=False, chunks=None)["polls"].values
print(f"appended {large['polls'].values.tolist()}, read back {found.tolist()} ({found.dtype})")
assert found.tolist() == [1, 2, 5]
PY
