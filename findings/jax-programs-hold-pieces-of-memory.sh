#!/usr/bin/env bash
# Many compiled programs in one process, as of a sweep over what shapes a program, or in a notebook.
#
# One would assume: programs that are kept cost bytes, of which a small program has few, so that a
# machine with gigabytes to spare keeps thousands.
#
# Seen with jax 0.10.1 on the CPU (Linux, x86-64): every program holds several pieces of mapped
# memory, and more on more devices, until `jax.clear_caches()`. Linux gives a process 65,530 of
# them (/proc/sys/vm/max_map_count). When they are used up compilation fails for good: the process
# ends with an error of LLVM about memory while most of the machine's is free.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.1 jaxlib==0.10.1
cd "$folder"
cat > count.py <<'PY'
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

devices, programs = int(sys.argv[1]), 40
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", devices)


def pieces():
    return Path("/proc/self/maps").read_bytes().count(b"\n")


mesh = jax.make_mesh((devices,), ("x",))
split = jax.NamedSharding(mesh, jax.P("x"))


def program(size):
    given = jax.device_put(jnp.ones((devices, size)), split)
    jax.jit(lambda x: jnp.sort(jnp.sin(x).cumsum(1)))(given).block_until_ready()


program(7)
before = pieces()
for size in range(100, 100 + programs):
    program(size)
held = (pieces() - before) / programs
jax.clear_caches()
left = (pieces() - before) / programs
print(f"{devices} devices: {held:.1f} pieces for each program, {left:.1f} after clear_caches")
assert held > 2, "a program holds several"
assert left < held / 2, "they are let go with it"
PY
"$folder/venv/bin/python" count.py 1
"$folder/venv/bin/python" count.py 4
