"""Population: the number of honest nodes in each cell is kept, not the nodes."""

from vecsim.engines.population.prepare import supports
from vecsim.engines.population.stepping import run

__all__ = ["run", "supports"]
