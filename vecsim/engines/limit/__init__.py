"""The limit of many nodes: shares without chance, and what chance does to an even split."""

from vecsim.engines.limit.even_split import rounds_until_decided
from vecsim.engines.limit.meanfield import critical_fraction, fixed_points, trajectory

__all__ = ["critical_fraction", "fixed_points", "rounds_until_decided", "trajectory"]
