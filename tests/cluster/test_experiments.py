"""The experiments on the defended cluster: few nodes, short runs, 16 trials, and their figures."""

import pytest
from command import check_experiment

SHORTER = {
    "byzantine_sweep": ["n=120", "sweep.byzantine_fraction=[0,0.4]", "campaign.duration_s=3"],
    "churn_limit": ["n=120", "sweep.killed=[0,30]"],
    "detection": ["n=120", "sweep.misbehaving_share=[0.1,1.0]", "campaign.duration_s=100"],
    "partition_heal": ["n=120", "sweep.larger_share=[0.5,0.8]", "sweep.cut_s=[30]"],
    "peak_throughput": ["n=120", "sweep.rate_tps=[10,7000]", "campaign.duration_s=40"],
    "soak_week": ["n=120", "campaign.window_s=3600", "campaign.series.every_s=86400"],
}


@pytest.mark.parametrize("name", SHORTER)
def test_experiment(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = "trials=16", "campaign.trials=16", "precision=null"
    check_experiment(name, *few, *SHORTER[name], folder=tmp_path)
