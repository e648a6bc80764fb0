"""What every kind of study says of its results."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

Array = np.ndarray[Any, Any]


class Kind:
    """A kind of study, as its store names it (`kind`): what was run, what is estimated, its table.

    name: of the kind. estimates: methods of `dataset.vecsim` that its results have, beside
    `summary`.
    """

    name: str
    estimates: tuple[str, ...]

    def run(self, data: xr.Dataset) -> xr.DataArray:
        """Which trials were run: bool over the swept dimensions and `trial`."""
        raise NotImplementedError

    def summary(self, data: xr.Dataset, level: float) -> xr.Dataset:
        """What is estimated at each point, with `_low` and `_high` the ends of its interval."""
        raise NotImplementedError

    def show(self, data: xr.Dataset, summary: xr.Dataset) -> None:
        """Print the table of a summary, and what is to be known beside it."""
        raise NotImplementedError

    def swept(self, data: xr.Dataset) -> list[str]:
        """Names of the swept dimensions, in order."""
        return [str(dim) for dim in self.run(data).dims if dim != "trial"]

    def table(
        self,
        data: xr.Dataset,
        columns: Mapping[str, Any],
        units: str,
        level: float,
        attrs: Mapping[str, Any],
    ) -> xr.Dataset:
        """Columns, each over the swept dimensions, with the study's coordinates; level: of the
        intervals."""
        dims = self.swept(data)
        table = xr.Dataset({name: (dims, column) for name, column in columns.items()})
        for name in table:
            counted = name in ("events", "trials", "censored")
            table[name].attrs["units"] = "1" if counted else units
        others = {name: c for name, c in data.coords.items() if set(c.dims) <= {*dims}}
        return table.assign_coords(others).assign_attrs({**attrs, "level": level})


def by_name(table: xr.Dataset, name: str) -> xr.Dataset:
    """A table of estimates as a summary has it: the estimate by its name."""
    return table.rename(value=name, low=f"{name}_low", high=f"{name}_high")
