"""What people see: the result table, progress, the summary files."""

import csv
import io
import math
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from vecsim import progress, report
from vecsim.results import accessor as _accessor  # noqa: F401
from vecsim.results import kinds, table, text
from vecsim.studies.tally import RunTally

WORDS = ["random_voting", "coordinated_collusion"]


def study_of(dims: dict, trials: int = 60, rate: float = 0.5, decides: float = 1) -> xr.Dataset:
    """A study of 10 nodes in which a share `rate` of the trials finalises."""
    shape = tuple(map(len, dims.values()))
    random = np.random.default_rng(7)
    stalled = random.random((*shape, trials)) >= rate
    last = np.where(stalled, np.nan, random.integers(20, 40, (*shape, trials)))
    values = {
        "decided_0": np.zeros_like(last),
        "decided_1": np.where(stalled, 3.0, 10.0),
        "undecided": np.where(stalled, 7.0, 0.0),
        "rounds": np.where(stalled, 200, last),
        "last_decision": last,
        "unanimity": last - 3,
        "start_ones": np.full_like(last, 5.0),
        "final_ones": np.full_like(last, 10.0),
        "decides": np.full_like(last, decides),
    }
    variables = {name: ((*dims, "trial"), value) for name, value in values.items()}
    return xr.Dataset(variables, dims, {"kind": "decisions"})


@pytest.fixture
def shown(capsys, monkeypatch):
    def show(data, columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        kinds.kind_of(data).show(data, data.vecsim.summary())
        return capsys.readouterr().out.splitlines()

    return show


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        ((0.9, 0.883, 0.921), "0.90 [.88 .92]"),
        ((1, 0.983, 1), "1 [.98 1]"),
        ((0, 0, 0.0037), "0 [0 .004]"),
        ((0.0012, 0.0008, 0.0017), "0.0012 [.0008 .0017]"),
        ((2e-6, 1e-6, 4e-6), "2e-6 [1e-6 4e-6]"),
        ((0.998, 0.95, 0.9999), "1.00 [.95 1.00]"),
        ((1, 0.9999993, 1), "1 [.9999993 1]"),
        ((0.25, 0.249999, 0.250001), "0.250000 [.249999 .250001]"),
        ((math.nan, 0, 1), "-"),
    ],
)
def test_rate(interval, shown):
    assert text.rate(*interval) == shown


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        ((84.91, 84.02, 85.8), "84.9 [84.0 85.8]"),
        ((7.0, 7.0, 7.0), "7"),
        ((7.0, -math.inf, math.inf), "7 [-inf inf]"),
    ],
)
def test_amount(interval, shown):
    assert text.amount(*interval) == shown


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        ((46.71, 46, 47), "46.7 [46 47]"),
        ((1234.5, 1200, math.inf), "1234 [1200 inf]"),
        ((math.inf, 99, math.inf), "never [99 inf]"),
        ((math.inf, math.inf, math.inf), "never"),
        ((math.nan, 0, 1), "-"),
    ],
)
def test_rounds(interval, shown):
    assert text.rounds(*interval) == shown


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_a_long_sweep_runs_across(shown, columns):
    dims = {
        "protocol": ["qr_avalanche", "snowball"],
        "adversary": WORDS,
        "initial_accept": [0.5, 1.0],
        "byzantine_fraction": [i / 100 for i in range(41)],
    }
    data = study_of(dims)
    lines = shown(data, columns)
    assert max(map(len, lines)) <= columns
    assert lines[1] == "finalised, by byzantine_fraction:"
    rows = [line for line in lines if line.startswith(("qr_avalanche ", "snowball "))]
    assert len(rows) == 8
    point = data.vecsim.summary().isel(dict.fromkeys(dims, 0))
    first = text.rate(*(float(point[f"finalised{end}"]) for end in ("", "_low", "_high")))
    assert first in rows[0]
    assert all(row.count("[") >= 2 for row in rows)
    if columns == 140:
        assert "coordinated_collusion" in rows[2]
        assert "dis-" in lines[2]
        assert rows[0].endswith("0 [0 .06]")


@pytest.mark.parametrize("columns", [80, 140])
def test_few_points_run_down(shown, columns):
    dims = {"protocol": ["qr_avalanche", "snowball"], "adversary": WORDS, "n": [100, 1000]}
    lines = shown(study_of(dims), columns)
    assert max(map(len, lines)) <= columns
    assert lines[0].split()[:5] == ["protocol", "adversary", "n", "finalised", "disagreement"]
    whole = "\n".join(lines)
    for name in WORDS:  # whole, or over two lines
        parts = [name] if columns == 140 else name.replace("_", "_ ").split()
        assert all(whole.count(part) == 4 for part in parts)
    assert sum(line.startswith("snowball ") for line in lines) == 4
    told = " ".join(lines[-2:])
    assert told.endswith("in brackets" if columns == 140 else "in the summary: stalled, trials")


def test_many_rows_are_cut(shown):
    dims = {"n": list(range(100, 150)), "k": list(range(20, 80))}
    lines = shown(study_of(dims, trials=4), 100)
    assert lines[1] == "finalised, by k:"
    assert len(lines) == table.MOST_ROWS + 8
    assert " ".join(lines[-2:]).endswith("10 more rows are in the summary")


def test_one_point_and_protocols_that_never_decide(shown):
    data = study_of({}, rate=1.0)
    assert shown(data, 80)[0].split() == [
        "finalised",
        "disagreement",
        "stalled",
        "rounds",
        "trials",
    ]
    never = study_of({}, rate=1.0, decides=0)
    lines = shown(never, 80)
    assert lines[0].split() == ["unanimous", "rounds", "trials"]
    median = float(never.vecsim.summary().unanimity_median)
    assert f" {median:g} [" in lines[2]
    both = xr.concat([data, never], dim="protocol").assign_coords(protocol=["a", "b"])
    lines = shown(both, 100)
    assert lines[0].split()[:4] == ["protocol", "finalised", "unanimous", "disagreement"]


def test_csv(tmp_path):
    dims = {"adversary": WORDS, "n": [10, 20]}
    data = study_of(dims).vecsim.summary()
    report.to_csv(data, tmp_path / "many.csv")
    rows = list(csv.DictReader((tmp_path / "many.csv").read_text().splitlines()))
    assert [(row["adversary"], row["n"]) for row in rows[:2]] == [
        (WORDS[0], "10"),
        (WORDS[0], "20"),
    ]
    assert float(rows[3]["finalised_low"]) == pytest.approx(
        data.finalised_low.values[1, 1], rel=1e-5
    )
    assert rows[0]["trials"] == "60"
    report.to_csv(study_of({}).vecsim.summary(), tmp_path / "one.csv")
    [row] = csv.DictReader((tmp_path / "one.csv").read_text().splitlines())
    assert row.keys() == rows[0].keys() - dims.keys()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.time)
    return now


def made_tally(
    points: int, trials: int, done: int = 0, chunks: int = 8, taken: int = 0
) -> RunTally:
    counts = np.zeros((2, points), int)
    return RunTally("made", points * trials, trials, chunks, done, taken, None, *counts)


def test_pace(clock):
    """Chunks read back and the chunk that compiles do not count for the time left, and while one
    is being computed the speed stays that of those before."""
    tally = made_tally(points=10, trials=100)
    pace = progress.Pace(tally)

    def advance(run: int, skipped: int) -> None:
        tally.passed += run + skipped
        pace.advance(run, skipped)

    advance(0, 100)
    clock.time = 5
    assert str(pace) == "1 of 10 points, compiling and running the first, 0:00:05"
    clock.time = 30
    advance(100, 0)
    assert str(pace) == "2 of 10 points, 0:00:30"
    clock.time = 40
    advance(150, 50)
    assert str(pace) == "4 of 10 points, 0:00:40, 15 trials/s, 0:00:30 left"
    clock.time = 50
    assert str(pace) == "4 of 10 points, 0:00:50, 15 trials/s, 0:00:20 left"
    clock.time = 4030
    assert str(pace) == "4 of 10 points, 1:07:10, 15 trials/s, 0:00:00 left"


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "vecsim" in thread.name]


def test_signs_of_life_while_the_first_chunk_is_computed(monkeypatch):
    """Lines come without any chunk having ended; none comes after the run, and no thread stays."""
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "LOG_EVERY", 0.01)
    written, seen = io.StringIO(), threading.Event()

    def write(part: str) -> int:
        if "compiling" in part:
            seen.set()
        return io.StringIO.write(written, part)

    written.write = write  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdout", written)
    lines = progress.reporter()
    lines.start(made_tally(points=4, trials=1000, done=1, chunks=8, taken=500))
    assert seen.wait(60)
    lines.advance(1000, 0)
    lines.finish()
    before = written.getvalue()
    first, taken, *told = before.splitlines()
    assert (first, taken) == (
        "1 of 8 chunks are there already",
        "500 of 4,000 trials are there already",
    )
    assert told[0].startswith("  0%, 0 of 4 points, compiling and running the first, 0:00:0")
    assert threads() == []
    lines.finish()  # as after an interruption
    assert written.getvalue() == before


def test_lines_end_where_nobody_reads_them(monkeypatch):
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    lines = progress.reporter()
    closed = io.StringIO()
    closed.close()
    lines.start(made_tally(points=4, trials=1000))
    monkeypatch.setattr("sys.stdout", closed)
    while threads():  # a thread that raises would fail the test
        pass
    lines.finish()


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Draws the figure of a study of one chunk, and says how often it was drawn."""
    script, output = tmp_path / "study.py", tmp_path / "here"
    marks = output / "data.zarr" / "vecsim" / "marks"
    marks.mkdir(parents=True)
    (marks / "0").write_text("1 2 3")
    script.write_text(
        "def draw(data, folder):\n"
        "    path = folder / 'a.svg'\n"
        "    path.write_text(path.read_text() + 'x' if path.exists() else 'x')\n"
        "    return [path]\n"
    )
    swept = SimpleNamespace(kind="decisions", dimensions=[])
    data = {"data": xr.Dataset(attrs={"seed": 0})}

    def drawn(theory: bool = False) -> str:
        paths = report.figures(swept, script, data, output, theory)
        assert paths == [output / "a.svg"]
        return (output / "a.svg").read_text()

    return SimpleNamespace(script=script, marks=marks, output=output, data=data, drawn=drawn)


def test_figures_are_drawn_when_something_they_show_has_changed(study):
    assert study.drawn() == "x"
    assert study.drawn() == "x"
    (study.marks / "0").write_text("1 2 4")
    assert study.drawn() == "xx"
    study.script.write_text(study.script.read_text() + "\n")
    assert study.drawn() == "xxx"
    study.data["data"].attrs["seed"] = 1
    assert study.drawn() == "xxxx"
    assert study.drawn(theory=True) == "xxxxx"
    study.data["data"].attrs.pop("theory")  # as when it is opened again
    assert study.drawn(theory=True) == "xxxxx"
    assert study.drawn(theory=False) == "xxxxxx"
    (study.output / "a.svg").unlink()
    assert study.drawn() == "x"


def test_times_of_files_do_not_matter(study):
    """Data that are older than their figure, as after a copy, are told from those it shows."""
    assert study.drawn() == "x"
    (study.marks / "0").write_text("1 2 4")
    for file in (study.marks / "0", study.marks, study.script):
        os.utime(file, (0, 0))
    assert study.drawn() == "xx"
    (study.output / "figures.json").write_text("{")
    assert study.drawn() == "xxx"
