"""When vertices end, and that they are told in the window in which they do."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vecsim.cluster import ScaleTestCluster, simulate
from vecsim.cluster.admission import Load, sample
from vecsim.cluster.state import SIDES, Queue, real

SLOW = {"nodes": 20, "poll_interval_ms": 3000.0}


def test_vertices_that_take_a_minute_end_after_a_minute():
    """22 polls, 3 s apart, begun in the middle of a second: 63 s later, and not before."""
    workload = {"kind": "constant", "rate_tps": 1}
    data = simulate(
        {"trials": 2, "duration_s": 5, "drain_s": 75, "window_s": 1}
        | {"cluster": SLOW, "workload": workload}
    )
    for row in data["finalised"].values:
        assert np.repeat(np.arange(80), row).tolist() == [63, 64, 65, 66, 67]
    assert data["in_flight"].values[:, 62].tolist() == [5, 5]
    latency = data["latency_ms"].values
    assert np.isfinite(latency).sum() == 10
    assert (np.abs(np.nanquantile(latency, [0, 1]) - 63_000.5) < 1).all()


def test_windows_of_other_lengths_change_nothing():
    """22 polls, 20 ms apart, take 420 to 421 ms, in windows of a tenth of a second and of one."""
    cluster = ScaleTestCluster(
        {"trials": 2, "window_s": 1, "workload": {"kind": "constant", "rate_tps": 10}}
        | {"cluster": {"nodes": 20, "poll_interval_ms": 20.0}}
    )
    cluster.start()
    for _ in range(10):
        cluster.advance(0.1)
    cluster.advance(1)
    cluster.advance(0.3)
    data = cluster.results()
    # Issued in the middle of each tenth: 0.05, 0.15, ..., ends 0.4205 s later.
    ends = 0.05 + 0.1 * np.arange(23) + 0.4205
    edges = np.append(data["time_s"].values, 2.3)
    told = np.histogram(ends, edges)[0]
    assert told[10] == 10
    for row in data["finalised"].values:
        assert row.tolist() == told.tolist()


@pytest.mark.parametrize(("samples", "again"), [(2, 40), (16, 0), (16, 40)])
def test_sampled_vertices_stand_for_all(samples, again):
    """However few are run: for those that begin, and for those that are issued again."""
    nothing = jnp.zeros(SIDES, jnp.int32)
    first, tried = nothing.at[0].set(500), jnp.zeros(3, jnp.int32).at[0].set(again)
    queue = Queue(nothing, real(nothing), real(nothing))
    zero, ages = jnp.int32(0), jnp.zeros(3, jnp.float32)
    load = Load(jnp.int32(500), first, zero, first, zero, tried, ages, zero, queue, queue)
    key = (jnp.uint32(1), jnp.uint32(2))
    chosen = sample(SimpleNamespace(samples=samples), key, load, jnp.int32(1000))
    fresh = chosen.attempt == 0
    assert int(chosen.weight[fresh].sum()) == 500
    assert int(chosen.weight[~fresh].sum()) == again


# The disk: vertices of 100 KB are written ten times, 4 KB beside them


@pytest.fixture(scope="module")
def loaded():
    def run(rate_tps):
        workload = {"kind": "constant", "rate_tps": rate_tps}
        return simulate(
            {"trials": 1, "duration_s": 60, "drain_s": 0, "window_s": 1, "workload": workload}
            | {"cluster": {"nodes": 20, "payload_bytes": 100_000}}
        )

    return run


EACH = 4096 + 10 * 100_000  # bytes that a vertex takes of the disk
BANDWIDTH, BACKLOG = 125e6, 432e6
SHORTEST_MS, LONGEST_MS = 42, 43  # 22 polls, 2 ms apart, and a round trip of 1 ms at most


def test_below_the_disks_capacity_nothing_waits(loaded):
    data = loaded(120)
    assert BANDWIDTH / EACH > 120
    assert int(data["waiting"].max()) == 0
    assert float(data["compaction_mb"].max()) == 0
    np.testing.assert_allclose(data["utilisation_disk"][0, 30], 120 * EACH / BANDWIDTH, rtol=1e-5)
    latency = data["latency_ms"].values
    assert SHORTEST_MS < np.nanmin(latency) < np.nanmax(latency) < LONGEST_MS


def test_past_it_vertices_queue(loaded):
    data = loaded(200)
    admitted = data["admitted"].values[0].astype(float)
    # The backlog of compaction is taken in first, then what the disk can write in all.
    assert admitted[:5].tolist() == [200] * 5
    taken = (BANDWIDTH * 60 + BACKLOG) / EACH
    assert admitted.sum() == pytest.approx(taken, abs=2)
    assert admitted[20:].mean() == pytest.approx(BANDWIDTH / EACH, abs=2 / 40)
    assert float(data["compaction_mb"].max()) <= BACKLOG / 1e6 * (1 + 1e-6)
    waiting = data["waiting"].values[0]
    assert waiting[-1] == 12_000 - admitted.sum()
    np.testing.assert_allclose(data["utilisation_disk"][0, -1], 200 * EACH / BANDWIDTH, rtol=1e-5)
    # The first admitted in a second came when as many had come as were admitted before it.
    waited_ms = 1000 * (np.arange(61) - np.append(0, admitted.cumsum()) / 200)
    latency = data["latency_ms"].values[0]
    assert (np.nanmin(latency, axis=1) > waited_ms[:-1] + SHORTEST_MS).all()
    assert (np.nanmax(latency, axis=1) < waited_ms[1:] + LONGEST_MS).all()


# Clocks


def test_a_clock_too_far_off_loses_its_vertices():
    """Nodes off by more than 10 s: theirs are rejected, they are excluded as they reject others."""
    timeline = [{"at_s": 1, "do": "set_clock_skew", "count": 9, "max_s": 40}]
    data = simulate(
        {"trials": 8, "duration_s": 100, "drain_s": 10, "timeline": timeline, "window_s": 1}
        | {"cluster": {"nodes": 50}, "workload": {"kind": "constant", "rate_tps": 20}}
    )
    off = data["refused_clocks"].values[:, -1]
    assert (data["skewed"].values[:, -1] == 9).all()
    # Three in four of nine are further off than ten of forty seconds, in 8 trials.
    low, high = stats.binom.interval(1 - 1e-6, 72, 0.75)
    assert low <= off.sum() <= high
    assert (data["excluded_honest"].values[:, -1] == off).all()
    later = data.isel(window=slice(30, 100))
    share = later["rejected"].values.sum(axis=1) / later["issued"].values.sum(axis=1)
    error = np.sqrt(off / 50 * (1 - off / 50) / (70 * 20))
    assert (np.abs(share - off / 50) < 5 * error).all()
    assert int(data["divergent"].max()) == 0
