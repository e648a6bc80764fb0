"""The simulated cluster: windows of simulated time around the same protocol.

Its names are loaded when they are asked for, so that its constants are read without JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vecsim.cluster.campaign import simulate
    from vecsim.cluster.scale_test_cluster import ScaleTestCluster

# The module in which each name of the package lives.
HOMES = {"ScaleTestCluster": "scale_test_cluster", "simulate": "campaign"}

__all__ = ["ScaleTestCluster", "simulate"]


def __getattr__(name: str):
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
