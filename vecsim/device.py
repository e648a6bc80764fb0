"""What JAX must be told before it starts: vector width, CPU devices, the compile cache."""

import contextlib
import os
import warnings
import zlib
from pathlib import Path
from typing import Any

from vecsim.errors import ConfigError, count
from vecsim.results.files import write

VECTOR_FLAG = "--xla_cpu_prefer_vector_width"  # bits; XLA uses 256 by default, AVX-512 has more
SHARE = "VECSIM_JOB_CORES"  # environment variable: cores for each of several concurrent jobs
GPUS = "VECSIM_GPUS"  # environment variable: GPUs for concurrent processes, which take turns, 0,1,2
GPU_MEMORY = 0.75  # share of a GPU's memory that JAX takes by default
MOST_CORES = 4096  # CPU devices that may be asked for, more than any one machine has
PROC = Path("/proc")  # where Linux describes the process and its limits
ZSTD = b"\x28\xb5\x2f\xfd"  # the first bytes of a Zstandard frame


def cores() -> int:
    """Cores that this process may use; macOS knows only how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_cores() -> int:
    """Cores for this process: all that it may use, or its share among concurrent jobs."""
    return int(os.environ.get(SHARE, cores()))


def take_gpu(number: int) -> int:
    """Let JAX see only one of the GPUs that GPUS lists, by turns: for process 0, 1, ... of several.

    To be called before JAX is used. Returns how many are listed; 1 where none is, and JAX sees what
    it would.
    """
    gpus = os.environ.get(GPUS, "").split(",")
    if gpus != [""]:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return len(gpus)


def device_names() -> str:
    """What JAX computes on, such as `2 x cpu (cpu)`."""
    import jax

    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"


def configure(wanted: Any = None) -> None:
    """Set JAX up for this machine; once JAX has been used its devices stay as they are.

    wanted: number of CPU devices, 1 to 4096 (default: all cores that this process may use, or its
    share of them among concurrent jobs). Without a GPU, trials are divided among them. Flags that
    the user has set stay as they are. ConfigError where the number is not valid, or where JAX
    already has another number of devices.
    """
    wanted = None if wanted is None else count("engine.cores", wanted, 1, MOST_CORES)
    flags = os.environ.get("XLA_FLAGS", "")
    cpu = PROC / "cpuinfo"
    if VECTOR_FLAG not in flags and cpu.is_file() and " avx512f " in cpu.read_text():
        os.environ["XLA_FLAGS"] = f"{flags} {VECTOR_FLAG}=512".strip()
    import jax

    if "xla_force_host_platform_device_count" not in flags:
        with contextlib.suppress(RuntimeError):  # JAX has been used
            jax.config.update("jax_num_cpu_devices", wanted or share_of_cores())
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache")  # a full disk
    cache = None if "JAX_COMPILATION_CACHE_DIR" in os.environ else cache_folder()
    if cache:
        mend(cache)
        jax.config.update("jax_compilation_cache_dir", str(cache))
    if wanted is not None and wanted != (there := len(jax.devices("cpu"))):
        why = "as many as this process has had from its start on, or another process"
        raise ConfigError(f"engine.cores is {wanted}; allowed: {there}, {why}")


def forget_programs() -> None:
    """Drop compiled programs before there are so many that no more can be loaded.

    Linux allows a process 65,530 memory mappings, and the program of a study takes 96 of them
    (measured with JAX 0.10.1 on two CPU devices, agents engine); beyond the limit LLVM fails and
    the process ends. The compile cache on disk keeps the programs.
    """
    try:
        held = (PROC / "self/maps").read_bytes().count(b"\n")
        most = int((PROC / "sys/vm/max_map_count").read_text())
    except (OSError, ValueError):  # not on Linux
        return
    if held > most / 2:
        import jax

        jax.clear_caches()


def cache_folder() -> Path | None:
    """The folder of compiled programs, private to this user; None if there can be none."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "vecsim"
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = cache.stat()
        if about.st_uid != os.getuid():  # programs in it would be run
            return None
        if about.st_mode & 0o077:
            cache.chmod(0o700)
    except (OSError, RuntimeError):  # no home
        return None
    return cache if os.access(cache, os.W_OK) else None


def mend(cache: Path) -> None:
    """Delete the programs that a killed process left incomplete.

    JAX writes them in place, warns of one that it cannot read, and never replaces it. A list of
    the complete ones keeps the next start quick.
    """
    listed = cache / "whole.txt"
    with contextlib.suppress(OSError):
        known = set(listed.read_text().splitlines()) if listed.is_file() else set()
        whole = set()
        for entry in cache.glob("*-cache"):
            with contextlib.suppress(FileNotFoundError):  # another process deleted it
                about = entry.stat()
                name = f"{about.st_size} {about.st_mtime_ns} {entry.name}"
                if name in known or _is_whole(entry.read_bytes()):
                    whole.add(name)
                else:
                    entry.unlink()
        if whole != known:
            write(listed, "\n".join(sorted(whole)).encode())


def _is_whole(program: bytes) -> bool:
    from numcodecs.zstd import decompress

    with contextlib.suppress(zlib.error, RuntimeError):
        decompress(program) if program.startswith(ZSTD) else zlib.decompress(program)
        return True
    return False
