"""`vecsim scenario=...`: verdicts, files, resumption and refusals."""

import contextlib
import json
import signal
import time
from subprocess import DEVNULL

import pytest
import xarray as xr
from command import assert_same, call, files, start

import vecsim
from vecsim import cluster
from vecsim.cluster import ScaleTestCluster
from vecsim.scenario import export

CRITERIA = "[{metric: avg_tps, op: '>=', threshold: 45}]"  # not the wall time, on a busy machine
QUICK = ("scenario.duration_s=20", "scenario.trials=2", f"scenario.criteria={CRITERIA}")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_scenario(folder):
    result = call("scenario=ci_smoke_test", "output=out", *QUICK)
    assert (result.code, result.err) == (0, "")
    assert "ci_smoke_test: PASSED" in result.out
    assert "avg tps" in result.out
    made = folder / "out/ci_smoke_test"
    assert sorted(path.name for path in made.iterdir()) == [
        "data.nc",
        "report.html",
        "report.md",
        "result.json",
    ]
    exported = json.loads((made / "result.json").read_text())
    export.validate(exported)
    data = vecsim.open(made / "data.nc")
    assert dict(data.sizes)["trial"] == 2
    assert exported["results"]["throughput"]["avg_tps"]["value"] == pytest.approx(50)


def test_complete_results_are_read_and_foreign_ones_refused(folder):
    assert call("scenario=ci_smoke_test", "output=out", *QUICK).code == 0
    before = files(folder / "out/ci_smoke_test")
    assert call("scenario=ci_smoke_test", "output=out", *QUICK).code == 0
    other = call("scenario=ci_smoke_test", "output=out", *QUICK, "scenario.seed=1")
    assert other.code == 2
    assert "belongs to another scenario; choose another output" in other.err
    assert files(folder / "out/ci_smoke_test") == before
    path = folder / "out/ci_smoke_test/data.nc"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    damaged = call("scenario=ci_smoke_test", "output=out", *QUICK)
    assert damaged.code == 2
    assert "data.nc is damaged: it differs from the checksum" in damaged.err
    assert damaged.err.count("\n") == 1


FAULTS = (
    "{at_s: 600, do: kill_random_nodes, count: 20}",
    "{at_s: 1500, do: create_partition, shares: [0.8, 0.2]}",
    "{at_s: 1800, do: heal_partition}",
)
SOAK = ("scenario.cluster.nodes=200", "scenario.duration_s=3600", "scenario.trials=2")
SOAK += (f"scenario.timeline=[{', '.join(FAULTS)}]", "scenario.cluster.double_spend_share=0.1")


@pytest.mark.parametrize(
    ("name", "overrides", "saves"),
    [
        ("harness_resource_monitoring", (), 1),
        pytest.param("5000_nodes_7day_endurance", SOAK, 25, marks=pytest.mark.slow),
    ],
)
def test_a_killed_scenario_goes_on(name, overrides, saves, folder):
    """kill -9 between two saves, then the same command; the second is a soak with faults, killed
    in the middle."""
    assert call(f"scenario={name}", "output=whole", *overrides).code in (0, 1)
    code = (
        "from vecsim.cluster import campaign as c, scale_test_cluster as f, window as p;"
        "c.SAVE_EVERY_S = 0; f.SEGMENT = p.SEGMENT = 2"
    )
    saved = folder / "out" / name / "partial/run/state.npz"
    seen = set()
    with start(
        f"scenario={name}", "output=out", *overrides, cwd=folder, code=code, stdout=DEVNULL
    ) as command:
        while len(seen) < saves:
            assert command.poll() is None
            with contextlib.suppress(FileNotFoundError):
                seen.add(saved.stat().st_mtime_ns)
            time.sleep(0.002)
        command.send_signal(signal.SIGKILL)
    assert command.returncode == -signal.SIGKILL
    assert saved.exists()
    assert call(f"scenario={name}", "output=out", *overrides).code in (0, 1)
    found = [
        xr.load_dataset(folder / each / name / "data.nc", engine="h5netcdf")
        for each in ("whole", "out")
    ]
    for variable in found[0].variables:
        if variable != "wall_s":
            assert found[0][variable].identical(found[1][variable]), variable


VARIANTS = """# @package _global_
scenario:
  category: load
  trials: 2
  duration_s: 5
  drain_s: 5
  variants:
    a: {cluster.nodes: 10}
    b: {cluster.nodes: 10, seed: 1}
    c: {cluster.nodes: 10, seed: 2}
  criteria:
    - {metric: avg_tps, op: ">=", threshold: 1}
"""


def test_variants_that_are_finished_survive_a_kill(folder, monkeypatch):
    """kill -9 as soon as the second is on disk; only what comes after it is simulated again."""
    (folder / "three.yaml").write_text(VARIANTS)
    assert call("scenario=three.yaml", "output=whole").code == 0
    saved = folder / "out/three/partial/b/data.nc"
    with start("scenario=three.yaml", "output=out", cwd=folder, stdout=DEVNULL) as command:
        while not saved.exists():
            assert command.poll() is None
            time.sleep(0.001)
        command.send_signal(signal.SIGKILL)
    assert command.returncode == -signal.SIGKILL
    left = [name for name in "abc" if not (saved.parents[1] / name / "data.nc").exists()]
    assert left in (["c"], [])
    simulate, seeds = cluster.simulate, []

    def counted(config, *arguments, **named):
        seeds.append(config.get("seed", 0))
        return simulate(config, *arguments, **named)

    monkeypatch.setattr(cluster, "simulate", counted)
    assert call("scenario=three.yaml", "output=out").code == 0
    assert seeds == ["abc".index(name) for name in left]
    first, second = (vecsim.open(folder / each / "three/data.nc") for each in ("whole", "out"))
    assert_same(first.drop_vars("wall_s"), second.drop_vars("wall_s"))
    assert not (folder / "out/three/partial").exists()


def test_an_interrupted_scenario_says_so(monkeypatch):
    def stopped(self, end_ms):
        raise KeyboardInterrupt

    monkeypatch.setattr(ScaleTestCluster, "step", stopped)
    result = call("scenario=harness_resource_monitoring", "output=out")
    assert result.code == 130
    assert result.err == "vecsim: stopped; the same command goes on from here\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenario=nobody"], "scenario is 'nobody'; allowed: all, a pattern"),
        (["scenario=ci_smoke_test", "speed=2"], "speed is no parameter of scenarios; allowed: "),
        (["scenario=ci_smoke_test", "scenario.speed=2"], "scenario.speed is no parameter; allowed"),
        (["scenario.seed=2"], "scenario is not set; allowed: "),
        (
            ["scenario=ci_smoke_test", "scenario.cluster.nodes=1"],
            "scenario ci_smoke_test: cluster.nodes is 1; allowed: a whole number, 2 to 20000",
        ),
    ],
)
def test_refusals(arguments, message, folder):
    result = call(*arguments)
    assert result.code == 2
    assert result.err.startswith(f"vecsim: {message}")
    assert result.err.count("\n") == 1


SKEW = "[{at_s: 60, do: set_clock_skew, count: 20, max_s: 15}]"
RED = {
    "harness_resource_monitoring": ("scenario.cluster.payload_bytes=1100", "network_mbps"),
    "harness_metrics_collection": ("scenario.workload.rate_tps=101", "avg_tps"),
    "harness_network_simulation": ("scenario.variants.local={cluster.profile: lan}", "round_trip"),
    "1000_nodes_clock_skew": (f"scenario.timeline={SKEW}", "refused_clocks"),
}


@pytest.mark.parametrize("name", RED)
def test_a_scenario_fails_where_what_it_measures_is_another(name, tmp_path):
    change, metric = RED[name]
    words = [f"scenario={name}", change, f"output={tmp_path}/out"]
    words += ["scenario.cluster.nodes=200"] * ("clock" in name)
    result = call(*words)
    assert (result.code, result.err) == (1, "")
    verdicts = xr.open_dataset(tmp_path / "out" / name / "data.nc").vecsim.verdicts()
    failed = {each["name"].replace(" ", "_") for each in verdicts if not each["passed"]}
    assert any(each.startswith(metric) for each in failed), failed
