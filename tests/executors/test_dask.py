"""Studies on a real Dask cluster, on loopback: the same bits, whoever comes and goes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from command import call, outside, process, start
from servers.processes import end, free_ports, listening, wait_until
from stores import chunks

import vecsim
from vecsim import places

STUDY = ("n=40", "trials=96", "figure=false", "sweep.protocol.beta=[4,6,8]")
PRECISE = (
    *("n=40", "sweep.byzantine_fraction=[0.0,0.1,0.2]", "figure=false"),
    "precision={target: stalled, half_width: 0.1, min_trials: 40, max_trials: 200}",
)
CAMPAIGN = (
    *("defence=on", "n=30", "campaign.duration_s=2", "campaign.drain_s=2", "campaign.trials=2"),
    *("campaign.workload.rate_tps=20", "figure=false"),
)
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}
VECSIM = places.PACKAGE.parent  # a process with another PYTHONPATH finds the vecsim that is tested
SMALL_CHUNKS = "import vecsim.studies.decisions as d; d.CHUNK_NODES = 40 * 8"


class Cluster:
    """A scheduler and its workers, each a process of its own; all listen on loopback only."""

    def __init__(self, folder: Path):
        self.folder, self.workers, self.started = folder, [], 0
        [self.port] = free_ports("scheduler").values()
        self.address = f"tcp://127.0.0.1:{self.port}"
        page = ("--dashboard-address", "127.0.0.1:0")
        self.scheduler = self._started(
            "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), *page
        )

    def _started(self, module: str, *words: str, path: str = "") -> subprocess.Popen:
        first = os.pathsep.join(filter(None, [path, str(VECSIM)]))
        environment = {**outside(), **QUIET, "PYTHONPATH": first}
        log = (self.folder / f"{self.started}.log").open("w")  # the scheduler's has number 0
        self.started += 1
        command = [sys.executable, "-m", module, *words]
        with log:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, text=True
            )

    def add(self, path: str = "") -> subprocess.Popen:
        """Another worker. path: where its Python looks for modules first."""
        words = "worker", self.address, "engine.cores=1"
        self.workers.append(self._started("vecsim", *words, path=path))
        return self.workers[-1]

    def log(self, number: int) -> str:
        return (self.folder / f"{number}.log").read_text()

    def close(self) -> None:
        end([*self.workers, self.scheduler])


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Cluster(tmp_path)
    yield made
    made.close()


def hosts(store: str) -> list[dict]:
    return json.loads(vecsim.open(store).attrs["workers"])


def test_the_same_bits(cluster, tmp_path):
    """Two workers, three kinds of study, each also in this process."""
    cluster.add()
    cluster.add()
    for name, words in {"plain": STUDY, "precise": PRECISE, "campaign": CAMPAIGN}.items():
        assert call(*words, f"output=alone/{name}").code == 0
        workers = f"engine.workers={cluster.address}"
        result = call(*words, workers, f"output=there/{name}")
        assert (result.code, result.err) == (0, "")
        assert f"workers of {cluster.address}" in result.out.splitlines()[0]
        ours, theirs = (chunks(Path(each, name, "data.zarr")) for each in ("there", "alone"))
        assert ours == theirs
    processes = [each.pid for each in (cluster.scheduler, *cluster.workers)]
    assert set.union(*listening(processes).values()) == {"127.0.0.1"}
    [host] = hosts("there/precise")
    assert host["devices"].startswith("1 x ")
    assert host["code"]["vecsim"] == "0.1.0"


def test_workers_come_and_go(cluster, tmp_path):
    """None is there at first; one comes, is killed, and another one does the rest."""
    assert call(*STUDY, "output=alone").code == 0
    words = (*STUDY, f"engine.workers={cluster.address}", "output=here")
    wait_until(lambda: listening([cluster.scheduler.pid])[cluster.scheduler.pid], 30, "scheduler")
    running = start(*words, cwd=tmp_path, code=SMALL_CHUNKS, env=QUIET, stdout=PIPE, stderr=PIPE)
    assert running.stdout
    told = f"vecsim: no worker at {cluster.address} yet: waiting for the first\n"
    while running.stdout.readline() != told:
        assert running.poll() is None
    first = cluster.add()
    marks = tmp_path / "here/data.zarr/vecsim/marks"
    wait_until(lambda: marks.is_dir() and len(list(marks.iterdir())) > 2, 60, "chunks", [running])
    first.kill()
    cluster.add()
    _, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (0, "")
    [host] = hosts("here")
    assert (host["processes"], host["chunks"]) == (2, 36)
    for name in ("decided_1", "rounds", "polls"):
        assert vecsim.open("here")[name].equals(vecsim.open("alone")[name])


def test_a_scheduler_that_is_killed(cluster, tmp_path):
    """One clear line, what is done is kept, and the same command goes on in this process."""
    cluster.add()
    words = ("n=40", "trials=8000", "figure=false", "output=here")
    there = f"engine.workers={cluster.address}"
    running = start(
        *words, there, cwd=tmp_path, code=SMALL_CHUNKS, env=QUIET, stdout=PIPE, stderr=PIPE
    )
    marks = tmp_path / "here/data.zarr/vecsim/marks"
    wait_until(lambda: marks.is_dir() and len(list(marks.iterdir())) > 2, 60, "chunks", [running])
    cluster.scheduler.send_signal(signal.SIGKILL)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 4
    assert err.startswith(f"vecsim: {cluster.address}: the scheduler is gone (")
    assert err.endswith("; the same command goes on\n")
    assert err.count("\n") == 1
    assert cluster.workers[0].wait(30) == 0
    assert cluster.log(1).splitlines()[-1] == "the scheduler is gone"
    done = len(list(marks.iterdir()))
    result = process(*words, cwd=tmp_path, code=SMALL_CHUNKS, env=QUIET)
    assert (result.code, result.err) == (0, "")
    assert f"{done} of 1000 chunks are there already" in result.out


def test_no_scheduler(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [port] = free_ports("none").values()
    result = call(*STUDY, f"engine.workers=tcp://127.0.0.1:{port}", "output=here")
    assert result.code == 4
    assert result.err.startswith(f"vecsim: tcp://127.0.0.1:{port}: the scheduler is gone (")


OTHERS = {
    "another JAX": ("jax", "0.9.9"),
    "another vecsim": ("vecsim", "0.0.9"),
}


@pytest.mark.parametrize("which", OTHERS)
def test_workers_with_other_versions(which, cluster, tmp_path):
    """As their packages describe themselves; refused by name, and nothing of theirs is stored."""
    name, version = OTHERS[which]
    about = tmp_path / "path" / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    worker = cluster.add(path=str(about.parent))
    told = refused_worker(cluster, *STUDY)
    assert told.startswith(f"worker {os.uname().nodename}/{worker.pid} has {name} {version}, ")


def test_a_worker_with_other_code_of_vecsim(cluster, tmp_path):
    """Of the same version, with one line more in one file."""
    copy = tmp_path / "path" / "vecsim"
    shutil.copytree(places.PACKAGE, copy)
    for folder in ("conf", "figures"):
        if not (copy / folder).is_dir():
            shutil.copytree(places.root(folder), copy / folder)
    with (copy / "engines/cells.py").open("a") as file:
        file.write("# changed\n")
    cluster.add(path=str(copy.parent))
    assert " has vecsim's own files " in refused_worker(cluster, *STUDY)


OWN = """
from vecsim.protocols.snowflake import Snowflake

class Own(Snowflake):
    identity = "own"
"""


def test_workers_without_or_with_another_own_component(cluster, tmp_path, monkeypatch):
    """The driver has a module that the first worker lacks, and of which the second has another
    version."""
    for name, more in (("driver", ""), ("worker", "# changed\n")):
        folder = tmp_path / name / "ownrules"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(OWN + more)
    words = ("n=40", "trials=24", "figure=false", "packages=ownrules")
    words += ("protocol._target_=ownrules.Own",)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'driver'}{os.pathsep}{VECSIM}")
    first = cluster.add(path=str(tmp_path))
    result = driven(cluster, *words)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert " cannot load the study: ModuleNotFoundError: No module named 'ownrules'" in result.err
    end([first])
    cluster.add(path=str(tmp_path / "worker"))
    result = driven(cluster, *words)
    assert result.code == 2
    assert " has ownrules/__init__.py " in result.err
    assert result.err.endswith("allowed: the same versions, and the same code, in every process\n")


def test_an_error_of_the_computation(cluster, tmp_path, monkeypatch):
    """It is told as it is, not as an end of the cluster."""
    fails = """
    def step(self, cell, quorum):
        raise RuntimeError("no room on the device")
"""
    for name, more in (("driver", ""), ("worker", fails)):
        folder = tmp_path / name / "ownrules"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(OWN + more)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'driver'}{os.pathsep}{VECSIM}")
    cluster.add(path=str(tmp_path / "worker"))
    words = ("packages=ownrules", "protocol._target_=ownrules.Own")
    result = driven(cluster, "n=40", "trials=24", "figure=false", *words)
    assert result.code == 1
    assert "RuntimeError: no room on the device\n" in result.err
    assert "the scheduler is gone" not in result.err


def driven(cluster, *words):
    workers = f"engine.workers={cluster.address}"
    return process(*words, workers, "output=here", cwd=cluster.folder, env=QUIET)


def refused_worker(cluster, *words: str) -> str:
    """The line with which a worker is refused; no chunk of it is stored."""
    result = driven(cluster, *words)
    assert (result.code, result.err.count("\n")) == (2, 1)
    marks = cluster.folder / "here/data.zarr/vecsim/marks"
    assert not marks.is_dir() or not list(marks.iterdir())
    return result.err.removeprefix("vecsim: ")


def test_a_worker_whose_scheduler_is_nowhere():
    """One line, and the exit code of what may be tried again: names come with the machines."""
    result = call("worker", "tcp://nowhere.invalid:8786")
    assert result.code == 4
    assert result.err.startswith("vecsim: tcp://nowhere.invalid:8786: no scheduler")
    assert result.err.count("\n") == 1


def test_words_of_a_worker(tmp_path):
    """What has no meaning is refused in one line that says what is allowed."""
    for words, told in {
        ("worker",): "vecsim worker is ''; allowed: tcp://HOST:PORT",
        ("worker", "localhost"): "vecsim worker is 'localhost'; allowed: tcp://HOST:PORT",
        ("worker", "tcp://a:1", "n=3"): "vecsim worker is 'n=3'; allowed: engine.cores=N",
        ("worker", "tcp://a:1", "engine.cores=0"): (
            "engine.cores is 0; allowed: a whole number, 1 to 4096"
        ),
        ("merge",): (
            "vecsim merge is ''; allowed: one folder, the output of commands with shard=i/N"
        ),
    }.items():
        result = call(*words)
        assert (result.code, result.out, result.err) == (2, "", f"vecsim: {told}\n")
