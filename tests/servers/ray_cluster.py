"""A Ray of two nodes on this machine, in a network of its own that has nothing but loopback.

Ray listens on all interfaces, whatever address it is told, but for 127.0.0.1, which it replaces by
the machine's outward address where there is one. Inside the namespace there is none.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from processes import wait_until

from vecsim import places

ROOT = places.PACKAGE.parent
NEEDED = "ip", "nsenter", "setpriv", "ss", "unshare"
# Its processes are alone with each other, and are killed with the first of them.
UNSHARE = "unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"
ADDRESSES = "127.0.0.1", "127.0.0.2"  # of the head and of the other node
PORT = 6379  # nothing else listens there
CORES = 2  # that a node offers, however many there are
KEPT = "RAY_ENVIRONMENT"  # environment variable: a virtual environment that is kept and used again
WAIT_S = 120  # at most, until a node is there; it takes some seconds
COMMAND_S = 360  # at most, for a command; the longest takes half a minute on two free cores


class Cluster:
    """Ray's processes and drivers. folder: for their files, home and cache; short, for the paths of
    sockets. inside: words before a command that runs where Ray does."""

    def __init__(self, environment: Path, folder: Path, holder: subprocess.Popen):
        self.folder, self.holder = folder, holder
        self.address = f"{ADDRESSES[0]}:{PORT}"
        self.variables = {
            **{name: text for name, text in os.environ.items() if not name.startswith("RAY_")},
            "PATH": f"{environment / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "RAY_AUTH_MODE": "token",
        }
        self.variables.pop("TF_CPP_MIN_LOG_LEVEL", None)
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        self.inside = ["nsenter", f"--target={children[0]}", "--net", "--pid", "--mount", "--"]

    def start(self, *words: str, cwd: Path, within: tuple[str, ...] = (), **variables: str):
        """A process where Ray runs. within: words before the command."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        command = [*self.inside, "env", f"--chdir={cwd}", *within, *words]
        environment = self.variables | variables
        return subprocess.Popen(command, text=True, env=environment, **pipes)

    def run(self, *words: str, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
        with self.start(*words, cwd=cwd, **options) as running:
            try:
                out, err = running.communicate(timeout=COMMAND_S)
            finally:
                running.kill()
        return subprocess.CompletedProcess(words, running.returncode, out, err)

    def node(self, *words: str, address: str) -> None:
        """Start a node of Ray; its files are not in the driver's folder."""
        place = self.folder / address
        place.mkdir()
        start = ["ray", "start", *words, f"--node-ip-address={address}", f"--temp-dir={place}"]
        start += [f"--num-cpus={CORES}", "--object-store-memory=80000000", "--disable-usage-stats"]
        done = self.run(*start, cwd=place)
        if done.returncode:
            raise RuntimeError(f"{done.stdout}{done.stderr}")

    def listening(self) -> set[str]:
        """The addresses, without ports, on which anything listens or receives inside."""
        told = self.run("ss", "-Hltnu", cwd=self.folder).stdout
        return {line.split()[4].rpartition(":")[0] for line in told.splitlines()}

    def files(self) -> set[str]:
        """What lies in the folders in which the nodes were started, but for Ray's own files."""
        names = {path.name for address in ADDRESSES for path in self.folder.glob(f"{address}/*")}
        return {name for name in names if not name.startswith(("session_", "ray_", "prom_"))}


def lacking() -> str:
    """Why there can be no such namespace here; empty where there can."""
    missing = [name for name in NEEDED if not shutil.which(name, path=_path())]
    if missing:
        return f"not installed: {' '.join(missing)}"
    if subprocess.run([*UNSHARE, "true"], capture_output=True).returncode:
        return "`unshare --net --pid` is not allowed"
    return ""


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@contextlib.contextmanager
def environment() -> Iterator[Path]:
    """A virtual environment with Ray, which fits into none with the extra `dask`.

    It takes a minute or two and a gigabyte, and is deleted afterwards unless KEPT names it.
    """
    kept = os.environ.get(KEPT)
    folder = Path(kept or tempfile.mkdtemp(prefix="ray-environment-"))
    try:
        if not (folder / "bin/ray").exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            install = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
            subprocess.run([*install, "--editable", f"{ROOT}[ray]"], check=True)
        yield folder
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def namespace(environment: Path) -> Iterator[Cluster]:
    """The network of its own, without a Ray; what runs in it is killed with the context."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    up = folder / "up"
    script = f"ip link set lo up && touch {up} && exec sleep infinity"
    words = ["setpriv", "--pdeathsig", "KILL", *UNSHARE, "sh", "-c", script]
    holder = subprocess.Popen(words, env={**os.environ, "PATH": _path()}, start_new_session=True)
    try:
        wait_until(up.exists, WAIT_S, "the namespace", [holder])
        yield Cluster(environment, folder, holder)
    finally:
        holder.kill()  # unshare ignores what else ends a process
        holder.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(environment: Path) -> Iterator[Cluster]:
    """The same with a Ray of two nodes."""
    with namespace(environment) as cluster:
        token = "ray", "get-auth-token", "--generate"
        cluster.run(*token, cwd=cluster.folder).check_returncode()
        head = "--head", f"--port={PORT}", "--include-dashboard=false"
        cluster.node(*head, address=ADDRESSES[0])
        cluster.node(f"--address={cluster.address}", address=ADDRESSES[1])
        yield cluster
