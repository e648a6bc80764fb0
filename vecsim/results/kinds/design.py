"""Studies of designs: the candidates that meet a target, and the cheapest of them."""

from typing import Any

import numpy as np
import xarray as xr

from vecsim.results import pareto
from vecsim.results.kinds.kind import Array, Kind
from vecsim.results.table import Column, lines_of
from vecsim.results.text import agreement, chance

_TOLD = {
    "unverified": "could not be verified",
    "stalls": "are only screened (a split stalls: splitting does not get to a second decision)",
    "beaten": "others beat",
    "repeated": "are the same as another",
    "too slow": "are too slow",
    "beyond": "need a larger beta than estimator.most_beta",
    "never decides": "never decide",
    "not reached": "were not reached by splitting",
}
_FEW = 3  # cheaper candidates that are named
_CAPTION = "the front: probabilities with their 95 % intervals in brackets, below the target"


class DesignResults(Kind):
    """A trial is a replica of the splitting estimates of a candidate."""

    name = "design"
    estimates = ("front", "candidates")

    def run(self, data: xr.Dataset) -> xr.DataArray:
        return data["chosen_beta"].notnull()

    def summary(self, data: xr.Dataset, level: float) -> xr.Dataset:
        return pareto.candidates(data, level)

    def show(self, data: xr.Dataset, summary: xr.Dataset) -> None:
        """The front, the winner of each network and what became of the other candidates."""
        mine = pareto.own_dimensions(data)
        others = [dim for dim in self.swept(data) if dim not in mine]
        rows = pareto.front(data)
        values = {str(name): rows[name].values for name in (*rows.data_vars, *others)}
        number = range(rows.sizes["candidate"])
        chances = [
            chance(*(values[f"probability{end}"][i] for end in ("", "_low", "_high")))
            for i in number
        ]
        columns = [
            *(Column(dim, [_word(values[dim][i]) for i in number], right=False) for dim in others),
            Column("k/alpha/beta", [pareto.quorum_name(values, i) for i in number], right=False),
            Column("P(disagreement)", chances),
            Column("scores", [agreement(values["gap"][i]) for i in number], right=False),
            Column("messages\nper node", [f"{values['messages'][i]:,.0f}" for i in number]),
            Column("rounds", [f"{values['rounds'][i]:.0f}" for i in number]),
            Column("fed", [f"{100 * values['fed'][i]:g} %" for i in number]),
        ]
        if number:
            print("\n".join(lines_of(columns)))
            print(_CAPTION)
        for line in _told(summary, others):
            print(line)


def _told(every: xr.Dataset, others: list[str]) -> list[str]:
    """The winner of each network, and what is to be known of the candidates that are not shown."""
    lines = []
    stacked = (
        every.stack(network=others, create_index=False) if others else every.expand_dims("network")
    )
    for i in range(stacked.sizes["network"]):
        one = stacked.isel(network=i)
        at = ", ".join(f"{dim}={_word(one[dim].item())}" for dim in others)
        at = f" with {at}" if at else ""
        values = {str(name): one[name].values.ravel() for name in one.data_vars}
        on = np.flatnonzero(values["front"])
        safety, limit = (np.nanmax(values[name]) for name in pareto.TARGETS)
        aim = f"P(disagreement) below {safety:g} and {limit:.0f} rounds{at}"
        if len(on):
            best = on[np.argmin(values["messages"][on])]
            cost = f"{values['messages'][best]:,.0f} messages per node"
            lines.append(
                f"best for {aim}: k/alpha/beta = {pareto.quorum_name(values, best)}, {cost}"
            )
        else:
            lines.append(f"nothing that was tried is known to meet {aim}")
        words, counts = np.unique(values["state"].astype(str), return_counts=True)
        rest = dict(zip(words.tolist(), counts.tolist(), strict=True))
        parts = [f"{rest[state]} {_TOLD[state]}" for state in pareto.STATES[1:] if state in rest]
        if parts:
            lines.append(f"of {len(values['state'])} candidates {', '.join(parts)}")
        cheap = _cheaper(values, on)
        if cheap:
            lines.append(f"cheaper, but not verified: {', '.join(cheap)}")
        if values["missed"].any():
            lines.append(
                f"vecsim: {values['missed'].sum()} left aside may be better: more trials may tell"
            )
    return lines


def _cheaper(values: dict[str, Any], on: Array) -> list[str]:
    """Candidates that meet the targets by what was screened, cheaper than any verified one."""
    open_ = np.flatnonzero(np.isin(values["state"], ("stalls", "not reached")))
    least = values["messages"][on].min(initial=np.inf)
    good = open_[(values["messages"][open_] < least)]
    good = good[np.argsort(values["messages"][good])][:_FEW]
    return [f"{pareto.quorum_name(values, i)} ({values['messages'][i]:,.0f})" for i in good]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"
