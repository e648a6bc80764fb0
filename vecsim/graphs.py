"""Graphs of neighbours (host side)."""

from functools import lru_cache

import networkx as nx
import numpy as np

from vecsim import random
from vecsim.network import Network


@lru_cache(maxsize=8)
def neighbours(network: Network, n: int, seed: int) -> np.ndarray:
    """The network's graphs on n nodes: int32 [graphs, n, largest degree], filled up with -1."""
    seeds, _ = random.trial_key(random.point_key(seed, n), np.arange(network.graphs))
    drawn = [_draw(network, n, int(s)) for s in seeds]
    width = max(max(map(len, lists)) for lists in drawn)
    table = np.full((len(drawn), n, width), -1, np.int32)
    for g, lists in enumerate(drawn):
        for node, others in enumerate(lists):
            table[g, node, : len(others)] = others
    return table


def _draw(network: Network, n: int, seed: int) -> list[list[int]]:
    if network.topology == "random_regular":
        graph = nx.random_regular_graph(network.degree, n, seed)
    else:
        graph = nx.watts_strogatz_graph(n, network.degree, network.rewiring, seed)
    return [sorted(graph.neighbors(node)) for node in range(n)]
