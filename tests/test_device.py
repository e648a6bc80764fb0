"""The folder of compiled programs: for its user alone, mended, and not needed."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import pytest
from command import call, outside
from numcodecs.zstd import Zstd

from vecsim import device

PROGRAM = """
from vecsim import device, places
places.environment()
device.configure(1)
import jax
jax.config.update("jax_platforms", "cpu")
print(int(jax.jit(lambda x: 3 * x + 1)(7)))
"""


def compiled(**changes: str) -> None:
    """Compile and run a program in a new process; nothing is to be said."""
    kept = {key: value for key, value in outside().items() if not key.startswith("JAX_")}
    environment = {key: value for key, value in (kept | changes).items() if value}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "22\n", "")


def entries(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*-cache")}


def test_programs_that_were_cut_off_are_replaced_once(tmp_path: Path):
    folder = tmp_path / "vecsim"
    compiled(XDG_CACHE_HOME=str(tmp_path))
    names = sorted(entries(folder))
    assert names
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in names:
        os.truncate(folder / name, (folder / name).stat().st_size // 2)
    compiled(XDG_CACHE_HOME=str(tmp_path))
    whole = entries(folder)
    assert sorted(whole) == names
    written = {name: (folder / name).stat().st_mtime_ns for name in names}
    compiled(XDG_CACHE_HOME=str(tmp_path))
    assert entries(folder) == whole
    assert {name: (folder / name).stat().st_mtime_ns for name in names} == written


def test_nothing_is_kept_where_nothing_can_be(tmp_path: Path):
    compiled(XDG_CACHE_HOME="/dev/null", HOME=str(tmp_path))
    assert not any(tmp_path.iterdir())


def test_only_what_is_cut_off_is_deleted(tmp_path: Path):
    packed = {
        "zlib-cache": zlib.compress(b"program" * 100),
        "zstd-cache": Zstd().encode(b"program" * 100),
    }
    for name, content in packed.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"half-{name}").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty-cache").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("mine")
    device.mend(tmp_path)
    assert entries(tmp_path) == packed
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_is_known_is_not_read_again(tmp_path: Path, monkeypatch):
    (tmp_path / "a-cache").write_bytes(zlib.compress(b"program"))
    device.mend(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda self: pytest.fail(f"{self} is read"))
        device.mend(tmp_path)
    (tmp_path / "a-cache").write_bytes(b"cut off")  # of another size, at another time
    device.mend(tmp_path)
    assert entries(tmp_path) == {}


def test_the_folder_is_closed_to_others(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "vecsim").mkdir(mode=0o755)
    assert device.cache_folder() == tmp_path / "vecsim"
    assert (tmp_path / "vecsim").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("given", ["", "relative"])
def test_the_home_is_the_default(tmp_path: Path, monkeypatch, given: str):
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert device.cache_folder() == tmp_path / ".cache/vecsim"


def test_programs_of_another_user_are_not_run(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 2**31)
    assert device.cache_folder() is None


def test_without_a_home(monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    assert device.cache_folder() is None


@pytest.mark.parametrize("most", [15, 25])
def test_programs_are_let_go_before_memory_has_too_many_pieces(most, tmp_path, monkeypatch):
    """As those of hundreds of studies in a notebook, or of jobs in one process."""
    (tmp_path / "self").mkdir()
    (tmp_path / "sys/vm").mkdir(parents=True)
    (tmp_path / "self/maps").write_text("a piece\n" * 10)
    (tmp_path / "sys/vm/max_map_count").write_text(f"{most}\n")
    monkeypatch.setattr(device, "PROC", tmp_path)
    monkeypatch.chdir(tmp_path)
    program = jax.jit(lambda x: x + 1)
    program(1)
    result = call("protocol=slush", "n=30", "trials=2", "output=here")
    assert (result.code, result.err) == (0, "")
    assert program._cache_size() == (1 if most > 20 else 0)


def test_only_linux_tells_of_pieces_of_memory(tmp_path, monkeypatch):
    """And where nothing is told all programs are kept."""
    for name in ("self/maps", "sys/vm/max_map_count"):
        assert (device.PROC / name).exists() == (sys.platform == "linux")
    program = jax.jit(lambda x: x + 1)
    program(1)
    monkeypatch.setattr(device, "PROC", tmp_path)
    device.forget_programs()
    assert program._cache_size() == 1


def test_processes_take_the_gpus_by_turns(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    for listed in (None, ""):
        monkeypatch.delenv(device.GPUS, raising=False)
        if listed is not None:
            monkeypatch.setenv(device.GPUS, listed)
        assert device.take_gpu(1) == 1
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    monkeypatch.setenv(device.GPUS, "3,5")
    seen = []
    for number in range(3):
        assert device.take_gpu(number) == 2
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["3", "5", "3"]
