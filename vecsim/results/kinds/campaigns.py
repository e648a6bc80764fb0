"""Studies of campaigns of the defended cluster: what was measured on each."""

import textwrap

import xarray as xr

from vecsim.results.kinds.trials import TrialResults, put
from vecsim.results.layout import Array
from vecsim.results.table import Column, Rows
from vecsim.results.text import amount, rate, rounds

# The line under the table.
_CAPTION = "means, medians and shares over trials, each with its 95 % interval in brackets"
# How an estimate is written, by its attribute `interval`; others as an `amount`.
TEXTS = {"clopper_pearson": rate, "order statistics": rounds}


class CampaignResults(TrialResults):
    """A trial is a campaign: outcomes are numbers, or events (1 or 0)."""

    name = "campaigns"

    def run(self, data: xr.Dataset) -> xr.DataArray:
        """Which trials were run (bool): those in which any outcome has a value."""
        return data[self._outcomes(data)].notnull().to_dataarray().any("variable", keep_attrs=False)

    def rates(self, data: xr.Dataset) -> dict[str, str]:
        """The outcomes whose attribute `event` says so, with their meanings."""
        about = {str(name): v.attrs for name, v in data.data_vars.items()}
        return {name: attrs["long_name"] for name, attrs in about.items() if attrs.get("event")}

    def means(self, data: xr.Dataset) -> list[str]:
        """All else, but for times that may not come within the run."""
        events, names = self.rates(data), self._outcomes(data)
        return [n for n in names if n not in events and "censored" not in data[n].attrs]

    def event(self, data: xr.Dataset, name: str) -> tuple[xr.DataArray, xr.DataArray]:
        """Which trials show the event (above 0), and which were run (bool)."""
        return data[name] > 0, self.run(data)

    def samples(self, data: xr.Dataset, name: str) -> Array:
        """The outcome as it is stored, [..., trials]."""
        return data[name].transpose(..., "trial").values  # NaN: there was nothing to measure

    def summary(self, data: xr.Dataset, level: float) -> xr.Dataset:
        """The rate of each event, the median of times that may not come within the run
        (`_median`), the mean of all else."""
        table, events = xr.Dataset(attrs={"level": level}), self.rates(data)
        for name in self._outcomes(data):
            about = data[name].attrs
            if "censored" in about:  # a mean would be infinite, or leave out the longest
                put(table, f"{name}_median", self.quantile(data, name, 0.5, level), about)
            elif name in events:
                put(table, name, self.rate(data, name, level, "clopper_pearson"), about)
            else:
                put(table, name, self.mean(data, name, level), about)
        return table.assign(trials=self.run(data).sum("trial").assign_attrs(units="1"))

    def show(self, data: xr.Dataset, summary: xr.Dataset) -> None:
        """A column for each outcome, as many as fit; where points are many the first outcome, with
        the longest dimension across."""
        rows = Rows(summary, self.swept(data), across=True)
        names = [str(name) for name in summary if f"{name}_low" in summary]
        texts = {n: TEXTS.get(summary[n].attrs.get("interval", ""), amount) for n in names}
        if rows.across:
            rows.show_across(names[0], texts[names[0]], _CAPTION)
        else:
            units = {name: summary[name].attrs.get("units", "1") for name in names}
            headers = {n: n if unit in ("", "1") else f"{n}\n{unit}" for n, unit in units.items()}
            columns = [Column(headers[name], rows.cells(name, texts[name])) for name in names]
            rows.show(columns, [column.header for column in columns[:0:-1]], _CAPTION)
        for name in names:
            if meaning := summary[name].attrs.get("long_name"):
                print(textwrap.fill(f"{name}: {meaning}", rows.width, subsequent_indent="  "))

    def _outcomes(self, data: xr.Dataset) -> list[str]:
        """The variables that have one number for each trial."""
        return [str(name) for name, v in data.data_vars.items() if v.dims[-1] == "trial"]
