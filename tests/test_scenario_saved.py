"""What is on disk while a scenario runs: whatever is killed when, nothing finished is lost."""

import io
import random
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from command import assert_same, call
from rich.console import Console

import vecsim
from vecsim import cluster
from vecsim.results.files import StoreError
from vecsim.scenario import arguments, command, finding, report, saved

NAMES = ("few", "some", "many")
SCENARIO = """# @package _global_
# Three variants.
scenario:
  name: three
  category: load
  trials: 2
  duration_s: 10
  cluster: {nodes: 10}
  variants:
    few: {cluster.nodes: 5}
    some: {cluster.nodes: 6}
    many: {cluster.nodes: 7}
  criteria:
    - {metric: wall_s, op: "<", threshold: 1000}
"""
KILLS = 20


class Killed(BaseException):
    """What stands for kill -9 in this process: nothing is written or removed after it."""


class Disk:
    """Every change of a file or a folder below this one, counted; at one the process dies."""

    def __init__(self, monkeypatch):
        self.count, self.last = 0, None
        for name in ("mkdir", "replace", "unlink", "rmdir", "open"):
            before = getattr(Path, name)

            def changed(path, *args, before=before, name=name, **kwargs):
                mode = args[0] if args else kwargs.get("mode", "r")
                writes = name != "open" or "r" not in mode
                # A library that sets up its own folders at first use is not counted.
                if writes and path.absolute().is_relative_to(Path.cwd()):
                    self.step()
                return before(path, *args, **kwargs)

            monkeypatch.setattr(Path, name, changed)

    def step(self):
        if self.last is not None and self.count >= self.last:
            raise Killed
        self.count += 1


def cached(function):
    once = lru_cache(function)
    return lambda *given: once(*(tuple(g) if isinstance(g, list) else g for g in given))


@pytest.fixture
def simulated(monkeypatch, tmp_path):
    """The names of variants as they are simulated, by a stand-in that saves as it goes."""
    monkeypatch.chdir(tmp_path)
    Path("conf/scenario").mkdir(parents=True)
    Path("conf/scenario/three.yaml").write_text(SCENARIO)
    for name in ("compose_scenario", "chosen"):  # composing takes longer than all the rest
        monkeypatch.setattr(finding, name, cached(getattr(finding, name)))
    begun = []

    def simulate(config, folder, tell, show):
        nodes = config["cluster"]["nodes"]
        begun.append(NAMES[nodes - 5])
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("windows-000000.npz", "state.npz"):
            with (folder / name).open("wb") as file:
                file.write(b"half of a run")
        values = np.random.default_rng(nodes).random((2, nodes))
        attrs = {"nodes": nodes, "byzantine": 0, "duration_s": 10}
        return xr.Dataset({"value": (("trial", "draw"), values)}, attrs=attrs)

    monkeypatch.setattr(cluster, "simulate", simulate)
    return begun


@lru_cache
def words():
    return arguments.read_words(["scenario=three", "--config-dir=conf"])


def run(output="out"):
    given = words()._replace(output=Path(output))
    return command.run_command(given, Console(file=io.StringIO()))


def data(output):
    return vecsim.open(f"{output}/three/data.nc").drop_vars("wall_s")


def attributes(found):
    return {key: value for key, value in found.attrs.items() if key != "verdicts"}


def test_a_kill_between_any_two_changes_on_disk_loses_no_finished_variant(simulated, monkeypatch):
    """Twenty moments, drawn with a fixed seed; a variant that was saved is never run again."""
    disk = Disk(monkeypatch)
    assert run("whole") == 0
    steps, whole = disk.count, data("whole")
    assert simulated == [*NAMES]
    assert steps > 2 * KILLS
    for moment in sorted(random.Random(5).sample(range(1, steps), KILLS)):
        output = f"out{moment}"
        simulated.clear()
        disk.count, disk.last = 0, moment
        with pytest.raises(Killed):
            run(output)
        partial = Path(output) / "three/partial"
        finished = [name for name in NAMES if (partial / name / "data.nc").is_file()]
        disk.last = None
        complete = (Path(output) / "three/data.nc").is_file()
        before = [*simulated]
        assert run(output) == 0
        expected = [name for name in NAMES if name not in finished and not complete]
        assert simulated == before + expected
        assert_same(data(output), whole)
        assert attributes(data(output)) == attributes(whole)
        assert sorted(path.name for path in (Path(output) / "three").iterdir()) == [
            "data.nc",
            "report.html",
            "report.md",
            "result.json",
        ]


def test_two_kills_in_a_row(simulated, monkeypatch):
    disk = Disk(monkeypatch)
    for moment in (30, 25):
        disk.count, disk.last = 0, moment
        with pytest.raises(Killed):
            run()
    disk.last = None
    assert run() == 0
    assert sorted(set(simulated)) == sorted(NAMES)


def test_a_damaged_variant_is_refused_and_one_of_another_scenario_too(simulated, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(report, "write_report", stop)
        with pytest.raises(KeyboardInterrupt):
            run()
    path = Path("out/three/partial/some/data.nc")
    content = path.read_bytes()
    path.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    with pytest.raises(StoreError, match=r"some/data\.nc is damaged"):
        run()
    path.write_bytes(Path("out/three/partial/few/data.nc").read_bytes())
    with pytest.raises(StoreError, match="belongs to another scenario"):
        run()
    path.write_bytes(content)
    simulated.clear()
    assert run() == 0
    assert simulated == []


def stop(*arguments):
    raise KeyboardInterrupt


def test_only_what_vecsim_wrote_is_taken_away(simulated):
    other = Path("out/three/partial/few")
    other.mkdir(parents=True)
    (other / "notes.txt").write_text("mine")
    (Path("out/three") / "list.txt").write_text("mine")
    assert run() == 0
    left = sorted(str(p.relative_to("out")) for p in Path("out").rglob("*.txt"))
    assert left == ["three/list.txt", "three/partial/few/notes.txt"]
    assert sorted(path.name for path in other.iterdir()) == ["notes.txt"]


@pytest.mark.parametrize("place", ["partial", "partial/few", ".lock"])
def test_links_are_not_followed(place, simulated, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    (there / "state.npz").write_text("another's")
    link = Path("out/three") / place
    link.parent.mkdir(parents=True)
    link.symlink_to(there / "lock" if place == ".lock" else there)
    with pytest.raises(StoreError, match="is a link, which vecsim does not follow"):
        run()
    assert {path.name: path.read_text() for path in there.iterdir()} == {"state.npz": "another's"}


def test_links_in_place_of_results_are_replaced(simulated, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("another's")
    folder = Path("out/three")
    folder.mkdir(parents=True)
    for name in ("result.json", "report.md", "report.html", "data.nc.part", "result.json.part"):
        (folder / name).symlink_to(outside)
    assert run() == 0
    assert outside.read_text() == "another's"
    assert not any(path.is_symlink() for path in folder.iterdir())


def test_one_process_at_a_time(simulated):
    with saved.locked(Path("out/three")):
        result = call("scenario=three", "output=out", "--config-dir=conf")
    assert result.code == 2
    assert result.err == (
        "vecsim: out/three is being written by another process; wait or choose another output\n"
    )
    assert run() == 0
    assert not Path("out/three/.lock").exists()


def test_a_full_disk_is_told_in_one_line_and_is_no_failed_criterion(simulated, monkeypatch):
    before = Path.open

    def full(self, mode="r", *args, **kwargs):
        if "r" in mode:
            return before(self, mode, *args, **kwargs)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    result = call("scenario=three", "output=out", "--config-dir=conf")
    assert result.code == 74
    assert result.err.endswith("No space left on device\n")
    assert result.err.count("\n") == 1
    monkeypatch.undo()


def test_an_error_of_vecsims_own_is_no_failed_criterion(simulated, monkeypatch):
    monkeypatch.setattr(command, "run_scenario", lambda *given: 1 / 0)
    result = call("scenario=three", "output=out", "--config-dir=conf")
    assert result.code == 3
    assert "ZeroDivisionError" in result.err


def test_a_changed_result_is_refused_and_a_lost_report_written_again(simulated):
    assert run() == 0
    folder = Path("out/three")
    before = (folder / "report.md").read_bytes()
    (folder / "report.md").unlink()
    assert run() == 0
    assert (folder / "report.md").read_bytes() == before
    text = (folder / "result.json").read_text()
    (folder / "result.json").write_text(text.replace('"PASSED"', '"NOT PASSED"'))
    with pytest.raises(StoreError, match=r"result\.json is damaged"):
        run()
    assert simulated == [*NAMES]
