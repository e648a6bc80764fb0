"""Datasets laid out as those of a simulated cluster, with chosen values."""

import json

import numpy as np
import xarray as xr

from vecsim.results.measures.variables import COUNTS, MODELLED, SO_FAR, STANDING

CONFIG = {
    "name": "synthetic",
    "category": "load",
    "trials": 2,
    "duration_s": 30,
    "cluster": {"nodes": 100, "byzantine_fraction": 0.2},
    "criteria": [{"metric": "avg_tps", "op": ">=", "threshold": 10}],
}


def dataset(trials=2, length_s=(1.0,) * 30, samples=2, duration_s=30, config=CONFIG, **values):
    """A steady run of 10 vertices a second, of which `values` replaces some variables.

    values: anything that broadcasts to [trial, window], or to [trial, window, sample].
    """
    length = np.asarray(length_s, float)
    shape = (trials, len(length))
    found = dict.fromkeys((*COUNTS, *SO_FAR, *STANDING), 0) | dict.fromkeys(MODELLED, 0.5)
    found |= {"issued": 10 * length, "admitted": 10 * length, "finalised": 10 * length}
    found |= {"running": 100, "guard": 1, "sides": 1, "progressing": 80}
    sampled = {"latency_ms": 50.0, "rounds": 22, "confidence": 0.96, "disputed": 0}
    sampled |= {"weight": 5.0, "outcome": 1}
    variables = {}
    for name, value in (found | sampled | values).items():
        full = (*shape, samples) if name in sampled else shape
        array = np.broadcast_to(np.asarray(value), full).copy()
        variables[name] = (("trial", "window", "sample")[: array.ndim], array)
    start = np.concatenate([[0.0], np.cumsum(length)[:-1]])
    coords = {"time_s": ("window", start), "length_s": ("window", length)}
    attrs = {"config": json.dumps(config), "duration_s": duration_s, "nodes": 100, "byzantine": 20}
    return xr.Dataset(variables, coords, attrs)
