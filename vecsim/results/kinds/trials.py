"""Kinds of study whose trials are counted and averaged: rates, means, quantiles."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

from vecsim.results import estimate
from vecsim.results.kinds.kind import Kind
from vecsim.results.layout import Array

Method = Literal["clopper_pearson", "wilson"]


class TrialResults(Kind):
    """Studies whose trials each have outcomes of their own."""

    estimates = ("rate", "mean", "quantile")
    least = -np.inf  # no outcome can be less

    def rates(self, data: xr.Dataset) -> Mapping[str, str]:
        """What has a rate, with its meaning."""
        raise NotImplementedError

    def means(self, data: xr.Dataset) -> list[str]:
        """What has a mean."""
        raise NotImplementedError

    def event(self, data: xr.Dataset, name: str) -> tuple[xr.DataArray, xr.DataArray]:
        """Which trials show it, and which trials count (bool)."""
        raise NotImplementedError

    def samples(self, data: xr.Dataset, name: str) -> Array:
        """Outcomes over (*swept, trial): NaN where not run, infinity where it never came."""
        raise NotImplementedError

    def rate(self, data: xr.Dataset, name: str, level: float, method: Method) -> xr.Dataset:
        """See `dataset.vecsim.rate`."""
        meanings = self.rates(data)
        allowed(name, meanings)
        allowed(method, ("clopper_pearson", "wilson"))
        happened, counted = self.event(data, name)
        events = (happened & counted).sum("trial")
        trials = counted.sum("trial")
        low, high = getattr(estimate, method)(events.values, trials.values, level_of(data, level))
        columns = {
            "value": (events / trials.where(trials > 0)).values,
            "low": low,
            "high": high,
            "events": events.values,
            "trials": trials.values,
        }
        about = {"outcome": name, "meaning": meanings[name], "interval": method}
        return self.table(data, columns, "1", level, about)

    def quantile(self, data: xr.Dataset, name: str, q: float, level: float) -> xr.Dataset:
        """See `dataset.vecsim.quantile`."""
        allowed(name, data.data_vars)
        samples = self.samples(data, name)
        value, low, high = estimate.quantile_interval(samples, q, level_of(data, level))
        columns = {"value": value, "low": np.maximum(low, self.least), "high": high}
        about = {"outcome": name, "q": q, "interval": "order statistics"}
        return self.table(data, columns | _counts(samples), _units(data, name), level, about)

    def mean(self, data: xr.Dataset, name: str, level: float) -> xr.Dataset:
        """See `dataset.vecsim.mean`."""
        allowed(name, data.data_vars)
        samples = self.samples(data, name)
        limit = self.limit(data, samples)
        result = estimate.mean_interval(samples, level_of(data, level), limit)
        columns = {
            "value": result.value,
            "error": result.error,
            "low": result.low,
            "high": result.high,
            "limit": limit,
        }
        about = {"outcome": name, "interval": "Student's t"}
        return self.table(data, columns | _counts(samples), _units(data, name), level, about)

    def limit(self, data: xr.Dataset, samples: Array) -> Array:
        """Rounds after which trials were cut off, per point; infinity where none was."""
        if "max_rounds" in data.attrs:
            limit = np.full(samples.shape[:-1], float(data.attrs["max_rounds"]))
        elif "rounds" in data:
            # A trial is only cut off when it has run as long as any may at its point.
            rounds = self.samples(data, "rounds")
            limit = np.where(np.isfinite(rounds), rounds, 0).max(-1)
        else:
            return np.full(samples.shape[:-1], np.inf)
        return np.where(np.isposinf(samples).any(-1), limit, np.inf)


def allowed(name: Any, names: Any) -> None:
    """ValueError, one line, unless there is such a name."""
    if name not in names:
        raise ValueError(f"unknown name '{name}'; allowed: {', '.join(map(str, names))}")


def put(table: xr.Dataset, name: str, found: xr.Dataset, about: Mapping[str, Any]) -> None:
    """Add an estimate with its interval to a summary."""
    table[name] = found["value"].assign_attrs({**about, **found.attrs})
    table[f"{name}_low"], table[f"{name}_high"] = found["low"], found["high"]


def precision(data: xr.Dataset) -> Mapping[str, Any]:
    """On what precision the study was stopped, by its configuration; empty: on none."""
    section = json.loads(data.attrs.get("config", "{}")).get("precision") or {}
    return section if section.get("target") else {}


def level_of(data: xr.Dataset, level: float) -> float:
    """The level at which to compute an interval that is to cover at `level`."""
    return estimate.stopping_level(level) if precision(data) else level


def _units(data: xr.Dataset, name: str) -> str:
    return data[name].attrs.get("units", "1")


def _counts(samples: Array) -> dict[str, Array]:
    trials = (~np.isnan(samples)).sum(-1)
    censored = np.isposinf(samples).sum(-1) / np.where(trials > 0, trials, np.nan)
    return {"censored": censored, "trials": trials}
