"""Kinds of study whose trials are counted and averaged: rates, means, quantiles."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

from vecsim.results import estimate
from vecsim.results.kinds.kind import Kind
from vecsim.results.layout import Array

# How the interval of a rate is computed: exact, or by scores (see `vecsim.results.estimate`).
Method = Literal["clopper_pearson", "wilson"]


class TrialResults(Kind):
    """Studies whose trials each have outcomes of their own. least: no outcome is below it."""

    estimates = ("rate", "mean", "quantile")
    least: float = -np.inf

    def rates(self, data: xr.Dataset) -> Mapping[str, str]:
        """The outcomes that have a rate, with their meanings."""
        raise NotImplementedError

    def means(self, data: xr.Dataset) -> list[str]:
        """The outcomes that have a mean."""
        raise NotImplementedError

    def event(self, data: xr.Dataset, name: str) -> tuple[xr.DataArray, xr.DataArray]:
        """Which trials show the outcome, and which trials count (bool)."""
        raise NotImplementedError

    def samples(self, data: xr.Dataset, name: str) -> Array:
        """Outcomes over (*swept, trial): NaN where not run, infinity where it never came."""
        raise NotImplementedError

    def rate(self, data: xr.Dataset, name: str, level: float, method: Method) -> xr.Dataset:
        """See `dataset.vecsim.rate`; ValueError for another name or method."""
        meanings = self.rates(data)
        allowed(name, meanings)
        allowed(method, ("clopper_pearson", "wilson"))
        happened, counted = self.event(data, name)
        counts = {"events": (happened & counted).sum("trial"), "trials": counted.sum("trial")}
        counts = {key: count.values for key, count in counts.items()}
        how = getattr(estimate, method)
        found = estimate.rate_interval(**counts, level=level_of(data, level), method=how)
        about = {"outcome": name, "meaning": meanings[name], "interval": method, "level": level}
        return self.table(data, found._asdict() | counts, **about)

    def quantile(self, data: xr.Dataset, name: str, q: float, level: float) -> xr.Dataset:
        """See `dataset.vecsim.quantile`; ValueError for another name, ConfigError unless q is 0 to
        1."""
        allowed(name, data.data_vars)
        samples = self.samples(data, name)
        found = estimate.quantile_interval(samples, q, level_of(data, level))
        columns = found._asdict() | {"low": np.maximum(found.low, self.least)} | _counts(samples)
        about = {"outcome": name, "q": q, "interval": "order statistics", "level": level}
        return self.table(data, columns, data[name].attrs.get("units", "1"), **about)

    def mean(self, data: xr.Dataset, name: str, level: float) -> xr.Dataset:
        """See `dataset.vecsim.mean`; ValueError for another name."""
        allowed(name, data.data_vars)
        samples = self.samples(data, name)
        units = data[name].attrs.get("units", "1")
        in_ms = units == "ms" and "ended_ms" in data
        limit = self.limit(data, samples, "ended_ms" if in_ms else "rounds")
        found = estimate.mean_interval(samples, level_of(data, level), limit)
        columns = found._asdict() | {"limit": limit} | _counts(samples)
        about = {"outcome": name, "interval": "Student's t", "level": level}
        return self.table(data, columns, units, **about)

    def limit(self, data: xr.Dataset, samples: Array, clock: str = "rounds") -> Array:
        """When trials were cut off, per point; infinity where none was. samples: [..., trials], as
        `samples` gives them. clock: what tells how long a trial ran: rounds, or ended_ms."""
        limit: Any = data.attrs.get("max_rounds", np.inf) if clock == "rounds" else np.inf
        cut = np.isposinf(samples)
        if np.isposinf(limit) and clock in data:
            # A trial is only cut off when it has run as long as any may at its point, unless its
            # nodes, in simulated time, have used up their rounds: then no limit is known.
            ran = self.samples(data, clock)
            limit = np.where(np.isfinite(ran), ran, 0).max(-1)
            same = np.where(cut & np.isfinite(ran), ran, limit[..., None]).min(-1) == limit
            limit = np.where(same | ("ended_ms" not in data), limit, np.inf)
        return np.where(cut.any(-1), np.asarray(limit, float), np.inf)


def allowed(name: Any, names: Any) -> None:
    """ValueError, one line, unless there is such a name."""
    if name not in names:
        raise ValueError(f"unknown name '{name}'; allowed: {', '.join(map(str, names))}")


def put(table: xr.Dataset, name: str, found: xr.Dataset, about: Mapping[str, Any] = {}) -> None:
    """Add an estimate with its interval to a summary. about: more attributes of the estimate."""
    table[name] = found["value"].assign_attrs({**about, **found.attrs})
    table[f"{name}_low"], table[f"{name}_high"] = found["low"], found["high"]


def precision(data: xr.Dataset) -> Mapping[str, Any]:
    """The precision on which the study was stopped, by its configuration; empty: on none."""
    section = json.loads(data.attrs.get("config", "{}")).get("precision") or {}
    return section if section.get("target") else {}


def level_of(data: xr.Dataset, level: float) -> float:
    """The level at which to compute an interval that is to cover at `level`: a higher one where the
    study was stopped on its precision."""
    return estimate.stopping_level(level) if precision(data) else level


def _counts(samples: Array) -> dict[str, Array]:
    """The share of trials that were censored, and how many were run."""
    trials = (~np.isnan(samples)).sum(-1)
    censored = np.isposinf(samples).sum(-1) / np.where(trials > 0, trials, np.nan)
    return {"censored": censored, "trials": trials}
