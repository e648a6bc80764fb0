"""`dataset.vecsim`: estimates from raw outcomes. Importing this module makes it available."""

import json
from typing import Any

import xarray as xr

from vecsim.results import pareto
from vecsim.results.kinds import KINDS, kind_of
from vecsim.results.kinds.trials import Method


@xr.register_dataset_accessor("vecsim")
class Estimates:
    """Estimates per point of a study, each with its interval; trials not run never count.

    Whatever is estimated is in `value`, the ends of its interval in `low` and `high`, both over the
    swept dimensions. level: of the intervals, 0 to 1. Those of a study that was stopped on its
    precision are computed at `estimate.stopping_level`, so that they still cover at `level`.
    ValueError, one line, where a method is not of this kind of study, or there is no such outcome.
    """

    def __init__(self, dataset: xr.Dataset):
        self._data = dataset

    def rate(self, name: str, level: float = 0.95, method: Method = "clopper_pearson"):
        """The rate of an outcome (finalised, majority_kept, majority_lost, disagreement, stalled,
        unanimous; of campaigns, an event): value, low, high, events, trials over the swept
        dimensions. Zero events: value 0, and `high` bounds it. NaN where no trial counts, as of
        majority_kept where every trial starts evenly split."""
        return self._kind("rate").rate(self._data, name, level, method)

    def quantile(self, name: str, q: float, level: float = 0.95) -> xr.Dataset:
        """The q-quantile of a numeric outcome: value, low, high, censored (share), trials.
        Infinite where it lies among trials in which the event never came. With too few trials an
        end is infinite, or 0 where nothing can be less."""
        return self._kind("quantile").quantile(self._data, name, q, level)

    def mean(self, name: str, level: float = 0.95) -> xr.Dataset:
        """The mean of a numeric outcome: value, error, low, high, censored (share), limit, trials.
        With censored trials it is restricted: what came after `limit` rounds counts as `limit`."""
        return self._kind("mean").mean(self._data, name, level)

    def probability(self, level: float = 0.95) -> xr.Dataset:
        """The probability of a rare event, estimated by splitting: value, error, low, high,
        gap (p-value of the difference between the two scores' estimates), rough (whether only the
        order of magnitude is known: below `splitting.ROUGH_BELOW`, or where replicas deviate by
        more than their mean, so that the interval may miss more often than it says), trials
        (replicas), and plain, plain_low, plain_high: the same by plain Monte Carlo, as many trials
        as walkers start. NaN where no way to the event was found."""
        return self._kind("probability").probability(self._data, level)

    def threshold(self, level: float = 0.95) -> xr.Dataset:
        """The Byzantine fraction at which the event's rate crosses the level that the study set:
        value, low, high, slope (of the rate's logit, per unit of fraction), fit (p-value of
        the misfit of a straight line through the logits near the level), trials. Infinite where it
        lies, or may lie, out of the range that was searched; NaN where nothing was run."""
        return self._kind("threshold").threshold(self._data, level)

    def front(self, level: float = 0.95) -> xr.Dataset:
        """The candidates of a study of designs that none beats: `vecsim.results.pareto.front`."""
        self._kind("front")
        return pareto.front(self._data, level)

    def candidates(self, level: float = 0.95) -> xr.Dataset:
        """Every candidate of a study of designs: see `vecsim.results.pareto.candidates`."""
        self._kind("candidates")
        return pareto.candidates(self._data, level)

    def verdicts(self) -> list[dict[str, Any]]:
        """What came of each criterion of a scenario: name, op, threshold, measured, low, high,
        level and of (both of the interval), passed, as_expected. ValueError for other datasets."""
        if "verdicts" not in self._data.attrs:
            raise ValueError("verdicts are of scenarios: vecsim.run('scenario=NAME')")
        return json.loads(self._data.attrs["verdicts"])

    def summary(self, level: float = 0.95) -> xr.Dataset:
        """The main estimates of every point, each with `_low` and `_high`.

        Of single decisions the rates, the median and mean of last_decision, and the median of
        unanimity; of campaigns the rate of each event, the median of times that may not come within
        the run (`_median`), and the mean of all else; of rare events `probability`; of thresholds
        `threshold`; of designs `candidates`."""
        return kind_of(self._data).summary(self._data, level)

    def _kind(self, method: str) -> Any:
        """The study's kind; ValueError where it is not of one that the method is for."""
        found = kind_of(self._data)
        if method not in found.estimates:
            made = " or ".join(name for name, kind in KINDS.items() if method in kind.estimates)
            there = ", ".join(f"{name}()" for name in (*found.estimates, "summary"))
            told = f"studies of kind {made}, and this one is of kind {found.name}"
            raise ValueError(f"{method}() is of {told}; allowed: {there}")
        return found
