"""A real Prometheus reads a real study and a real scenario; every rule and panel has its data."""

import contextlib
import copy
import importlib
import json
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from command import call, start
from processes import end, free_ports, listening, require, wait_until

from vecsim.watching.scenario_metrics import SCENARIO_METRICS
from vecsim.watching.study import STUDY_METRICS

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
RULES = DEPLOY / "prometheus/rules.yml"
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
# They go on for an hour and more, and are stopped. The interval of a rate without exceptions has
# this half width after 1.9 million trials, of 10,000 nodes each.
ENDLESS = (
    *("protocol=slush", "n=10000", "trials=3000000", "engine.name=agents", "output=study"),
    *("sweep.byzantine_fraction=[0,0.1]", "engine.memory_mb=2", "engine.workers=1"),
    "precision={target: unanimous, half_width: 0.000001, min_trials: 500}",
)
SCENARIO = """
scenario:
  category: soak
  trials: 2
  duration_s: 900000
  window_s: 1
  cluster: {nodes: 50, byzantine_fraction: 0.2}
  workload: {kind: constant, rate_tps: 50}
  criteria:
    - {metric: avg_tps, op: ">", threshold: 0}
"""
COMPARED = re.compile(r"\s(?:==|!=|>=|<=|>|<)(?: bool)?\s")
JOINED = re.compile(r"\s(?:and|or|unless)\b(?:\s+(?:on|ignoring)\s*\([^)]*\))?")


def needed(program: str, package: str) -> str:
    """The path of a program."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/bin")
    require("" if found else f"{program} is not installed (Debian package {package})")
    assert found
    return found


def promtool(*arguments: str | Path, given: str | None = None) -> subprocess.CompletedProcess:
    command = [needed("promtool", "prometheus"), *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)


class Running(NamedTuple):
    """What runs, and where. processes: by name; ports: of those that listen."""

    processes: dict[str, subprocess.Popen]
    ports: dict[str, int]

    def asked(self, what: str, **words: str) -> Any:
        """What Prometheus answers; ValueError with its reason where it refuses."""
        query = urllib.parse.urlencode(words)
        address = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/{what}?{query}"
        try:
            with urllib.request.urlopen(address, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def value(self, expression: str) -> list:
        """What an expression gives now: samples; of a number, its two."""
        return self.asked("query", query=expression)["result"]

    def shown(self, name: str) -> str:
        """The page that vecsim serves."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}", timeout=20) as answer:
            return answer.read().decode()


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Running]:
    """Prometheus with vecsim's configuration (but every second, and other ports), node_exporter, a
    study and a scenario, all on loopback."""
    prometheus = needed("prometheus", "prometheus")
    exporter = needed("prometheus-node-exporter", "prometheus-node-exporter")
    folder = tmp_path_factory.mktemp("prometheus")
    ports = free_ports("prometheus", "node", "study", "scenario")
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    assert config["rule_files"] == [RULES.name]
    config["rule_files"] = [str(RULES)]
    config["global"] = dict.fromkeys(config["global"], "1s")
    [vecsim] = config["scrape_configs"]
    assert vecsim["static_configs"] == [{"targets": ["127.0.0.1:9464"]}]
    targets = [
        {"targets": [f"127.0.0.1:{port}"]} for name, port in ports.items() if name != "prometheus"
    ]
    vecsim["static_configs"] = targets
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "small.yaml").write_text(SCENARIO)
    (folder / "text").mkdir()
    here = "127.0.0.1"
    commands = {
        "prometheus": [
            *(prometheus, f"--config.file={folder / 'prometheus.yml'}"),
            *(f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"),
            f"--web.listen-address={here}:{ports['prometheus']}",
        ],
        "node": [
            *(exporter, f"--web.listen-address={here}:{ports['node']}", "--log.level=warn"),
            *("--collector.disable-defaults", "--collector.textfile"),
            f"--collector.textfile.directory={folder / 'text'}",
        ],
    }
    words = {
        "study": [*ENDLESS, f"watch={here}:{ports['study']}"],
        "scenario": [
            "scenario=./small.yaml",
            "output=scenario",
            f"watch={here}:{ports['scenario']}",
        ],
    }
    with contextlib.ExitStack() as stack:
        started: dict[str, subprocess.Popen] = {}
        stack.callback(lambda: end(started.values()))
        for name, command in commands.items():
            started[name] = subprocess.Popen(command, cwd=folder)
        with pytest.MonkeyPatch.context() as patch:  # a file of another command, which is done
            patch.chdir(folder)
            small = "protocol=slush", "n=50", "trials=20", "output=done"
            assert call(*small, "watch=text/done.prom").code == 0
        quiet = {
            "stdout": subprocess.DEVNULL,
            "env": {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"},
        }
        for name, given in words.items():
            started[name] = start(*given, cwd=folder, **quiet)
        made = Running(started, ports)

        def all_up() -> bool:
            with contextlib.suppress(OSError):
                return len(made.value("up == 1")) == len(targets)
            return False

        wait_until(all_up, 120, "Prometheus reads all targets", list(started.values()))
        yield made
        for name in words:
            started[name].send_signal(signal.SIGINT)
            assert started[name].wait(30) == 130


def wait_for_data(running: Running, wanted: dict[str, str]) -> None:
    """Wait until expressions have data of what still runs: where each stands, by expression."""
    missing = dict(wanted)

    def none_missing() -> bool:
        for expression in [*missing]:
            found = running.value(expression)
            if any(not isinstance(s, dict) or s["metric"].get("output") != "done" for s in found):
                del missing[expression]
        return not missing

    try:
        wait_until(none_missing, 240, "all have data", list(running.processes.values()))
    except TimeoutError:
        raise AssertionError(f"no data: {missing}") from None


def rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def compared(expression: str) -> list[str]:
    """What an alert compares: the sides of every comparison in it."""
    return [side for part in JOINED.split(expression) for side in COMPARED.split(part)]


def expressions(dashboard: dict[str, Any]) -> dict[str, str]:
    """As Grafana sends them with all chosen: where each stands, by expression."""
    found = {}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            text = re.sub(r"\$\w+", ".*", target["expr"])
            found[text] = panel["title"]
    return found


def lost(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """What is in one document and not in another."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key not in after:
                yield f"{where}.{key}"
            else:
                yield from lost(value, after[key], f"{where}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from lost(*pair, f"{where}[{number}]")
    elif before != after:
        yield where


def test_what_an_alert_compares():
    found = compared("time() - a > 600 and b < c and on (x, y) d == 1")
    assert [each.strip() for each in found] == ["time() - a", "600", "b", "c", "d", "1"]


def test_every_metric_is_in_a_panel_or_a_rule():
    shown = " ".join([path.read_text() for path in DASHBOARDS] + [rule["expr"] for rule in rules()])
    for metric in (*STUDY_METRICS.values(), *SCENARIO_METRICS.values()):
        assert re.search(rf"\b{metric.name}\b", shown), metric.name


def test_promtool_accepts_configuration_and_rules():
    for kind, name in (("config", "prometheus.yml"), ("rules", "rules.yml")):
        checked = promtool("check", kind, DEPLOY / "prometheus" / name)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert f"{len(rules())} rules found" in checked.stdout
    tested = promtool("test", "rules", DEPLOY / "prometheus/rules_test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_case(tmp_path):
    """One that never fires is found by the tests of rules, and so is one that always does."""
    shutil.copy(DEPLOY / "prometheus/rules_test.yml", tmp_path)
    text = yaml.safe_load(RULES.read_text())
    alerts = [rule["alert"] for rule in rules() if "alert" in rule]
    assert len(alerts) == len(set(alerts))
    for name in alerts:
        for other in ("vector(1) > 2", "vector(1)"):
            changed = copy.deepcopy(text)
            [rule] = [r for g in changed["groups"] for r in g["rules"] if r.get("alert") == name]
            rule["expr"] = other
            (tmp_path / "rules.yml").write_text(yaml.safe_dump(changed))
            tested = promtool("test", "rules", tmp_path / "rules_test.yml")
            assert tested.returncode == 1, (name, other)
            assert f"alertname: {name}" in tested.stdout + tested.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_put_together_well(path):
    board = json.loads(path.read_text())
    assert board["uid"] == f"vecsim-{path.stem}"
    source = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    [prometheus] = source["datasources"]
    wanted = {"type": prometheus["type"], "uid": prometheus["uid"]}
    panels, taken = board["panels"], set()
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["title"], panel["type"]) for panel in panels}) == len(panels)
    names = {variable["name"] for variable in board["templating"]["list"]}
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not taken & cells
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)) > 0
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= names
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == wanted
        shown = {
            metric.source
            for metric in SCENARIO_METRICS.values()
            for target in panel["targets"]
            if re.search(rf"\b{metric.name}\b", target["expr"])
        }
        assert ("modelled" in shown) == panel["title"].endswith(", modelled")
        assert len(shown) < 2 or "modelled" not in shown
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/vecsim.yml").read_text())
    [folder] = [each["options"]["path"] for each in provider["providers"]]
    assert folder == "/var/lib/grafana/dashboards"  # where compose.yaml has them


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_grafanas_own_types_know_every_field(path):
    """Its Python types drop a field that they do not know, without a word: none may be missing once
    they have read a dashboard and written it again."""
    sdk = "grafana_foundation_sdk"
    encoder, plugins, models = (
        importlib.import_module(f"{sdk}.{name}")
        for name in ("cog.encoder", "cog.plugins", "models.dashboard")
    )
    plugins.register_default_plugins()

    def written(board: dict[str, Any]) -> dict[str, Any]:
        read = models.Dashboard.from_json(copy.deepcopy(board))
        return json.loads(encoder.JSONEncoder().encode(read))

    board = json.loads(path.read_text())
    assert list(lost(board, written(board))) == []
    wrong = copy.deepcopy(board)
    wrong["panels"][0]["targets"][0]["legendFormt"] = ""
    assert list(lost(wrong, written(wrong))) == [".panels[0].targets[0].legendFormt"]


def test_only_loopback(running):
    numbers = [each.pid for each in running.processes.values()]
    assert len(numbers) == 4
    for addresses in listening(numbers).values():
        assert addresses == {"127.0.0.1"}


def test_every_rule_has_data(running):
    wanted, alerts = {}, 0
    for rule in rules():
        if "record" in rule:
            wanted |= {rule["expr"]: rule["record"], rule["record"]: "as it is recorded"}
        else:
            alerts += 1
            sides = compared(rule["expr"])
            assert len(sides) >= 2
            wanted |= dict.fromkeys(sides, rule["alert"])
    assert alerts == 11
    wait_for_data(running, wanted)
    groups = running.asked("rules")["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(health.values()) == {"ok"}
    assert len(health) == len(rules())


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_has_data(path, running):
    dashboard = json.loads(path.read_text())
    wanted = expressions(dashboard)
    assert len(wanted) > 25
    wait_for_data(running, wanted)
    for variable in dashboard["templating"]["list"]:
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert match
        selector = re.sub(r"\$\w+", ".*", match[1])
        values = running.asked(f"label/{match[2]}/values", **{"match[]": selector})
        assert set(values) & {"study", "small", "scenario"}


def test_prometheus_has_what_vecsim_shows(running):
    kinds = re.compile(r"^# TYPE (\S+)", re.MULTILINE)
    for name in ("study", "scenario"):

        def begun(name: str = name) -> bool:  # some are shown from the first chunk on
            return len(kinds.findall(running.shown(name))) > 20

        wait_until(begun, 120, f"{name} shows all", list(running.processes.values()))
        text = running.shown(name)
        checked = promtool("check", "metrics", given=text)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
        names = set(kinds.findall(text))
        instance = f"127.0.0.1:{running.ports[name]}"
        wait_for_data(running, {f'{each}{{instance="{instance}"}}': each for each in names})
    total = running.value("vecsim_study_trials")
    trials = {each["metric"]["output"]: each["value"][1] for each in total}
    assert trials == {"study": "6000000", "done": "20"}
    both = running.value('vecsim_scenario_node_memory_bytes{source="modelled"}')
    assert {each["metric"]["node"] for each in both} == {"mean", "busiest"}
    told = running.asked("metadata", metric="vecsim_study_trials_run_total")
    [about] = told["vecsim_study_trials_run_total"]
    assert about["type"] == "counter"
    assert about["help"] == "Trials that this command has run."


def test_values_go_on(running):
    for name in ("vecsim_study_trials_run_total", "vecsim_scenario_simulated_seconds"):
        before = max(float(each["value"][1]) for each in running.value(name))

        def more(name: str = name, before: float = before) -> bool:
            return max(float(each["value"][1]) for each in running.value(name)) > before

        wait_until(more, 60, f"{name} grows", list(running.processes.values()))


def test_a_file_is_read_by_node_exporter(running):
    assert running.value('vecsim_running{output="done"}')[0]["value"][1] == "0"
    for name, value in (("vecsim_study_trials_run_total", "20"), ("vecsim_study_points", "1")):
        [found] = running.value(f'{name}{{output="done"}}')
        assert found["value"][1] == value
    assert running.value("node_textfile_scrape_error")[0]["value"][1] == "0"
