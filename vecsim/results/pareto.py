"""Candidates of a study of designs, those that no other beats (the Pareto front), their table."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from vecsim.results import estimate, table, text

# What may become of a candidate. Only those of the first three were looked at by splitting.
STATES = (
    "verified",  # the interval of P(disagreement) ends below the target
    "not reached",  # no way to a disagreement was found: likely far below the target
    "unverified",  # the attempts were used up
    "stalls",  # meets the target by screening, as nodes hardly ever turn after a first decision
    "beaten",  # another, screened, is better in everything
    "repeated",  # the same as another
    "too slow",  # at the smallest beta that may meet the safety target
    "beyond",  # the safety target takes a larger beta than is tried
    "never decides",  # not even with beta 1, in most decisions
)
TOLD = {
    "unverified": "could not be verified",
    "stalls": "are only screened (a split stalls: splitting does not get to a second decision)",
    "beaten": "others beat",
    "repeated": "are the same as another",
    "too slow": "are too slow",
    "beyond": "need a larger beta than estimator.most_beta",
    "never decides": "never decide",
    "not reached": "were not reached by splitting",
}
CHOSEN = ("chosen_k", "chosen_alpha_preference", "chosen_alpha_confidence", "chosen_beta")
TARGETS = ("target_safety", "target_rounds")
FEW = 3  # that are named
COSTS = ("messages", "rounds")


def before(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether the first is at least as good (small) in everything, and better in something.

    >>> before((1, 2), (1, 3)), before((1, 2), (1, 2)), before((1, 4), (2, 3))
    (True, False, False)
    """
    pairs = list(zip(first, second, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def pareto(costs: ArrayLike) -> np.ndarray[Any, Any]:
    """Which rows of [rows, costs] no other is `before`; those that are not finite never are.

    >>> pareto([[1, 4], [2, 3], [2, 4], [3, 1], [float("nan"), 0]]).tolist()
    [True, True, False, True, False]
    """
    costs = np.asarray(costs, float)
    finite = np.isfinite(costs).all(axis=1)
    others = costs[finite]
    good = [not ((others <= row).all(axis=1) & (others < row).any(axis=1)).any() for row in costs]
    return np.array(good, bool) & finite


def candidates(data: xr.Dataset, level: float = 0.95) -> xr.Dataset:
    """Every candidate over the swept dimensions: what it is and costs, its state, its probability
    of disagreement with the interval, and whether it is on its network's front.

    screened: the probability, about, without chance in how the field moves. fed: the share of
    the nodes that the attack does best to feed. missed: whether it was not verified because another
    was expected to be better, and no verified one is.
    """
    found = data[[*CHOSEN, "state", *COSTS, "screened", *TARGETS]].isel(trial=0, drop=True)
    tried = data["tried"].isel(trial=0)
    found["fed"] = data["fed"].isel(trial=0).where(tried == found["chosen_beta"]).max("attempt")
    estimates = data["probability"].where(tried == found["chosen_beta"]).max("attempt")
    rare = estimate.rare_interval(estimates.transpose(..., "trial", "score").values, level)
    columns = {"probability": rare.value, "probability_low": rare.low}
    columns |= {"probability_high": rare.high, "gap": rare.gap}
    for name, values in columns.items():
        found[name] = (found["state"].dims, values, {"units": "1"})
    found["replicas"] = data["chosen_beta"].notnull().sum("trial")
    states = np.asarray(STATES)[found["state"].fillna(0).values.astype(int)]
    found["state"] = (found["state"].dims, np.where(found["state"].isnull(), "", states))
    found["front"], found["missed"] = _marked(found, own(data))
    return found.assign_attrs(level=level, interval="Student's t and Cox")


def front(data: xr.Dataset, level: float = 0.95) -> xr.Dataset:
    """The candidates on the front, along `candidate`; of each network the one with the fewest
    messages first."""
    found = candidates(data, level)
    dims = [str(dim) for dim in found["state"].dims]
    if not dims:
        found, dims = found.expand_dims("point"), ["point"]
    rows = found.stack(candidate=dims, create_index=False)
    rows = rows.isel(candidate=np.flatnonzero(rows["front"].values))
    others = [dim for dim in dims if dim in data.dims and dim not in own(data)]
    order = np.lexsort([rows["messages"].values, *(rows[dim].values for dim in others[::-1])])
    return rows.isel(candidate=order)


def own(data: xr.Dataset) -> list[str]:
    """Dimensions of candidates for the same network."""
    listed = data["state"].attrs["candidates"]
    names = json.loads(listed) if isinstance(listed, str) else list(listed)
    return [name for name in names if name in data.dims]


def _marked(found: xr.Dataset, mine: list[str]) -> tuple[xr.DataArray, xr.DataArray]:
    state = found["state"]
    others = [dim for dim in state.dims if dim not in mine]
    order = (*others, *mine)
    size = math.prod(found.sizes[dim] for dim in mine)
    words = state.transpose(*order).values.reshape(-1, size)
    costs = np.stack([found[name].transpose(*order).values for name in COSTS], -1)
    costs = costs.reshape(-1, size, len(COSTS))
    on, missed = np.zeros(words.shape, bool), np.zeros(words.shape, bool)
    for i, (names, each) in enumerate(zip(words, costs, strict=True)):
        verified = names == "verified"
        on[i] = pareto(np.where(verified[:, None], each, np.nan))
        for j in np.flatnonzero(names == "beaten"):
            missed[i, j] = not any(before(row, each[j]) for row in each[verified])
    shape = [found.sizes[dim] for dim in order]
    marks = (xr.DataArray(part.reshape(shape), dims=order) for part in (on, missed))
    first, second = (mark.transpose(*state.dims) for mark in marks)
    return first, second


def show(data: xr.Dataset) -> None:
    """Print the front, the winner of each network and what became of the other candidates."""
    rows, every = front(data), candidates(data)
    mine = own(data)
    others = [str(dim) for dim in every["state"].dims if dim not in mine]
    values = {str(name): rows[name].values for name in (*rows.data_vars, *others)}
    number = range(rows.sizes["candidate"])
    columns = [
        table.Column(dim, [_word(values[dim][i]) for i in number], right=False) for dim in others
    ]
    columns.append(table.Column("k/alpha/beta", [named(values, i) for i in number], right=False))
    chances = [
        text.chance(*(values[f"probability{end}"][i] for end in ("", "_low", "_high")))
        for i in number
    ]
    columns.append(table.Column("P(disagreement)", chances))
    columns.append(
        table.Column("scores", [text.agreement(values["gap"][i]) for i in number], False)
    )
    columns.append(
        table.Column("messages\nper node", [f"{values['messages'][i]:,.0f}" for i in number])
    )
    columns.append(table.Column("rounds", [f"{values['rounds'][i]:.0f}" for i in number]))
    columns.append(table.Column("fed", [f"{100 * values['fed'][i]:g} %" for i in number]))
    if rows.sizes["candidate"]:
        print("\n".join(table.lines_of(columns)))
        print("the front: probabilities with their 95 % intervals in brackets, below the target")
    for line in _told(every, others):
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
        safety, limit = (np.nanmax(values[name]) for name in TARGETS)
        aim = f"P(disagreement) below {safety:g} and {limit:.0f} rounds{at}"
        if len(on):
            best = on[np.argmin(values["messages"][on])]
            cost = f"{values['messages'][best]:,.0f} messages per node"
            lines.append(f"best for {aim}: k/alpha/beta = {named(values, best)}, {cost}")
        else:
            lines.append(f"nothing that was tried is known to meet {aim}")
        words, counts = np.unique(values["state"].astype(str), return_counts=True)
        rest = dict(zip(words.tolist(), counts.tolist(), strict=True))
        parts = [f"{rest[state]} {TOLD[state]}" for state in STATES[1:] if state in rest]
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


def _cheaper(values: dict[str, Any], on: np.ndarray[Any, Any]) -> list[str]:
    """Candidates that meet the targets by what was screened, cheaper than any verified one."""
    open_ = np.flatnonzero(np.isin(values["state"], ("stalls", "not reached")))
    least = values["messages"][on].min(initial=np.inf)
    good = open_[(values["messages"][open_] < least)]
    good = good[np.argsort(values["messages"][good])][:FEW]
    return [f"{named(values, i)} ({values['messages'][i]:,.0f})" for i in good]


def named(values: dict[str, Any], i: int) -> str:
    """A candidate as k/alpha/beta, with both alphas where they differ."""
    k, low, high, beta = (int(values[name][i]) for name in CHOSEN)
    return f"{k}/{low}/{beta}" if low == high else f"{k}/{low}/{high}/{beta}"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"
