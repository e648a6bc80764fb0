"""Studies of single decisions: how often, and after how many rounds, nodes decide."""

import numpy as np
import xarray as xr

from vecsim.results import outcomes
from vecsim.results.kinds.trials import TrialResults, precision, put
from vecsim.results.layout import Array
from vecsim.results.table import Column, Rows
from vecsim.results.text import rate, rounds

# The line under the table.
_CAPTION = "medians of rounds and shares of trials, each with its 95 % interval in brackets"
_MAJORITY = "majority_kept"  # the outcome that has no value where every trial starts evenly split
_HEADERS = {_MAJORITY: "majority_\nkept"}  # those that differ from the name
_TIMES = ("rounds", "first_decision", "median_decision", "last_decision", "unanimity")  # rounds
# In simulated time: times in ms, those by which shares of a trial's nodes have decided among them.
_DECIDED_MS = ("node_mean_ms", "node_p50_ms", "node_p95_ms", "node_p99_ms", "last_decision_ms")
IN_MS = ("first_decision_ms", *_DECIDED_MS, "ended_ms")
AVERAGED = (*_TIMES, "flips", "polls", *IN_MS, "queries")  # outcomes that have a mean
WORST = "worst dis-\nagreement"  # a header on two lines
# Headers of the columns that a narrow terminal does without, in this order.
SPARE = ("stalled", "trials", "unanimous", "disagreement", _HEADERS[_MAJORITY], "rounds")


class DecisionResults(TrialResults):
    """A trial is a single decision of all honest nodes."""

    name, known = "decisions", "decided_1"
    least = 0  # numbers of nodes, rounds or polls

    def rates(self, data: xr.Dataset) -> dict[str, str]:
        """The six outcomes of `outcomes.RATES`, whatever the study."""
        return outcomes.RATES

    def means(self, data: xr.Dataset) -> list[str]:
        """Numbers of rounds, flips and polls, as far as the study has them."""
        return [name for name in AVERAGED if name in data]

    def event(self, data: xr.Dataset, name: str) -> tuple[xr.DataArray, xr.DataArray]:
        """In which trials the outcome came about, and of which its rate is (bool)."""
        return outcomes.event(data, name), outcomes.defined(data, name)

    def samples(self, data: xr.Dataset, name: str) -> Array:
        """The outcome, [..., trials]: infinite where it never came, NaN where no trial was run."""
        return data[name].fillna(np.inf).where(self.run(data)).transpose(..., "trial").values

    def summary(self, data: xr.Dataset, level: float) -> xr.Dataset:
        """The rates, the median and mean of last_decision, the median of unanimity and, in
        simulated time, medians over trials of the times by which shares of the nodes decided."""
        how = "clopper_pearson"
        estimates = {name: self.rate(data, name, level, how) for name in outcomes.RATES}
        estimates["last_decision_median"] = self.quantile(data, "last_decision", 0.5, level)
        mean = estimates["last_decision_mean"] = self.mean(data, "last_decision", level)
        estimates["unanimity_median"] = self.quantile(data, "unanimity", 0.5, level)
        for name in (each for each in ("first_decision_ms", *_DECIDED_MS) if each in data):
            estimates[f"{name}_median"] = self.quantile(data, name, 0.5, level)
        table = xr.Dataset(attrs={"level": level})
        for name, found in estimates.items():
            put(table, name, found)
        return table.assign(last_decision_censored=mean["censored"], trials=mean["trials"])

    def show(self, data: xr.Dataset, summary: xr.Dataset) -> None:
        """All outcomes, as many as fit. Where points are many, the longest dimension runs across,
        at some of its values."""
        decides = {bool(value) for value in np.unique(data["decides"]) if np.isfinite(value)}
        rows = Rows(summary, self.swept(data), across=True)
        if not rows.across:
            _show_down(rows, decides)
        elif True in decides:
            rows.show_across("finalised", rate, _CAPTION, [Column(WORST, _worst(rows))])
        else:
            rows.show_across("unanimous", rate, _CAPTION)
        lost = summary["majority_lost"]
        if (lost > 0).any():
            among = f"{int((lost > 0).sum())} of {lost.size} points have"
            print(f"vecsim: {among} trials that end on the colour of the minority at the start")
        if told := _too_wide(data, summary):
            print(f"vecsim: {told}")


def _show_down(rows: Rows, decides: set[bool]) -> None:
    """A row for each point. decides: whether the protocols decide, of those that were run."""
    names = ["finalised"] * (True in decides) + ["unanimous"] * (False in decides)
    names += [_MAJORITY] * (not rows.summary[_MAJORITY].isnull().all())
    names += ["disagreement", "stalled"] * (True in decides)
    columns = [Column(_HEADERS.get(name, name), rows.cells(name, rate)) for name in names]
    event = "last_decision_median" if True in decides else "unanimity_median"
    columns.append(Column("rounds", rows.cells(event, rounds)))
    if (name := "last_decision_ms_median") in rows.summary:
        columns.append(Column("last, ms", rows.cells(name, rounds)))
    columns.append(rows.counts("trials"))
    rows.show(columns, SPARE, _CAPTION)


def _worst(rows: Rows) -> list[str]:
    """In each row, the disagreement where it is worst along the dimension across."""
    worst = rows.summary["disagreement"].fillna(-1).argmax(rows.across)
    places = [{**at, rows.across: int(worst.isel(at))} for at in rows.places]
    return [rate(*rows.interval("disagreement", place)) for place in places]


def _too_wide(data: xr.Dataset, summary: xr.Dataset) -> str:
    """How many points ran all the trials they may and missed the precision asked for; in words."""
    if not (asked := precision(data)):
        return ""
    name, wanted = asked["target"], asked["half_width"]
    width = (summary[f"{name}_high"] - summary[f"{name}_low"]) / 2
    wide = width.where(width > wanted * (1 + 1e-9))  # wider by more than rounding
    if not (number := int(wide.count())):
        return ""
    points = f"{number} of {width.size} points" if width.size > 1 else "the point"
    ran = f"{points} ran precision.max_trials = {asked['max_trials']:,} trials"
    known = f"{name} is known to {float(wide.max()):.2g} or better"
    return f"{ran}; {known}, not to precision.half_width = {wanted:g}"
