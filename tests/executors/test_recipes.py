"""The recipes for one machine and for a Dask cluster, run as they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import call, outside
from servers.processes import free_ports
from stores import chunks

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
STUDY = ("n=40", "trials=48", "figure=false", "sweep.protocol.beta=[4,6]")


def recipe(name: str, *words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """A recipe of `deploy`, with the `vecsim` and `dask` of this Python first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    given = {**outside(), "PATH": path, **environment}
    command = [str(DEPLOY / name), *words]
    return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=240)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(*STUDY, "output=alone").code == 0
    return chunks(tmp_path / "alone/data.zarr")


def test_one_machine(alone, tmp_path):
    result = recipe("one_machine", *STUDY, "output=here", cwd=tmp_path, WORKERS="2")
    assert (result.returncode, result.stderr) == (0, "")
    assert "2 processes" in result.stdout.splitlines()[0]
    assert chunks(tmp_path / "here/data.zarr") == alone


@pytest.mark.parametrize(
    ("code", "restarts"), [(0, 0), (2, 0), (130, 0), (1, 3), (4, 3), (74, 3), (137, 3)]
)
def test_what_is_tried_again(code, restarts, tmp_path):
    """All but success, bad input and Ctrl-C, as often as is said."""
    fake = tmp_path / "vecsim"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexit {code}\n')
    fake.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    result = recipe("one_machine", "n=3", cwd=tmp_path, RESTARTS="3", WORKERS="2", PATH=path)
    assert result.returncode == code
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["n=3 engine.workers=2"] * (restarts + 1)
    assert len(result.stderr.splitlines()) == restarts


def test_dask_cluster(alone, tmp_path):
    port = str(free_ports("scheduler")["scheduler"])
    result = recipe("dask/cluster", *STUDY, "output=here", cwd=tmp_path, WORKERS="2", PORT=port)
    assert result.returncode == 0, result.stderr
    assert f"workers of tcp://127.0.0.1:{port}" in result.stdout
    assert chunks(tmp_path / "here/data.zarr") == alone
