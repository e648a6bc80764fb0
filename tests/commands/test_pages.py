"""Every command of the README, of the experiments' pages and of the help, word for word.

What would take long is stopped after a while, as by Ctrl-C. `.ci/run` runs the README's commands
that install.
"""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from command import Result, start

import vecsim

ROOT = Path(__file__).parent.parent.parent
WHILE_S = 6
MODULE = re.compile(r"^(?:PYTHONPATH=\. )?(?:\.venv/bin/)?python -m (?=vecsim )")


def written(text: str) -> list[str]:
    """The commands in a text: its indented lines, continued ones joined."""
    joined = re.sub(r" *\\\n *", " ", text)
    lines = re.findall(r"^ +(\S.*)$", joined, re.MULTILINE)
    stripped = (MODULE.sub("", line) for line in lines)
    return [line for line in stripped if line.startswith("vecsim ")]


def words(line: str) -> list[str]:
    """What is between the name of the program and a comment, or a remark two blanks away."""
    return shlex.split(re.split(" {2,}", line)[0], comments=True)[1:]


def pages() -> dict[str, str]:
    found = {"README": (ROOT / "README.md").read_text()}
    for page in sorted((ROOT / "experiments").glob("*/README.md")):
        found[page.parent.name] = page.read_text()
    config = yaml.safe_load((ROOT / "conf/config.yaml").read_text())
    found["help"] = config["hydra"]["help"]["template"].replace("$$", "$")
    return found


OWN = "mypackage"  # these are run in tests/test_own.py and tests/test_scenario_configs.py
WORKER = "vecsim worker"  # it is run in tests/executors/test_dask.py, as it needs a scheduler
COMMANDS = sorted(
    {
        tuple(words(line))
        for text in pages().values()
        for line in written(text)
        if OWN not in line and WORKER not in line and "(vecsim, or" not in line
    }
)


def test_every_page_has_commands():
    for name, text in pages().items():
        assert written(text), name
    assert len(COMMANDS) > 50


@pytest.mark.parametrize("given", COMMANDS, ids=" ".join)
def test_a_command(given, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    result = stopped_after_a_while(given, work)
    if result.code == 130:
        assert result.err == "vecsim: stopped; the same command goes on from here\n"
    else:
        assert (result.code, result.err) == (0, "")
    stores = [*work.rglob("*.zarr")]
    assert stores or [*work.rglob("data.nc")] or (result.code == 130 and any(work.iterdir()))
    for store in stores:
        check(vecsim.open(store), whole=result.code == 0 and "shards" not in store.parts)


def stopped_after_a_while(given: Sequence[str], work: Path) -> Result:
    """The command in a process of its own, which after a while gets what Ctrl-C sends, but not
    before it has begun to write. Jobs in other processes are waited for."""
    out, err = work.with_name("out"), work.with_name("err")
    alone = not any(word.startswith("hydra/launcher=") for word in given)
    with out.open("w") as one, err.open("w") as other:
        running = start(*given, cwd=work, stdout=one, stderr=other)
        try:
            with suppress(subprocess.TimeoutExpired):
                running.wait(timeout=WHILE_S)
            while running.poll() is None:
                if alone and begun(work):
                    running.send_signal(signal.SIGINT)
                    running.wait(timeout=120)
                time.sleep(0.1)
        finally:
            running.kill()
            running.wait()
    return Result(running.returncode, out.read_text(), err.read_text())


def begun(work: Path) -> bool:
    """Whether there is a store or its lock. `os.walk` passes over what goes while it looks."""
    return any(
        ".lock" in files or any(name.endswith(".zarr") for name in folders)
        for _, folders, files in os.walk(work)
    )


def check(data: xr.Dataset, whole: bool) -> None:
    """All was computed, unless it was stopped."""
    [*_, numbers] = (v for v in data.data_vars.values() if v.dims[-1] == "trial")
    assert data.attrs["complete"] or not whole
    assert numbers.notnull().any() or not whole
    if "decided_1" in data and numbers.notnull().any():
        nodes = (data["decided_0"] + data["decided_1"] + data["undecided"]).values
        assert np.nanmin(nodes) > 0


def test_python_of_the_readme(tmp_path, monkeypatch):
    """The examples for a notebook, as they are written."""
    monkeypatch.chdir(tmp_path)
    text = pages()["README"]
    blocks = re.findall(r"```python\n(import vecsim.*?|from vecsim.*?)```", text, re.DOTALL)
    assert len(blocks) == 7
    sizes = []
    for block in blocks:
        made: dict = {}
        exec(block, made)
        sizes += [made["data"].sizes["trial"]] if "data" in made else []
    assert len(sizes) == 5
    assert min(sizes) > 0
