"""Jobs in other processes: who says what, who takes which cores, and how they end."""

import json
import sys
from pathlib import Path

import pytest
from command import process

import vecsim
from vecsim import device
from vecsim.results import jobs
from vecsim.results.files import StoreError

SMALL = "n=20", "protocol=slush", "protocol.k=5", "protocol.alpha=4"
DEADLY = """
import os
from vecsim.adversaries.always_reject import AlwaysReject

class Deadly(AlwaysReject):
    def __check_init__(self):
        os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_joblib(folder):
    """Each job's output stands under its name; the cores are shared; a refusal is told once."""
    options = "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"
    result = process("-m", *SMALL, "trials=3,4,0", *options, cwd=folder)
    assert result.code == 2
    name = ", ".join(SMALL)
    allowed = "allowed: a whole number, 1 to 1000000000"
    assert result.err == f"vecsim: job 2 ({name}, trials=0): trials is 0; {allowed}\n"
    blocks = result.out.split("job ")[1:]
    assert sorted(block.splitlines()[0] for block in blocks) == [
        f"{number} ({name}, trials={trials})" for number, trials in enumerate((3, 4, 0))
    ]
    for block in blocks:
        if "trials=0" not in block.splitlines()[0]:
            assert f"{max(1, device.cores() // 2)} x cpu (cpu)\n" in block.splitlines(True)[1]
            assert "dataset  results/multirun/study/study-" in block
    with pytest.warns(UserWarning, match=r"trials=0 was refused: trials is 0; allowed"):
        joined = vecsim.collect("results/multirun/study", missing="allow")
    assert joined.sizes == {"trials": 2, "trial": 4}


def test_a_killed_worker(folder):
    """One line that says what to do, an exit code of its own, and the job is named later."""
    (folder / "theirs").mkdir()
    (folder / "theirs" / "foe.py").write_text(DEADLY)
    (folder / "mine" / "adversary").mkdir(parents=True)
    (folder / "mine" / "adversary" / "deadly.yaml").write_text("_target_: theirs.foe.Deadly\n")
    paths = ":".join([str(folder), *filter(None, sys.path)])
    options = "packages=theirs", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"
    result = process(
        "-m", *SMALL, "trials=3", "byzantine_fraction=0.1", "adversary=deadly,echo", *options,
        "--config-dir=mine",
        cwd=folder, env={"PYTHONPATH": paths},
    )  # fmt: skip
    assert result.code == 4
    assert result.err.startswith(
        "vecsim: a job was killed, and others with it; the same command go"
    )
    assert result.err.count("\n") == 1
    with pytest.raises(StoreError, match="adversary=deadly, packages=theirs was stopped"):
        vecsim.collect("results/multirun/study")


def test_a_job_of_a_queue_fails(folder):
    """A queue sees the exit code of a job, the driver what it said."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    options = "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"
    result = process("-m", *SMALL, "trials=3,0", *options, cwd=folder)
    assert result.code == 2
    line = f"vecsim: job 1 ({', '.join(SMALL)}, trials=0): trials is 0; allowed: a whole number"
    assert result.err.startswith(line)
    assert result.err.count("\n") == 1
    about = jobs.read_record(Path("results/multirun/study"), [*SMALL, "trials=3"])
    assert about["state"] == "done"
    assert json.loads(vecsim.open(f"results/multirun/study/{about['output']}").attrs["options"])


def test_other_cores_are_refused(folder):
    """Devices are made once in a process."""
    code = "import jax; jax.config.update('jax_num_cpu_devices', 1); jax.devices()"
    result = process(*SMALL, "trials=3", "engine.cores=2", cwd=folder, code=code)
    assert result.code == 2
    assert result.err.startswith("vecsim: engine.cores is 2; allowed: 1, as many as this process")


def test_cores_without_affinity(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert device.cores() == 7
