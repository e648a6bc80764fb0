"""What every kind of study says about its results."""

from collections.abc import Mapping
from typing import Any

import xarray as xr


class Kind:
    """A kind of study, as its store names it (`kind`): what was run, what is estimated, its table.

    name: of the kind. known: a variable that has a value in every trial that was run. estimates:
    methods of `dataset.vecsim` that its results have, beside `summary`.
    """

    name: str
    known: str
    estimates: tuple[str, ...]

    def summary(self, data: xr.Dataset, level: float) -> xr.Dataset:
        """The estimates at each point, with `_low` and `_high` the ends of their intervals."""
        (name,) = self.estimates
        found = getattr(self, name)(data, level)
        return found.rename(value=name, low=f"{name}_low", high=f"{name}_high")

    def show(self, data: xr.Dataset, summary: xr.Dataset) -> None:
        """Print the table of a summary, and what else there is to know."""
        raise NotImplementedError

    def run(self, data: xr.Dataset) -> xr.DataArray:
        """Which trials were run: bool over the swept dimensions and `trial`."""
        return data[self.known].notnull()

    def swept(self, data: xr.Dataset) -> list[str]:
        """Names of the swept dimensions, in order."""
        return [str(dim) for dim in self.run(data).dims if dim != "trial"]

    def table(self, data: xr.Dataset, columns: Mapping[str, Any], units: str = "1", **about: Any):
        """A dataset of columns, each over the swept dimensions, with the study's coordinates.

        units: of all but counts and shares of trials. about: attributes of the dataset.
        """
        dims = self.swept(data)
        table = xr.Dataset({name: (dims, column) for name, column in columns.items()}, attrs=about)
        for name in table:
            table[name].attrs["units"] = "1" if name in ("events", "trials", "censored") else units
        others = {name: c for name, c in data.coords.items() if set(c.dims) <= {*dims}}
        return table.assign_coords(others)
