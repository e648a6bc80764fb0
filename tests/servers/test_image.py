"""The image of deploy/: built by its script, run without a network on a read-only root.

One test, for building takes most of the time, and each worker of pytest would build its own.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from command import files, start
from processes import require

from vecsim import places

ROOT = places.PACKAGE.parent
NEEDED = "buildah", "catatonit", "mmdebstrap", "podman", "python3.11", "runc"
# The main job with both of its kinds of study: single decisions, and campaigns of a cluster.
JOB = (
    "experiment=byzantine_sweep",
    "n=60",
    "trials=16",
    "precision.half_width=0.2",
    "precision.min_trials=8",
    "sweep.protocol=[qr_avalanche]",
    "sweep.adversary=[always_reject]",
    "sweep.byzantine_fraction=[0,0.2]",
    "figure=false",
    "output=here",
)
IMAGE = "localhost/vecsim:test"
# Closed as far as it goes; the working folder is given to the user of the container.
CLOSED = "--rm", "--network", "none", "--read-only", "--cap-drop", "all"
TOLD = "zarr.json", "vecsim/checksums"  # attributes, which tell the time and machine; their sum


def run(*command: str, code: int = 0) -> str:
    """What the command prints on both streams; it must end with this exit code."""
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == code, done.stdout
    return done.stdout


def stored(folder: Path) -> dict[str, bytes]:
    """Every file of both stores but for the attributes of the dataset."""
    found = {name: data for name, data in files(folder).items() if ".zarr/" in name}
    for store in ("data", "defended"):
        for name in TOLD:
            del found[f"{store}.zarr/{name}"]
    return found


@pytest.fixture
def storage(monkeypatch) -> Iterator[None]:
    """Images and containers in a folder that is gone afterwards, not beside those of the user."""
    with tempfile.TemporaryDirectory(prefix="vecsim-") as name:
        folder = Path(name)
        kept = {"driver": "overlay", "graphroot": str(folder / "kept"), "runroot": f"{folder}/run"}
        lines = [f'{key} = "{value}"' for key, value in kept.items()]
        (folder / "storage.conf").write_text("\n".join(["[storage]", *lines]))
        # podman raises limits beyond those of its own process, which not every machine allows.
        limits = 'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]'
        (folder / "containers.conf").write_text(
            f'[containers]\n{limits}\n[engine]\nruntime = "runc"\n'
        )
        monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        monkeypatch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        try:
            yield
        finally:
            subprocess.run(["podman", "pod", "rm", "--force", "shard"], capture_output=True)
            subprocess.run(["podman", "rm", "--force", "--volumes", "long"], capture_output=True)


@pytest.fixture(autouse=True)
def builder():
    """Root, and what builds and runs images."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    lacking = [f"{name} is not installed" for name in missing]
    require("; ".join(lacking + ["this is not root"] * (os.geteuid() != 0)))


def test_image(storage, tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(*JOB, cwd=tmp_path, **pipes) as outside:  # building leaves a core free
        run(str(ROOT / "deploy/build"), IMAGE)
        _, told = outside.communicate()
    assert (outside.returncode, told) == (0, "")
    about = json.loads(run("podman", "image", "inspect", IMAGE))[0]["Config"]
    assert about["User"] == "1000:1000"
    assert about["Entrypoint"] == ["vecsim"]
    assert set(about["Volumes"]) == {"/data", "/cache"}

    (tmp_path / "data").mkdir()
    options = *CLOSED, "--volume", f"{tmp_path / 'data'}:/data:U"
    run("podman", "run", *options, IMAGE, *JOB)
    assert stored(tmp_path / "data/here") == stored(tmp_path / "here")
    again = run("podman", "run", *options, IMAGE, *JOB)
    assert again.count("complete, nothing to compute") == 2
    assert "vecsim: n is 0" in run("podman", "run", *options, IMAGE, "n=0", code=2)

    check_bytecode(options)
    check_stopping(options)
    check_pod(tmp_path)


def check_bytecode(options: tuple[str, ...]) -> None:
    """What Python takes for stale would be compiled anew at each start."""
    python = "--entrypoint", "python3", IMAGE, "-v", "-c", "import vecsim.launch"
    imported = run("podman", "run", *options, *python)
    assert "import 'jax'" in imported
    assert "bytecode is stale" not in imported
    assert "could not create" not in imported


def check_stopping(options: tuple[str, ...]) -> None:
    """`podman stop` is Ctrl-C: the run ends at once and says how to go on."""
    kept = [option for option in options if option != "--rm"]
    run("podman", "run", "--detach", "--name", "long", *kept, IMAGE, "trials=10000000", "n=2000")
    follow = ["podman", "logs", "--follow", "long"]
    with subprocess.Popen(follow, text=True, stdout=subprocess.PIPE) as log:
        assert "study: 1 point" in log.stdout.readline()
        run("podman", "stop", "--time", "60", "long")
    assert run("podman", "wait", "long").strip() == "130"
    assert "the same command goes on from here" in run("podman", "logs", "long")


def check_pod(folder: Path) -> None:
    """The pod of a shard as Kubernetes is told to run it, with a small study in place of it."""
    kubernetes = ROOT / "deploy/kubernetes"
    claim = yaml.safe_load((kubernetes / "results.yaml").read_text())
    template = yaml.safe_load((kubernetes / "shards.yaml").read_text())["spec"]["template"]
    [container] = template["spec"]["containers"]
    container |= {"image": IMAGE, "imagePullPolicy": "Never"}
    # One core, as any machine has more. podman leaves $(NAME) in arguments as it is.
    container["resources"]["limits"]["cpu"] = container["resources"]["requests"]["cpu"] = "1"
    container["args"] = ["n=50", "trials=8", "output=/data/small"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"]["name"] = "shard"
    (folder / "pod.yaml").write_text(yaml.safe_dump_all([claim, pod]))
    run("podman", "kube", "play", "--network", "none", str(folder / "pod.yaml"))
    assert run("podman", "wait", "shard-vecsim").strip() == "0", run(
        "podman", "logs", "shard-vecsim"
    )
    shown = run("podman", "logs", "shard-vecsim")
    assert "engine agents, 1 x cpu" in shown
    assert "dataset  /data/small/data.zarr" in shown
    about = json.loads(run("podman", "inspect", "shard-vecsim"))[0]
    assert about["HostConfig"]["ReadonlyRootfs"] is True
    assert about["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]
    assert about["EffectiveCaps"] in (None, [])
