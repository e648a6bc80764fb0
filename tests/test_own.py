"""Code of one's own, outside the repository: the README's examples, and edits of it."""

import importlib
import json
import os
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import call, files, process, refused

import vecsim
from vecsim.adversaries.echo import Echo
from vecsim.adversaries.mixture import Mixture
from vecsim.errors import ConfigError
from vecsim.model import trust
from vecsim.model.sources import code_of, sources
from vecsim.protocols.fpc import Fpc
from vecsim.protocols.slush import Slush
from vecsim.scenario.simulate import own_code
from vecsim.types import Counts, decided, preference

README = (Path(__file__).parent.parent / "README.md").read_text()
SMALL = "n=60", "trials=8"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, in which packages are found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("mypackage", "alone", "helper"):
            del sys.modules[name]


def examples() -> dict[str, str]:
    """The README's files, by the name in their first line."""
    blocks = re.findall(r"```(?:python|yaml)\n# (mypackage/\S+)\n(.*?)```", README, re.DOTALL)
    return dict(blocks)


def write_examples(folder: Path) -> None:
    for name, text in examples().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("number", "classes"),
    [
        (0, ("slush_twice.SlushTwice", "turncoat.Turncoat")),
        (1, ("shared_threshold.SharedThreshold", "apart.Apart")),
    ],
)
def test_examples_of_the_readme(number, classes, folder):
    """They run as they are written, by the command that is written."""
    write_examples(folder)
    assert len(examples()) == 8
    text = README.replace("\\\n", "")
    lines = re.findall(r"PYTHONPATH=\. python -m vecsim (--config-dir .*)", text)
    assert len(lines) == 2
    words = [each for each in lines[number].split() if "byzantine_fraction" not in each]
    with jax.numpy_dtype_promotion("standard"):  # as it is outside of these tests
        result = call(*words, *SMALL, "byzantine_fraction=0.1")
    assert (result.code, result.err) == (0, "")
    [path] = folder.glob("results/*/data.zarr")
    about = json.loads(vecsim.open(path).attrs["config"])
    assert set(about["sources"]) == {f"mypackage/{each.partition('.')[0]}.py" for each in classes}
    for name in classes:
        with jax.numpy_dtype_promotion("standard"):
            vecsim.check(example(name)())


def example(name: str):
    """A class of the README's files, by its module and name."""
    module, _, class_ = name.partition(".")
    return getattr(importlib.import_module(f"mypackage.{module}"), class_)


def test_the_example_of_a_shared_threshold_is_fpc(folder):
    """The same opinions and decisions, poll by poll, but for the rounding of thresholds."""
    write_examples(folder)
    draw = np.random.default_rng(3)
    shared = example("shared_threshold.SharedThreshold")(finality=3)
    ours = Fpc(first_low=0.5, finality=3)
    start = jnp.asarray(draw.integers(0, 2, 5000), jnp.uint32)
    cells = [rule.start(start) for rule in (shared, ours)]
    open_ = np.ones(5000, bool)  # not yet decided
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(6):
            answered = draw.integers(0, 22, 5000)
            counts = draw.binomial(answered, 0.7), answered, draw.integers(0, 2**32, 5000)
            positive, answered, common = (jnp.asarray(each, jnp.uint32) for each in counts)
            poll = Counts(positive, answered, common=common)
            cells = [rule.step(c, poll) for rule, c in zip((shared, ours), cells, strict=True)]
            for told in (preference, decided):
                one, other = (np.asarray(told(cell))[open_] for cell in cells)
                assert (one == other).mean() > 0.999
            open_ &= ~np.asarray(decided(cells[0])).astype(bool)
    assert 0 < open_.sum() < 4000


RULE = """
import jax.numpy as jnp
{line}
from vecsim.types import Protocol


class Rule(Protocol):
    decides = False
    k: int = 20
    alpha: int = 15
    max_rounds: int = 30

    @property
    def quorums(self):
        return self.alpha, self.alpha

    def start(self, colour):
        return self.pack(preference=colour)

    def step(self, cell, poll):
        return self.pack(preference=jnp.where(poll.against, {gives}, cell & 1))
"""
RAISES = """
    def __check_init__(self):
        raise ValueError("my own\\nwords")
"""
TURNS = "(cell & 1) ^ 1"


def write_rule(folder: Path, line: str = "", gives: str = TURNS) -> None:
    (folder / "alone.py").write_text(RULE.format(line=line, gives=gives))
    options = folder / "conf" / "protocol"
    options.mkdir(parents=True, exist_ok=True)
    (options / "alone.yaml").write_text("_target_: alone.Rule\n")


OWN = ("--config-dir=conf", "packages=alone", "protocol=alone", *SMALL)


def fresh(folder: Path, *arguments: str):
    """The command in a process of its own, which imports the files as they are."""
    path = os.pathsep.join([str(folder), *sys.path])
    return process(*arguments, cwd=folder, env={"PYTHONPATH": path})


def test_an_edit_is_another_study(folder):
    """What other code has computed is refused by the file's name, even for more trials."""
    write_rule(folder, "from helper import NUMBER  # noqa")
    (folder / "helper.py").write_text("NUMBER = 1\n")
    result = call(*OWN, "output=here")
    assert (result.code, result.err) == (0, "")
    assert "complete, nothing to compute" not in result.out
    assert "complete, nothing to compute\n" in call(*OWN, "output=here").out
    before = files(folder / "here")

    (folder / "helper.py").write_text("NUMBER = 1  # and a word about it\n")
    where = folder / "here" / "data.zarr"
    line = refused(fresh(folder, *OWN[:-1], "trials=16", "output=here")._replace(out=""))
    assert line == (
        f"helper.py has changed since {where} was begun; choose another output or delete it"
    )
    assert files(folder / "here") == before

    # This session has imported the file as it was.
    told = f"{folder / 'helper.py'} has changed since it was imported; allowed: a new session"
    assert refused(call(*OWN)) == told


def test_an_edit_in_another_folder(folder):
    """Of a package on another path, which the rule imports and the command does not name."""
    write_rule(folder, "from other_package.core import NUMBER  # noqa")
    core = folder / "elsewhere" / "other_package" / "core.py"
    core.parent.mkdir(parents=True)
    core.write_text("NUMBER = 1\n")
    paths = os.pathsep.join([str(folder), str(folder / "elsewhere"), *sys.path])

    def run():
        return process(*OWN, "output=here", cwd=folder, env={"PYTHONPATH": paths})

    assert run().code == 0
    about = json.loads(vecsim.open(folder / "here" / "data.zarr").attrs["config"])
    assert set(about["sources"]) == {"alone.py", "other_package/core.py"}
    core.write_text("NUMBER = 2\n")
    result = run()
    assert result.code == 2
    assert "other_package/core.py has changed since" in result.err


def test_a_file_that_is_reloaded(folder):
    """In one session an edit is refused; after a reload the new code runs."""
    write_rule(folder)
    assert call(*OWN).code == 0
    [first] = folder.glob("results/study-*")
    write_rule(folder, gives="cell & 1 & 1")
    line = refused(call(*OWN))
    assert line.endswith(
        "alone.py has changed since it was imported; allowed: a new session, "
        "or importlib.reload of alone"
    )
    importlib.reload(sys.modules["alone"])
    line = refused(call(*OWN, f"output={first}")._replace(out=""))
    assert line.startswith(f"alone.py has changed since {first / 'data.zarr'} was begun")
    assert call(*OWN).code == 0
    [second] = set(folder.glob("results/study-*")) - {first}
    turns, stays = (vecsim.open(path / "data.zarr").flips for path in (first, second))
    assert turns.sum() > 0
    assert stays.sum() == 0


def test_a_file_that_was_imported_before_an_edit(folder, monkeypatch):
    """The file changes before its hash is taken: the note in Python's compiled file shows it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write_rule(folder)
    importlib.import_module("alone")
    write_rule(folder, gives="cell & 1 & 1")
    assert "alone.py has changed since it was imported" in refused(call(*OWN))


def test_a_bad_component_is_refused_before_anything_is_written(folder):
    write_rule(folder, gives="cell | 4")
    before = set(files(folder))
    line = refused(call(*OWN))
    assert re.match(r"alone.Rule.step\(\d, .*\): preference is \d; allowed: 0 to 1", line)
    made = {name for name in set(files(folder)) - before if "__pycache__" not in name}
    assert not made


@pytest.mark.parametrize(
    ("text", "told"),
    {
        "import nothing.at.all": "No module named 'nothing'",
        "class Rule(": "which raises SyntaxError: ",
        "1 / 0": "which raises ZeroDivisionError: division by zero",
        "Rule = 5": "allowed: a class that extends Protocol",
        "from vecsim.types import Protocol\nclass Rule(Protocol): k: int = 20": (
            "allowed: a class that also has quorums, start, step"
        ),
        RULE.format(line="", gives=TURNS) + RAISES: (
            r"alone.Rule.__check_init__ raises ValueError: my own words \(alone.py, line \d+\)"
        ),
    }.items(),
)
def test_a_file_without_a_sound_component_is_refused(folder, text, told):
    write_rule(folder)
    (folder / "alone.py").write_text(text)
    assert re.search(told, refused(call(*OWN)))


def test_what_belongs_to_a_component(folder):
    """The files that its module imports from its own folder, and no others."""
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "__init__.py").write_text("")
    (folder / "mypackage" / "numbers.py").write_text("from . import more\n")
    (folder / "mypackage" / "more.py").write_text("import json, numpy, helper\n")
    (folder / "mypackage" / "plots.py").write_text("")
    (folder / "helper.py").write_text("")
    write_rule(folder, "from mypackage.numbers import more  # noqa")
    importlib.import_module("mypackage.plots")
    rule = importlib.import_module("alone").Rule
    assert list(sources([rule, Slush])) == [
        "alone.py",
        "helper.py",
        "mypackage/__init__.py",
        "mypackage/more.py",
        "mypackage/numbers.py",
    ]
    assert sources([Slush]) == {}
    assert code_of([Slush(), rule()]) == {"sources": sources([rule])}
    assert code_of([Slush()]) == {}


ACCEPTS = """
from vecsim.adversaries.always_accept import AlwaysAccept


class Mine(AlwaysAccept):
    pass
"""


def test_a_scenario_knows_the_code_of_its_adversaries(folder):
    """Of all of its variants, and of the kinds of a mixture."""
    (folder / "alone.py").write_text(ACCEPTS)
    mine = {"_target_": "alone.Mine"}
    variants = {"first": {"cluster.nodes": 20}, "second": {"cluster.adversary": mine}}
    with trust.packages("alone"):
        found = own_code({"name": "x", "cluster": {"adversary": "echo"}, "variants": variants})
        assert list(found["sources"]) == ["alone.py"]
        assert own_code({"name": "x", "cluster": {"adversary": "echo"}}) == {}
    kinds = {"mine": (importlib.import_module("alone").Mine(), 0.5), "echo": (Echo(), 0.5)}
    assert code_of([Mixture.of(kinds)]) == found


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("n: 1000", "n is 1000; allowed: 662, or unset, with this stake"),
        ("n: 500", "n is 500; allowed: 662, as many nodes as the stake has"),
        (
            "network: {exclude_self: true}",
            "network.exclude_self is True; allowed: false, or unset, with this stake",
        ),
        ("n: 662\nnetwork: {exclude_self: false}", None),
        ("trials: 4", None),
    ],
)
def test_what_a_file_sets_as_vecsim_does_is_not_replaced(written, told, tmp_path, monkeypatch):
    """A stake of so many nodes says n where nobody does; a file that says 1000 does."""
    monkeypatch.chdir(tmp_path)
    text = "# @package _global_\ndefaults:\n  - override /stake: avalanche_2026\n\n"
    for group in ("experiment", "preset"):
        file = tmp_path / "conf" / group / "mine.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text + written)
        for make in (vecsim.study, vecsim.point):
            if told is None:
                make(f"{group}=mine", config_dir="conf")
                continue
            with pytest.raises(ConfigError) as caught:
                make(f"{group}=mine", config_dir="conf")
            assert str(caught.value) == told
        # What is set or swept by hand is obeyed or refused by itself.
        vecsim.study(f"{group}=mine", "n=662", "network.exclude_self=false", config_dir="conf")
        words = f"{group}=mine", "stake=equal", "n=300", "network.exclude_self=true"
        assert vecsim.study(*words, config_dir="conf").points[0].n == 300
