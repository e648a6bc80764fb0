"""Jobs of a multirun and arrays of shards in a real Slurm, which runs on this machine."""

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm as servers
from command import assert_same, call, process, start
from processes import marked, require, wait_until

import vecsim
from vecsim.results import jobs
from vecsim.results.files import StoreError

RECIPES = Path(__file__).parent.parent.parent / "deploy/slurm"
SLUSH = "protocol=slush", "n=50", "trials=20"
MULTIRUN = Path("results/multirun/study")
# One core, so that it takes some seconds, or minutes, however many there are.
LONG = "protocol=slush", "n=400", "trials=250000", "seed=7", "engine.cores=1"
ENDLESS = "protocol=slush", "n=400", "trials=3000000", "engine.cores=1"


@pytest.fixture(scope="module")
def slurm():
    require(servers.lacking())
    with servers.running() as running:
        yield running


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def number() -> str:
    """Of the job, or the array of jobs, that a multirun in this folder has submitted."""
    names = (path.name for path in Path("results/multirun/.submitit").iterdir())
    [found] = {name.partition("_")[0] for name in names if name[0].isdigit()}
    return found


@contextlib.contextmanager
def driving(slurm, *words: str) -> Iterator[subprocess.Popen]:
    """The driver of a multirun while its jobs are in the queue, ended with the context."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": slurm.environment}
    with start("-m", *words, cwd=Path.cwd(), **pipes) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def computes(*words: str) -> bool:
    """Whether a job has written something. Before that JAX compiles, and passes over exceptions."""
    output = jobs.read_record(MULTIRUN, words).get("output")
    return output is not None and any((MULTIRUN / output).glob("data.zarr/rounds/c/*"))


def by_task(rows: list[list[str]]) -> dict[str, list[str]]:
    return {row[0].partition("_")[2]: row[1:] for row in rows}


def test_only_loopback(slurm):
    job = slurm.command("sbatch", "--parsable", "--wrap", "srun sleep 60")
    listening = {}

    def all_listen() -> bool:
        listening.update(slurm.listening())
        return bool(listening.get("srun"))

    try:
        wait_until(all_listen, 20, "a step of the job")
    finally:
        slurm.command("scancel", job)
    assert {name for name, there in listening.items() if there} >= {
        "slurmdbd", "slurmctld", "slurmd", "srun",
    }  # fmt: skip
    assert listening["munged"] == listening["mariadbd"] == set()
    assert set.union(*listening.values()) == {"127.0.0.1"}


def test_nothing_is_left():
    """Of the servers and of a job that runs when they end."""
    require(servers.lacking())
    with servers.running() as running:
        running.command("sbatch", "--output=/dev/null", "--wrap", "srun sleep 600")
        wait_until(lambda: "sleep" in marked(running.mark).values(), 20, "the job")
    assert marked(running.mark) == {}
    assert not running.folder.exists()


def test_multirun(slurm, folder):
    """The stores are those of plain runs, bit for bit; an hour is what submitit's launcher says."""
    words = "n=50", "trials=20", "hydra/launcher=submitit_slurm"
    environment = slurm.environment
    result = process("-m", "protocol=slush,snowflake", *words, cwd=folder, env=environment)
    assert (result.code, result.err) == (0, "")
    slurm.ended(number())
    told = slurm.accounts(number(), fields="JobName,State,ExitCode,Timelimit")
    row = ["vecsim", "COMPLETED", "0:0", "01:00:00"]
    assert by_task(told) == {"0": row, "1": row}
    joined = vecsim.collect(MULTIRUN)
    assert joined.sizes == {"protocol": 2, "trial": 20}
    for name in ("slush", "snowflake"):
        study = f"protocol={name}", "n=50", "trials=20"
        assert call(*study, f"output={name}").code == 0
        plain = vecsim.open(f"{name}/data.zarr")
        output = jobs.read_record(MULTIRUN, study)["output"]
        assert_same(vecsim.open(MULTIRUN / output), plain)
        assert (joined.rounds.sel(protocol=name).values == plain.rounds.values).all()


def test_a_refused_job(slurm, folder):
    """The driver says why and ends with its code; Slurm does not call the job completed."""
    study = "protocol=slush", "n=50", "trials=20,0"
    options = "hydra/launcher=slurm", "hydra.launcher.timeout_min=7"
    result = process("-m", *study, *options, cwd=folder, env=slurm.environment)
    assert result.code == 2
    assert result.err == (
        "vecsim: job 1 (protocol=slush, n=50, trials=0): trials is 0;"
        " allowed: a whole number, 1 to 1000000000\n"
    )
    slurm.ended(number())
    told = by_task(slurm.accounts(number(), fields="JobName,State,ExitCode,Timelimit"))
    assert told["0"] == ["vecsim", "COMPLETED", "0:0", "00:07:00"]
    assert told["1"] == ["vecsim", "FAILED", "2:0", "00:07:00"]


def test_a_cancelled_job(slurm):
    """The driver ends with a line, and what the other job computed is there."""
    study = "protocol=slush", "n=400", "trials=20,3000000", "engine.cores=1"
    with driving(slurm, *study, "hydra/launcher=slurm") as driver:
        wait_until(lambda: computes(*ENDLESS), 90, "the job")
        slurm.command("scancel", f"{number()}_1")
        out, err = driver.communicate(timeout=120)
    assert (driver.returncode, out) == (4, "")
    assert err.startswith("vecsim: a job ended without a result; the same command goes on; Job ")
    assert f" Job {number()}_1 (" in err
    assert err.endswith(f"(state: CANCELLED by {os.geteuid()})\n")
    assert err.count("\n") == 1
    done = jobs.read_record(MULTIRUN, ["protocol=slush", "n=400", "trials=20", "engine.cores=1"])
    assert vecsim.open(MULTIRUN / done["output"]).attrs["complete"] == 1
    slurm.ended(number())
    limits = {row[1] for row in slurm.accounts(number(), fields="Timelimit")}
    assert limits == {"1-00:00:00"}  # as conf/hydra/launcher/slurm.yaml says
    with pytest.raises(StoreError, match="is unfinished: the same command goes on"):
        vecsim.collect(MULTIRUN)


@pytest.mark.parametrize("times", [1, 0])
def test_a_job_whose_time_is_over(times, slurm):
    """It is told by USR2, some time before its limit: it goes on in the queue, or the driver says
    that it was stopped."""
    options = "hydra/launcher=slurm", f"hydra.launcher.max_num_timeout={times}"
    options += ("hydra.launcher.timeout_min=5",)
    study = LONG if times else ENDLESS
    with driving(slurm, *study, *options) as driver:
        wait_until(lambda: computes(*study), 90, "the job")
        slurm.command("scancel", "--signal=USR2", number())
        _, err = driver.communicate(timeout=120)
    slurm.ended(number())
    states = [row[1] for row in slurm.accounts(number(), "--duplicates")]
    record = jobs.read_record(MULTIRUN, study)
    if times:
        assert (driver.returncode, err) == (0, "")
        assert states == ["REQUEUED", "COMPLETED"]
        assert call(*LONG[:-1], "output=plain").code == 0  # on other cores
        assert_same(vecsim.open(MULTIRUN / record["output"]), vecsim.open("plain/data.zarr"))
    else:
        assert driver.returncode == 4
        assert err == (
            "vecsim: a job ended without a result; the same command goes on;"
            " Job not requeued because: timed-out too many times.\n"
        )
        assert states == ["FAILED"]
        assert record["state"] == "begun"


def submitted(slurm, recipe: str, *words: str, options=(), script: str, **more: str) -> str:
    """The number of a job by a recipe, for which `vecsim` is this script."""
    path = Path("bin/vecsim")
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    every = {**os.environ, **slurm.environment, **more}
    every["PATH"] = f"{path.parent.absolute()}:{every['PATH']}"
    sbatch = "sbatch", "--parsable", *options, str(RECIPES / recipe)
    return slurm.command(*sbatch, *words, env=every)


CALLED = 'echo "${SLURM_ARRAY_TASK_ID:--} ${SLURM_RESTART_COUNT:-0} $#: $*" >>called'


def called() -> list[str]:
    return sorted(Path("called").read_text().splitlines())


def test_an_array(slurm):
    """A task that outlives its time or fails is put back, bad input is not. The last task has the
    number of the whole array, so that it might put back all of them."""
    script = f"""{CALLED}
case $SLURM_ARRAY_TASK_ID in
  0) exit 0 ;;
  1) exit 2 ;;
  2) exit 1 ;;
esac
[ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ] || exec sleep 300"""
    # USR1 comes when Slurm looks at limits the next time, which it does every 30 s.
    options = "--array=0-3", "--time=1", "--signal=B:USR1@55"
    words = "protocol=slush", "sweep.n=[10, 20]"
    array = submitted(
        slurm, "array.sbatch", *words, options=options, script=script, MOST_RESTARTS="1"
    )
    merge = submitted(
        slurm, "merge.sbatch", "here", options=[f"--dependency=afterok:{array}"], script=script
    )
    slurm.ended(array, merge)
    given = "3: protocol=slush sweep.n=[10, 20] shard="
    assert called() == [
        f"0 0 {given}0/4",
        f"1 0 {given}1/4",
        *(f"2 {restarts} {given}2/4" for restarts in (0, 1)),
        *(f"3 {restarts} {given}3/4" for restarts in (0, 1)),
    ]
    states: dict[str, list[str]] = {}
    for task, state, code in slurm.accounts(array, "--duplicates"):
        states.setdefault(task.partition("_")[2], []).append(f"{state} {code}")
    assert states == {
        "0": ["COMPLETED 0:0"],
        "1": ["FAILED 2:0"],
        "2": ["REQUEUED 0:0", "FAILED 1:0"],
        "3": ["REQUEUED 0:0", "COMPLETED 0:0"],
    }
    assert [row[1].split()[0] for row in slurm.accounts(merge)] == ["CANCELLED"]
    log = Path(f"vecsim-{array}_3.log").read_text()
    assert f"task {array}_3: exit code 143; restart 1\n" in log
    log = Path(f"vecsim-{array}_2.log").read_text()
    assert f"task {array}_2: exit code 1 after 1 restarts; not put back into the queue\n" in log


def test_merging_waits(slurm):
    """Until all tasks are done; some tasks that are submitted again are told how many there are."""
    script = f"sleep ${{SLURM_ARRAY_TASK_ID:-0}}\n{CALLED}"
    options = ["--array=1-2"]
    array = submitted(slurm, "array.sbatch", options=options, script=script, SHARDS="3")
    options = [f"--dependency=afterok:{array}"]
    merge = submitted(slurm, "merge.sbatch", "here", options=options, script=script)
    slurm.ended(array, merge)
    lines = Path("called").read_text().splitlines()
    assert lines == ["1 0 1: shard=1/3", "2 0 1: shard=2/3", "- 0 2: merge here"]


def test_shards(slurm):
    """Three shards, merged, are the undivided study, bit for bit."""
    study = "protocol=slush", "n=50", "trials=40", "sweep.byzantine_fraction=[0.0,0.1,0.2,0.3]"
    script = f'exec {shlex.quote(sys.executable)} -m vecsim "$@"'
    words = *study, "output=here"
    array = submitted(slurm, "array.sbatch", *words, options=["--array=0-2"], script=script)
    options = [f"--dependency=afterok:{array}"]
    merge = submitted(slurm, "merge.sbatch", "here", options=options, script=script)
    slurm.ended(array, merge)
    logs = "".join(file.read_text() for file in Path().glob("*.log"))
    assert {row[1] for row in slurm.accounts(array)} == {"COMPLETED"}, logs
    assert [row[1] for row in slurm.accounts(merge)] == ["COMPLETED"], logs
    assert call(*study, "output=plain").code == 0
    assert_same(vecsim.open("here/data.zarr"), vecsim.open("plain/data.zarr"))
