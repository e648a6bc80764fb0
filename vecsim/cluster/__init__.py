"""The simulated cluster: windows of simulated time around the same protocol."""

from vecsim.cluster.front import ScaleTestCluster
from vecsim.cluster.simulate import simulate

__all__ = ["ScaleTestCluster", "simulate"]
