#!/usr/bin/env bash
# A chunk that was never written, or got lost, in a Zarr store that xarray made.
#
# One would assume: where a variable has the encoding `_FillValue` -1, a missing chunk reads as
# missing values (NaN), as the same call does in Zarr format 2.
#
# Seen with xarray 2026.9.0 and zarr 3.1.6: in format 3 `_FillValue` is an attribute only, and Zarr's
# own fill value stays 0. A missing chunk reads as zeros: data that look measured. In format 2 it
# reads as NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check xarray==2026.9.0 zarr==3.1.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from pathlib import Path

import numpy as np
import xarray as xr

seen = {}
for version, lost in ((2, "1"), (3, "c/1")):
    path = f"v{version}.zarr"
    data = xr.Dataset({"decided": ("trial", np.array([7, 7, 7, 7], np.int32))})
    encoding = {"decided": {"_FillValue": np.int32(-1), "chunks": (2,)}}
    data.to_zarr(path, zarr_format=version, encoding=encoding, consolidated=False)
    Path(path, "decided", lost).unlink()
    seen[version] = xr.open_zarr(path, consolidated=False, chunks=None)["decided"].values.tolist()
    print(f"Zarr format {version}, second chunk missing: {seen[version]}")
assert seen[2][:2] == seen[3][:2] == [7, 7]
assert all(np.isnan(seen[2][2:]))
assert seen[3][2:] == [0, 0]
PY
