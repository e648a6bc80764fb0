"""Detection: how long the reputation test takes, and what it misses, against subtlety."""

import json
import math
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from vecsim.cluster.constants import constants
from vecsim.results import plot

DIMS = ("adversary", "misbehaving_share")
# Share of the vertices it misbehaves on, on which an attacker disagrees with the outcome.
DISAGREES = {"always_reject": 1.0, "random_voting": 0.5, "coordinated_collusion": 0.1}
TEST = constants()
THEORY = {"color": "black", "linestyle": (0, (1, 1.5)), "linewidth": 0.9, "zorder": 4}


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    paths = []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(delays(part), folder, "detection", at)
    return paths


def delays(data: xr.Dataset):
    """Median time to exclude half of the attackers and share excluded, by how often they disagree.

    Times are infinite where half of the runs, or the end of the interval, were too short to see it.
    """
    figure, axes = plot.panels(1, 2, plot.PAGE, 2.9)
    attacks = data["adversary"].values
    looks = plot.looks(attacks, tuple(DISAGREES))
    half, share = data.vecsim.quantile("half_s", 0.5), data.vecsim.mean("detected_percent")
    longest = json.loads(data.attrs["config"])["campaign"]["duration_s"]
    left, right = axes.flat
    for attack in attacks:
        one, other = half.sel(adversary=attack), share.sel(adversary=attack)
        disagrees = DISAGREES[str(attack)] * data["misbehaving_share"].values
        ends = tuple(one[part].values for part in ("value", "low", "high"))
        plot.band(left, disagrees, ends, looks[attack], str(attack))
        ends = [other[part].values for part in ("value", "low", "high")]
        low, high = (np.clip(part, 0, 100) for part in ends[1:])
        plot.band(right, disagrees, (ends[0], low, high), looks[attack], str(attack))
    p = np.geomspace(0.026, 1, 200)
    rate_tps = json.loads(data.attrs["config"])["campaign"]["workload"]["rate_tps"]
    left.plot(p, wald(p) / rate_tps, label="theory", **THEORY)
    for panel in (left, right):
        panel.set_xscale("log")
        panel.set_xlabel("answers that disagree with the outcome, %")
        plot.percent(panel.xaxis)
        plot.marks(panel, {balance(): f"{100 * balance():.2g} %"})
    left.set_yscale("log")
    left.set_ylim(top=longest)
    left.set_ylabel("time until half are excluded, s")
    right.set_ylabel("excluded at the end, %")
    entries = [Line2D([], [], label=plot.words(name), **look) for name, look in looks.items()]
    theory = Line2D([], [], label="Wald 1945", **THEORY)
    endless = bool((np.isfinite(half["value"]) & np.isposinf(half["high"])).any())
    plot.legend(figure, [*entries, theory, plot.INTERVAL, *[plot.NO_END] * endless], 5)
    return figure


def _steps() -> tuple[float, float]:
    """What a disagreement and an agreement add to the logarithm of the likelihood ratio."""
    honest, byzantine = TEST.honest_disagreement, TEST.byzantine_disagreement
    return math.log(byzantine / honest), math.log((1 - byzantine) / (1 - honest))


def balance() -> float:
    """The share of disagreement at which the test drifts neither way."""
    up, down = _steps()
    return down / (down - up)


def wald(p: np.ndarray) -> np.ndarray:
    """Mean number of answers until exclusion (Wald 1945), overshoot left out."""
    up, down = _steps()
    return math.log(TEST.exclude_at) / (p * up + (1 - p) * down)
