"""What `watch` shows, where, and that it is right."""

import contextlib
import importlib.util
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import made
import numpy as np
import pytest
from command import call, refused, start
from prometheus_client.parser import text_string_to_metric_families
from test_obey import experiment

import vecsim
from vecsim.errors import ConfigError
from vecsim.results.estimate import Precision, clopper_pearson, enough, stopping_level
from vecsim.results.measures.measure import measure
from vecsim.results.measures.variables import MODELLED
from vecsim.scenario import simulate
from vecsim.studies.dimensions import Dimension
from vecsim.studies.executors.executor import LOST, InProcess
from vecsim.watching import memory, place, scenario, study
from vecsim.watching import watch as watching
from vecsim.watching.scenario_metrics import SCENARIO_METRICS, SHOWN
from vecsim.watching.study import STUDY_METRICS
from vecsim.watching.watch import WATCH_METRICS, Watch, watched

PAGE = Path(__file__).parent.parent / "docs/watching.md"
# Half a second of one core.
SMALL = "protocol=slush", "n=50", "trials=40", "sweep.byzantine_fraction=[0,0.1,0.2]"
PRECISE = "precision={target: unanimous, half_width: 0.2, min_trials: 10}"
SCENARIO = """
scenario:
  category: chaos
  trials: 2
  duration_s: 30
  drain_s: 0
  window_s: 1
  cluster: {nodes: 20, byzantine_fraction: 0.2}
  workload: {kind: constant, rate_tps: 20}
  criteria:
    - {metric: avg_tps, op: ">", threshold: 0}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by metric, by those labels that are not the same for all metrics."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    own = ("study", "store", "output", "scenario", "source")
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            name = sample.name.removeprefix("vecsim_study_").removeprefix("vecsim_scenario_")
            key = tuple(value for label, value in sample.labels.items() if label not in own)
            found.setdefault(name, {})[key] = sample.value
    return found


def alone(values: dict[tuple[str, ...], float]) -> float:
    [value] = values.values()
    return value


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def fetched(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return answer.read().decode()


@pytest.mark.parametrize("workers", ["null", "2"])
def test_a_study_with_a_precision(workers):
    words = (*SMALL, PRECISE, f"engine.workers={workers}", "output=out", "watch=a.prom")
    result = call(*words)
    assert (result.code, result.err) == (0, "")
    values = parsed(Path("a.prom").read_text())
    data = vecsim.open("out")
    there = data["rounds"].notnull()
    assert values["vecsim_running"] == {(): 0}
    assert (
        alone(values["points"]) == alone(values["points_done"]) == data.sizes["byzantine_fraction"]
    )
    assert alone(values["chunks"]) == alone(values["chunks_done"])
    assert alone(values["trials"]) == alone(values["trials_done"]) == 120
    run = np.asarray(there.sum("trial")).ravel()
    assert alone(values["trials_run_total"]) == run.sum() == alone(values["precision_trials"])
    rate = data.vecsim.rate("unanimous")
    events = np.asarray(rate["events"]).ravel()
    assert alone(values["precision_events"]) == events.sum()
    assert alone(values["points_settled"]) == 3
    assert alone(values["target_half_width"]) == 0.2
    low, high = clopper_pearson(events, run, stopping_level())
    for number, fraction in enumerate(("0", "0.1", "0.2")):
        [label] = [key for key in values["point_trials"] if key[0].startswith(f"{number}: ")]
        assert label == (f"{number}: byzantine_fraction={float(fraction):g}",)
        assert values["point_trials"][label] == run[number]
        assert values["point_events"][label] == events[number]
        half = (high[number] - low[number]) / 2
        np.testing.assert_allclose(values["point_half_width"][label], half, rtol=1e-12)
    hosts = data.attrs["workers"]
    assert set(values["workers"]) == set(values["core_seconds_total"])
    assert 1 <= alone(values["workers"]) <= 2
    assert f'"core_s": {alone(values["core_seconds_total"]):.3f}'.rstrip("0") in str(hosts)
    assert alone(values["node_rounds_total"]) > run.sum() * 50
    assert alone(values["workers_lost_total"]) == 0
    limit = alone(values["memory_limit_bytes"])
    assert 5e7 < alone(values["resident_memory_bytes"]) < limit < 2**50
    assert time.time() - 60 < alone(values["last_chunk_timestamp_seconds"]) < time.time()
    # Again, when there is nothing left to compute.
    assert call(*words).code == 0
    assert parsed(Path("a.prom").read_text()).keys() == {metric.name for metric in WATCH_METRICS}
    assert sorted(Path().glob("a*")) == [Path("a.prom")]


def test_two_studies_of_one_command():
    words = "defence=[off,on]", "n=30", "trials=5", "campaign.trials=2", "campaign.duration_s=20"
    assert call(*words, "output=out", "watch=a.prom").code == 0
    text = Path("a.prom").read_text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    rows = {each.labels["store"]: each.value for each in families["vecsim_study_trials"].samples}
    assert rows == {"data": 5, "defended": 2}


class Halting(made.Made):
    """Waits before its third chunk."""

    reached, go_on = threading.Event(), threading.Event()
    chunk = 0

    def compute(self, numbers, trials):
        Halting.chunk += 1
        if Halting.chunk == 3:
            self.reached.set()
            assert self.go_on.wait(60)
        return super().compute(numbers, trials)


def test_a_study_at_an_address_while_it_runs(tmp_path):
    """50 points in chunks of 2 points and 4 trials, three chunks of which are begun."""
    port, precision = free_port(), Precision("unanimous", 0.01, 4, 16)
    shown = made.study([*range(1, 51)], 16, precision)

    def run() -> None:
        with watched(place.read_place(f"127.0.0.1:{port}"), Path("out")) as watch:
            reporter = study.watching_reporter(made.Silent(), watch, shown, "data.zarr")
            assert isinstance(reporter, study.WatchedStudy)
            work = Halting(shown)
            made.runner.run_study(work, tmp_path / "data.zarr", {}, reporter, InProcess(work))

    running = threading.Thread(target=run)
    running.start()
    try:
        assert Halting.reached.wait(60)
        values = parsed(fetched(port))
        with pytest.raises(
            ConfigError, match=rf"watch is '127.0.0.1:{port}'; allowed: an address "
        ):
            watched(place.read_place(f"127.0.0.1:{port}"), Path("out")).__enter__()
    finally:
        Halting.go_on.set()
        running.join()
    assert values["vecsim_running"] == {(): 1}
    assert [alone(values[name]) for name in ("chunks", "chunks_done")] == [100, 2]
    assert [alone(values[name]) for name in ("points", "points_done")] == [50, 1]
    assert [alone(values[name]) for name in ("trials", "trials_run_total")] == [800, 16]
    assert len(values["point_half_width"]) == 2
    assert alone(values["left_seconds"]) > 0
    assert "node_rounds_total" not in values
    with pytest.raises(urllib.error.URLError):
        fetched(port)


def test_a_file_after_an_interruption_and_after_a_kill():
    endless = "protocol=slush", "n=400", "trials=3000000", "engine.cores=1", "output=out"
    endless = *endless, "engine.memory_mb=1"
    for stop, code, runs in ((signal.SIGINT, 130, 0), (signal.SIGKILL, -9, 1)):
        Path("a.prom").unlink(missing_ok=True)
        often = "from vecsim.watching import watch; watch._EVERY_S = 0.1"
        given = {"cwd": Path.cwd(), "code": often, "stdout": subprocess.DEVNULL}
        with start(*endless, "watch=a.prom", **given) as running:
            end, values, none = time.monotonic() + 60, {}, {(): 0.0}
            while values.get("trials_run_total", none) == none and time.monotonic() < end:
                time.sleep(0.1)
                if Path("a.prom").exists():
                    values = parsed(Path("a.prom").read_text())
            running.send_signal(stop)
            assert running.wait(30) == code
        values = parsed(Path("a.prom").read_text())
        assert values["vecsim_running"] == {(): runs}
        assert 0 < alone(values["trials_run_total"]) < 3000000


def test_points_are_named_to_a_bound():
    dimensions = [Dimension("n", "n", [10, 20]), Dimension("a.b", "b", ["x" * 200, *range(99)])]
    shown = made.study([*range(1, 201)], 40)._replace(dimensions=dimensions)
    assert study.label_of(shown, 100) == f"100: n=20, b={'x' * 200}"[:77] + "..."
    assert study.label_of(shown, 199) == "199: n=20, b=98"
    assert study.label_of(made.study([1], 9)._replace(dimensions=[]), 0) == "0"
    labels = {study.label_of(shown, number) for number in range(200)}
    assert len(labels) == 200
    assert max(map(len, labels)) == 80


def test_widths_are_those_by_which_points_stop():
    precision, random = Precision("unanimous", 0.15, 20, 200), np.random.default_rng(5)
    widths, counted = study.Widths(precision, 300), np.zeros(300, int)
    events = counted.copy()
    assert widths.widest(20) == []
    for _ in range(4):
        some = random.integers(0, 40, 300) * (random.random(300) < 0.5)
        counted += some
        events += random.binomial(some, random.random(300))
        widths.update(events.copy(), counted.copy())
        there = counted > 0
        low, high = clopper_pearson(events[there], counted[there], stopping_level())
        np.testing.assert_array_equal(widths.half[there], (high - low) / 2)
        assert widths.settled == enough(events[there], counted[there], precision).sum()
        most = np.sort((high - low) / 2)[::-1][:20]
        np.testing.assert_array_equal(widths.half[widths.widest(20)], most)
    assert 0 < widths.settled < 300


def test_workers_that_are_lost_are_counted():
    watch, silent = Watch(Path("out")), made.Silent()
    shown = made.study([1, 2, 3], 8)
    reporter = study.watching_reporter(silent, watch, shown, "data.zarr")
    assert study.watching_reporter(silent, None, shown, "data.zarr") is silent
    reporter.tell("no worker yet")
    reporter.tell(LOST)
    reporter.tell(LOST)
    assert silent.told == ["no worker yet", LOST, LOST]
    work = made.Made(shown)
    made.runner.run_study(work, Path("data.zarr"), {}, reporter, InProcess(work))
    [source] = watch.sources
    values = {each.metric.name: each.value for each in source.readings()}
    assert values["vecsim_study_workers_lost_total"] == 2
    assert values.keys() <= {metric.name for metric in STUDY_METRICS.values()}


def test_a_scenario_is_shown_as_it_is_stored():
    """Its last values are those of its dataset, over the last ten seconds."""
    Path("small.yaml").write_text(SCENARIO)
    result = call("scenario=./small.yaml", "output=out", "watch=a.prom")
    assert (result.code, result.err) == (0, "")
    text = Path("a.prom").read_text()
    values, data = parsed(text), vecsim.open("out/small/data.nc")
    own = ("",)  # no variant
    assert values["vecsim_running"] == {(): 0}
    for name, number in (("suite_scenarios", 1), ("suite_done", 1), ("suite_failed", 0)):
        assert values[name] == {(): number}
    run = {"simulated_seconds": 30, "simulated_end_seconds": 30, "nodes": 20, "trials": 2}
    for name, number in (run | {"byzantine_nodes": 4}).items():
        assert values[name] == {own: number}
    for name in ("issued", "finalised", "dropped"):
        counted = measure(data, name, "sum").mean()
        np.testing.assert_allclose(values[f"{name}_vertices_total"][own], counted)
    compared = 0
    for shown in SHOWN:
        name = shown.metric.name.removeprefix("vecsim_scenario_")
        for label, series in shown.series.items():
            wanted = measure(data, series.name, series.statistic, (20.0, None)).mean()
            key = next(key for key in values[name] if not label or label in key)
            np.testing.assert_allclose(values[name][key], wanted * series.factor, rtol=1e-6)
            compared += 1
            assert shown.metric.source == ("modelled" if series.name in MODELLED else "measured")
    assert compared == 33
    sources = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sources[sample.name] = sample.labels.get("source", "")
    assert sources == {
        metric.name: metric.source for metric in (*WATCH_METRICS, *SCENARIO_METRICS.values())
    }
    # One that is complete is only read.
    assert call("scenario=./small.yaml", "output=out", "watch=a.prom").code == 0
    again = parsed(Path("a.prom").read_text())
    assert again["suite_done"] == {(): 1}
    assert "simulated_seconds" not in again


def test_a_scenario_that_is_shorter_than_ten_seconds():
    """All of it is shown."""
    Path("small.yaml").write_text(SCENARIO.replace("30", "4"))
    result = call("scenario=./small.yaml", "output=out", "watch=a.prom")
    assert (result.code, result.err) == (0, "")
    values = parsed(Path("a.prom").read_text())
    assert values["simulated_seconds"] == {("",): 4}
    issued = measure(vecsim.open("out/small/data.nc"), "issued", "sum").mean()
    assert values["issued_vertices_total"] == {("",): issued}
    assert values["offered_vertices_per_second"][("",)] == issued / 4


def test_a_scenario_that_goes_on_counts_what_was_before(monkeypatch):
    """And shows each variant under its name."""
    text = SCENARIO.replace("30", "200") + "  variants: {a: {seed: 1}, b: {seed: 2}}\n"
    Path("small.yaml").write_text(text)
    from vecsim.cluster import campaign

    monkeypatch.setattr(campaign, "SAVE_EVERY_S", 0.0)
    config = simulate.prepare(scenario_config("small.yaml"))
    seen = []

    def stop(variant, cluster) -> None:
        if variant == "b" and cluster.now_ms > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate.run_scenario(config, Path("partial"), show=stop)
    watch = Watch(Path("out"))
    shown = scenario.WatchedScenarios(watch, 1)
    show = shown.of("small")

    def showing(variant, cluster) -> None:
        show(variant, cluster)
        seen.append((variant, cluster.now_ms))

    data, _ = simulate.run_scenario(config, Path("partial"), show=showing)
    assert seen[0][0] == "b"  # a was complete
    assert seen[0][1] > 60_000
    values = {each.metric.name: each for each in shown.readings() if len(each.labels) == 4}
    issued = values["vecsim_scenario_issued_vertices_total"]
    assert issued.labels == ("small", "b", "out", "measured")
    assert issued.value == measure(data, "issued", "sum", variant="b").mean()


def scenario_config(path: str):
    from vecsim.scenario import finding

    return finding.compose_scenario(path)


def test_a_file_is_always_whole(monkeypatch):
    monkeypatch.setattr(watching, "_EVERY_S", 0.001)
    numbers = []
    with watched(place.read_place("a.prom"), Path("out")) as watch:
        assert watch is not None
        watch.sources.append(Many())
        end = time.monotonic() + 2
        while time.monotonic() < end:
            values = parsed(Path("a.prom").read_text())
            numbers.append(alone(values["vecsim_updated_timestamp_seconds"]))
            if len(numbers) > 1 and "points" in values:
                assert len(values["points"]) == 500
    assert len(set(numbers)) > 10
    assert numbers == sorted(numbers)
    assert [path.name for path in Path().iterdir()] == ["a.prom"]


class Many:
    """Enough to read that a file takes time to write."""

    def readings(self):
        metric = STUDY_METRICS["points"]._replace(labels=("host",))
        return [watching.Reading(metric, (str(number),), number) for number in range(500)]


def test_a_file_that_cannot_be_written_any_more(monkeypatch, capsys):
    """The run goes on; in the end it is said."""
    Path("there").mkdir()
    with watched(place.read_place("there/a.prom"), Path("out")):
        Path("there/a.prom").unlink()
        Path("there").rmdir()
    assert capsys.readouterr().err == "vecsim: watch: there/a.prom: No such file or directory\n"


@pytest.mark.parametrize(
    "value",
    [
        *("0.0.0.0:9464", "192.168.0.1:9464", "example.org:9464", "127.0.0.1", ":9464", "9464"),
        *("127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:123456", "127.1:9464", "128.0.0.1:80"),
        *("[::]:9464", "[fe80::1]:9464", "::1:9464", "[::ffff:127.0.0.1]:9464", "[127.0.0.1]:80"),
        *(
            "127.0.0.1:٨٠",
            "127.0.0.1:80/metrics",
            "http://127.0.0.1:80",
            "a.txt",
            "",
            "[::1%lo]:80",
        ),
        *(9464, True, ["a.prom"], {"a": 1}, 1.5),
    ],
)
def test_what_is_no_place(value):
    with pytest.raises(ConfigError, match=r"^watch is .*; allowed: null, FILE.prom, or ADDRESS:P"):
        place.read_place(value)


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        *(("127.0.0.1:9464", "127.0.0.1", 9464), ("127.8.9.1:1", "127.8.9.1", 1)),
        *(("localhost:65535", "127.0.0.1", 65535), ("[::1]:80", "::1", 80)),
    ],
)
def test_what_is_an_address(value, host, port):
    assert place.read_place(value) == place.Address(host, port, value)


def test_refusals_before_anything_is_computed(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        Path("small.yaml").write_text(SCENARIO)
        Path("folder.prom").mkdir()
        for value, told in (
            (address, "an address that can be had (Address already in use)"),
            ("none/a.prom", "a file in a folder that is there"),
            ("folder.prom", "a file, not a folder"),
        ):
            wanted = f"watch is '{value}'; allowed: {told}"
            for what in (SMALL, ("scenario=./small.yaml",)):
                assert refused(call(*what, f"watch={value}", "output=out")) == wanted
    told = refused(call("-m", *SMALL, "seed=1,2", "watch=a.prom"))
    assert (
        told == "watch is 'a.prom'; allowed: null with -m, whose jobs would be shown in one place"
    )
    told = refused(call(*experiment(Path(), "watch: a.prom\n")))
    assert told == "watch is set by a file; allowed: watch=... on the command line"
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        told = "null without prometheus-client, which vecsim[watch] brings"
        assert refused(call(*SMALL, "watch=a.prom")) == f"watch is 'a.prom'; allowed: {told}"
    assert not Path("out").exists()
    assert not Path("results").exists()
    assert not Path("a.prom").exists()


def test_the_limit_of_a_control_group(tmp_path, monkeypatch):
    machine = memory.limit_bytes()
    groups, proc = tmp_path / "groups", tmp_path / "proc"
    proc.mkdir()
    monkeypatch.setattr(memory, "_CGROUPS", groups)
    monkeypatch.setattr(memory, "_PROC", proc)
    assert memory.limit_bytes() >= machine
    assert memory.resident_bytes() is None

    def limit(path: str, value: str, name: str = "memory.max") -> int:
        file = groups / path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
        return memory.limit_bytes()

    (proc / "cgroup").write_text("0::/a/b\n")
    assert limit("a/b", "max") >= machine
    assert limit("a", "5000") == 5000
    assert limit("a/b", "4000") == 4000
    assert limit("a", "3000") == 3000
    (proc / "cgroup").write_text("0::/of/the/host\n")
    assert limit("", "2000") == 2000
    (proc / "cgroup").write_text("9:cpu:/a\n5:memory,freezer:/a\n")
    assert limit("memory/a", "1000", "memory.limit_in_bytes") == 1000


def unit(name: str) -> str:
    """What Prometheus' conventions put into the name."""
    for ending, said in (
        ("timestamp_seconds", "s since 1970"),
        ("core_seconds_total", "core-seconds"),
        ("bytes_per_second", "bytes/s"),
        ("vertices_per_second", "vertices per simulated s"),
        ("_per_second", "1/s"),
        ("simulated_seconds", "simulated s"),
        ("simulated_end_seconds", "simulated s"),
        ("node_disk_latency_seconds", "simulated s"),
        ("scenario_latency_seconds", "simulated s"),
        ("_seconds", "s"),
        ("_bytes", "bytes"),
        ("_ratio", "share"),
    ):
        if name.endswith(ending):
            return said
    return "share" if name.endswith(("guard", "reputation", "half_width")) else "number"


def rows() -> list[str]:
    """The tables of the page."""
    found = []
    for metrics in (WATCH_METRICS, STUDY_METRICS.values(), SCENARIO_METRICS.values()):
        own = {"study", "store", "output", "scenario", "variant", "source"}
        for metric in metrics:
            labels = ", ".join(f"`{each}`" for each in metric.labels if each not in own)
            name = f"`{metric.name}`{f' by {labels}' if labels else ''}"
            about = (unit(metric.name), metric.source or "measured", metric.help)
            found.append(f"| {name} | {' | '.join(about)} |")
    return found


def test_the_page_lists_all_metrics():
    listed = [line for line in PAGE.read_text().splitlines() if line.startswith("| `vecsim_")]
    assert listed == rows()


def test_names_are_as_prometheus_wants_them():
    metrics = (*WATCH_METRICS, *STUDY_METRICS.values(), *SCENARIO_METRICS.values())
    assert len({metric.name for metric in metrics}) == len(metrics) > 60
    for metric in metrics:
        assert metric.help.endswith(".")
        assert not {"quantile", "le", "instance", "job"} & set(metric.labels)
        with contextlib.suppress(KeyError):
            assert STUDY_METRICS[metric.name.removeprefix("vecsim_study_")] is metric
