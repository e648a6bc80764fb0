"""What people see: the result table, progress, the summary files."""

import csv
import math
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from vecsim import accessor as _accessor  # noqa: F401
from vecsim import report, table, wording

WORDS = ["random_voting", "coordinated_collusion"]


def summary(dims: dict, trials: int = 60, rate: float = 0.5) -> xr.Dataset:
    """The summary of a study of 10 nodes in which a share `rate` of the trials finalises."""
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
    }
    variables = {name: ((*dims, "trial"), value) for name, value in values.items()}
    return xr.Dataset(variables, dims).vecsim.summary()


@pytest.fixture
def shown(capsys, monkeypatch):
    def show(data, dims, columns, decides=frozenset({True})):
        monkeypatch.setenv("COLUMNS", str(columns))
        table.show(data, list(dims), set(decides))
        return capsys.readouterr().out.splitlines()

    return show


@pytest.mark.parametrize(
    ("interval", "text"),
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
def test_rate(interval, text):
    assert wording.rate(*interval) == text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((84.91, 84.02, 85.8), "84.9 [84.0 85.8]"),
        ((7.0, 7.0, 7.0), "7"),
        ((7.0, -math.inf, math.inf), "7 [-inf inf]"),
    ],
)
def test_amount(interval, text):
    assert wording.amount(*interval) == text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((46.71, 46, 47), "46.7 [46 47]"),
        ((1234.5, 1200, math.inf), "1234 [1200 inf]"),
        ((math.inf, 99, math.inf), "never [99 inf]"),
        ((math.inf, math.inf, math.inf), "never"),
        ((math.nan, 0, 1), "-"),
    ],
)
def test_rounds(interval, text):
    assert wording.rounds(*interval) == text


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_a_long_sweep_runs_across(shown, columns):
    dims = {
        "protocol": ["qr_avalanche", "snowball"],
        "adversary": WORDS,
        "initial_accept": [0.5, 1.0],
        "byzantine_fraction": [i / 100 for i in range(41)],
    }
    data = summary(dims)
    lines = shown(data, dims, columns)
    assert max(map(len, lines)) <= columns
    assert lines[1] == "finalised, by byzantine_fraction:"
    rows = [line for line in lines if line.startswith(("qr_avalanche ", "snowball "))]
    assert len(rows) == 8
    point = data.isel(dict.fromkeys(dims, 0))
    first = wording.rate(*(float(point[f"finalised{end}"]) for end in ("", "_low", "_high")))
    assert first in rows[0]
    assert all(row.count("[") >= 2 for row in rows)
    if columns == 140:
        assert "coordinated_collusion" in rows[2]
        assert "dis-" in lines[2]
        assert rows[0].endswith("0 [0 .06]")


@pytest.mark.parametrize("columns", [80, 140])
def test_few_points_run_down(shown, columns):
    dims = {"protocol": ["qr_avalanche", "snowball"], "adversary": WORDS, "n": [100, 1000]}
    lines = shown(summary(dims), dims, columns)
    assert max(map(len, lines)) <= columns
    assert lines[0].split()[:5] == ["protocol", "adversary", "n", "finalised", "disagreement"]
    text = "\n".join(lines)
    for name in WORDS:  # whole, or over two lines
        parts = [name] if columns == 140 else name.replace("_", "_ ").split()
        assert all(text.count(part) == 4 for part in parts)
    assert sum(line.startswith("snowball ") for line in lines) == 4
    told = " ".join(lines[-2:])
    assert told.endswith("in brackets" if columns == 140 else "in the summary: stalled, trials")


def test_many_rows_are_cut(shown):
    dims = {"n": list(range(100, 150)), "k": list(range(20, 80))}
    lines = shown(summary(dims, trials=4), dims, 100)
    assert lines[1] == "finalised, by k:"
    assert len(lines) == table.MOST_ROWS + 8
    assert " ".join(lines[-2:]).endswith("10 more rows are in the summary")


def test_one_point_and_protocols_that_never_decide(shown):
    data = summary({}, rate=1.0)
    assert shown(data, {}, 80)[0].split() == [
        "finalised",
        "disagreement",
        "stalled",
        "rounds",
        "trials",
    ]
    lines = shown(data, {}, 80, {False})
    assert lines[0].split() == ["unanimous", "rounds", "trials"]
    median = float(data.unanimity_median)
    assert f" {median:g} [" in lines[2]
    lines = shown(data, {}, 100, {True, False})
    assert lines[0].split()[:3] == ["finalised", "unanimous", "disagreement"]


def test_csv(tmp_path):
    dims = {"adversary": WORDS, "n": [10, 20]}
    data = summary(dims)
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
    report.to_csv(summary({}), tmp_path / "one.csv")
    [row] = csv.DictReader((tmp_path / "one.csv").read_text().splitlines())
    assert row.keys() == rows[0].keys() - dims.keys()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=0.0)
    monkeypatch.setattr(report.time, "monotonic", lambda: now.time)
    return now


def test_pace(clock):
    """Chunks read back and the chunk that compiles do not count for the time left."""
    pace = report.Pace(points=10, trials=100)
    pace.advance(100, 0, fresh=False)
    assert str(pace) == "1 of 10 points, compiling"
    clock.time = 30
    pace.advance(100, 0, fresh=True)
    assert str(pace) == "2 of 10 points, compiling"
    clock.time = 40
    pace.advance(150, 50, fresh=True)
    assert str(pace) == "4 of 10 points, 15 trials/s, 0:00:30 left"
    clock.time = 4030
    assert str(pace) == "4 of 10 points, 0 trials/s, 3:20:00 left"


def test_lines(clock, capsys):
    lines = report.reporter()
    assert isinstance(lines, report.Lines)
    lines.start(points=4, trials=1000, done=1, chunks=8)
    for _ in range(4):
        clock.time += 6
        lines.advance(1000, 0, fresh=True)
    lines.finish()
    assert capsys.readouterr().out.splitlines() == [
        "1 of 8 chunks are there already",
        " 50%, 2 of 4 points, 167 trials/s, 0:00:12 left",
    ]


def test_figures_are_drawn_when_they_are_old(tmp_path, monkeypatch):
    script, output = tmp_path / "study.py", tmp_path / "here"
    marks = output / "data.zarr" / "vecsim" / "marks"
    marks.mkdir(parents=True)
    script.write_text(
        "def draw(data, folder):\n"
        "    path = folder / 'a.svg'\n"
        "    path.write_text(path.read_text() + 'x' if path.exists() else 'x')\n"
        "    return [path]\n"
    )
    data = {"data": xr.Dataset()}

    def drawn() -> str:
        assert report._figures(None, script, data, output, theory=False) == [output / "a.svg"]
        return (output / "a.svg").read_text()

    assert drawn() == "x"
    assert drawn() == "x"
    (marks / "1").write_text("")
    assert drawn() == "xx"
    script.write_text(script.read_text() + "\n")
    assert drawn() == "xxx"
    (output / "a.svg").unlink()
    assert drawn() == "x"
