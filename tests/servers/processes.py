"""What servers that tests start have in common: ports, waiting, who listens where, the end."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

REQUIRED = "VECSIM_SERVERS"  # environment variable: set where no server may be missing


def require(lacking: str) -> None:
    """Skip a test whose server cannot be started here; fail where it must be, as in `.ci/run`.

    Who tries vecsim need not be root of a Debian, and need not install Slurm, Ray, Prometheus and
    podman. lacking: what is missing, empty where nothing is.
    """
    if lacking and os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, but {lacking}")
    if lacking:
        pytest.skip(lacking)


def free_ports(*names: str) -> dict[str, int]:
    """A port of 127.0.0.1 for each name, all different, on which nothing listens now."""
    with contextlib.ExitStack() as held:
        found = {}
        for name in names:
            one = held.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found[name] = one.getsockname()[1]
    return found


def wait_until(
    true: Callable[[], object],
    within_s: float,
    what: str,
    alive: Sequence[subprocess.Popen] = (),
) -> None:
    """Wait until a condition is met; TimeoutError, or RuntimeError where one of the processes
    that should be alive has ended. Both say what was waited for."""
    end = time.monotonic() + within_s
    while not true():
        for each in alive:
            if each.poll() is not None:
                raise RuntimeError(f"{what}: {each.args} ended with {each.returncode}")
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        time.sleep(0.1)


def marked(mark: str) -> dict[int, str]:
    """Number and name of all processes whose environment says `mark` (NAME=value), whoever
    started them."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                found[int(path.name)] = (path / "comm").read_text().strip()
    return found


def listening(processes: Iterable[int]) -> dict[int, set[str]]:
    """The addresses, without ports, on which these processes listen (TCP) or receive (UDP)."""
    told = subprocess.run(["ss", "-Hltnup"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=6) for line in told.splitlines()]
    return {
        number: {row[4].rpartition(":")[0] for row in rows if f"pid={number}," in row[-1]}
        for number in processes
    }


def end(started: Iterable[subprocess.Popen], within_s: float = 20) -> None:
    """Ask processes to end, one after the other, and kill those that do not in time."""
    for each in started:
        each.terminate()
        try:
            each.wait(within_s)
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()


def kill(processes: Iterable[int]) -> None:
    for number in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
