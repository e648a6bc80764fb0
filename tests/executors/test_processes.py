"""Studies in several processes: the same bits, whoever is killed, and nothing left running."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE

import jax
import made
import pytest
from command import call, outside, process, refused, start
from stores import chunks

import vecsim
from vecsim.errors import ConfigError, JobKilled
from vecsim.results import store
from vecsim.studies import executors, runner
from vecsim.studies.executors.processes import Processes

STUDY = ("n=40", "trials=24", "figure=false", "byzantine_fraction=0.1")
KINDS = {
    "decisions": (*STUDY, "sweep.protocol.beta=[4,6,8]"),
    "precision": (
        *("n=40", "sweep.byzantine_fraction=[0.0,0.1,0.2]", "figure=false"),
        "precision={target: stalled, half_width: 0.1, min_trials: 40, max_trials: 200}",
    ),
    "threshold": (
        *("estimator=threshold", "sweep.n=[40,50]", "trials=64", "protocol.max_rounds=100"),
        *("adversary=balance_informed", "figure=false"),
    ),
    "splitting": (
        *("estimator=splitting", "n=40", "byzantine_fraction=0.25", "trials=4"),
        *("protocol.k=10", "protocol.alpha_preference=6", "protocol.alpha_confidence=8"),
        *("adversary=safety_split", "adversary.fed=0.3", "estimator.walkers=100"),
        *("sweep.protocol.beta=[3,4]", "figure=false"),
    ),
    "campaigns": (
        *("defence=on", "n=30", "campaign.duration_s=2", "campaign.drain_s=2", "campaign.trials=2"),
        *("sweep.byzantine_fraction=[0.0,0.1]", "figure=false", "campaign.workload.rate_tps=20"),
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_study(kind, folder):
    """In this process, in 2, in 3, and as 2 shards: the same files."""
    words = KINDS[kind]
    for output, *more in (("one",), ("two", "engine.workers=2"), ("three", "engine.workers=3")):
        result = call(*words, *more, f"output={output}")
        assert (result.code, result.err) == (0, "")
    for number in (1, 0):
        assert call(*words, f"shard={number}/2", "output=parts").code == 0
    assert call("merge", "parts").code == 0
    alone = chunks(folder / "one/data.zarr")
    assert any(name.startswith("vecsim/marks/") for name in alone)
    for output in ("two", "three", "parts"):
        assert chunks(folder / output / "data.zarr") == alone
        assert not (folder / output / "partial").exists()


VALUES = list(range(1, 41))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """200 chunks, as this process makes them."""
    path = tmp_path_factory.mktemp("alone") / "data.zarr"
    made.run(made.study(VALUES, 40), path)
    return chunks(path)


def workers(of: int) -> list[int]:
    """The processes that compute for the one with this number."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for each in Path(f"/proc/{of}/task/{of}/children").read_text().split():
            if "spawn_main" in Path(f"/proc/{each}/cmdline").read_text():
                found.append(int(each))
    return found


class Chased(Processes):
    """One of its processes is killed at a random moment, again after every answer, KILLS times."""

    def __init__(self, _):
        super().__init__(made.Sent(made.study(VALUES, 40), made.SLOW, None), 2, 1)
        self.killed, self.random = 0, random.Random(13)
        self.chaser = threading.Thread()

    def next(self):
        answer = super().next()
        if self.killed < KILLS and not self.chaser.is_alive():
            self.chaser = threading.Timer(self.random.uniform(0, 0.1), self._kill)
            self.chaser.start()
        return answer

    def _kill(self) -> None:
        there = workers(os.getpid())
        with contextlib.suppress(ProcessLookupError):
            if there:  # else they are just being started again
                os.kill(self.random.choice(there), signal.SIGKILL)
                self.killed += 1


KILLS = 20


def test_workers_that_are_killed(alone, folder):
    path, there = folder / "data.zarr", []

    def chased(work):
        there.append(Chased(work))
        return there[0]

    told = made.run(made.study(VALUES, 40), path, chased)
    assert there[0].killed == KILLS
    assert set(told) == {"a worker was killed; its chunks are computed again"}
    assert len(told) <= KILLS  # two may be killed before the first is missed
    assert chunks(path) == alone
    assert workers(os.getpid()) == []


def test_workers_that_are_always_killed(folder):
    """It is given up, in one line, and the store can be gone on with."""
    study, path = made.study(VALUES[:6], 40), folder / "data.zarr"
    with pytest.raises(JobKilled, match=r"^workers were killed 3 times; the same command goes on"):
        made.run(study, path, made.processes(study, 2, made.FATAL))
    assert workers(os.getpid()) == []
    made.run(study, path)
    assert store.open(path)["x"].notnull().all()


def test_what_a_worker_raises(folder):
    """It is the error of the study; what was done before is kept."""
    study, path = made.study(VALUES[:6], 40), folder / "data.zarr"
    with pytest.raises(ConfigError, match=r"^made.value is 9; allowed: others$"):
        made.run(study, path, made.processes(study, 1, made.WRONG))
    assert workers(os.getpid()) == []
    assert store.open(path)["x"].notnull().sum() == 4 * 40


QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}  # JAX, imported before the command sets it, would lower it
CODE = "import vecsim.studies.decisions as d; d.CHUNK_NODES = 40 * 8"
LONG = ("n=40", "trials=400", "figure=false", "sweep.protocol.beta=[4,6,8]", "output=here")


def test_a_driver_that_is_killed(folder):
    """At 10 random moments; its workers leave, and another executor goes on, to the same files."""
    assert call(*LONG[:-1], "output=alone").code == 0
    moments = random.Random(7)
    for number in range(10):
        count = number % 3 + 1
        driver = start(*LONG, f"engine.workers={count}", cwd=folder, code=CODE, stdout=PIPE)
        time.sleep(moments.uniform(1, 6))
        there = workers(driver.pid)
        driver.kill()
        driver.communicate()
        for each in there:
            wait_for_end(each)
    result = process(*LONG, cwd=folder, code=CODE, env=QUIET)
    assert (result.code, result.err) == (0, "")
    for name in ("decided_1", "rounds", "polls"):
        ours, theirs = (vecsim.open(each)[name] for each in ("here", "alone"))
        assert ours.equals(theirs)


def wait_for_end(number: int) -> None:
    """Until the process has ended, for 20 seconds at most; it was not killed by anybody here."""
    status = Path(f"/proc/{number}/status")
    for _ in range(200):
        try:
            if "zombie" in status.read_text():
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {number} goes on without its parent")


def test_interrupted(folder):
    """Ctrl-C: the workers end at once, what is done is kept, and the same command goes on."""
    words = ("n=40", "trials=200000", "figure=false", "engine.workers=2", "output=here")
    running = start(*words, cwd=folder, code=CODE, env=QUIET, stdout=PIPE, stderr=PIPE)
    marks = folder / "here/data.zarr/vecsim/marks"
    while not marks.is_dir() or len(list(marks.iterdir())) < 3:
        assert running.poll() is None
        time.sleep(0.05)
    there = workers(running.pid)
    assert len(there) in (1, 2)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert (running.returncode, err) == (
        130,
        "vecsim: stopped; the same command goes on from here\n",
    )
    for each in there:
        wait_for_end(each)
    assert vecsim.open("here")["rounds"].notnull().sum() >= 3 * 8


def test_interrupted_while_workers_start(folder):
    """Ctrl-C on a terminal goes to all processes of the command, those that still import too."""
    words = ("n=40", "trials=200000", "figure=false", "engine.workers=2", "output=here")
    given = {"code": CODE, "env": QUIET, "stdout": PIPE, "stderr": PIPE}
    running = start(*words, cwd=folder, start_new_session=True, **given)
    while not workers(running.pid):
        assert running.poll() is None
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert err == "vecsim: stopped; the same command goes on from here\n"


SCRIPT = """
import vecsim
{guard}
    data = vecsim.run(protocol="slush", n=50, trials=50, engine__workers=2, output="here")
    print(int(data["rounds"].notnull().sum()))
"""


@pytest.mark.parametrize("guard", ['if __name__ == "__main__":', "if True:"])
def test_a_script(guard, folder):
    """Processes import it: without the guard it would start the study again, and is refused."""
    (folder / "study.py").write_text(SCRIPT.format(guard=guard))
    command = [sys.executable, "study.py"]
    given = {"cwd": folder, "env": {**outside(), **QUIET}, "capture_output": True, "text": True}
    result = subprocess.run(command, timeout=120, **given)
    if "__name__" in guard:
        assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "50")
    else:
        allowed = 'allowed: what starts the study under `if __name__ == "__main__":` in '
        assert f"engine.workers is 2; {allowed}" in result.stderr.splitlines()[-1]
        assert not (folder / "here").exists()


def test_a_command_with_workers(folder):
    """A worker that is killed is told of; the attributes say what was computed where."""
    words = ("n=40", "trials=800", "figure=false", "engine.workers=2", "output=here")
    more = ("engine.price_per_core_hour=3600", "sweep.protocol.beta=[4,6]")
    running = start(*words, *more, cwd=folder, code=CODE, env=QUIET, stdout=PIPE, stderr=PIPE)
    marks = folder / "here/data.zarr/vecsim/marks"
    while not marks.is_dir() or len(list(marks.iterdir())) < 3:
        assert running.poll() is None
        time.sleep(0.05)
    os.kill(workers(running.pid)[0], signal.SIGKILL)
    out, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].endswith(", engine agents, 2 processes")
    assert lines.count("vecsim: a worker was killed; its chunks are computed again") == 1
    [host] = json.loads(vecsim.open("here").attrs["workers"])
    assert host["processes"] in (3, 4)
    assert host["chunks"] == 200
    [cost] = [line for line in lines if line.startswith("cost")]
    paid = host["core_s"]
    hours = f"{paid / 3600:.3g} core-hours of CPU time ({paid / 3600:.3g} on {host['host']})"
    assert cost == f"cost     {hours}; {paid:.3g} at 3600 per core-hour"


def test_processes_of_processes(folder):
    """The jobs of joblib are processes that can start no others: it is refused at once."""
    words = ("-m", "n=40,50", "trials=8", "engine.workers=2", "hydra/launcher=joblib")
    told = "engine.workers is 2; allowed: null or tcp://HOST:PORT with hydra/launcher=joblib"
    assert refused(call(*words)).startswith(told)
    assert not (folder / "results").exists()


def test_cores_of_workers(folder):
    """They are not of this process, whose number is fixed since it has used JAX."""
    other = str(len(jax.devices("cpu")) + 1)
    words = ("n=40", "trials=8", "figure=false", f"engine.cores={other}")
    assert call(*words, "output=no").code == 2
    assert call(*words, "output=here", "engine.workers=1").code == 0
    [host] = json.loads(vecsim.open("here").attrs["workers"])
    assert host["devices"].startswith(f"{other} x ")
    told = refused(call(*words[:3], "engine.cores=0", "engine.workers=1"))
    assert told.startswith("engine.cores is 0; allowed: a whole number, 1 to ")


@pytest.mark.parametrize(
    "address",
    ["h:0", "h:65536", "h", ":1", "a:b:1", "[::1]", "[h]:1", "a..b:1", f"{'a' * 64}:1", "h:1/x"],
)
def test_what_is_no_address(address):
    for words in (
        ("trials=8", f"engine.workers='tcp://{address}'"),
        ("worker", f"tcp://{address}"),
    ):
        assert f"tcp://{address}'; allowed: " in refused(call(*words))


@pytest.mark.parametrize("address", ["h:1", "10.0.0.5:8786", "node-1.local:65535", "[::1]:8786"])
def test_what_is_an_address(address):
    assert executors.is_address(f"tcp://{address}")


def test_a_shard_of_which_there_is_nothing(folder):
    """Of one chunk in two shards the second has none; both are merged, however shard was said."""
    words = ("n=40", "trials=8", "figure=false", "output=here", "engine.price_per_core_hour=1")
    assert call(*words, "++shard=0/2").code == 0
    lines = call(*words, "shard=1/2").out.splitlines()
    assert "cost     0 core-hours of CPU time; 0 at 1 per core-hour" in lines
    assert call("merge", "here").out.splitlines() == [
        "dataset  here/data.zarr",
        f"tables and figures: vecsim {' '.join(words)}",
    ]


def test_shards_name_the_stores_of_the_study(folder, monkeypatch):
    """With two stores both are missed, even where no shard has come to the second one."""
    run = runner.run_study

    def killed(work, path, *others):
        if path.name == "defended.zarr":
            raise JobKilled("gone")
        return run(work, path, *others)

    monkeypatch.setattr(runner, "run_study", killed)
    for number in range(2):
        words = ("n=40", "trials=8", "defence=[off,on]", "output=here", f"shard={number}/2")
        assert call(*words).code == 4
    told = "here lacks shards 0/2, 1/2, whose commands have not begun defended.zarr"
    assert refused(call("merge", "here")).startswith(told)
    assert not (folder / "here/data.zarr").exists()
