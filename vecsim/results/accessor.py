"""`dataset.vecsim`: estimates from raw outcomes. Importing this module makes it available."""

import json
from collections.abc import Hashable
from functools import reduce
from operator import or_
from typing import Any, Literal

import numpy as np
import xarray as xr

from vecsim.results import estimate, outcomes, pareto
from vecsim.results.crossing import crossings

ROUGH_BELOW = 1e-12
METHODS = {  # of the studies that an estimator makes; without one: single decisions, campaigns
    "plain": ("rate", "mean", "quantile"),
    "splitting": ("probability",),
    "threshold": ("threshold",),
    "design": ("front", "candidates"),
}


@xr.register_dataset_accessor("vecsim")
class Estimates:
    """Estimates per point of a study, each with its interval; trials not run never count.

    Whatever is estimated is in `value`, the ends of its interval in `low` and `high`.
    The intervals of a study that was stopped on its precision are computed at
    `estimate.stopping_level`, so that they still cover at `level`.
    """

    def __init__(self, dataset: xr.Dataset):
        self._data = dataset

    def rate(
        self,
        name: str,
        level: float = 0.95,
        method: Literal["clopper_pearson", "wilson"] = "clopper_pearson",
    ) -> xr.Dataset:
        """The rate of an outcome (finalised, majority_kept, majority_lost, disagreement, stalled,
        unanimous; of campaigns, an event): value, low, high, events, trials over the swept
        dimensions. Zero events: value 0, and `high` bounds it. NaN where no trial counts, as of
        majority_kept where every trial starts evenly split."""
        self._require("rate")
        meanings = self._rates
        _allowed(name, meanings)
        _allowed(method, ("clopper_pearson", "wilson"))
        happened, counted = self._event(name)
        events = (happened & counted).sum("trial")
        trials = counted.sum("trial")
        interval = getattr(estimate, method)
        low, high = interval(events.values, trials.values, self._level(level))
        columns = {
            "value": (events / trials.where(trials > 0)).values,
            "low": low,
            "high": high,
            "events": events.values,
            "trials": trials.values,
        }
        about = {"outcome": name, "meaning": meanings[name], "interval": method}
        return self._table(columns, "1", level, about)

    def quantile(self, name: str, q: float, level: float = 0.95) -> xr.Dataset:
        """The q-quantile of a numeric outcome: value, low, high, censored (share), trials.
        Infinite where it lies among trials in which the event never came. Of too few trials an end
        is infinite, or 0 where nothing can be less."""
        self._require("quantile")
        samples = self._samples(name)
        value, low, high = estimate.quantile_interval(samples, q, self._level(level))
        if self._decisions:  # numbers of nodes, rounds or polls; of a campaign it may be anything
            low = np.maximum(low, 0)
        columns = {"value": value, "low": low, "high": high}
        about = {"outcome": name, "q": q, "interval": "order statistics"}
        return self._table(columns | _counts(samples), self._units(name), level, about)

    def mean(self, name: str, level: float = 0.95) -> xr.Dataset:
        """The mean of a numeric outcome: value, error, low, high, censored (share), limit, trials.
        With censored trials it is restricted: what came after `limit` rounds counts as `limit`."""
        self._require("mean")
        samples = self._samples(name)
        limit = self._limit(samples)
        result = estimate.mean_interval(samples, self._level(level), limit)
        columns = {
            "value": result.value,
            "error": result.error,
            "low": result.low,
            "high": result.high,
            "limit": limit,
        }
        about = {"outcome": name, "interval": "Student's t"}
        return self._table(columns | _counts(samples), self._units(name), level, about)

    def probability(self, level: float = 0.95) -> xr.Dataset:
        """The probability of a rare event, estimated by splitting: value, error, low, high,
        gap (p-value of the difference between the two scores' estimates), rough (whether only the
        order of magnitude is known: below ROUGH_BELOW, or where replicas deviate by more than
        their mean, so that the interval may miss more often than it says), trials (replicas), and
        plain, plain_low, plain_high: the same by plain Monte Carlo, as many trials as walkers
        start. NaN where no way to the event was found."""
        self._require("probability")
        values = self._data["probability"].transpose(..., "trial", "score").values
        found = estimate.rare_interval(values, level)
        replicas = self._data["plain"].notnull().sum("trial").values
        columns = {
            "value": found.value,
            "error": found.error,
            "low": found.low,
            "high": found.high,
            "gap": found.gap,
            "rough": (found.value < ROUGH_BELOW) | (found.error * np.sqrt(replicas) > found.value),
            "trials": replicas,
        }
        number = columns["trials"] * self._data["plain"].attrs["of"]
        events = self._data["plain"].sum("trial").values
        columns["plain"] = events / np.where(number > 0, number, np.nan)
        columns["plain_low"], columns["plain_high"] = estimate.clopper_pearson(
            events, number, level
        )
        same = found.error == 0  # replicas say nothing of what they miss where all are alike
        columns["low"] = np.where(same, columns["plain_low"], columns["low"])
        columns["high"] = np.where(same, columns["plain_high"], columns["high"])
        about = {"outcome": self._data["probability"].attrs["event"]}
        return self._table(columns, "1", level, about | {"interval": "Student's t and Cox"})

    def threshold(self, level: float = 0.95) -> xr.Dataset:
        """The Byzantine fraction at which the event's rate crosses the level that the study set:
        value, low, high, slope (of the rate's logit, per unit of fraction), fit (p-value of
        the misfit of a straight line through the logits near the level), trials. Infinite where it
        lies, or may lie, out of the range that was searched; NaN where nothing was run."""
        self._require("threshold")
        event, about = self._data["event"], self._data["event"].attrs
        run = self._run.transpose(..., "trial").values
        x = self._data["byzantine_fraction"].transpose(..., "trial").values
        happened = event.transpose(..., "trial").values > 0
        searched = about["low"], about["high"]
        found = crossings(x, happened, run, about["crossed"], *searched, level)
        columns = found | {"trials": run.sum(-1)}
        kept = {"outcome": about["outcome"], "crossed": about["crossed"]}
        kept |= {f"searched_{end}": about[end] for end in ("low", "high")}
        return self._table(columns, "1", level, kept | {"interval": "profile likelihood"})

    def front(self, level: float = 0.95) -> xr.Dataset:
        """Of a study of designs, the candidates that none beats (`vecsim.results.pareto.front`)."""
        self._require("front")
        return pareto.front(self._data, level)

    def candidates(self, level: float = 0.95) -> xr.Dataset:
        """Of a study of designs, every candidate: see `vecsim.results.pareto.candidates`."""
        self._require("candidates")
        return pareto.candidates(self._data, level)

    def verdicts(self) -> list[dict[str, Any]]:
        """Of a scenario, what came of each criterion: name, op, threshold, measured, low, high,
        level and of (of the interval), passed, as_expected."""
        if "verdicts" not in self._data.attrs:
            raise ValueError("verdicts are of scenarios: vecsim.run('scenario=NAME')")
        return json.loads(self._data.attrs["verdicts"])

    def summary(self, level: float = 0.95) -> xr.Dataset:
        """The rates, the median and mean of last_decision, and the median of unanimity, each with
        `_low` and `_high`; of campaigns, the rate of each event, the median of times that may not
        come within the run (`_median`), and the mean of all else; of rare events, `probability`;
        of thresholds, `threshold`; of designs, `candidates`."""
        if self._estimator == "design":
            return self.candidates(level)
        if self._estimator != "plain":
            [name] = METHODS[self._estimator]
            found = getattr(self, name)(level)
            return found.rename(value=name, low=f"{name}_low", high=f"{name}_high")
        table = xr.Dataset(attrs={"level": level})
        for name in self._rates if self._decisions else self._outcomes:
            about = {} if self._decisions else self._data[name].attrs
            if "censored" in about:  # a mean would be infinite, or leave out the longest
                found, name = self.quantile(name, 0.5, level), f"{name}_median"
            else:
                found = getattr(self, "rate" if name in self._rates else "mean")(name, level)
            table[name] = found["value"].assign_attrs(about | found.attrs)
            table[f"{name}_low"], table[f"{name}_high"] = found["low"], found["high"]
        if not self._decisions:
            table["trials"] = self._run.sum("trial").assign_attrs(units="1")
            return table
        mean = self.mean("last_decision", level)
        parts = {
            "last_decision_median": self.quantile("last_decision", 0.5, level),
            "last_decision_mean": mean,
            "unanimity_median": self.quantile("unanimity", 0.5, level),
        }
        for name, estimates in parts.items():
            table[name] = estimates["value"].assign_attrs(estimates.attrs)
            table[f"{name}_low"], table[f"{name}_high"] = estimates["low"], estimates["high"]
        table["last_decision_censored"] = mean["censored"]
        table["trials"] = mean["trials"]
        return table

    @property
    def _estimator(self) -> str:
        """What made the study."""
        data = self._data
        if "tried" in data:
            return "design"
        if "plain" in data:  # trials are replicas of a splitting estimate
            return "splitting"
        # Each trial has a Byzantine fraction of its own.
        return "threshold" if "byzantine_fraction" in data.data_vars else "plain"

    def _require(self, method: str) -> None:
        """ValueError where the study is not of a kind that the method is for."""
        made = next(name for name, methods in METHODS.items() if method in methods)
        if made != self._estimator:
            there = ", ".join(f"{name}()" for name in (*METHODS[self._estimator], "summary"))
            raise ValueError(
                f"{method}() is of studies made with estimator={made}, and this one was made with "
                f"estimator={self._estimator}; allowed: {there}"
            )

    @property
    def _decisions(self) -> bool:
        """Whether trials are single decisions, not campaigns of the cluster."""
        return "decided_1" in self._data

    @property
    def _rates(self) -> dict[str, str]:
        """What has a rate, with its meaning."""
        if self._decisions:
            known = set(outcomes.NEEDED) <= set(self._data.data_vars)
            return {
                n: text for n, text in outcomes.RATES.items() if known or n not in outcomes.MAJORITY
            }
        about = {str(name): v.attrs for name, v in self._data.data_vars.items()}
        return {name: attrs["long_name"] for name, attrs in about.items() if attrs.get("event")}

    @property
    def _outcomes(self) -> list[str]:
        """What has one number for each trial."""
        return [str(name) for name, v in self._data.data_vars.items() if v.dims[-1] == "trial"]

    @property
    def _run(self) -> xr.DataArray:
        data = self._data
        if self._decisions:
            return data["decided_1"].notnull()
        alone = {"splitting": "plain", "threshold": "event"}.get(self._estimator)
        names = [alone] if alone else self._outcomes
        return reduce(or_, [data[name].notnull() for name in names])

    def _event(self, name: str) -> tuple[xr.DataArray, xr.DataArray]:
        """Which trials show it, and which trials count."""
        data = self._data
        if not self._decisions:
            return data[name] > 0, self._run
        return outcomes.event(data, name), outcomes.defined(data, name)

    def _samples(self, name: str) -> np.ndarray[Any, Any]:
        """Outcomes over (*sweep, trial): NaN where not run, infinity where it never came."""
        _allowed(name, self._data.data_vars)
        values = self._data[name]
        if self._decisions:  # of a campaign nothing is censored: there was nothing to measure
            values = values.fillna(np.inf).where(self._run)
        return values.transpose(..., "trial").values

    def _limit(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Rounds after which trials were cut off, per point; infinity where none was."""
        if "max_rounds" in self._data.attrs:
            limit = np.full(samples.shape[:-1], float(self._data.attrs["max_rounds"]))
        elif "rounds" in self._data:
            # A trial is only cut off when it has run as long as any may at its point.
            limit = np.where(np.isfinite(rounds := self._samples("rounds")), rounds, 0).max(-1)
        else:
            return np.full(samples.shape[:-1], np.inf)
        return np.where(np.isposinf(samples).any(-1), limit, np.inf)

    def _level(self, level: float) -> float:
        precision = json.loads(self._data.attrs.get("config", "{}")).get("precision") or {}
        return estimate.stopping_level(level) if precision.get("target") else level

    def _units(self, name: str) -> str:
        return self._data[name].attrs.get("units", "1")

    def _table(self, columns: dict, units: str, level: float, attrs: dict) -> xr.Dataset:
        dims: list[Hashable] = [dim for dim in self._run.dims if dim != "trial"]
        table = xr.Dataset({name: (dims, column) for name, column in columns.items()})
        for name in table:
            counted = name in ("events", "trials", "censored")
            table[name].attrs["units"] = "1" if counted else units
        coords = {dim: self._data[dim] for dim in dims if dim in self._data.coords}
        others = {name: c for name, c in self._data.coords.items() if set(c.dims) <= {*dims}}
        return table.assign_coords(coords | others).assign_attrs(attrs | {"level": level})


def _counts(samples: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    trials = (~np.isnan(samples)).sum(-1)
    censored = np.isposinf(samples).sum(-1) / np.where(trials > 0, trials, np.nan)
    return {"censored": censored, "trials": trials}


def _allowed(name: Any, names: Any) -> None:
    if name not in names:
        raise ValueError(f"unknown name '{name}'; allowed: {', '.join(map(str, names))}")
