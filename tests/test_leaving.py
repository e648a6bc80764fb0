"""No room, no folder, nobody listening, strange names: one line, and nothing is lost."""

import contextlib
import errno
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from command import assert_same, call, outside, process, refused

import vecsim
from vecsim import report
from vecsim.errors import ConfigError
from vecsim.results import files as results_files
from vecsim.results import netcdf
from vecsim.results.files import StoreError
from vecsim.results.layout import Layout

STUDY = ("n=40", "trials=4", "sweep.byzantine_fraction=[0.0,0.1]")
FULL = 74


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def files_of_at_most(size: int):
    """Larger files can't be written: to a writer the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(folder):
    """While the store is made, while a summary is written: told in a line, and gone on from."""
    whole = vecsim.run(*STUDY, output="whole")
    sizes = [file.stat().st_size for file in (folder / "whole/data.zarr").rglob("*")]
    for size in (300, max(sizes) + 1000):
        with files_of_at_most(size):
            result = call(*STUDY, "output=here")
        assert result.code == FULL
        path = "here/data.zarr" if size == 300 else "here/summary.nc"
        assert result.err == f"vecsim: {path}: File too large\n"
        assert not [*folder.glob("here/*.part"), *folder.glob("here/.*")]
    assert call(*STUDY, "output=here").code == 0
    assert_same(vecsim.open("here/data.zarr"), whole)
    table = (folder / "here/summary.csv").read_text()
    summary = vecsim.open("here/summary.nc")
    with (
        files_of_at_most(10),
        pytest.raises(StoreError, match=r"^here/summary\.csv: File too large$"),
    ):
        report.to_csv(summary, Path("here/summary.csv"))
    assert (folder / "here/summary.csv").read_text() == table


def test_a_full_disk_in_the_middle_of_a_chunk(folder, monkeypatch):
    written = results_files.write

    def full(path, data, part=None):
        if "rounds/c" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        written(path, data, part)

    with monkeypatch.context() as patch:
        patch.setattr(results_files, "write", full)
        result = call(*STUDY, "output=here")
    assert (result.code, result.err.count("\n")) == (FULL, 1)
    assert "No space left on device" in result.err
    assert vecsim.open("here/data.zarr").rounds.isnull().all()
    assert call(*STUDY, "output=here").code == 0
    assert vecsim.open("here/data.zarr").rounds.notnull().all()


def shell(command: str, folder: Path) -> subprocess.CompletedProcess:
    words = f"exec {sys.executable} -m vecsim {command}"
    options = {"cwd": folder, "env": outside()}
    return subprocess.run(["sh", "-c", words], capture_output=True, text=True, **options)


def test_nobody_listens(folder):
    """Standard output closed: done without a word, into no file; or full: told in a line."""
    closed = shell(f"{' '.join(STUDY)} output=here >&-", folder)
    assert (closed.returncode, closed.stdout, closed.stderr) == (0, "", "")
    assert vecsim.open("here/data.zarr").attrs["complete"] == 1
    full = shell("--cfg job > /dev/full", folder)
    assert (full.returncode, full.stderr) == (FULL, "vecsim: output: No space left on device\n")


def test_a_deleted_working_folder(folder):
    gone = folder / "gone"
    gone.mkdir()
    code = "import os; os.rmdir(os.getcwd())"
    result = process(*STUDY, cwd=gone, code=code)
    assert refused(result) == "the working folder is deleted; allowed: one that exists"


@pytest.mark.parametrize("module", ["xarray", "equinox", "jax"])
def test_ctrl_c_while_libraries_are_loaded(module, folder):
    hook = f"""
import signal, sys

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupted())
"""
    (folder / "hook.py").write_text(hook)
    result = process(*STUDY, cwd=folder, code="import hook", env={"PYTHONPATH": "."})
    assert (result.code, result.out) == (130, "")
    assert result.err == "vecsim: stopped; the same command goes on from here\n"


def test_ctrl_c_within_a_callback(folder):
    """As in the one that JAX has of the garbage collector, where Python would only tell of it."""
    hook = """
import gc
from pathlib import Path

def interrupted(phase, info):
    if Path("here/data.zarr").exists():
        gc.callbacks.remove(interrupted)
        raise KeyboardInterrupt

gc.callbacks.append(interrupted)
"""
    (folder / "hook.py").write_text(hook)
    study = ("n=400", "trials=1e5", "output=here")
    result = process(*study, cwd=folder, code="import hook", env={"PYTHONPATH": "."})
    assert result.code == 130
    assert result.err == "vecsim: stopped; the same command goes on from here\n"
    assert not vecsim.open("here/data.zarr").attrs["complete"]


def test_formulas_in_tables_are_text(folder):
    names = ["=cmd()", "+1+1", "-x", "@SUM(A1)", "slush"]
    summary = xr.Dataset({"rate": ("=kind", np.array([-0.5, 0, 1, 2, 3]))}, {"=kind": names})
    report.to_csv(summary, Path("summary.csv"))
    assert (folder / "summary.csv").read_text().splitlines() == [
        "'=kind,rate",
        "'=cmd(),-0.5",
        "'+1+1,0",
        "'-x,1",
        "'@SUM(A1),2",
        "slush,3",
    ]


@pytest.mark.parametrize("name", ["trial", "rounds", "red\x1b[31m", "a\nb", ".", "a/b", "vecsim"])
def test_names_that_are_taken_or_strange(name):
    from test_store import VARIABLES

    layout = Layout({name: [1, 2]}, 10, (1, 5), VARIABLES)
    with pytest.raises(ConfigError) as caught:
        layout.checked()
    assert str(caught.value).startswith(f"a name in the study is {name!r}; allowed: ")
    assert str(caught.value).isprintable()


def test_strange_labels():
    layout = Layout({"kind": ["a", "b\x1b]0;title\x07"]}, 10, (1, 5), ())
    with pytest.raises(ConfigError, match=r"^kind is 'b\\x1b\]0;title\\x07'; allowed: printable"):
        layout.checked()


def test_an_own_parameter_called_like_an_outcome(folder):
    (folder / "own.py").write_text(
        "from vecsim.protocols.slush import Slush\nclass Own(Slush):\n    rounds: int = 1\n"
    )
    (folder / "conf/protocol").mkdir(parents=True)
    (folder / "conf/protocol/own.yaml").write_text("_target_: own.Own\n")
    environment = {"PYTHONPATH": f"{folder}:{':'.join(filter(None, sys.path))}"}
    words = "--config-dir", "conf", "protocol=own", "packages=own", "sweep.protocol.rounds=[1,2]"
    line = refused(process(*words, cwd=folder, env=environment))
    assert "a name in the study is 'rounds'; allowed: names that differ from" in line
    assert not (folder / "results").exists()


def test_netcdf_on_a_full_disk(folder):
    """HDF5 itself, when it could not write, crashed the process as it ended."""
    data = xr.Dataset({"x": ("y", np.random.default_rng(0).random(10_000))})
    with files_of_at_most(2000), pytest.raises(StoreError, match="File too large"):
        netcdf.save_netcdf(data, "data.nc")
    assert not any(folder.iterdir())
