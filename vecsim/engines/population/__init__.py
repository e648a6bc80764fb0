"""Population: the number of honest nodes in each cell is kept, not the nodes."""

from vecsim.engines.population.prepare import classes_of, supports
from vecsim.engines.population.stepping import run

__all__ = ["classes_of", "run", "supports"]
