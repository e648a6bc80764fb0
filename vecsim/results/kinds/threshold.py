"""Studies of thresholds: the Byzantine fraction at which a rate crosses a level."""

from typing import Any

import xarray as xr

from vecsim.results.crossing import crossings
from vecsim.results.kinds.kind import Kind
from vecsim.results.table import Column, Rows
from vecsim.results.text import crossed

# The line under the table.
_CAPTION = "thresholds, each with its 95 % interval in brackets; fit p: of the misfit of the curve"


class ThresholdResults(Kind):
    """Each trial has a Byzantine fraction of its own, and shows the event or not."""

    name, known = "threshold", "event"
    estimates = ("threshold",)

    def threshold(self, data: xr.Dataset, level: float) -> xr.Dataset:
        """See `dataset.vecsim.threshold`."""
        about = data["event"].attrs
        run = self.run(data).transpose(..., "trial").values
        x = data["byzantine_fraction"].transpose(..., "trial").values
        happened = data["event"].transpose(..., "trial").values > 0
        own = "crossed" in data  # whether every point has a level of its own
        levels = about["crossed"] if not own else data["crossed"].max("trial").values
        found = crossings(x, happened, run, levels, about["low"], about["high"], level)
        columns = found | ({"crossed": levels} if own else {}) | {"trials": run.sum(-1)}
        kept: dict[str, Any] = {"outcome": about["outcome"]} | ({} if own else {"crossed": levels})
        kept |= {"searched_low": about["low"], "searched_high": about["high"]}
        kept |= {"interval": "profile likelihood", "level": level}
        return self.table(data, columns, **kept)

    def show(self, data: xr.Dataset, summary: xr.Dataset) -> None:
        """Print a row for each point: the threshold in per cent of nodes or stake, and the fit."""
        rows, about = Rows(summary, self.swept(data)), summary.attrs
        of = "stake" if "byzantine_stake" in data else "nodes"
        header, more = f"threshold\n% of {of}", []
        if "crossed" in about:
            header = f"{100 * about['crossed']:g} % {about['outcome']} at\n% of {of}"
        else:
            levels = [f"{100 * rows.at('crossed', at):g}" for at in rows.places]
            more = [Column("at a rate\nof, %", levels)]
        cells = rows.cells("threshold", lambda *found: crossed(*(100 * v for v in found)))
        fits = [f"{rows.at('fit', at):.2g}".replace("nan", "-") for at in rows.places]
        columns = [*more, Column(header, cells), Column("fit p", fits), rows.counts("trials")]
        rows.show(columns, ["trials", "fit p"], _CAPTION)
