"""The simulated cluster: windows of simulated time around the same protocol."""

from vecsim.cluster.campaign import simulate
from vecsim.cluster.front import ScaleTestCluster

__all__ = ["ScaleTestCluster", "simulate"]
