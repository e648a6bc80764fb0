"""Graphs of neighbours (host side).

A ring of n = 10 nodes, of degree 2, as edges and as neighbours:

    edges         0 1 | 1 2 | 2 3 | ... | 9 0      int64 [n * degree / 2, 2]
    neighbours    1 9 | 0 2 | 1 3 | ... | 0 8      [n, degree], ascending
"""

from functools import lru_cache

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from vecsim.model import random
from vecsim.network import Network

# Degree up to which pairing is repeated until it gives a simple graph: one pairing in 40 does so at
# degree 4, and one in 400 at degree 5.
MOST_PAIRED = 4
SWEEPS = 20  # of the Markov chain, in each of which every edge is proposed with probability 1/2

Edges = NDArray[np.int64]  # [edges, 2]


@lru_cache(maxsize=8)
def neighbours(network: Network, n: int, seed: int) -> np.ndarray:
    """The network's graphs on n nodes: int32 [graphs, n, largest degree], filled up with -1.

    They depend on the seed, n and the network only; graph i is the same however many there are.
    """
    seeds, _ = random.trial_key(random.point_key(seed, n), np.arange(network.graphs))
    drawn = [_draw(network, n, int(s)) for s in seeds]
    width = max(len(others) for lists in drawn for others in lists)
    filled = [[others + [-1] * (width - len(others)) for others in lists] for lists in drawn]
    return np.array(filled, np.int32)


def _draw(network: Network, n: int, seed: int) -> list[list[int]]:
    """The neighbours of each node in one graph, ascending."""
    if network.topology == "random_regular":
        return random_regular(network.degree, n, seed).tolist()
    graph = nx.watts_strogatz_graph(n, network.degree, network.rewiring, seed)
    return [sorted(graph.neighbors(node)) for node in range(n)]


def random_regular(degree: int, n: int, seed: int) -> NDArray[np.int64]:
    """Neighbours of each node, ascending [n, degree], in a graph that is uniform among all simple
    graphs in which every node has so many; n * degree even, degree below n.

    Few neighbours: half-edges are paired at random until there is no loop and no double edge, which
    is exact (Bollobás 1980). More: the graph of NetworkX (Steger and Wormald 1999), which is nearly
    uniform, is switched on by a Markov chain whose law is uniform in the end: two edges a-b, c-d
    become a-d, c-b where that leaves the graph simple. With more than half of the others as
    neighbours the graph of those that are none is drawn.
    """
    if degree > (n - 1) // 2:
        table = np.ones((n, n), bool)
        np.fill_diagonal(table, False)
        table[np.arange(n)[:, None], random_regular(n - 1 - degree, n, seed)] = False
        return np.nonzero(table)[1].reshape(n, degree)
    if degree <= MOST_PAIRED:
        edges = _paired(degree, n, seed)
    else:
        edges = np.sort(np.array(nx.random_regular_graph(degree, n, seed).edges, np.int64), axis=1)
        edges = edges[np.lexsort(edges.T)]
        for sweep in range(SWEEPS):
            edges = _switched(edges, n, _words(seed, sweep, len(edges)))
    both = np.concatenate([edges, edges[:, ::-1]])
    return both[np.lexsort((both[:, 1], both[:, 0]))][:, 1].reshape(n, degree)


def _paired(degree: int, n: int, seed: int) -> Edges:
    """Half-edges paired uniformly, until the graph is simple."""
    ends = np.repeat(np.arange(n), degree)
    attempt = 0
    while True:
        edges = ends[np.argsort(_words(seed, attempt, len(ends)))].reshape(-1, 2)
        attempt += 1
        if (edges[:, 0] != edges[:, 1]).all() and len(np.unique(_names(edges, n))) == len(edges):
            return edges


def _switched(edges: Edges, n: int, words: NDArray[np.uint64]) -> Edges:
    """After switches of disjoint pairs of edges, all at once.

    Every pair is proposed with probability 1/2. It is switched unless that makes a loop, or one of
    its four edges, old and new, is also an old or new edge of another pair. Every edge is an old
    one of some pair, so that the graph stays simple; and as the rule treats old and new alike, the
    same switches lead back with the same probability: the chain is symmetric.
    """
    order = np.argsort(words)
    edges, words = edges[order], words[order]
    turned = words & np.uint64(1) == 1
    edges[turned] = edges[turned, ::-1]
    pairs = len(edges) // 2
    first, second = edges[:pairs], edges[pairs : 2 * pairs]
    (a, b), (c, d) = first.T, second.T
    new = np.stack([a, d], axis=1), np.stack([c, b], axis=1)
    proposed, loops = words[:pairs] & np.uint64(2) == 0, (a == d) | (c == b)
    known, fresh = _names(edges, n), [_names(each, n) for each in new]
    # A pair that is not proposed has no new edges: -1 - its number stands for none.
    none = -1 - np.arange(2 * pairs).reshape(2, pairs)
    fresh = np.where(proposed, fresh, none)
    every = np.concatenate([known[:pairs], known[pairs : 2 * pairs], *fresh, known[2 * pairs :]])
    ordered = np.sort(every)
    several = ordered[1:][ordered[1:] == ordered[:-1]]
    place = np.searchsorted(several, every[: 4 * pairs])
    alone = np.append(several, -4 * n * n)[place] != every[: 4 * pairs]
    alone = alone.reshape(4, pairs).all(axis=0)
    chosen = proposed & alone & ~loops
    first[chosen], second[chosen] = new[0][chosen], new[1][chosen]
    return edges


def _names(edges: Edges, n: int) -> NDArray[np.int64]:
    """A number for each edge, whichever way it is written."""
    return edges.min(axis=1) * n + edges.max(axis=1)


def _words(seed: int, number: int, size: int) -> NDArray[np.uint64]:
    """So many random words of 64 bits; number: of the attempt, or of the sweep."""
    key, words = (np.uint32(seed), np.uint32(number)), np.arange(size, dtype=np.uint32)
    high, low = random.threefry(*key, words, np.uint32(0))
    return (high.astype(np.uint64) << np.uint64(32)) | low
