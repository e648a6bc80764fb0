"""Studies of rare events: probabilities by multilevel splitting."""

import numpy as np
import xarray as xr

from vecsim.results import estimate
from vecsim.results.kinds.kind import Kind
from vecsim.results.table import Column, Rows
from vecsim.results.text import agreement, chance, order_of_magnitude

# A probability below it is only known to its order of magnitude: the walkers that give good
# intervals above it are too few below.
ROUGH_BELOW = 1e-12
# The line under the table.
_CAPTION = "probabilities, each with its 95 % interval in brackets, or their order of magnitude"


class SplittingResults(Kind):
    """A trial is a replica of a splitting estimate, by two scores."""

    name, known = "splitting", "plain"
    estimates = ("probability",)

    def probability(self, data: xr.Dataset, level: float) -> xr.Dataset:
        """See `dataset.vecsim.probability`."""
        values = data["probability"].transpose(..., "trial", "score").values
        found = estimate.rare_interval(values, level)
        replicas = self.run(data).sum("trial").values
        columns = found._asdict()
        deviation = found.error * np.sqrt(replicas)
        columns["rough"] = (found.value < ROUGH_BELOW) | (deviation > found.value)
        columns["trials"] = replicas
        number, events = replicas * data["plain"].attrs["of"], data["plain"].sum("trial").values
        plain = estimate.rate_interval(events, number, level)
        same = found.error == 0  # where all replicas are alike they do not tell what they miss
        columns["low"] = np.where(same, plain.low, found.low)
        columns["high"] = np.where(same, plain.high, found.high)
        columns |= {"plain": plain.value, "plain_low": plain.low, "plain_high": plain.high}
        about = {"outcome": data["probability"].attrs["event"], "interval": "Student's t and Cox"}
        return self.table(data, columns, **about, level=level)

    def show(self, data: xr.Dataset, summary: xr.Dataset) -> None:
        """Print a row for each point, and whether the two scores disagree anywhere."""
        rows = Rows(summary, self.swept(data))
        rough, gaps = ([rows.at(name, at) for at in rows.places] for name in ("rough", "gap"))
        known = rows.cells("probability", chance)
        about = rows.cells("probability", lambda value, *_: order_of_magnitude(value))
        cells = [each[bool(is_rough)] for is_rough, *each in zip(rough, known, about, strict=True)]
        columns = [
            Column(f"P({summary.attrs['outcome']})", cells),
            Column("scores", [agreement(gap) for gap in gaps], right=False),
            rows.counts("trials", "replicas"),
        ]
        rows.show(columns, ["replicas"], _CAPTION)
        if any(gap < estimate.DISAGREE for gap in gaps):
            told = "the larger estimate counts, and more walkers are needed"
            print(f"vecsim: two scores disagree: {told}", flush=True)
