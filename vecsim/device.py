"""What must be told to JAX before it starts: vector width, CPU devices, the compile cache."""

import contextlib
import os
from pathlib import Path

VECTOR_FLAG = "--xla_cpu_prefer_vector_width"


def configure(cores: int | None = None) -> None:
    """Set JAX up for this machine; once JAX has been used its devices stay as they are.

    cores: CPU devices to make (default: every core that this process may use). Without a GPU,
    trials are shared out over them. Flags that the user has set are left as they are.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if VECTOR_FLAG not in flags and _has_avx512():
        os.environ["XLA_FLAGS"] = f"{flags} {VECTOR_FLAG}=512".strip()
    import jax

    if "xla_force_host_platform_device_count" not in flags:
        with contextlib.suppress(RuntimeError):  # JAX has been used
            jax.config.update("jax_num_cpu_devices", cores or len(os.sched_getaffinity(0)))
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vecsim"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _has_avx512() -> bool:
    try:
        return " avx512f " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
