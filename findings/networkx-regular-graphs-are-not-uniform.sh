#!/usr/bin/env bash
# Random regular graphs, a common topology of gossip simulations.
#
# One would assume: `networkx.random_regular_graph(d, n)` is uniform, or nearly, among the simple
# d-regular graphs on n vertices. (Its page cites Kim and Vu, who show that Steger and Wormald's way
# is asymptotically uniform.)
#
# Seen with NetworkX 3.6.1: at small degrees it has too many short cycles at every size. Uniform
# cubic graphs have 4/3 triangles in the mean; these have 1.6 to 1.8. Of the 70 graphs of six
# vertices of degree 2, ten are two triangles: 14 %; here 31 %.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check networkx==3.6.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from itertools import combinations

import networkx as nx
import numpy as np

# By enumeration: every set of 6 edges on 6 vertices in which all degrees are 2.
edges = list(combinations(range(6), 2))
graphs = [nx.Graph(chosen) for chosen in combinations(edges, 6)]
regular = [g for g in graphs if len(g) == 6 and all(degree == 2 for _, degree in g.degree)]
apart = np.mean([not nx.is_connected(g) for g in regular])
assert (len(regular), round(apart * 70)) == (70, 10)

rng = np.random.default_rng(0)
draws = 4000
found = np.mean([not nx.is_connected(nx.random_regular_graph(2, 6, rng)) for _ in range(draws)])
print(f"n = 6, degree 2, in two pieces: {found:.3f}, uniform {apart:.3f}")
assert found - apart > 5 * np.sqrt(found * (1 - found) / draws)

for n in (50, 400):
    graphs = (nx.random_regular_graph(3, n, rng) for _ in range(1500))
    counts = np.array([sum(nx.triangles(g).values()) / 3 for g in graphs])
    error = counts.std() / np.sqrt(len(counts))
    print(f"n = {n}, degree 3: {counts.mean():.2f} triangles (standard error {error:.2f}), 1.33")
    assert counts.mean() - 4 / 3 > 5 * error
PY
