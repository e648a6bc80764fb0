#!/usr/bin/env bash
# Normal draws in a far tail, as importance sampling of rare events wants them.
#
# One would assume: `jax.random.truncated_normal(key, 6, 7)` gives values spread over [6, 7], most of
# them near 6 (mean 6.16).
#
# Seen with JAX 0.10.1 on a CPU: every draw is the same number, the one just below 7. The inverse of
# the error function is taken between two float32 numbers that are both 1. The mirror image, from -7
# to -6, collapses alike. SciPy's `truncnorm` gives the mean 6.16.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.1 jaxlib==0.10.1 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import numpy as np
from scipy import stats

key = jax.random.key(0)
for low, high in ((1.0, 2.0), (6.0, 7.0), (-7.0, -6.0)):
    found = np.asarray(jax.random.truncated_normal(key, low, high, (100_000,)), float)
    law = stats.truncnorm(low, high)
    print(f"[{low:g}, {high:g}]: {len(np.unique(found)):,} different values, "
          f"mean {found.mean():.3f}, should be {law.mean():.3f}")
    if low == 1.0:
        assert abs(found.mean() - law.mean()) < 5 * law.std() / np.sqrt(found.size)
    else:
        assert len(np.unique(found)) == 1
        assert abs(found.mean() - law.mean()) > 0.5
PY
