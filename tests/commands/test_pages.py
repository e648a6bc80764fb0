"""Every command of the README, of the experiments' pages and of the help, word for word.

What would take long is stopped as by Ctrl-C: a study after its first chunk or a while, a run of
several scenarios after the first. `.ci/run` runs the README's commands that install.
"""

import re
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from command import call, process

import vecsim
from vecsim import progress
from vecsim.scenario import command as scenarios

ROOT = Path(__file__).parent.parent.parent
WHILE_S = 15
MODULE = re.compile(r"^(?:PYTHONPATH=\. )?(?:\.venv/bin/)?python -m (?=vecsim )")


def written(text: str) -> list[str]:
    """The commands in a text: its indented lines, continued ones joined."""
    lines = re.findall(r"^ +(\S.*)$", text.replace("\\\n", ""), re.MULTILINE)
    stripped = (MODULE.sub("", line) for line in lines)
    return [line for line in stripped if line.startswith("vecsim ")]


def words(line: str) -> list[str]:
    """What is between the name of the program and a remark two blanks away."""
    return shlex.split(re.split(" {2,}", line)[0])[1:]


def pages() -> dict[str, str]:
    found = {"README": (ROOT / "README.md").read_text()}
    for page in sorted((ROOT / "experiments").glob("*/README.md")):
        found[page.parent.name] = page.read_text()
    config = yaml.safe_load((ROOT / "conf/config.yaml").read_text())
    found["help"] = config["hydra"]["help"]["template"].replace("$$", "$")
    return found


OWN = "mypackage"  # these are run in tests/test_own.py and tests/test_scenario_configs.py
COMMANDS = sorted(
    {
        tuple(words(line))
        for text in pages().values()
        for line in written(text)
        if OWN not in line and "(vecsim, or" not in line
    }
)


@pytest.fixture
def short(tmp_path, monkeypatch):
    """A study stops after its first chunk or a while, and a second scenario does not begin."""
    monkeypatch.chdir(tmp_path)

    def stop(*given):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)

    class Short(progress.Lines):
        def advance(self, run, skipped):
            super().advance(run, skipped)
            if self.pace.passed < self.pace.total:
                raise KeyboardInterrupt

    first, run_scenario = [], scenarios.run_scenario

    def once(*arguments):
        if first:
            raise KeyboardInterrupt
        first.append(True)
        return run_scenario(*arguments)

    monkeypatch.setattr(progress, "reporter", Short)
    monkeypatch.setattr(scenarios, "run_scenario", once)
    signal.alarm(WHILE_S)
    yield tmp_path
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_every_page_has_commands():
    for name, text in pages().items():
        assert written(text), name
    assert len(COMMANDS) > 50


@pytest.mark.parametrize("given", COMMANDS, ids=" ".join)
def test_a_command(given, short):
    if any(word.startswith("hydra/launcher=") for word in given):
        signal.alarm(0)
        result = process(*given, cwd=short)
    else:
        result = call(*given)
    if result.code == 130:
        assert result.err == "vecsim: stopped; the same command goes on from here\n"
    else:
        assert (result.code, result.err) == (0, "")
    stores = [*short.rglob("*.zarr")]
    assert stores or [*short.rglob("data.nc")]
    for store in stores:
        check(vecsim.open(store), whole=result.code == 0)


def check(data: xr.Dataset, whole: bool) -> None:
    """All was computed if nothing was stopped early."""
    [*_, numbers] = (v for v in data.data_vars.values() if v.dims[-1] == "trial")
    assert data.attrs["complete"] == whole
    assert numbers.notnull().any() or not whole
    if "decided_1" in data and numbers.notnull().any():
        nodes = (data["decided_0"] + data["decided_1"] + data["undecided"]).values
        assert np.nanmin(nodes) > 0


def test_python_of_the_readme(tmp_path, monkeypatch):
    """The examples for a notebook, as they are written."""
    monkeypatch.chdir(tmp_path)
    text = pages()["README"]
    blocks = re.findall(r"```python\n(import vecsim.*?|from vecsim.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        made: dict = {}
        exec(block, made)
        assert made["data"].sizes["trial"] > 0
