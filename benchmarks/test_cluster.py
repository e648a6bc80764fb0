"""Simulated time of the defended cluster: a day of 1,000 nodes, a week of 5,000."""

import pytest
import yaml

from vecsim.cluster import simulate
from vecsim.places import root

SCENARIOS = {"1000_nodes_24hour_stability": 30, "5000_nodes_7day_endurance": 120}  # seconds at most


@pytest.mark.parametrize("name", SCENARIOS)
def test_cluster(benchmark, name):
    """Eight trials, compilation included."""
    described = yaml.safe_load((root("conf") / "scenario" / f"{name}.yaml").read_text())["scenario"]
    described.pop("criteria")
    data = benchmark.pedantic(simulate, (described,), rounds=1)
    assert data.sizes["trial"] == 8
    assert benchmark.stats.stats.max < SCENARIOS[name]
