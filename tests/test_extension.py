"""Studies that are given more trials or values: as if asked for at once, nothing computed twice."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import assert_same, call, files

import vecsim
from vecsim import progress, report
from vecsim.studies import decisions
from vecsim.studies.decisions import Engines
from vecsim.studies.design.designs import Designs
from vecsim.studies.threshold import Threshold

TESTS = Path(__file__).parent

REST = ("byzantine_fraction=0.2",)
PROVENANCE = {"command", "started", "wall_time_s", "extends", "workers"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def computed(monkeypatch):
    """How often each trial of each point has been computed; outcomes are made up, and cheap."""
    count: dict[tuple[int, int], int] = {}

    def made_up(self, work):
        parts = []
        for point, _, trials in work:
            for trial in trials:
                key = point.hash(), int(trial)
                count[key] = count.get(key, 0) + 1
                parts.append(np.random.default_rng(key).random(len(self.variables)))
        values = np.array(parts).T
        named = zip(self.variables, values, strict=True)
        found = {v.name: (100 * array).astype(v.dtype) for v, array in named}
        stalled = found["rounds"] < 100 * work[0][0].byzantine_fraction
        return found | {"undecided": np.where(stalled, 9, 0).astype(np.int32)}

    monkeypatch.setattr(Engines, "run", made_up)
    return count


def stored(store: Path) -> dict[str, bytes]:
    """Every file but for the attributes, and these but for what tells where values come from."""
    found = files(store)
    found.pop("vecsim/checksums")  # of the attributes too
    root = json.loads(found.pop("zarr.json"))
    kept = {key: value for key, value in root["attributes"].items() if key not in PROVENANCE}
    return found | {"attributes": json.dumps(kept, sort_keys=True).encode()}


def assert_as_at_once(*arguments: str) -> None:
    """What is at `here` is what the arguments give in an empty place, and nothing is beside it."""
    vecsim.run(*arguments, output="once")
    assert stored(Path("here/data.zarr")) == stored(Path("once/data.zarr"))
    assert not list(Path("here").glob(".*"))
    assert_same(vecsim.open("here/data.zarr"), vecsim.open("once/data.zarr"))
    shutil.rmtree("once")


STEPS = {
    "trials": (["trials=6"], ["trials=9"]),
    "trials, twice": (["trials=2"], ["trials=3"], ["trials=16"]),
    "a value at the end": (["sweep.n=[40,50]"], ["sweep.n=[40,50,30]"]),
    "values before and between": (["sweep.n=[40,50]"], ["sweep.n=[30,50,45,40]"]),
    "values and trials": (
        ["trials=5", "sweep.n=[40,50]", "sweep.protocol.beta=[3,5]"],
        ["trials=7", "sweep.n=[50,30,40]", "sweep.protocol.beta=[4,5,3]"],
    ),
    "another axis": (["sweep.n=[40,50]"], ["sweep.n=[40,50]", "sweep.protocol.beta=[12,20]"]),
    "from one point": (["trials=8"], ["sweep.n=[30,40]"]),
    "other chunks": (["trials=5", "sweep.n=[40,50]"], ["trials=12", "sweep.n=[30,40,50]"]),
    "chunks past the last trial": (
        ["trials=5", "sweep.n=[40,50]"],
        ["trials=9", "sweep.n=[40,50]"],
    ),
}
CHUNKS = {"other chunks": (3, 40), "chunks past the last trial": (4, 3)}  # trials of each step


@pytest.mark.parametrize("case", STEPS)
def test_as_if_asked_for_at_once(case, computed, monkeypatch):
    for number, step in enumerate(STEPS[case]):
        if case in CHUNKS:
            monkeypatch.setattr(decisions, "CHUNK_NODES", 50 * CHUNKS[case][number])
        given = [text.partition("=")[0].removeprefix("sweep.") for text in step]
        default = [text for text in ("trials=8", "n=40") if text.partition("=")[0] not in given]
        arguments = [*step, *default, *REST]
        vecsim.run(*arguments, output="here")
    assert set(computed.values()) == {1}
    data = vecsim.open("here/data.zarr")
    assert len(json.loads(data.attrs["extends"])) == len(STEPS[case]) - 1
    assert "wall_time_s" not in data.attrs  # of a part only
    assert_as_at_once(*arguments)


def test_with_an_engine(monkeypatch):
    monkeypatch.setattr(decisions, "BATCH_NODES", 40 * 2)  # one program for all
    rest = "protocol=slush", "protocol.k=5", "protocol.alpha=4", *REST
    vecsim.run(*rest, "sweep.n=[20,40]", "trials=6", output="here")
    more = *rest, "sweep.n=[30,40,20]", "trials=9"
    vecsim.run(*more, output="here")
    assert_as_at_once(*more)


def precise(**changes) -> str:
    values = {"target": "finalised", "half_width": 0.3, "min_trials": 4, "max_trials": 24}
    return f"precision={{{','.join(f'{k}:{v}' for k, v in (values | changes).items())}}}"


STOPPING = {
    "narrower": {"half_width": 0.2},
    "more at most": {"half_width": 0.2, "max_trials": 40},
    "longer steps": {"min_trials": 12},
}


@pytest.mark.parametrize("case", [*STOPPING, "none"])
def test_precision(case, computed):
    rest = "n=40", "sweep.byzantine_fraction=[0,0.15,0.3]"
    vecsim.run(*rest, precise(), output="here")
    first = len(computed)
    wanted = (*rest, precise(**STOPPING[case])) if case in STOPPING else (*rest, "trials=40")
    vecsim.run(*wanted, output="here")
    assert set(computed.values()) == {1}
    assert first < len(computed)
    assert_as_at_once(*wanted)


def test_the_screen_says_what_is_there(computed):
    assert call("n=40", *REST, "trials=10", "output=here").code == 0
    result = call("n=40", *REST, "trials=20", "output=here")
    there = "10 of 20 trials are there already\n"
    assert there in result.out
    again = call("n=40", *REST, "trials=20", "output=here").out
    assert again == result.out.replace(there, "complete, nothing to compute\n")
    result = call("sweep.n=[30,40]", *REST, "trials=25", "output=here")
    assert "\n20 of 50 trials are there already\n" in result.out


LESS = {
    "trials=7 sweep.n=[30,40]": "trials is 7, .* holds 8; allowed: 8 or more, or another output",
    "trials=8 sweep.n=[30,50]": "another config: sweep.n lacks 40; choose",
    "trials=9 n=30": "another config: n is swept there; choose",
    "trials=9 sweep.n=[30,40] seed=1": "another config: seed is 0 there, 1 here; choose",
    "trials=9 sweep.n=[30,40] network.loss=0.1": "config: network.loss is 0.0 there, 0.1 here; ch",
    "sweep.n=[30,40] sweep.byzantine_fraction=[0,0.1]": "byzantine_fraction is not swept there; ch",
    f"sweep.n=[30,40] {precise(max_trials=8)}": (
        "precision is .*, .* holds every trial; allowed: null, or another output"
    ),
}
LESS_PRECISE = {
    precise(half_width=0.4): "precision.half_width is 0.4, .* holds 0.3; allowed: 0.3 or less, or",
    precise(
        min_trials=6
    ): "min_trials is 6, .* holds 4; allowed: 4 or a multiple of it, or another",
    precise(max_trials=20): "trials is 20, .* holds 24; allowed: 24 or more, or another output",
    precise(
        target="stalled"
    ): "target is stalled, .* by finalised; allowed: finalised, precision=n",
}


def test_less_is_refused(folder, computed):
    vecsim.run(*REST, "trials=8", "sweep.n=[30,40]", output="here")
    before = files(folder)
    for arguments, line in LESS.items():
        rest = [] if "sweep.byz" in arguments else REST
        check_refused(line, *rest, *arguments.split())
    assert files(folder) == before


def test_less_precision_is_refused(folder, computed):
    vecsim.run(*REST, "n=40", precise(), output="here")
    before = files(folder)
    for arguments, line in LESS_PRECISE.items():
        check_refused(line, *REST, "n=40", arguments)
    assert files(folder) == before


def check_refused(line: str, *arguments: str) -> None:
    result = call(*arguments, "output=here")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert re.search(line, result.err), result.err


def test_what_hangs_together(folder, monkeypatch):
    """A threshold's trials depend on their number; a design's points on one another."""

    def compute(self, numbers, trials):
        shape = {v.name: [len(self.inner[name]) for name in v.inner] for v in self.variables}
        size = len(numbers), len(trials)
        return {v.name: np.ones((*size, *shape[v.name]), v.dtype) for v in self.variables}

    monkeypatch.setattr(Threshold, "compute", compute)
    monkeypatch.setattr(Designs, "compute", compute)
    monkeypatch.setattr(report, "show_studies", lambda *_, **__: None)
    placed = "estimator=threshold", "trials=32"
    assert call(*placed, "n=50", "output=here").code == 0
    check_refused("trials is 64, .* allowed: 32, for estimator=thr", *placed[:1], "trials=64")
    result = call(*placed, "sweep.n=[40,50]", "output=here")
    assert (result.code, result.err) == (0, "")
    assert "32 of 64 trials are there already" in result.out
    design = "experiment=design", "n=60", "byzantine_fraction=0.1", "trials=4", "output=there"
    values = "sweep.protocol.k=[9]", "sweep.protocol.alpha_confidence=[8]"
    assert call(*design, *values).code == 0
    result = call(*design, "sweep.protocol.k=[9,10]", values[1])
    assert "allowed: the same, for estimator=design compares all points, or" in result.err


def interrupted(after: int, *arguments: str) -> None:
    """The command, stopped when so many chunks have been computed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "reporter", lambda: Interrupting(after))
        assert call(*arguments, "output=here").code == 130


class Interrupting(progress.Lines):
    def __init__(self, after: int):
        super().__init__()
        self.left = after

    def advance(self, run: int, skipped: int) -> None:
        self.left -= run > 0
        if self.left == 0:
            raise KeyboardInterrupt


def test_extended_while_unfinished(computed, monkeypatch):
    """Of three sizes, each stopped before it was complete; smaller ones are refused on the way."""
    monkeypatch.setattr(decisions, "CHUNK_NODES", 40 * 4)
    small, middle, large = ("n=40", "trials=10"), ("n=40", "trials=30"), ("n=40", "trials=50")
    interrupted(2, *small)
    interrupted(3, *middle)
    assert vecsim.open("here/data.zarr").attrs["complete"] == 0
    before = files(Path("here"))
    check_refused("trials is 10, .* holds 30; allowed: 30 or more", *small)
    assert files(Path("here")) == before
    interrupted(2, *large)
    assert sorted(path.name for path in Path("here").glob(".*")) == [
        ".data.zarr.before1",
        ".data.zarr.before2",
    ]
    vecsim.run(*large, output="here")
    assert set(computed.values()) == {1}
    assert len(json.loads(vecsim.open("here/data.zarr").attrs["extends"])) == 2
    assert_as_at_once(*large)


def test_files_of_others_stay(computed):
    vecsim.run("n=40", "trials=4", output="here")
    Path("here/data.zarr/notes.txt").write_text("precious")
    vecsim.run("n=40", "trials=6", output="here")
    vecsim.run("n=40", "trials=8", output="here")
    assert [path.read_text() for path in Path("here").rglob("notes.txt")] == ["precious"]


KILLS = '''
import os, shutil, sys
from pathlib import Path

import numpy as np
import zarr
from vecsim.results import disk
import made

class Logged(made.Made):
    def __init__(self, study, log):
        super().__init__(study)
        self.log = log

    def compute(self, numbers, trials):
        points = [int(self.study.points[number]) for number in numbers]
        with open(self.log, "a") as file:
            file.writelines(f"{p} {t}\\n" for p in points for t in trials)
        return super().compute(numbers, trials)

def study(values, trials, path, log):
    made.run(made.study(values, trials), path, work=lambda each: Logged(each, log))

def dying(after, *arguments):
    """In a process of its own, killed at the start of one of the file system's operations."""
    child = os.fork()
    if child == 0:
        left = after
        def hook(event, details):
            nonlocal left
            if event in ("os.rename", "os.rmdir"):
                left -= 1
                if left == 0:
                    os._exit(9)
        sys.addaudithook(hook)
        study(*arguments)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def content(path):
    files = sorted(f for f in path.rglob("*") if f.is_file() and f.name != "lock")
    told = path / "zarr.json", path / "vecsim" / "checksums"  # where values come from
    return {str(f.relative_to(path)): f.read_bytes() for f in files if f not in told}

root = Path(sys.argv[1])
SMALL, LARGE = ([1, 2, 3], 5), ([4, 3, 1, 2], 8)
assert dying(0, *SMALL, root / "small/data.zarr", root / "log0") == 0
assert dying(0, *LARGE, root / "once/data.zarr", root / "log0") == 0
known = (root / "log0").read_text().splitlines()[:15]
once, after, killed = content(root / "once/data.zarr"), -1, 9
while killed == 9:
    after += 2
    here, log = root / "here", root / "log"
    shutil.copytree(root / "small", here)
    log.write_text("".join(f"{line}\\n" for line in known))
    killed = dying(after, *LARGE, here / "data.zarr", log)
    if killed == 9 and after % 4 == 1:  # and once more, a little later
        dying(4, *LARGE, here / "data.zarr", log)
    assert dying(0, *LARGE, here / "data.zarr", log) == 0
    lines = log.read_text().splitlines()
    # What was computed and not yet marked is computed again: one chunk for each kill, at most.
    assert len(lines) - len(set(lines)) <= 16, (after, lines)
    assert not set(known) & set(lines[len(known):]), after
    assert content(here / "data.zarr") == once, after
    assert sorted(os.listdir(here)) == ["data.zarr"], (after, os.listdir(here))
    shutil.rmtree(here)
print("killed until step", after)
'''


def test_killed_anywhere(folder):
    """At every other step of an extension: the same command loses and computes nothing twice."""
    result = subprocess.run(
        [sys.executable, "-c", KILLS, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [TESTS, *sys.path]))},
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout.split()[-1]) > 20
