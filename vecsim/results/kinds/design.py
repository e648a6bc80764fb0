"""Studies of designs: the candidates that meet a target, and the cheapest of them."""

from collections import Counter

import numpy as np
import xarray as xr

from vecsim.results import pareto
from vecsim.results.kinds.kind import Kind
from vecsim.results.table import Column, lines_of
from vecsim.results.text import agreement, chance, label

_FEW = 3  # cheaper candidates that are named, on one line
# The line under the table.
_CAPTION = "the front: probabilities with their 95 % intervals in brackets, below the target"


class DesignResults(Kind):
    """A trial is a replica of the splitting estimates of a candidate."""

    name, known = "design", "chosen_beta"
    estimates = ("front", "candidates")

    def summary(self, data: xr.Dataset, level: float) -> xr.Dataset:
        """Every candidate: see `vecsim.results.pareto.candidates`."""
        return pareto.candidates(data, level)

    def show(self, data: xr.Dataset, summary: xr.Dataset) -> None:
        """The front, the winner of each network and what became of the other candidates."""
        mine = pareto.own_dimensions(data)
        others = [dim for dim in self.swept(data) if dim not in mine]
        rows = pareto.front(data)
        values = {str(name): rows[name].values for name in (*rows.data_vars, *others)}
        names = [pareto.quorum_name(values, i) for i in range(rows.sizes["candidate"])]
        ends = (values[f"probability{end}"] for end in ("", "_low", "_high"))
        columns = [
            *(Column(dim, [*map(label, values[dim])], right=False) for dim in others),
            Column("k/alpha/beta", names, right=False),
            Column("P(disagreement)", [*map(chance, *ends)]),
            Column("scores", [*map(agreement, values["gap"])], right=False),
            Column("messages\nper node", [f"{each:,.0f}" for each in values["messages"]]),
            Column("rounds", [f"{each:.0f}" for each in values["rounds"]]),
            Column("fed", [f"{100 * each:g} %" for each in values["fed"]]),
        ]
        if names:
            print("\n".join(lines_of(columns)))
            print(_CAPTION)
        for place in np.ndindex(*(summary.sizes[dim] for dim in others)):
            network = summary.isel(dict(zip(others, place, strict=True)))
            print("\n".join(_told(network, others)))


def _told(one: xr.Dataset, others: list[str]) -> list[str]:
    """The winner of one network, and what there is to know about candidates that are not shown."""
    at = ", ".join(f"{dim}={label(one[dim].item())}" for dim in others)
    values = {str(name): one[name].values.ravel() for name in one.data_vars}
    messages, state = values["messages"], values["state"]
    on = np.flatnonzero(values["front"])
    safety, limit = (np.nanmax(values[name]) for name in pareto.TARGETS)
    aim = f"P(disagreement) below {safety:g} and {limit:.0f} rounds{f' with {at}' if at else ''}"
    lines = [f"nothing that was tried is known to meet {aim}"]
    if len(on):
        best = on[np.argmin(messages[on])]
        quorum = f"k/alpha/beta = {pareto.quorum_name(values, best)}"
        lines = [f"best for {aim}: {quorum}, {messages[best]:,.0f} messages per node"]
    number = Counter(state[state != "verified"].tolist())
    parts = [f"{number[each]} {told}" for each, told in pareto.MEANINGS.items() if number[each]]
    if parts:
        lines.append(f"of {len(state)} candidates {', '.join(parts)}")
    # Candidates that meet the targets by what was screened, cheaper than any verified one.
    screened = np.isin(state, ("stalls", "not reached"))
    good = np.flatnonzero(screened & (messages < messages[on].min(initial=np.inf)))
    if len(good):
        cheap = good[np.argsort(messages[good])][:_FEW]
        named = [f"{pareto.quorum_name(values, i)} ({messages[i]:,.0f})" for i in cheap]
        lines.append(f"cheaper, but not verified: {', '.join(named)}")
    if missed := values["missed"].sum():
        lines.append(f"vecsim: {missed} left aside may be better: more trials may tell")
    return lines
