"""The time that a vertex takes in the simulated cluster is that of `schedule=timed`."""

import numpy as np
import pytest
import timed
from latency_law import latency_below

from vecsim.cluster.constants import constants

NODES, TRIALS = 60, 60
TICKS_MS = {"local": 0.1, "lan": 0.5, "wan": 2.0, "degraded": 4.0}


@pytest.mark.parametrize("profile", TICKS_MS)
def test_an_undisturbed_vertex_takes_as_long_as_in_the_cluster(profile):
    # The law of the cluster's own vertices, see test_cluster.py and test_cluster_oracle.py.
    network = constants().profiles[profile]
    low, high = network["round_trip_ms"]
    tick = TICKS_MS[profile]
    words = ["protocol=qr_avalanche", "polling=qr_avalanche", "initial_accept=1", f"n={NODES}"]
    words += [f"latency={profile}", "polling.interval_ms=4", f"polling.tick_ms={tick}"]
    words += [f"polling.timeout_ms={max(250, 1.5 * high)}"]
    made = timed.point_of_words(*words)
    assert (made.latency.low_ms, made.latency.high_ms) == (low, high)
    assert made.latency.loss == network["loss"]
    times = timed.run(made, TRIALS, size=20).decided_ms
    assert np.isfinite(times).all()
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        # Between two ticks, as simulated times are whole ones.
        at = (np.floor(np.quantile(times, share) / tick) + 0.5) * tick
        expected = latency_below(at, low, high, network["loss"])
        error = np.sqrt(expected * (1 - expected) / times.size)
        assert abs((times <= at).mean() - expected) <= 5 * error, (share, at, expected)
