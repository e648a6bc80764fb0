"""Configurations of scenarios: all are read, and what has no meaning is refused."""

import ast
from functools import lru_cache
from pathlib import Path

import pytest
from synthetic import CONFIG

from vecsim import places
from vecsim.cluster.config import parse_run as parse_cluster
from vecsim.errors import ConfigError
from vecsim.results.measures.probed import PROBED
from vecsim.scenario import config, finding
from vecsim.scenario.probes import PROBES

COUNTS = {
    "infrastructure": 11,
    "load": 11,
    "stress": 11,
    "soak": 10,
    "chaos": 11,
    "byzantine": 13,
    "regression": 12,
}
NAMES = [path.stem for path in sorted((places.root("conf") / "scenario").glob("*.yaml"))]
load = lru_cache(finding.compose_scenario)


def test_every_scenario_has_a_test_of_its_name_in_the_file_of_its_category():
    found = {}
    here = Path(__file__).parent
    for path in [*here.glob("scale/test_*.py"), here / "speed/test_regression.py"]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                called = node.body[0].value.args[0].value
                assert node.name == f"test_{called}"
                found[called] = path.stem.removeprefix("test_")
    assert found == {name: load(name)["category"] for name in NAMES}
    assert {c: list(found.values()).count(c) for c in COUNTS} == COUNTS
    assert sorted(finding.names()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_scenario_is_read_by_the_simulator(name):
    given = load(name)
    assert given["name"] == name
    assert given["trials"] >= 8
    assert finding.shows(name).endswith(".")
    assert set(given.get("probes") or ()) <= set(PROBES) == set(PROBED)
    provided = {metric for probe in given.get("probes") or () for metric in PROBED[probe]}
    for criterion in config.criteria(given):
        for metric in criterion.metrics():
            assert given.get("simulate", True) or metric in provided
    for changed in config.variants(given).values():
        parse_cluster(config.simulated(changed))


def test_a_period_lies_within_the_run():
    for name in NAMES:
        given = load(name)
        for criterion in config.criteria(given):
            start, end = criterion.period or (0, None)
            assert start < (given.get("duration_s", 60) if end is None else end)
            assert end is None or end <= given["duration_s"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"critera": []}, "critera"),
        ({"category": "other"}, "category"),
        ({"criteria": []}, "criteria"),
        ({"criteria": [{"metric": "speed", "op": ">=", "threshold": 1}]}, "metric"),
        ({"criteria": [{"metric": "tps", "op": "=>", "threshold": 1}]}, "op"),
        ({"criteria": [{"metric": "tps", "op": ">="}]}, "threshold"),
        ({"criteria": [{"metric": "tps", "op": "reported", "threshold": 1}]}, "threshold"),
        ({"criteria": [{"metric": "tps", "op": "not_rising"}]}, "over"),
        ({"criteria": [{"metric": "tps", "op": ">=", "threshold": 1, "statistic": "p7"}]}, "p7"),
        ({"criteria": [{"metric": "tps", "op": ">=", "threshold": 1, "when": 1}]}, "when"),
        ({"criteria": [{"metric": "tps", "op": ">=", "threshold": 1, "variant": "x"}]}, "variant"),
        ({"criteria": [{"metric": "tps", "op": ">=", "threshold": {"times": 2}}]}, "metric"),
        ({"expect": "not_passed"}, "expect"),
    ],
)
def test_what_has_no_meaning_is_refused(change, told):
    with pytest.raises(ConfigError, match=told):
        config.checked(CONFIG | change)


def test_null_is_as_if_a_key_were_not_there():
    empty = dict.fromkeys(("statistic", "period", "variant", "every_s", "level", "over"))
    given = {"metric": "tps", "op": ">=", "threshold": 1}
    found = config.criteria(CONFIG | {"criteria": [given, given | empty]})
    assert found[0] == found[1]
    config.checked(CONFIG | {"criteria": [given | empty]})


def test_variants_change_their_part_only():
    given = CONFIG | {"variants": {"a": {"cluster.nodes": 7}, "b": {"cluster.protocol.k": 5}}}
    found = config.variants(given)
    assert found["a"]["cluster"] == {"nodes": 7, "byzantine_fraction": 0.2}
    assert found["b"]["cluster"] == {"nodes": 100, "byzantine_fraction": 0.2, "protocol": {"k": 5}}
    assert given["cluster"] == CONFIG["cluster"]
