#!/usr/bin/env bash
# Values that several results are made of, behind a barrier.
#
# One would assume: what passes `jax.lax.optimization_barrier` is computed once and kept, as JAX's
# documentation says that barriers prevent fusion of what stands before them with what comes after.
#
# Seen with JAX 0.10.1 on a CPU: the barrier is gone before XLA fuses, and each of three results
# computes the value anew, in a kernel of its own, as without a barrier. For long chains of cheap
# operations, such as random bits, that takes as many times as long. (Common subexpressions are kept
# apart, as documented.) Behind the branch of a condition that the compiler does not know the value is
# computed once.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.1 jaxlib==0.10.1 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import jax.numpy as jnp


def inside(known, x):
    return jax.lax.cond(known >= 0, lambda: x ^ (x >> 3), lambda: jnp.zeros_like(x))


def three(x, value):
    return value * 2, value[::-1] + 7, (value == value[3]).any()


ways = {
    "plain": lambda known, x: three(x, x ^ (x >> 3)),
    "behind a barrier": lambda known, x: three(x, jax.lax.optimization_barrier(x ^ (x >> 3))),
    "inside a branch": lambda known, x: three(x, inside(known, x)),
}
found = {}
for name, function in ways.items():
    given = jnp.int32(1), jnp.arange(1024, dtype=jnp.uint32)
    text = jax.jit(function).lower(*given).compile().as_text()
    found[name] = sum(" shift-right-logical(" in line for line in text.splitlines())
    print(f"{name}: the value is computed in {found[name]} kernels")
assert found == {"plain": 3, "behind a barrier": 3, "inside a branch": 1}, found
PY
