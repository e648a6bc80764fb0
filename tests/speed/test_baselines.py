"""The toolkit's own speed against the published baselines, where nothing else runs."""

import math

import pytest

from vecsim.scenario import speed

APART = {"genesis_id", "blake3_call", "topological_sort_100_shuffled"}  # nothing was published
PASSES = 4
MEASURES = {  # ns, as published for the 150-node prototype
    speed.vertex_creation: {
        "genesis_vertex": 176.0,
        "vertex_with_parents": 1_900.0,
        "vertex_10kb_payload": 12_500.0,
    },
    speed.graph_operations: {
        "add_100": 54_000.0,
        "add_1000": 612_000.0,
        "look_up": 128.0,
        "topological_sort_100": 35_000.0,
    },
    speed.hashing: {"blake3_100b": 202.0, "blake3_1kb": 1_420.0, "blake3_10kb": 10_660.0},
    speed.result_store: {"put": 10_000.0, "cached_get": 500.0, "cold_get": 50_000.0},
    speed.consensus: {"consensus_vertex": 17_770_000.0},
}


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
def test_within_the_baseline(measure):
    found = speed.repeated(measure, PASSES)
    assert found.keys() - APART == MEASURES[measure].keys()
    assert all(math.isfinite(value) and value > 0 for value in found.values()), found
    for name, baseline in MEASURES[measure].items():
        assert found[name] <= baseline, (name, found[name])


def test_best_takes_the_quickest_run(monkeypatch):
    clock = iter([0, 0, 80, 100, 140, 200, 300, 400, 460])
    monkeypatch.setattr(speed, "RUNS", 3)
    monkeypatch.setattr(speed, "TIME_NS", 400)
    monkeypatch.setattr(speed.time, "perf_counter_ns", lambda: next(clock))
    calls = []
    assert speed.best(lambda: calls.append(1), units=5) == 8.0
    assert len(calls) == 1 + 4  # the first is not measured; after the third time is left


def test_repeated_takes_the_best_of_each_time(monkeypatch):
    times = iter([5.0, 3.0, 4.0, 2.5, 6.0, 1.0])
    monkeypatch.setattr(speed, "best", lambda work, units: next(times))

    def measure(best):
        first, second = best(int, 1), best(int, 1)
        return {"first": first, "more": first - second}

    assert speed.repeated(measure, 3) == {"first": 4.0, "more": 4.0 - 1.0}
