"""The toolkit's own speed against the published baselines, where nothing else runs."""

import math

import pytest

from vecsim.scenario import speed

APART = {"genesis_id", "blake3_call", "topological_sort_100_shuffled"}  # nothing was published
PASSES = 4
MEASURES = {
    speed.vertex_creation: {"genesis_vertex", "vertex_with_parents", "vertex_10kb_payload"},
    speed.graph_operations: {"add_100", "add_1000", "look_up", "topological_sort_100"},
    speed.hashing: {"blake3_100b", "blake3_1kb", "blake3_10kb"},
    speed.result_store: {"put", "cached_get", "cold_get"},
    speed.consensus: {"consensus_vertex"},
}


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)
def test_within_the_baseline(measure):
    found = speed.repeated(measure, PASSES)
    assert found.keys() - APART == MEASURES[measure]
    assert all(math.isfinite(value) and value > 0 for value in found.values()), found
    for name in MEASURES[measure]:
        assert found[name] <= speed.BASELINES[name], (name, found[name])


def test_every_baseline_is_measured():
    assert set().union(*MEASURES.values()) == speed.BASELINES.keys()


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
