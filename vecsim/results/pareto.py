"""Candidates of a study of designs, and those that no other beats (the Pareto front)."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from vecsim.results import estimate
from vecsim.results.layout import Array

# What may become of a candidate, and how a sentence says it of several. Splitting looked at those
# of the first three states only.
MEANINGS = {
    "verified": "are verified",  # the interval of P(disagreement) ends below the target
    "not reached": "were not reached by splitting",  # likely far below the target
    "unverified": "could not be verified",  # the attempts were used up
    # Meets the target by screening, as nodes hardly ever turn after a first decision.
    "stalls": "are only screened (a split stalls: splitting does not get to a second decision)",
    "beaten": "others beat",  # another, screened, is better in everything
    "repeated": "are the same as another",
    "too slow": "are too slow",  # at the smallest beta that may meet the safety target
    "beyond": "need a larger beta than estimator.most_beta",  # to meet the safety target
    "never decides": "never decide",  # not even with beta 1, in most decisions
}
STATES = tuple(MEANINGS)  # a store holds their numbers
# Variables of a study of designs: the parameters chosen, what was aimed at, and the two costs.
CHOSEN = ("chosen_k", "chosen_alpha_preference", "chosen_alpha_confidence", "chosen_beta")
TARGETS = ("target_safety", "target_rounds")
COSTS = ("messages", "rounds")


def before(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether the first is at least as good (small) in everything, and better in something.

    >>> before((1, 2), (1, 3)), before((1, 2), (1, 2)), before((1, 4), (2, 3))
    (True, False, False)
    """
    pairs = list(zip(first, second, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def pareto(costs: ArrayLike) -> Array:
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

    screened: the probability of disagreement, roughly, as if the field moved without chance. fed:
    the share of the nodes that it is best for the attack to feed. missed: whether it was not
    verified because another was expected to be better, and no verified one is.
    """
    found = data[[*CHOSEN, "state", *COSTS, "screened", *TARGETS]].isel(trial=0, drop=True)
    tried = data["tried"].isel(trial=0)
    found["fed"] = data["fed"].isel(trial=0).where(tried == found["chosen_beta"]).max("attempt")
    estimates = data["probability"].where(tried == found["chosen_beta"]).max("attempt")
    rare = estimate.rare_interval(estimates.transpose(..., "trial", "score").values, level)
    ends = {"probability": rare.value, "probability_low": rare.low, "probability_high": rare.high}
    for name, values in (ends | {"gap": rare.gap}).items():
        found[name] = (found["state"].dims, values, {"units": "1"})
    found["replicas"] = data["chosen_beta"].notnull().sum("trial")
    states = np.asarray(STATES)[found["state"].fillna(0).values.astype(int)]
    found["state"] = (found["state"].dims, np.where(found["state"].isnull(), "", states))
    over, mine = [found[name] for name in ("state", *COSTS)], own_dimensions(data)
    dims: Any = {"input_core_dims": [mine] * 3, "output_core_dims": [mine] * 2}
    marks = xr.apply_ufunc(_marked, *over, **dims, vectorize=True)
    found["front"], found["missed"] = (each.transpose(*found["state"].dims) for each in marks)
    return found.assign_attrs(level=level, interval="Student's t and Cox")


def front(data: xr.Dataset, level: float = 0.95) -> xr.Dataset:
    """The candidates on the front, along `candidate`: by network, then by messages, the fewest
    first."""
    found = candidates(data, level)
    dims = [str(dim) for dim in found["state"].dims]
    if not dims:
        found, dims = found.expand_dims("point"), ["point"]
    rows = found.stack(candidate=dims, create_index=False)
    rows = rows.isel(candidate=np.flatnonzero(rows["front"].values))
    others = [dim for dim in dims if dim in data.dims and dim not in own_dimensions(data)]
    order = np.lexsort([rows["messages"].values, *(rows[dim].values for dim in others[::-1])])
    return rows.isel(candidate=order)


def own_dimensions(data: xr.Dataset) -> list[str]:
    """Dimensions of candidates for the same network."""
    listed = data["state"].attrs["candidates"]
    names = json.loads(listed) if isinstance(listed, str) else list(listed)
    return [name for name in names if name in data.dims]


def _marked(state: Array, *costs: Array) -> tuple[Array, Array]:
    """Which candidates for one network are on its front, and which were missed (bool).

    All over the candidates' own dimensions; numbers where there are none.
    """
    names, each = np.ravel(state), np.column_stack([np.ravel(cost) for cost in costs])
    verified = names == "verified"
    on = pareto(np.where(verified[:, None], each, np.nan))
    worse = np.array([any(before(row, own) for row in each[verified]) for own in each], bool)
    missed = (names == "beaten") & ~worse
    return on.reshape(np.shape(state)), missed.reshape(np.shape(state))


def quorum_name(values: dict[str, Any], i: int) -> str:
    """A candidate as k/alpha/beta, with both alphas where they differ."""
    k, low, high, beta = (int(values[name][i]) for name in CHOSEN)
    return f"{k}/{low}/{beta}" if low == high else f"{k}/{low}/{high}/{beta}"
