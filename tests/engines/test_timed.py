"""Trials in simulated time against reference figures, and against the other schedules."""

import csv
from pathlib import Path

import numpy as np
import pytest
import timed

ROWS = Path(__file__).parents[1] / "data" / "time_to_finality.csv"
ADVERSARIES = {"none": "silent", "silent": "silent", "minority_at_arrival": "balance_informed"}


def rows():
    with open(ROWS, newline="") as file:
        return list(csv.DictReader(file))


def point_of(row):
    """The point of a row of the reference."""
    number = {key: float(value) for key, value in row.items() if value.replace(".", "").isdigit()}
    honest = number["nodes"] - number["byzantine"]
    rule = {key: int(number[key]) for key in ("k", "alpha_preference", "alpha_confidence", "beta")}
    words = [f"protocol.{key}={value}" for key, value in rule.items()]
    words += [f"latency.low_ms={number['round_trip_low_ms']}"]
    words += [f"latency.high_ms={number['round_trip_high_ms']}"]
    words += [f"latency.loss={number['loss_per_message']}"]
    words += [f"polling.concurrent={int(number['concurrent'])}"]
    words += [f"polling.timeout_ms={number['timeout_ms']}"]
    words += ["protocol.max_rounds=1000000", f"adversary={ADVERSARIES[row['adversary']]}"]
    words += [f"byzantine_fraction={number['byzantine'] / number['nodes']}"]
    words += [f"initial_accept={number['honest_start_at_1'] / honest}"]
    if number["zipf_exponent"]:
        words += ["stake=zipf", f"stake.exponent={number['zipf_exponent']}"]
        words += ["stake.initial_accept_of=nodes"]
    return timed.point_of_words(*words, n=int(number["nodes"]))


@pytest.mark.parametrize("number", range(10))
def test_times_are_those_of_the_reference(number):
    row = rows()[number]
    trials = 1000 if int(row["nodes"]) < 1000 else 200
    made = point_of(row)
    found = timed.run(made, trials, size=100)
    times, last = found.decided_ms, found.last_ms
    assert np.isfinite(times).all()
    told = {key: float(row[f"{key}_ms"]) for key in ("node_mean", "p50", "p95", "last_mean")}
    error = np.hypot(
        last.std(ddof=1) / trials**0.5, float(row["last_sd_ms"]) / int(row["trials"]) ** 0.5
    )
    print(number, last.mean(), told["last_mean"], (last.mean() - told["last_mean"]) / error)
    # Nodes of a trial decide together, so that means and quantiles over nodes scatter.
    contested = 0 < made.initial_accept < 1
    mean, tail = (0.06, 0.12) if contested else (0.01, 0.01)
    polls = found.values["polls"].sum() / times.size
    print(
        times.mean() / told["node_mean"] - 1,
        np.quantile(times, 0.5) / told["p50"] - 1,
        np.quantile(times, 0.95) / told["p95"] - 1,
        polls / float(row["polls_per_node"]) - 1,
    )
    assert abs(last.mean() - told["last_mean"]) <= 5 * error
    assert times.mean() == pytest.approx(told["node_mean"], rel=mean)
    assert np.quantile(times, 0.5) == pytest.approx(told["p50"], rel=mean)
    assert np.quantile(times, 0.95) == pytest.approx(told["p95"], rel=tail)
    assert polls == pytest.approx(float(row["polls_per_node"]), rel=mean)
