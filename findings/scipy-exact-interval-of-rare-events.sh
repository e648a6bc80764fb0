#!/usr/bin/env bash
# Clopper-Pearson intervals of rare events in very many trials.
#
# One would assume: `binomtest(k, n).proportion_ci(method="exact")` is the Clopper-Pearson interval,
# the pair of beta quantiles, to many digits at any n.
#
# Seen with SciPy 1.17.1: the ends are found by a root finder whose tolerance is absolute, so the
# interval drifts off as the rate gets small: 0.006 % at n = 1e9, 0.15 % at 1e10, and at 1e12 the
# lower end for 3 events is 0 where it is 6.2e-13. The beta quantiles
# are right throughout (for no events the upper end is 1 - (alpha/2)^(1/n), checked here in
# logarithms).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from math import expm1, log

from scipy import stats

alpha = 0.05
print("events  trials  low: exact method, beta quantile  high: exact method, beta quantile")
for trials in (10**6, 10**9, 10**10, 10**12):
    for events in (0, 3):
        found = stats.binomtest(events, trials).proportion_ci(1 - alpha, method="exact")
        low = stats.beta.ppf(alpha / 2, events, trials - events + 1) if events else 0.0
        high = stats.beta.ppf(1 - alpha / 2, events + 1, trials - events)
        print(f"{events}  {trials:.0e}  {found.low:.4g} {low:.4g}  {found.high:.5g} {high:.5g}")
        if not events:
            assert abs(high / -expm1(log(alpha / 2) / trials) - 1) < 1e-9
        off = abs(found.high / high - 1)
        assert off < 1e-8 if trials == 10**6 else off > 5e-6
        if (events, trials) == (3, 10**12):
            assert found.low == 0 < 6e-13 < low < 6.3e-13
PY
