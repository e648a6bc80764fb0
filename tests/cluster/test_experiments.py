"""The experiments on the defended cluster: few nodes, short runs, 16 trials, and their figures."""

import numpy as np
import pytest
import xarray as xr
import yaml
from command import assert_same, call, check_experiment
from synthetic import dataset

import vecsim
from vecsim import places
from vecsim.cluster import ScaleTestCluster, campaign, checkpoint
from vecsim.errors import ConfigError
from vecsim.results import plot, store
from vecsim.studies.campaigns import Measured

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
    few = ["campaign.trials=16"] + ["trials=16"] * (name == "byzantine_sweep")
    check_experiment(name, *few, *SHORTER[name], folder=tmp_path)


def test_more_trials_and_values(tmp_path, monkeypatch):
    """Campaigns that are there are kept; the whole is as if asked for at once."""
    monkeypatch.chdir(tmp_path)
    study = "experiment=churn_limit", "n=120", "figure=false"
    vecsim.run(*study, "campaign.trials=2", "sweep.killed=[30]", output="here")
    more = *study, "campaign.trials=4", "sweep.killed=[0,30]"
    result = call(*more, "output=here")
    assert (result.code, result.err) == (0, "")
    assert "2 of 8 trials are there already" in result.out
    assert_same(vecsim.open("here/data.zarr"), vecsim.run(*more, output="once"))


def test_the_defended_cluster_alone(tmp_path, monkeypatch):
    """Its panel of the main figure, with the rates of working clusters."""
    drawn = []
    save = plot.save_figure
    monkeypatch.setattr(plot, "save_figure", lambda *given: drawn.append(given[0]) or save(*given))
    alone = "defence=on", "~sweep.protocol", "~sweep.initial_accept", "campaign.trials=16"
    study = "experiment=byzantine_sweep", *alone, *SHORTER["byzantine_sweep"]
    result = call(*study, f"output={tmp_path}/a")
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / "a" / "byzantine_sweep.png").stat().st_size > 0
    [panel] = drawn[0].axes
    lines = {str(line.get_label()): line for line in panel.get_lines()}
    table = vecsim.open(tmp_path / "a" / "data.zarr").vecsim.rate("working")
    drawn_at = table["value"].where(table["events"] > 0, table["high"])  # without events: the bound
    for attack in table["adversary"].values:
        shown = np.array(lines[attack].get_ydata(), float)
        np.testing.assert_array_equal(shown, drawn_at.sel(adversary=attack))
    assert panel.get_xlabel() == "Byzantine, % of 120 nodes"


def test_times_that_do_not_come_are_censored_not_averaged():
    """A median where half of the runs were long enough, never where they were not."""
    section = {"metric": "detected_percent", "statistic": "reached_s", "level": 50, "units": "s"}
    variable = Measured.parse("half_s", section).variable("half_s")
    times = np.array([[5, 1, 2, 4, 3, 6, 7, np.inf], [1, 2, 3, *[np.inf] * 5]])
    half = {"half_s": (("x", "trial"), times, variable.attrs)}
    data = xr.Dataset(half, {"x": [0, 1]}, {"kind": "campaigns"})
    found = data.vecsim.summary()
    assert found["trials"].attrs == {"units": "1"}
    assert found["half_s_median"].values.tolist() == [4, np.inf]
    assert found["half_s_median_low"].values.tolist() == [1, 1]
    assert found["half_s_median_high"].values.tolist() == [np.inf, np.inf]
    assert data.vecsim.mean("half_s")["value"].values.tolist() == [np.inf, np.inf]


@pytest.mark.parametrize(("op", "held"), [(">", [0, 1, 1]), (">=", [1, 1, 1]), ("<", [0, 0, 0])])
def test_what_is_not_reached_within_the_run_takes_longer_than_any_time(op, held):
    """The level is reached after 4 s, after 9 s and never."""
    share = np.array([np.arange(30) >= 3, np.arange(30) >= 8, np.zeros(30)], float)
    data = dataset(trials=3, progressing=100 * share)
    section = {"metric": "progressing", "statistic": "reached_s", "level": 50}
    event = Measured.parse("late", section | {"op": op, "threshold": 4})
    assert Measured.parse("s", section).measure(data).tolist() == [4, 9, np.inf]
    assert event.measure(data).tolist() == held
    event.require_seen("late", 4)
    with pytest.raises(ConfigError, match=r"late\.threshold is 4; allowed: at most 3\.5 s"):
        event.require_seen("late", 3.5)
    part = event._replace(period=(5.0, 8.0))
    with pytest.raises(ConfigError, match=r"late\.threshold is 4; allowed: at most 3 s"):
        part.require_seen("late", 30)


def test_an_event_that_a_run_is_too_short_to_see_is_refused():
    event = "{metric: progressing, statistic: reached_s, level: 50, op: '>', threshold: 40}"
    result = call("defence=on", f"+campaign.outcomes.late={event}")
    told = "campaign.outcomes.late.threshold is 40; allowed: at most 14 s, which the run lasts"
    assert (result.code, result.err) == (2, f"vecsim: {told}\n")


def test_a_seed_of_campaigns_alone_is_refused():
    result = call("defence=on", "+campaign.seed=3")
    assert (result.code, result.err) == (
        2,
        "vecsim: campaign.seed is 3; allowed: seed, of the whole study\n",
    )


@pytest.mark.parametrize("moment", ["measured", "stored", "between"])
def test_a_campaign_that_is_done_is_not_lost(moment, tmp_path, monkeypatch):
    """Stopped before its outcomes are measured, or stored, or before what it saved is removed: it
    goes on from its end, to the same bits, and nothing stays behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(campaign, "SAVE_EVERY_S", 0.0)
    study = "defence=on", "n=40", "campaign.trials=2", "sweep.byzantine_fraction=[0,0.1]"
    study += "campaign.duration_s=3", "campaign.drain_s=2", "campaign.window_s=1"
    whole = vecsim.run(*study, output="whole")

    def stop(*given, **named):
        raise KeyboardInterrupt

    place = {
        "measured": (Measured, "measure"),
        "stored": (store.Store, "write"),
        "between": (checkpoint, "remove_checkpoint"),
    }[moment]
    with monkeypatch.context() as patched:
        patched.setattr(*place, stop)
        assert call(*study, "output=here").code == 130
    assert len([*(tmp_path / "here" / "partial").iterdir()]) == 1
    steps, step = [], ScaleTestCluster.step
    monkeypatch.setattr(ScaleTestCluster, "step", lambda *given: steps.append(1) or step(*given))
    assert call(*study, "output=here").code == 0
    assert_same(vecsim.open("here/data.zarr"), whole)
    assert not (tmp_path / "here" / "partial").exists()
    once = len(steps)
    vecsim.run(*study, output="again")
    assert len(steps) - once == 2 * once  # of two campaigns one was not run again


MEASURED = {
    ("detection", "half_s"): ("detected_percent", "reached_s", 50),
    ("detection", "all_s"): ("detected_percent", "reached_s", 100),
    ("partition_heal", "recovery_s"): ("healthy", "reached_s", 1),
}


@pytest.mark.parametrize(("experiment", "name"), MEASURED)
def test_times_are_those_at_which_a_level_is_reached_first(experiment, name):
    """Shares of what there is, so that they hold for any n and fraction."""
    config = yaml.safe_load((places.root("conf") / "experiment" / f"{experiment}.yaml").read_text())
    described = config["campaign"]["outcomes"][name] | {"period": None}
    found = described["metric"], described["statistic"], described["level"]
    assert found == MEASURED[experiment, name]
    assert Measured.parse(name, described).variable(name).attrs["censored"]


def test_latencies_are_said_to_be_of_the_finalised():
    files = [*(places.root("conf") / "experiment").glob("*.yaml")]
    files += (places.root("conf") / "campaign").glob("*.yaml")
    outcomes = [
        (yaml.safe_load(file.read_text()).get("campaign") or {}).get("outcomes")
        or yaml.safe_load(file.read_text()).get("outcomes", {})
        for file in files
    ]
    latencies = [o for each in outcomes for o in each.values() if o["metric"] == "latency_ms"]
    assert len(latencies) > 3
    assert all("finalised" in each["long_name"] for each in latencies)
