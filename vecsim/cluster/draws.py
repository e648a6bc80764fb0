"""Random numbers of what happens to a cluster: which nodes an action strikes, in each trial.

Arrays of NumPy on the host, [trials, nodes] or [trials, count]. Each call of `uniform` takes the
next block of its trial's stream, so the order of calls decides the numbers.
"""

import numpy as np

from vecsim.cluster.config import Cluster
from vecsim.cluster.state import Key
from vecsim.model import random


class Draws:
    """Random numbers of actions, one block after another, from each trial's own key.

    key: two uint32 arrays [trials]. used: blocks taken so far; checkpoints keep it.
    """

    def __init__(self, key):
        self.key: Key = (key[0][:, None], key[1][:, None])
        self.used = 0

    def uniform(self, count: int) -> np.ndarray:
        """float64 [trials, count] in [0, 1)."""
        number = np.arange(count, dtype=np.uint32)[None]
        block = random.counter(np.uint32(self.used), random.ACTION)
        high, low = random.threefry(*self.key, number, block)
        self.used += 1
        return random.uniform53(high, low)

    def refused(self, cluster: Cluster) -> np.ndarray:
        """Byzantine identities that are not admitted, each with probability 1 - `admission` of the
        adversary; bool [trials, nodes]."""
        node = np.arange(cluster.nodes)
        chance = 1.0 - float(cluster.adversary.admission)
        return (self.uniform(cluster.nodes) < chance) & (node >= cluster.honest)

    def choose(self, able: np.ndarray, count: int) -> np.ndarray:
        """`count` of the nodes that are able, at random, or all where there are fewer; bool
        [trials, nodes]."""
        order = np.where(able, self.uniform(able.shape[1]), 2.0)
        rank = order.argsort(axis=1).argsort(axis=1)
        return able & (rank < count)
