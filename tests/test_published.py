"""The page of published numbers: it is what its command makes, and every claim on it is whole."""

import json
import re
import runpy
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

import vecsim

ROOT = Path(__file__).parents[1]
made = SimpleNamespace(
    **runpy.run_path(str(ROOT / "experiments/published/make.py"), run_name="made")
)
ROWS = [made.row(claim) for claims in made.groups().values() for claim in claims]
TEXT = made.page()
COMMANDS = sorted({each.claim["command"] for each in ROWS})


def test_the_page_is_what_the_command_makes():
    assert made.PAGE.read_text("utf-8") == TEXT


def test_another_page_is_told(tmp_path, monkeypatch):
    other = tmp_path / "published.md"
    for name, stand_in in {"PAGE": other, "page": lambda: TEXT}.items():
        monkeypatch.setitem(made.main.__globals__, name, stand_in)
    assert made.main(["--check"]) == f"published.md is not what {made.SELF} makes"
    assert made.main([]) is None
    assert made.main(["--check"]) is None
    other.write_text(other.read_text("utf-8").replace("5.15 [", "5.16 ["), "utf-8")
    assert "is not what" in made.main(["--check"])
    assert "allowed: --check" in made.main(["--chek"])


def test_every_claim_has_its_fields_and_its_summary():
    assert len(ROWS) > 30
    for claim, found, _ in ROWS:
        assert claim.keys() >= made.FIELDS
        assert all(claim[name] for name in made.FIELDS - {"unit", "published"}), claim
        assert isinstance(claim["published"], int | float)
        assert found.low <= found.value <= found.high
        if "exact" in claim["value"]:
            assert claim["command"] == made.SELF
        else:
            assert (ROOT / claim["value"]["summary"]).is_file()


def test_a_row_that_does_not_hold_says_how_it_differs():
    for claim, _, held in ROWS:
        assert held != ("differs" in claim), claim["claim"]
        assert "holds" not in claim
    assert 0 < sum(each.holds for each in ROWS) < len(ROWS)


@pytest.mark.parametrize(
    ("published", "tolerance", "relation", "ends", "held"),
    [
        (5.2, 0.05, "=", (5.08, 5.23), True),
        (5.2, 0, "=", (5.21, 5.3), False),
        (5.2, 0.05, "=", (5.24, 5.3), True),
        (5.2, 0.05, "=", (5.0, 5.14), False),
        (0.3, 0.1, "=", (0.4, 0.4), True),
        (22, 0, "=", (22, 22), True),
        (5, 0, "≤", (1, 4), True),
        (5, 0, "≤", (1, 6), False),
        (20, 0, "≥", (21, 22), True),
        (20, 0, "≥", (19, 22), False),
    ],
)
def test_what_holds(published, tolerance, relation, ends, held):
    claim = {"published": published, "tolerance": tolerance, "relation": relation}
    assert made.holds(claim, made.Found(sum(ends) / 2, *ends)) is held


def test_the_numbers_are_those_of_the_summaries():
    data = vecsim.open(ROOT / "experiments/threshold/summary.nc")
    at = {"protocol": "snowball", "adversary": "balance_pooled", "n": 2000}
    first = ROWS[0].found
    names = ("threshold", "threshold_low", "threshold_high")
    assert first == pytest.approx([100 * float(data[name].sel(at)) for name in names])
    row = next(each for each in ROWS if each.claim.get("relation") == "≤")
    value, low, high = row.found
    told = (ROOT / "experiments/conditions/README.md").read_text("utf-8")
    assert f"| {value:.1f} [{low:.1f}, {high:.1f}] |" in told


@pytest.mark.parametrize("name", ["polls", "slush"])
def test_a_study_stored_for_the_page_is_that_of_its_command(name):
    file = f"experiments/published/{name}_summary.nc"
    (command,) = {
        each.claim["command"] for each in ROWS if each.claim["value"].get("summary") == file
    }
    study, stored = vecsim.study(*words(command)), json.loads(vecsim.open(ROOT / file).config)
    (planned,) = study._plan.studies.values()
    assert planned.config == stored


def words(command):
    python, module, name, *rest = shlex.split(command)
    assert (python, module, name) == ("python", "-m", "vecsim")
    return rest


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_composes(command):
    if command == made.SELF:
        assert (ROOT / command.split()[1]).is_file()
    else:
        assert vecsim.study(*words(command)).points


def test_links_of_the_page():
    text = TEXT
    links = set(re.findall(r"\]\(([^)]+)\)", text))
    inside = {link for link in links if not link.startswith("https://")}
    assert len(inside) > 4
    for link in inside:
        assert (made.PAGE.parent / link).resolve().is_file(), link
    for name in re.findall(r"`((?:experiments|tests)/[^` ]+)`", text):
        assert (ROOT / name).exists(), name
    assert "(docs/published.md)" in (ROOT / "README.md").read_text("utf-8")


def test_tables_have_a_cell_for_every_column():
    lines = [line for line in TEXT.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {9}
    numbers = [int(line.split("|")[1]) for line in lines if line.split("|")[1].strip().isdigit()]
    assert numbers == list(range(1, len(ROWS) + 1))
