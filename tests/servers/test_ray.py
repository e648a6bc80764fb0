"""Jobs of a multirun in a real Ray of two nodes, which runs on this machine."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray_cluster as servers
from command import assert_same
from processes import listening, marked, require, wait_until
from stores import chunks

import vecsim
from vecsim.results import jobs
from vecsim.results.files import StoreError

RECIPE = servers.ROOT / "deploy/ray/cluster"
MULTIRUN = Path("results/multirun/study")
SMALL = "n=50", "trials=20"
OWN = "byzantine_fraction=0.1", "packages=own"
BOTH = "protocol=slush,snowflake", *SMALL, *OWN, "adversary=telling"
# In a worker of Ray it says where that is, and waits for another.
FOES = """
import json
import os
import signal
import time
from pathlib import Path
from vecsim.adversaries.always_reject import AlwaysReject

NAMES = "TF_CPP_MIN_LOG_LEVEL", "JAX_PLATFORMS", "VECSIM_JOB_CORES"

class Telling(AlwaysReject):
    def __check_init__(self):
        if "VECSIM_FOLDER" in os.environ:
            import ray

            node = ray.get_runtime_context().get_node_id()
            about = {"folder": os.getcwd(), "environment": {n: os.environ.get(n) for n in NAMES}}
            Path("told", node).write_text(json.dumps(about))
            end = time.monotonic() + 60
            while len(list(Path("told").iterdir())) < 2 and time.monotonic() < end:
                time.sleep(0.1)

class Deadly(AlwaysReject):
    def __check_init__(self):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def environment() -> Iterator[Path]:
    require(servers.lacking())
    with servers.environment() as folder:
        yield folder


@pytest.fixture(scope="module")
def cluster(environment):
    with servers.running(environment) as running:
        yield running


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """With a package of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "told").mkdir()
    (tmp_path / "own/foes.py").write_text(FOES)
    (tmp_path / "conf/adversary").mkdir(parents=True)
    for name in ("Telling", "Deadly"):
        file = tmp_path / f"conf/adversary/{name.lower()}.yaml"
        file.write_text(f"_target_: own.foes.{name}\n")
    return tmp_path


def multirun(cluster, *words: str, folder: Path, address: str = "", **options):
    """A multirun with no more of Ray's settings than its address; without a line that Ray writes
    where it finds no way out of the machine."""
    launcher = f"hydra.launcher.ray.init.address={address or cluster.address}"
    command = "python", "-m", "vecsim", "-m", "--config-dir=conf", "hydra/launcher=ray", launcher
    done = cluster.run(*command, *words, cwd=folder, **options)
    done.stderr = re.sub(r"^\[.* network_util\.cc:.*\n", "", done.stderr, flags=re.M)
    return done


def blocks(out: str) -> dict[str, str]:
    """What each job printed, under the words of its first line."""
    parts = re.split(r"^job (\d+ \(.*\))$", out, flags=re.M)
    assert parts[0] == ""
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_only_loopback(cluster):
    """Inside there is no other interface; outside nothing of it listens."""
    links = cluster.run("ip", "-oneline", "link", cwd=cluster.folder).stdout.splitlines()
    assert [line.split()[1] for line in links] == ["lo:"]
    assert cluster.run("ip", "route", cwd=cluster.folder).stdout == ""
    assert "127.0.0.1" in {text.strip("[]").removeprefix("::ffff:") for text in cluster.listening()}
    processes = marked(f"HOME={cluster.folder}")
    assert sum(name == "raylet" for name in processes.values()) == len(servers.ADDRESSES)
    assert set.union(*listening(processes).values()) == set()


def test_multirun(cluster, folder):
    """On both nodes, in the driver's folder and with its variables; the stores are those of plain
    runs, bit for bit."""
    chosen = {"TF_CPP_MIN_LOG_LEVEL": "2", "JAX_PLATFORMS": "cpu"}
    cores = "hydra.launcher.ray.remote.num_cpus=2"
    result = multirun(cluster, *BOTH, cores, folder=folder, **chosen)
    assert (result.returncode, result.stderr) == (0, "")
    told = [json.loads(path.read_text()) for path in Path("told").iterdir()]
    environment = {**chosen, "VECSIM_JOB_CORES": "2"}
    assert told == [{"folder": str(folder), "environment": environment}] * 2
    assert cluster.files() == set()

    printed = blocks(result.stdout)
    words = {name: [f"protocol={name}", *BOTH[1:]] for name in ("slush", "snowflake")}
    assert [name.partition(" ")[0] for name in printed] == ["0", "1"]
    for (heading, text), (name, given) in zip(printed.items(), words.items(), strict=True):
        assert f"protocol={name}" in heading
        assert "engine agents, 2 x cpu (cpu)\n" in text
        assert text.count("medians of rounds") == text.count(f"dataset  {MULTIRUN}/study-") == 1
        store = MULTIRUN / jobs.read_record(MULTIRUN, given)["output"] / "data.zarr"
        plain = "python", "-m", "vecsim", "--config-dir=conf", *given, f"output={name}"
        cluster.run(*plain, cwd=folder).check_returncode()
        assert_same(vecsim.open(store), vecsim.open(f"{name}/data.zarr"))
        assert chunks(store) == chunks(Path(name, "data.zarr"))
    joined = vecsim.collect(MULTIRUN)
    assert joined.protocol.values.tolist() == ["slush", "snowflake"]
    assert joined.sizes["trial"] == 20


def test_cores_and_a_refusal(cluster, folder):
    """More jobs than fit at once, each with its own number of devices; one that is refused."""
    seeds = "seed=${engine.cores}"  # so that each has a store of its own
    cores = "engine.cores=1,2,3,0", "hydra.launcher.ray.remote.num_cpus=2"
    result = multirun(cluster, "protocol=slush", *SMALL, seeds, *cores, folder=folder)
    assert result.returncode == 2
    assert re.fullmatch(
        r"vecsim: job 3 \(protocol=slush, .*, engine\.cores=0\): engine\.cores is 0;"
        r" allowed: a whole number, 1 to 4096\n",
        result.stderr,
    )
    printed = blocks(result.stdout)
    for number, (heading, text) in enumerate(printed.items()):
        asked = (number + 1) % 4
        assert heading.startswith(f"{number} (")
        assert heading.endswith(f", engine.cores={asked})")
        assert f"engine agents, {asked} x cpu (cpu)\n" in text or (not asked and not text.strip())
    assert len(printed) == 4
    assert len(list(MULTIRUN.glob("*/data.zarr"))) == 3


def test_a_killed_worker(cluster, folder):
    """One line of vecsim and an exit code of its own; what Ray says stands apart from tables."""
    words = "protocol=slush", *SMALL, *OWN, "adversary=deadly"
    result = multirun(cluster, *words, folder=folder)
    assert (result.returncode, result.stdout) == (4, "")
    [line] = [each for each in result.stderr.splitlines() if "(raylet)" not in each]
    assert line.startswith(
        "vecsim: a job ended without a result, and others with it; the same command goes on; "
        "The worker died unexpectedly"
    )
    with pytest.raises(StoreError, match="adversary=deadly was stopped"):
        vecsim.collect(MULTIRUN)


def test_a_folder_that_is_not_shared(cluster, folder):
    """Over the driver's folder lies another, for it alone."""
    script = 'mount -t tmpfs none "$0" && mkdir "$0/conf" && cd "$0" && exec "$@"'
    within = "unshare", "--mount", "sh", "-c", script, str(folder)
    result = multirun(cluster, "protocol=slush", *SMALL, folder=folder, within=within)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"vecsim: job 0 (protocol=slush, {', '.join(SMALL)}): {folder} is not there on"
        f" {os.uname().nodename}; allowed: a folder that all nodes share\n"
    )


def test_no_such_cluster(cluster, folder):
    away = f"127.0.0.1:{servers.PORT + 1}"
    result = multirun(cluster, "protocol=slush", *SMALL, folder=folder, address=away)
    assert (result.returncode, result.stdout) == (4, "")
    told = f"vecsim: hydra.launcher.ray.init.address: no Ray at {away} ("
    assert result.stderr.splitlines()[-1].startswith(told)


def test_the_recipe(environment, folder):
    """Head, another node, a multirun on both, and nothing is left."""
    script = (
        '#!/bin/sh\nshift\nexec "$@" --node-ip-address=127.0.0.2 --num-cpus=1 --temp-dir=$RAY_B\n'
    )
    (folder / "on").write_text(script)
    (folder / "on").chmod(0o755)
    with servers.namespace(environment) as space:
        variables = {
            "ADDRESS": servers.ADDRESSES[0],
            "NODES": "other",
            "ON": "./on",
            "RAY_TMPDIR": f"{space.folder}/a",
            "RAY_B": f"{space.folder}/b",
        }
        (space.folder / "a").mkdir()
        words = *BOTH, "hydra.launcher.ray.remote.num_cpus=1", "--config-dir=conf"
        result = space.run(str(RECIPE), *words, cwd=folder, **variables)
        assert result.returncode == 0, result.stderr
        assert [name[0] for name in blocks(result.stdout)] == ["0", "1"]
        assert len(list(Path("told").iterdir())) == 2
        ended(space)
        assert vecsim.collect(MULTIRUN).sizes["protocol"] == 2

        # Stopped in the middle of a job that would take an hour.
        variables["NODES"] = ""
        endless = "protocol=slush", "n=400", "trials=30000000", "engine.cores=1"
        with space.start(str(RECIPE), *endless, cwd=folder, **variables) as running:
            about = MULTIRUN, endless
            wait_until(lambda: "output" in jobs.read_record(*about), 60, "the job", [running])
            [recipe] = [
                n for n, name in marked(f"HOME={space.folder}").items() if name == "cluster"
            ]
            os.kill(recipe, signal.SIGTERM)
            running.communicate(timeout=60)
        assert running.returncode == 143
        ended(space)


def ended(space) -> None:
    mark = f"HOME={space.folder}"
    every = {"raylet", "gcs_server", "vecsim", "ray::_run_job", "ray::IDLE"}
    wait_until(lambda: not every & set(marked(mark).values()), 20, "the end of Ray")
