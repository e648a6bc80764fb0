"""Which scenarios a command line asks for: names, patterns, files, folders of one's own, -m."""

import json
from pathlib import Path

import pytest
from command import call, refused

import vecsim
from vecsim.errors import ConfigError
from vecsim.scenario import arguments, command, finding

MINE = """# @package _global_
# A *small* one\u202e.
defaults:
  - /scenario/ci_smoke_test
  - _self_
scenario:
  name: mine
  trials: 2
  cluster: {nodes: 20}
"""
PROBED = """# What answers.
scenario:
  category: chaos
  trials: 2
  simulate: false
  cluster: {nodes: 10, byzantine_fraction: 0.5}
  probes: [byzantine_answers]
  criteria:
    - {metric: byzantine_nodes, op: "==", threshold: 5}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own conf" / "scenario"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(MINE)
    (own / "broken.yaml").write_text("a: [")
    Path("probed.yaml").write_text(PROBED)
    return tmp_path


def planned(*given):
    return command.planned_scenarios(arguments.read_words(given))


def test_a_folder_of_ones_own_builds_on_vecsims_scenarios():
    """And a file in it that cannot be read troubles nobody but who asks for it."""
    [job] = planned("scenario=mine", "--config-dir=own conf", "scenario.seed=5")
    assert job.config["name"] == "mine"
    assert job.config["trials"] == 2
    assert job.config["seed"] == 5
    assert job.config["cluster"] == {"nodes": 20}
    assert job.config["criteria"] == finding.compose_scenario("ci_smoke_test")["criteria"]
    assert job.folder == Path("results/scenario/mine")
    both = planned("scenario=ci_smoke_tes?", "--config-dir=own conf")
    assert [each.config["name"] for each in both] == ["ci_smoke_test"]
    told = refused(call("scenario=broken", "--config-dir=own conf"))
    assert told.startswith("scenario broken: while parsing a flow node")


def test_several_values_are_jobs_with_folders_of_their_own():
    jobs = planned(
        *("-m", "scenario=mine,ci_smoke_test", "--config-dir", "own conf"),
        *("scenario.seed=1,2", "scenario.duration_s=9", "output=out"),
    )
    assert [(job.config["name"], job.config["seed"]) for job in jobs] == [
        ("mine", 1),
        ("mine", 2),
        ("ci_smoke_test", 1),
        ("ci_smoke_test", 2),
    ]
    assert [job.varied for job in jobs] == ["scenario.seed=1", "scenario.seed=2"] * 2
    assert all(job.config["duration_s"] == 9 for job in jobs)
    assert len({job.folder for job in jobs}) == 4
    assert {job.folder.parent for job in jobs} == {Path("out")}
    alone = planned("-m", "scenario=mine,ci_smoke_test", "--config-dir=own conf")
    assert [job.folder.name for job in alone] == ["mine", "ci_smoke_test"]


def test_keys_are_taken_away_and_set_anew():
    [job] = planned(
        "scenario=1000_nodes_burst_workload",
        "~scenario.workload",
        "scenario.workload={kind: at_once, count: 5}",
        "scenario.name=mine",
    )
    assert job.config["workload"] == {"kind": "at_once", "count": 5}
    assert job.folder.name == "mine"


def test_a_file_is_run_and_its_dataset_has_the_verdicts():
    data = vecsim.run("scenario=./probed.yaml", output="out")
    assert data["byzantine_nodes"].values.tolist() == [5, 5]
    [verdict] = data.vecsim.verdicts()
    assert verdict["name"] == "byzantine nodes"
    assert verdict["passed"]
    assert json.loads(data.attrs["config"])["name"] == "probed"
    again = vecsim.open("out/probed/data.nc")
    assert again.vecsim.verdicts() == data.vecsim.verdicts()
    with pytest.raises(ConfigError, match="allowed: one at a time"):
        vecsim.run("scenario=hashing_performance_regression,probed.yaml", "-m")
    Path("out/probed").chmod(0o500)  # a complete one is read where nothing can be written
    assert call("scenario=./probed.yaml", "output=out").code == 0
    Path("out/probed").chmod(0o700)


def test_a_folder_that_cannot_be_written_is_told(monkeypatch):
    Path("file").write_text("")
    told = refused_after_start(call("scenario=./probed.yaml", "output=file/below"))
    assert told == "vecsim: file/below/probed: Not a directory\n"


def refused_after_start(result):
    assert result.code == 2
    assert result.err.count("\n") == 1
    return result.err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["scenario=nobody"], "scenario is 'nobody'; allowed: all, a pattern"),
        (["scenario=none.yaml"], "scenario is 'none.yaml'; allowed: a file that is there"),
        (["scenario={a: 1}"], "scenario is {'a': 1}; allowed: all, a pattern"),
        (["scenario=ci_smoke_test,mine"], "scenario is several values; allowed: "),
        (["scenario=ci_smoke_test", "scenario.trials=1,2"], "scenario.trials is several values"),
        (["scenario=ci_smoke_test", "scenario=mine"], "scenario is set twice"),
        (["scenario.trials=2"], "scenario is not set; allowed: scenario=NAME"),
        (["scenario=ci_smoke_test", "speed=2"], "speed is no parameter of scenarios; allowed: "),
        (["scenario=ci_smoke_test", "engine.cores=x"], "engine.cores is 'x'; allowed: a whole"),
        (["scenario=ci_smoke_test", "--config-dir=none"], "--config-dir is 'none'; allowed: "),
        (["scenario=ci_smoke_test", "scenario.name=../x"], "scenario.name is '../x'; allowed: let"),
        (["scenario=ci_smoke_test", "scenario.name=.x"], "scenario.name is '.x'; allowed: letters"),
        (
            ["scenario=ci_smoke_test", "scenario.criteria=true"],
            "scenario.criteria is True; allowed",
        ),
        (["scenario=ci_smoke_test", "scenario.criteria=[1]"], "criteria[0] is 1; allowed: a map"),
        (["scenario=ci_smoke_test", "scenario.probes=1"], "scenario.probes is 1; allowed: a list"),
        (["scenario=ci_smoke_test", "scenario.variants=[1]"], "scenario.variants is [1]; allowed"),
        (
            ["scenario=ci_smoke_test", "scenario.variants={/tmp/x: {}}"],
            "a name in scenario.variants",
        ),
        (
            [
                "scenario=ci_smoke_test",
                "scenario.criteria=[{metric: tps, op: '<', threshold: nan}]",
            ],
            "criteria[0].threshold is nan; allowed: a number",
        ),
        (
            [
                "scenario=ci_smoke_test",
                "scenario.criteria=[{metric: tps, op: '<', threshold: abc}]",
            ],
            "criteria[0].threshold is 'abc'; allowed: a number",
        ),
        (
            ["scenario=ci_smoke_test", "scenario.cluster.protocol.k=abc"],
            "scenario ci_smoke_test: cluster.protocol.k is 'abc'; allowed: a whole number, 1 to",
        ),
        (
            ["scenario=ci_smoke_test", "scenario.timeline=[{at_s: 5, do: spawn_nodes, count: x}]"],
            "scenario ci_smoke_test: timeline, spawn_nodes at 5 s: count is 'x'; allowed: a whole",
        ),
    ],
)
def test_refusals(given, told, folder):
    assert refused(call(*given)).startswith(told)
    assert not (folder / "results").exists()


def test_two_scenarios_do_not_share_a_folder():
    with pytest.raises(ConfigError, match=r"scenario\.name is 'x'; allowed: a name for each"):
        planned("-m", "scenario=mine,ci_smoke_test", "--config-dir=own conf", "scenario.name=x")


def test_what_a_file_says_of_itself_does_not_steer_a_terminal():
    assert "\u202e" in finding.shows("mine", [Path("own conf")])
    shown = call("scenario=mine", "--config-dir=own conf", "output=own conf/scenario/mine.yaml")
    assert "\u202e" not in shown.out
    assert "A *small* one\\u202e." in shown.out
