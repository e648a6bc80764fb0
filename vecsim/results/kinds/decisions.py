"""Studies of single decisions: how often, and after how many rounds, nodes decide."""

import numpy as np
import xarray as xr

from vecsim.results import outcomes
from vecsim.results.kinds.trials import TrialResults, precision, put
from vecsim.results.layout import Array
from vecsim.results.table import Column, Rows
from vecsim.results.text import rate, rounds

_CAPTION = "medians of rounds and shares of trials, each with its 95 % interval in brackets"
_MAJORITY = "majority_kept"
_HEADERS = {_MAJORITY: "majority_\nkept"}
AVERAGED = (  # of rounds, changes of preference, polls
    *("rounds", "first_decision", "median_decision", "last_decision", "unanimity"),
    *("flips", "polls"),
)
WORST = "worst dis-\nagreement"
SPARE = ("stalled", "trials", "unanimous", "disagreement", _HEADERS[_MAJORITY], "rounds")


class DecisionResults(TrialResults):
    """A trial is a single decision of all honest nodes."""

    name = "decisions"
    least = 0  # numbers of nodes, rounds or polls

    def run(self, data: xr.Dataset) -> xr.DataArray:
        return data["decided_1"].notnull()

    def rates(self, data: xr.Dataset) -> dict[str, str]:
        return outcomes.RATES

    def means(self, data: xr.Dataset) -> list[str]:
        return [name for name in AVERAGED if name in data]

    def event(self, data: xr.Dataset, name: str) -> tuple[xr.DataArray, xr.DataArray]:
        return outcomes.event(data, name), outcomes.defined(data, name)

    def samples(self, data: xr.Dataset, name: str) -> Array:
        values = data[name].fillna(np.inf).where(self.run(data))
        return values.transpose(..., "trial").values

    def summary(self, data: xr.Dataset, level: float) -> xr.Dataset:
        """The rates, the median and mean of last_decision, and the median of unanimity."""
        table = xr.Dataset(attrs={"level": level})
        for name in outcomes.RATES:
            put(table, name, self.rate(data, name, level, "clopper_pearson"), {})
        mean = self.mean(data, "last_decision", level)
        for name, found in {
            "last_decision_median": self.quantile(data, "last_decision", 0.5, level),
            "last_decision_mean": mean,
            "unanimity_median": self.quantile(data, "unanimity", 0.5, level),
        }.items():
            put(table, name, found, {})
        table["last_decision_censored"] = mean["censored"]
        table["trials"] = mean["trials"]
        return table

    def show(self, data: xr.Dataset, summary: xr.Dataset) -> None:
        """All outcomes, as many as fit. Where points are many, the longest dimension runs across,
        at some of its values."""
        decides = {bool(value) for value in np.unique(data["decides"]) if np.isfinite(value)}
        rows = Rows(summary, self.swept(data), across=True)
        if rows.across:
            outcome, beside = "unanimous", {}
            if True in decides:
                outcome, beside = "finalised", {WORST: _worst(rows)}
            rows.show_across(outcome, rate, _CAPTION, beside)
        else:
            self._show_down(rows, decides)
        lost = summary["majority_lost"]
        if (lost > 0).any():
            among = f"{int((lost > 0).sum())} of {lost.size} points have"
            print(f"vecsim: {among} trials that end on the colour of the minority at the start")
        if told := _too_wide(data, summary):
            print(f"vecsim: {told}")

    def _show_down(self, rows: Rows, decides: set[bool]) -> None:
        names = ["finalised"] * (True in decides) + ["unanimous"] * (False in decides)
        names += [_MAJORITY] * (not np.isnan(rows.arrays[_MAJORITY]).all())
        names += ["disagreement", "stalled"] * (True in decides)
        columns = [Column(_HEADERS.get(name, name), rows.cells(name, rate)) for name in names]
        event = "last_decision_median" if True in decides else "unanimity_median"
        columns += [Column("rounds", rows.cells(event, rounds)), rows.counts("trials")]
        rows.show(columns, SPARE, _CAPTION)


def _worst(rows: Rows) -> list[str]:
    """Disagreement, in each row, at the value of the dimension across at which it is worst."""
    cells = []
    for at in rows.places:
        every = ({**at, rows.across: i} for i in range(rows.size(rows.across)))
        worst = max(every, key=lambda each: np.nan_to_num(rows.at("disagreement", each), nan=-1))
        cells.append(rate(*rows.interval("disagreement", worst)))
    return cells


def _too_wide(data: xr.Dataset, summary: xr.Dataset) -> str:
    """How many points ran all trials that they may without the precision asked for; in words."""
    if not (asked := precision(data)):
        return ""
    name, wanted = asked["target"], asked["half_width"]
    width = (summary[f"{name}_high"] - summary[f"{name}_low"]) / 2
    wide = width.where(width > wanted * (1 + 1e-9))
    if not (number := int(wide.count())):
        return ""
    points = f"{number} of {width.size} points" if width.size > 1 else "the point"
    return (
        f"{points} ran precision.max_trials = {asked['max_trials']:,} trials; {name} is known to "
        f"{float(wide.max()):.2g} or better, not to precision.half_width = {wanted:g}"
    )
