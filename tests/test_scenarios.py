"""Scenarios: what is measured in a run, and how criteria are judged."""

import numpy as np
import pytest
from synthetic import dataset

from vecsim.results.measures.compare import Estimate, compares, estimate
from vecsim.results.measures.measure import measure, metrics
from vecsim.results.measures.per_window import runs
from vecsim.scenario import simulate, verdict
from vecsim.scenario.config import scenario_cost_usd
from vecsim.scenario.criteria import parse_criterion
from vecsim.scenario.judging import judge, judge_all

TIME = np.arange(30)


def judged(data, **criterion):
    return judge(parse_criterion(criterion), data)


# Measuring


def test_throughput_counts_the_drain_but_not_its_time():
    finalised = np.where(TIME < 20, 10, 0)
    finalised[25] = 10
    data = dataset(duration_s=20, finalised=finalised)
    np.testing.assert_allclose(measure(data, "avg_tps"), 210 / 20)
    np.testing.assert_allclose(measure(data, "avg_tps", period=(10, 20)), 10)
    np.testing.assert_allclose(measure(data, "total_vertices"), 210)


def test_peak_is_over_ten_seconds():
    finalised = np.where(TIME == 12, 110, 10)
    np.testing.assert_allclose(measure(dataset(finalised=finalised), "peak_tps"), 20)
    short = dataset(duration_s=5, finalised=np.where(TIME < 5, 30, 0))
    np.testing.assert_allclose(measure(short, "peak_tps"), 30)


def test_long_windows_count_by_the_part_within_ten_seconds():
    data = dataset(length_s=[20.0, 1.0, 1.0], duration_s=22, finalised=[200, 20, 20])
    rates = measure(data, "tps", "last"), measure(data, "tps", "first")
    np.testing.assert_allclose(rates, [[(8 * 10 + 40) / 10] * 2, [10] * 2])


@pytest.mark.parametrize(
    ("statistic", "value"),
    [
        ("mean", (10 * 1 + 4 * 2 + 6 * 7) / 20),
        ("max", 7),
        ("min", 1),
        ("first", 1),
        ("last", 7),
        ("sum", 10),
        ("variance", (10 * 1 + 4 * 4 + 6 * 49) / 20 - 3**2),
        ("p50", 1),
        ("p95", 7),
    ],
)
def test_windows_count_by_their_length(statistic, value):
    data = dataset(length_s=[10.0, 4.0, 6.0], duration_s=20, cpu_percent=[1.0, 2.0, 7.0])
    np.testing.assert_allclose(measure(data, "cpu_percent", statistic), value)


def test_samples_count_by_their_weight_and_only_if_finalised():
    latency = np.broadcast_to([10.0, 90.0], (2, 30, 2)).copy()
    latency[:, 0] = 1000.0
    outcome = np.ones((2, 30, 2), int)
    outcome[:, 0] = 0
    data = dataset(latency_ms=latency, weight=np.array([3.0, 1.0]), outcome=outcome)
    np.testing.assert_allclose(measure(data, "latency_ms"), 30)
    np.testing.assert_allclose(measure(data, "latency_ms", "p50"), 10)
    np.testing.assert_allclose(measure(data, "latency_ms", "p95"), 90)


def test_rounds_of_attempts_and_of_undisputed_vertices():
    rounds = np.broadcast_to([20, 100], (2, 30, 2))
    outcome, disputed = np.array([1, 0]), np.array([0, 1])
    data = dataset(rounds=rounds, outcome=outcome, disputed=disputed)
    np.testing.assert_allclose(measure(data, "rounds"), 60)
    np.testing.assert_allclose(measure(data, "rounds_to_finalise"), 20)
    np.testing.assert_allclose(measure(data, "rounds_undisputed"), 20)
    nothing = dataset(outcome=-1)
    assert np.isnan(measure(nothing, "rounds")).all()
    assert not judged(nothing, metric="latency_ms", op="<=", threshold=1e9).passed


def test_stretches_are_averaged_first():
    data = dataset(memory_mb=np.where(TIME % 2, 0.0, 2.0) + TIME // 10)
    found = measure(data, "memory_mb", "max", every_s=10)
    np.testing.assert_allclose(found, 3)
    np.testing.assert_allclose(measure(data, "memory_mb", "variance", every_s=10), 2 / 3)
    np.testing.assert_allclose(measure(data, "finalised", "max", every_s=10), 100)


def test_growth_compares_the_last_hour_with_the_first():
    hours = np.repeat([5.0, 100.0, 300.0, 110.0], 60)
    data = dataset(length_s=[60.0] * 240, duration_s=4 * 3600, memory_mb=hours)
    found = measure(data, "memory_mb", "growth_percent", period=(3600, 4 * 3600))
    np.testing.assert_allclose(found, 10)


def test_longest_time_below_a_level():
    running = np.where((TIME >= 3) & (TIME < 8) | (TIME == 20), 99, 100)
    data = dataset(running=running)
    np.testing.assert_allclose(measure(data, "running", "longest_below_s", level=100), 5)
    np.testing.assert_allclose(measure(data, "running", "longest_below_s", level=99), 0)
    assert [row.tolist() for row in runs(np.array([[1, 0, 1]]), np.array([2.0, 1, 3]))] == [[2, 3]]


def test_the_first_time_at_a_level():
    """At the end of its window, from the period's start; infinite where it never came."""
    running = np.stack([np.where((TIME >= 4) & (TIME != 8), 100, 99), np.full(30, 99)])
    data = dataset(running=running)
    found = measure(data, "running", "reached_s", level=100)
    assert found.tolist() == [5, np.inf]
    assert measure(data, "running", "reached_s", (8, None), level=100).tolist() == [2, np.inf]
    long = dataset(length_s=[10.0] * 3, duration_s=30, running=[99, 99, 100])
    assert measure(long, "running", "reached_s", level=100).tolist() == [30, 30]
    judging = {"metric": "running", "statistic": "reached_s", "level": 100, "op": "<="}
    assert not judged(data, threshold=1e9, **judging).passed
    assert judged(long, threshold=30, **judging).passed


def test_the_level_of_detection_is_a_share_of_the_byzantine_nodes():
    data = dataset(excluded_byzantine=TIME, refused=2)  # of 20
    assert measure(data, "detected_percent", "reached_s", level=50).tolist() == [9, 9]
    assert measure(data, "detected_percent").tolist() == [155, 155]


def test_nothing_offered_is_no_health():
    idle = dataset(issued=np.where(TIME < 10, 10, 0), finalised=np.where(TIME < 10, 10, 0))
    np.testing.assert_allclose(measure(idle, "healthy", "last"), 1)  # of what was offered
    assert np.isnan(measure(idle, "healthy", "min", (25, None))).all()
    assert not judged(idle, metric="healthy", op="==", threshold=1, period=[25, None]).passed


def test_health_needs_the_guard_and_nine_tenths():
    data = dataset(finalised=np.where(TIME == 15, 0, 10))
    np.testing.assert_allclose(measure(data, "healthy", "min"), 1)
    data = dataset(finalised=np.where((TIME == 15) | (TIME == 16), 0, 10))
    np.testing.assert_allclose(measure(data, "healthy", "min"), 0)
    np.testing.assert_allclose(measure(data, "healthy", "min", (26, None)), 1)
    np.testing.assert_allclose(measure(dataset(guard=0), "healthy", "max"), 0)


def test_uptime_deadlocks_and_anomalies():
    stuck = np.where((TIME >= 5) & (TIME < 8), 0, 10)
    data = dataset(
        finalised=stuck, oom_kills=np.where(TIME == 9, 2, 0), lost=np.where(TIME > 9, 1, 0)
    )
    np.testing.assert_allclose(measure(data, "uptime_percent"), 90)
    np.testing.assert_allclose(measure(data, "deadlocks"), 0)
    np.testing.assert_allclose(measure(data, "anomalies"), 3)
    np.testing.assert_allclose(measure(data, "crashes"), 2)
    long = dataset(length_s=[10.0] * 9, duration_s=90, finalised=[9, 0, 0, 0, 9, 0, 0, 9, 9])
    np.testing.assert_allclose(measure(long, "deadlocks"), 1)
    np.testing.assert_allclose(measure(dataset(finalised=0, guard=0), "deadlocks"), 0)


def test_detection():
    data = dataset(excluded_byzantine=TIME // 3, refused=3, excluded_honest=TIME // 10)
    np.testing.assert_allclose(measure(data, "byzantine_detected"), 12)
    np.testing.assert_allclose(measure(data, "accuracy_percent"), 60)
    np.testing.assert_allclose(measure(data, "false_positives"), 2)
    np.testing.assert_allclose(measure(data, "false_positive_percent"), 2.5)


def test_bottleneck_is_the_resource_most_used_at_its_peak():
    data = dataset(utilisation_network=TIME / 10, utilisation_cpu=TIME / 20)
    assert measure(data, "bottleneck").tolist() == ["network_bandwidth"] * 2
    assert judged(data, metric="bottleneck", op="==", threshold="network_bandwidth").passed
    assert not judged(data, metric="bottleneck", op="==", threshold="cpu").passed
    assert measure(dataset(), "bottleneck").tolist() == ["none"] * 2
    np.testing.assert_allclose(measure(data, "headroom_cpu"), 100 * (1 - 1.45))
    loaded = dataset(utilisation_cpu=TIME / 20, issued=10 * TIME)
    np.testing.assert_allclose(measure(loaded, "cpu_saturation_tps"), 200)
    assert np.isnan(measure(dataset(), "cpu_saturation_tps")).all()


def test_vertices_when_nodes_run_out_of_memory():
    data = dataset(oom_kills=np.where((TIME >= 10) & (TIME < 20), 10, 0))
    found = [measure(data, f"vertices_at_{name}_kill") for name in ("first", "last")]
    np.testing.assert_allclose(found, [[110, 110], [200, 200]])
    np.testing.assert_allclose(measure(data, "vertices_at_half_killed"), 150)


def test_the_record_has_fifteen_finite_fields():
    found = metrics(dataset())
    assert len(found) == 15
    assert all(np.isfinite(values).all() and values.shape == (2,) for values in found.values())


def test_cost_of_a_day_on_a_hundred_machines():
    day = {"cluster": {"nodes": 1000}, "duration_s": 86400}
    assert scenario_cost_usd(day) == pytest.approx(816)


# Judging


def test_estimates():
    assert estimate(np.full(8, 100.0)) == (100, 100, 100)
    value, low, high = estimate(np.array([1.0, 2.0, 3.0]))
    half = 4.302653 / np.sqrt(3)
    np.testing.assert_allclose([value, low, high], [2, 2 - half, 2 + half], rtol=1e-6)
    _, low, high = estimate(np.array([0.0] * 97 + [1.0] * 3))
    np.testing.assert_allclose([low, high], [0.0062, 0.0852], atol=5e-5)
    assert np.isnan(estimate(np.array([1.0, np.nan]))).all()
    assert np.isnan(estimate(np.array([]))).all()


@pytest.mark.parametrize("op", [">=", "<=", ">", "<", "==", "!="])
def test_an_interval_that_straddles_the_threshold_is_no_pass(op):
    assert not compares(Estimate(10.1, 9.9, 10.3), op, 10.0)


@pytest.mark.parametrize(
    ("op", "passes"),
    [(">=", True), ("<=", True), ("==", True), (">", False), ("<", False), ("covers", True)],
)
def test_a_point_at_the_threshold(op, passes):
    assert compares(Estimate(100, 100, 100), op, 100) is passes
    third = sum([0.1] * 1000)  # a little off 100
    assert compares(Estimate(third, third, third), op, 100) is passes
    assert not compares(Estimate(np.nan, np.nan, np.nan), op, 100)


def test_what_is_only_reported_must_be_there():
    assert judged(dataset(), metric="read_iops", op="reported", statistic="max").passed
    assert judged(dataset(), metric="bottleneck", op="reported").measured == "none"
    assert not judged(dataset(), metric="cpu_saturation_tps", op="reported").passed


def test_throughput_at_its_threshold_passes_and_a_lost_vertex_fails():
    assert judged(dataset(), metric="avg_tps", op=">=", threshold=10).passed
    finalised = np.full((2, 30), 10)
    finalised[1, 7] = 9
    found = judged(dataset(finalised=finalised), metric="avg_tps", op=">=", threshold=10)
    assert not found.passed
    assert found.low < 10 <= found.high


def test_thresholds_that_were_measured_are_compared_trial_by_trial():
    load = np.array([[10.0], [40.0]])
    data = dataset(cpu_percent=load, memory_mb=load / 2)
    relative = {"metric": "memory_mb", "times": 2, "plus": 1}
    assert judged(data, metric="cpu_percent", op="<", threshold=relative).passed
    assert not judged(data, metric="cpu_percent", op=">=", threshold=relative).passed
    found = judged(data, metric="cpu_percent", op="<=", threshold=relative, interval=0.999)
    assert (found.measured, found.threshold, found.low, found.high) == (25, 26, -1, -1)
    assert verdict.measured(found) == "25, difference -1"
    assert verdict.interval(found) == "99.9 %, difference, 2 runs"
    data = dataset(trials=3, cpu_percent=np.array([[10.0], [11.0], [12.0]]), memory_mb=10.0)
    found = judged(data, metric="cpu_percent", op="<=", threshold={"metric": "memory_mb"})
    half = 4.302653 / np.sqrt(3)  # Student's t, two degrees of freedom
    np.testing.assert_allclose([found.low, found.high], [1 - half, 1 + half], rtol=1e-6)
    assert verdict.measured(found) == "11, difference 1 [-1.484 3.484]"


def test_what_is_expected_to_fail_must_fail_clearly():
    shaky = dataset(trials=3, cpu_percent=np.array([[9.0], [10.0], [11.0]]))
    about = {"metric": "cpu_percent", "op": ">=", "expect": "fails"}
    clear, held, unclear = (judged(shaky, threshold=t, **about) for t in (90, 1, 10))
    assert [v.as_expected for v in (clear, held, unclear)] == [True, False, False]
    assert [v.passed for v in (clear, held, unclear)] == [False, True, False]
    assert verdict.result(clear) == "fail (expected)"


def joined(**values):
    parts = {name: dataset(cpu_percent=value) for name, value in values.items()}
    parts["short"] = dataset(length_s=[1.0] * 12, samples=1, cpu_percent=1.0)
    return simulate.joined(parts)


def test_variants_are_padded_and_measured_without_the_padding():
    data = joined(a=5.0)
    assert data.sizes == {"variant": 2, "trial": 2, "window": 30, "sample": 2}
    np.testing.assert_allclose(measure(data, "cpu_percent", "min", variant="short"), 1)
    np.testing.assert_allclose(measure(data, "issued", variant="short"), 120)
    np.testing.assert_allclose(measure(data, "latency_ms", "p50", variant="short"), 50)
    both = judge_all([parse_criterion({"metric": "cpu_percent", "op": ">", "threshold": 2})], data)
    assert [v.passed for v in both if "cpu" in v.name] == [True, False]
    assert sum("divergent" in v.name for v in both) == 2


def test_trends():
    data = joined(a=5.0, b=4.0, c=4.0)
    names = ["a", "b", "c"]
    assert judged(data, metric="cpu_percent", op="not_rising", over=names).passed
    assert not judged(data, metric="cpu_percent", op="not_falling", over=names).passed
    assert judged(data, metric="cpu_percent", op="not_falling", over=names[::-1]).passed
    shaky = joined(a=5.0, b=np.array([[4.0], [5.1]]))
    found = judged(shaky, metric="cpu_percent", op="not_rising", over=["a", "b"])
    assert not found.passed
    assert found.measured == pytest.approx(-0.45)
    assert verdict.interval(found) == "95 %, step, 2 runs"
    assert found.low < 0 < found.high


def test_probed_values():
    data = dataset()
    name = "byzantine_answer"
    data[name] = (("trial", f"{name}_draw"), np.tile([0.0, 1.0], (2, 500)))
    good = parse_criterion({"metric": name, "statistic": "rate", "op": "covers", "threshold": 0.5})
    assert judge(good, data).passed
    assert judge(good, data).of == "share of 2,000 draws"
    assert not judge(good._replace(threshold=0.56), data).passed
    np.testing.assert_allclose(measure(data, name, "max"), 1)
    data[name] = data[name] * 0 + 1  # always
    certain = judge(good._replace(op="==", threshold=1), data)
    assert certain.passed
    assert (certain.measured, certain.high) == (1, 1)
    assert certain.low == pytest.approx(0.025 ** (1 / 2000))
    assert not judge(good._replace(op=">=", threshold=0.9999), data).passed


def test_what_never_happened_in_the_runs_has_an_upper_bound():
    """Of 8 runs without an event the chance of one is below 1 - 0.025^(1/8) = 0.37."""
    data = dataset(trials=8)
    found = judged(data, metric="divergent", op="==", threshold=0)
    assert found.passed
    assert (found.measured, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 8))
    assert verdict.measured(found) == "0 of 8, below 0.37"
    assert verdict.interval(found) == "95 %, share of 8 runs with any"
    surer = judged(data, metric="crashes", op="<=", threshold=0, interval=0.999999)
    assert surer.passed
    assert verdict.measured(surer) == "0 of 8, below 0.84"  # 1 - 5e-7^(1/8) = 0.8371, rounded up
    assert verdict.interval(surer).startswith("99.9999 %, ")
    once = np.where(np.arange(8)[:, None] == 3, 1, 0)
    lost = judged(dataset(trials=8, lost=once), metric="lost", op="==", threshold=0)
    assert not lost.passed
    np.testing.assert_allclose([lost.low, lost.high], [0.0031597, 0.5265097], rtol=1e-5)


def test_shares_of_runs_carry_clopper_pearson_intervals_at_their_ends_too():
    """8 of 8 is [0.63, 1]; that it always held is judged on the runs there are, a share is not."""
    about = {"metric": "healthy", "statistic": "last"}
    held = judged(dataset(trials=8), op="==", threshold=1, **about)
    assert held.passed
    assert held.low == pytest.approx(0.025 ** (1 / 8))
    assert verdict.measured(held) == "1 [0.6306 1]"
    assert verdict.interval(held) == "95 %, share of 8 runs"
    assert not judged(dataset(trials=8), op=">=", threshold=0.7, **about).passed
    assert judged(dataset(trials=8), op=">=", threshold=0.6, **about).passed
    never = judged(dataset(trials=8, guard=0), op="==", threshold=1, expect="fails", **about)
    assert never.as_expected
    assert not never.passed
    some = np.where(np.arange(8)[:, None] == 3, 0, 10)
    mixed = dataset(trials=8, finalised=np.where(TIME > 20, some, 10))
    assert not judged(mixed, op="==", threshold=1, **about).passed
    np.testing.assert_allclose(
        judged(mixed, op="==", threshold=1, **about)[4:6], [0.47349, 0.99684], atol=1e-5
    )


def test_a_name_has_no_interval():
    found = judged(dataset(), metric="bottleneck", op="reported")
    assert (verdict.measured(found), verdict.interval(found)) == ("none", "")


def test_safety_is_judged_without_being_asked_for():
    verdicts = judge_all([], dataset(divergent=np.where(TIME > 20, 1, 0)))
    assert [v.passed for v in verdicts] == [False, True, True]
    assert verdict.ScenarioOutcome({}, verdicts).status == "NOT PASSED"


@pytest.mark.parametrize("name", ["divergent", "lost", "doubled"])
def test_a_single_window_is_not_forgotten(name):
    """What was lost or finalised twice in some window fails, even if the next one makes up for it;
    divergence never ends."""
    last = 30 if name == "divergent" else 11
    data = dataset(**{name: np.where((TIME >= 10) & (last > TIME), 1, 0)})
    failed = [v.name for v in judge_all([], data) if not v.passed]
    assert [name in each for each in failed] == [True]
    assert measure(data, "corruption").tolist() == [1, 1]
    assert not judged(data, metric="consensus_failures", op="==", threshold=0).passed
