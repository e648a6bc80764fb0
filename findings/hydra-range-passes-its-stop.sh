#!/usr/bin/env bash
# Ranges of fractions in a multirun.
#
# One would assume: Hydra's `range(0.1,0.4,0.1)` has three values, 0.1, 0.2 and 0.3: the stop is left
# out, as in Python and as Hydra's page on sweeps says.
#
# Seen with hydra-core 1.3.8: four jobs run, the last with 0.4, while `range(0.1,0.3,0.1)` has two.
# The bounds become the exact decimals of their binary floats and the sums are rounded to 28 digits, so
# that it is rounding that decides whether the stop is left out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check hydra-core==1.3.8
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from hydra.core.override_parser.overrides_parser import OverridesParser

parser = OverridesParser.create()
seen = {}
for stop in (0.3, 0.4, 0.5, 0.8):
    [override] = parser.parse_overrides([f"x=range(0.1,{stop},0.1)"])
    seen[stop] = [float(value) for value in override.sweep_iterator()]
    print(f"range(0.1,{stop},0.1): {seen[stop]}")
assert len(seen[0.3]) == 2, "the stop is left out here"
assert len(seen[0.4]) == 4 and abs(seen[0.4][-1] - 0.4) < 1e-9, "and is not here"
PY
