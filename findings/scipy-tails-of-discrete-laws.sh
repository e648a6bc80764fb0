#!/usr/bin/env bash
# Upper tails of the laws of polls and committees.
#
# One would assume: `sf` of SciPy's discrete distributions is accurate in the far tail, as it is for
# `binom` and `hypergeom`; that is what `sf` is for.
#
# Seen with SciPy 1.17.1: `betabinom`, `nhypergeom` and `poisson_binom` have no `sf` of their own and
# take 1 - cdf, so that below 1e-16 nothing but rounding is left: `poisson_binom` of 20 coins of 0.01
# gives 2.2e-16 for P(X > 14), which is 1.5e-26. Their `pmf`, summed over the tail, is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from scipy import stats

cases = {
    "binom": (stats.binom(20, 0.01), 14, 20),
    "hypergeom": (stats.hypergeom(1000, 100, 20), 17, 20),
    "poisson_binom": (stats.poisson_binom(np.full(20, 0.01)), 14, 20),
    "betabinom": (stats.betabinom(40, 2, 60), 30, 40),
    "nhypergeom": (stats.nhypergeom(60, 20, 5), 19, 20),
}
right = {}
for name, (law, above, most) in cases.items():
    tail, summed = law.sf(above), law.pmf(np.arange(above + 1, most + 1)).sum()
    right[name] = abs(tail / summed - 1) < 1e-6
    print(f"{name:14} P(X > {above}): sf {tail:.4g}, its pmf summed {summed:.4g}")
# Twenty equal coins are a binomial: an independent witness for the sum.
same = cases["poisson_binom"][0].pmf(np.arange(15, 21)).sum()
assert abs(same / stats.binom(20, 0.01).sf(14) - 1) < 1e-9
assert right == {
    "binom": True, "hypergeom": True,
    "poisson_binom": False, "betabinom": False, "nhypergeom": False,
}, right
PY
