"""No key of a scenario is without effect: each, set to another good value, changes what is run or
what is judged, and the digest that says which scenario the results belong to."""

import pytest
import yaml
from fuzz_scenarios import changed, places
from test_scenario_fuzz import SCENARIO

from vecsim.cluster.config import parse_run
from vecsim.cluster.timeline import schedule
from vecsim.places import root
from vecsim.results.files import json_digest
from vecsim.scenario import config, simulate

# Where it stands in the results, and in which table: the only keys that change neither.
NAMED = {("name",), ("category",)}
OTHER = {  # another good value, where doubling a number or turning a switch would not give one
    "adversary": "echo",
    "profile": "wan",
    "parents": "wide",
    "kind": None,  # comes with keys of its own
    "do": "inject_disk_failure",
    "metric": "running",
    "op": "<=",
    "statistic": "max",
    "variant": "a",
    "threshold": 5,
    "interval": 0.9,
    "period": [2, 3],
    "shares": [0.7, 0.3],
    "probes": ["byzantine_answers", "network_round_trips"],
    "name": "sybil",
}
SPECIAL = {
    ("name",): "another",
    ("category",): "stress",
    ("simulate",): None,  # without it the criteria on the run go too
    ("expect",): None,  # follows from the criteria
    ("probes", 0): None,
    ("workload",): {"kind": "constant", "rate_tps": 3},
    ("cluster", "adversary"): "echo",
    ("cluster", "byzantine_fraction"): 0.4,
    ("cluster", "poll_interval_ms"): 4,
    **{("variants", each, "workload"): {"kind": "constant", "rate_tps": 3} for each in "bcd"},
    ("timeline", 4, "extra_ms"): 7,
}


def other(path, value):
    """Another value for a key, None where there is none by itself."""
    if path in SPECIAL:
        return SPECIAL[path]
    key = path[-1]
    if key in OTHER and not isinstance(key, int):
        return OTHER[key] if OTHER[key] != value else "min" if key == "statistic" else None
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value / 2 if isinstance(value, float) and value else None


def described(given):
    """What is run, of every variant, and what is judged."""
    runs = [parse_run(config.simulated(each)) for each in config.variants(given).values()]
    plain = [each._replace(cluster=each.cluster._replace(adversary=None)) for each in runs]
    adversaries = [(type(each.cluster.adversary), vars(each.cluster.adversary)) for each in runs]
    timelines = [schedule(each.timeline, each.duration_s) for each in runs]
    return plain, adversaries, timelines, config.criteria(given), given.get("probes")


def walked():
    for path in places(SCENARIO):
        value = SCENARIO
        for key in path:
            value = value[key]
        new = other(path, value)
        if new is not None:
            yield path, new


def test_no_key_is_without_effect():
    base, digest = described(SCENARIO), json_digest(SCENARIO)
    seen, without = set(), []
    for path, value in walked():
        given = changed(SCENARIO, path, value)
        try:
            given = simulate.prepare(given)
        except ValueError:  # does not fit the keys beside it, which is told
            continue
        seen.add(path)
        assert json_digest(given) != digest, path
        if described(given) == base:
            without.append(path)
    assert set(without) == NAMED
    keys = {path[-1] for path in seen}
    wanted = {*config.VARIED, "trials", "name", "category"} - {"cluster", "workload", "timeline"}
    assert wanted <= keys
    clusters = {path[1] for path in seen if path[0] == "cluster" and len(path) == 2}
    assert clusters == set(SCENARIO["cluster"]) - {"protocol"}
    assert {path[2] for path in seen if path[:2] == ("cluster", "protocol")} >= {"k", "beta"}
    assert {path[2] for path in seen if path[0] == "timeline" and len(path) > 2} >= {
        *("at_s", "every_s", "times", "count", "restart", "shares", "loss", "extra_ms"),
        *("duration_s", "capacity", "share", "max_s", "k", "beta"),
    }
    assert {path[2] for path in seen if path[0] == "criteria" and len(path) > 2} >= {
        *("threshold", "statistic", "period", "level", "every_s", "interval", "op", "variant"),
    }
    assert ("criteria", 2, "threshold", "times") in seen
    assert ("criteria", 2, "threshold", "plus") in seen


def test_every_key_of_the_scenarios_in_conf_is_among_those_walked():
    known = {name(path) for path in places(SCENARIO)}
    for file in (root("conf") / "scenario").glob("*.yaml"):
        scenario = yaml.safe_load(file.read_text())["scenario"]
        written = [path for path in places(scenario) if path[:-1] != ("variants",)]
        assert {name(path).rpartition(".")[2] for path in written} <= known, file


def name(path):
    """The key that a place is, or is below in a list."""
    return [key for key in path if isinstance(key, str)][-1]


@pytest.mark.parametrize(
    ("criterion", "told"),
    [
        ({"metric": "avg_tps", "statistic": "max"}, "statistic is 'max'; allowed: nothing"),
        ({"metric": "avg_tps", "every_s": 5}, "every_s is 5; allowed: nothing"),
        ({"metric": "wall_s", "period": [0, 5]}, "period is .* allowed: nothing"),
        ({"metric": "round_trip_lost", "period": [0, 5]}, "no course in time"),
        ({"metric": "tps", "statistic": "rate"}, "allowed: mean"),
        ({"metric": "tps", "level": 5}, "with longest_below_s, reached_s, only"),
        (
            {"metric": "latency_ms", "statistic": "longest_below_s", "level": 5},
            "what latency_ms has",
        ),
    ],
)
def test_a_criterions_key_that_would_change_nothing_is_refused(criterion, told):
    given = changed(SCENARIO, ("criteria", 0), criterion | {"op": "<", "threshold": 1})
    with pytest.raises(ValueError, match=told):
        config.checked(given)
