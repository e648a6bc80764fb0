"""Workloads: how many vertices clients issue in each window.

A pattern is given by its total T(t), the vertices issued by t; a window [a, b) gets
floor(T(b)) - floor(T(a)), so that what is issued does not depend on how time is cut into windows.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vecsim.errors import number, require
from vecsim.model import random

# kind -> parameters and their defaults (None: must be given; a name: as that parameter). Those in
# _tps are vertices per second, those in _s seconds.
_KINDS: dict[str, dict[str, Any]] = {
    "constant": {"rate_tps": None},
    "ramp": {"start_tps": None, "end_tps": None, "ramp_s": None, "then_tps": "end_tps"},
    "burst": {"rate_tps": None, "burst_tps": None, "at_s": 0, "burst_s": None, "every_s": 0},
    "chaos": {"low_tps": None, "high_tps": None, "step_s": 10},
    "sine": {"low_tps": None, "high_tps": None, "period_s": None},
    "at_once": {"count": None},
}


class Workload(NamedTuple):
    """A pattern of load, by the number of vertices issued from 0 to t seconds.

    constant: rate_tps. ramp: from start_tps to end_tps in ramp_s, then then_tps. burst: burst_tps
    on top of rate_tps from at_s for burst_s, again every every_s where that is above 0. chaos: a
    random walk between low_tps and high_tps, a step of up to a fifth of the range every step_s,
    reflected at both ends, different in every trial. sine: between low_tps and high_tps with
    period_s, from the middle upwards. at_once: count vertices at time 0. Load ends at until_s;
    infinity is never.
    """

    kind: str
    values: dict[str, float]
    until_s: float

    @classmethod
    def parse(cls, given: Mapping[str, Any], until_s: float) -> "Workload":
        """The workload that a mapping describes, with `kind` and its parameters, each 0 or more;
        ConfigError where it has no meaning."""
        kinds = ", ".join(_KINDS)
        allowed = f"a mapping with kind, one of {kinds}"
        require(isinstance(given, Mapping), "workload", given, allowed)
        section = dict(given)
        kind = section.pop("kind", None)
        require(isinstance(kind, str) and kind in _KINDS, "workload.kind", kind, kinds)
        known = _KINDS[kind]
        for key, value in section.items():
            require(key in known, f"workload.{key}", value, f"of {kind}: {', '.join(known)}")
        values: dict[str, float] = {}
        for key, default in known.items():
            default = values.get(default) if isinstance(default, str) else default
            value = default if section.get(key) is None else section[key]
            values[key] = float(number(f"workload.{key}", value, "0 or more", lambda v: v >= 0))
        for key in ("ramp_s", "period_s", "step_s", "burst_s"):
            require(values.get(key, 1) > 0, f"workload.{key}", values.get(key), "above 0 seconds")
        if "low_tps" in values:
            low, high = values["low_tps"], values["high_tps"]
            require(low <= high, "workload.low_tps", low, f"at most high_tps = {high:g}")
        return cls(kind, values, until_s)

    def most(self) -> float:
        """Vertices issued in all, at most."""
        if self.kind == "chaos":
            return self.values["high_tps"] * self.until_s
        return float(self._total(np.array([self.until_s]))[0])

    def issued(self, start_s, end_s, keys: tuple[Any, Any]) -> np.ndarray:
        """Vertices issued in windows [start, end): int64 [windows, trials].

        start_s, end_s: arrays [windows], seconds of the run. keys: of the trials, two uint32 arrays
        [trials]; only `chaos` differs between trials.
        """
        start, end = (np.minimum(np.asarray(t, float), self.until_s) for t in (start_s, end_s))
        if self.kind == "chaos":
            first, last = self._walked(start, keys), self._walked(end, keys)
        else:
            trials = len(keys[0])
            first, last = (np.repeat(self._total(t)[:, None], trials, 1) for t in (start, end))
        return _whole(last) - _whole(first)

    def _total(self, t: np.ndarray) -> np.ndarray:
        """Vertices issued until t, seconds [windows], before rounding down; any kind but chaos."""
        v = self.values
        if self.kind == "constant":
            return v["rate_tps"] * t
        if self.kind == "ramp":
            inside = np.minimum(t, v["ramp_s"])
            slope = (v["end_tps"] - v["start_tps"]) / v["ramp_s"]
            return v["start_tps"] * inside + slope * inside**2 / 2 + v["then_tps"] * (t - inside)
        if self.kind == "burst":
            after = np.maximum(t - v["at_s"], 0.0)
            bursts = np.floor(after / (v["every_s"] or math.inf))
            inside = np.minimum(after - bursts * (v["every_s"] or 0.0), v["burst_s"])
            return v["rate_tps"] * t + v["burst_tps"] * (bursts * v["burst_s"] + inside)
        if self.kind == "sine":
            middle, swing = (v["high_tps"] + v["low_tps"]) / 2, (v["high_tps"] - v["low_tps"]) / 2
            turns = 2 * math.pi / v["period_s"]
            return middle * t + swing * (1 - np.cos(turns * t)) / turns
        return np.where(t > 0, v["count"], 0.0)

    def _walked(self, t: np.ndarray, keys: tuple[Any, Any]) -> np.ndarray:
        """Total of the random walk until t, [windows, trials]."""
        v = self.values
        low, span, step = v["low_tps"], v["high_tps"] - v["low_tps"], v["step_s"]
        steps = math.floor(t.max() / step) + 1
        if math.isfinite(self.until_s):
            steps = min(steps, math.ceil(self.until_s / step))
        count = np.arange(steps, dtype=np.uint32)[:, None]
        word, _ = random.threefry(*keys, count, random.counter(np.uint32(0), random.WORKLOAD))
        moves = (word / 2.0**32 - 0.5) * 0.4
        before = ((1, 0), (0, 0))
        path = 0.5 + np.pad(np.cumsum(moves[1:], axis=0), before)
        folded = np.abs((path + 1) % 2 - 1)  # reflected at 0 and 1
        total = np.pad(np.cumsum(folded, axis=0), before) * step
        at = np.minimum((t / step).astype(int), steps - 1)
        done = total[at] + folded[at] * (t - at * step)[:, None]
        return low * t[:, None] + span * done


def _whole(total: np.ndarray) -> np.ndarray:
    """Vertices issued by now; a total within a millionth of a whole number is that number."""
    return np.floor(total + 1e-6).astype(np.int64)
