"""Studies of rare events: probabilities by multilevel splitting."""

import numpy as np
import xarray as xr

from vecsim.results import estimate
from vecsim.results.estimate import DISAGREE
from vecsim.results.kinds.kind import Kind, by_name
from vecsim.results.table import Column, Rows
from vecsim.results.text import agreement, chance, order_of_magnitude

ROUGH_BELOW = 1e-12  # probabilities of which only the order of magnitude is claimed
_CAPTION = "probabilities, each with its 95 % interval in brackets, or their order of magnitude"


class SplittingResults(Kind):
    """A trial is a replica of a splitting estimate, by two scores."""

    name = "splitting"
    estimates = ("probability",)

    def run(self, data: xr.Dataset) -> xr.DataArray:
        return data["plain"].notnull()

    def probability(self, data: xr.Dataset, level: float) -> xr.Dataset:
        """See `dataset.vecsim.probability`."""
        values = data["probability"].transpose(..., "trial", "score").values
        found = estimate.rare_interval(values, level)
        replicas = self.run(data).sum("trial").values
        columns = {
            "value": found.value,
            "error": found.error,
            "low": found.low,
            "high": found.high,
            "gap": found.gap,
            "rough": (found.value < ROUGH_BELOW) | (found.error * np.sqrt(replicas) > found.value),
            "trials": replicas,
        }
        number = replicas * data["plain"].attrs["of"]
        events = data["plain"].sum("trial").values
        columns["plain"] = events / np.where(number > 0, number, np.nan)
        ends = estimate.clopper_pearson(events, number, level)
        same = found.error == 0  # replicas say nothing of what they miss where all are alike
        for name, end in zip(("low", "high"), ends, strict=True):
            columns[f"plain_{name}"] = end
            columns[name] = np.where(same, end, columns[name])
        about = {"outcome": data["probability"].attrs["event"], "interval": "Student's t and Cox"}
        return self.table(data, columns, "1", level, about)

    def summary(self, data: xr.Dataset, level: float) -> xr.Dataset:
        return by_name(self.probability(data, level), "probability")

    def show(self, data: xr.Dataset, summary: xr.Dataset) -> None:
        rows = Rows(summary, self.swept(data))
        cells = [
            order_of_magnitude(value) if rows.at("rough", at) else chance(value, low, high)
            for at in rows.places
            for value, low, high in [rows.interval("probability", at)]
        ]
        gaps = [rows.at("gap", at) for at in rows.places]
        columns = [
            Column(f"P({summary.attrs['outcome']})", cells),
            Column("scores", [agreement(gap) for gap in gaps], right=False),
            rows.counts("trials", "replicas"),
        ]
        rows.show(columns, ["replicas"], _CAPTION)
        if any(gap < DISAGREE for gap in gaps):
            print(
                "vecsim: two scores disagree: the larger estimate counts, and more walkers are "
                "needed",
                flush=True,
            )
