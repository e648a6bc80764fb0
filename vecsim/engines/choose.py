"""Which engine runs a point."""

from vecsim.engines import population
from vecsim.engines.agents import asynchronous, graph, lockstep, places
from vecsim.engines.agents.stake_polls import one_by_one
from vecsim.engines.population.moves import moves_of
from vecsim.engines.timed.program import timed_program
from vecsim.engines.timed.ticks import check_timed
from vecsim.errors import require
from vecsim.model.point import Point

# What `engine.name` may be; `auto` leaves the choice to `engine_of`.
ENGINES = ("auto", "agents", "population")
_MOST_NODES = 2_000_000  # nodes at most of engines that keep every one, to bound time and memory
PROGRAMS = {  # by module, of the engines that keep every node: shape -> what a batch runs
    "agents": lockstep.lockstep_program,
    "asynchronous": asynchronous.asynchronous_program,
    "graph": graph.graph_program,
    "places": places.places_program,
    "timed": timed_program,
}
MANY = 20_000  # nodes from which it is quicker to step counts of few cells than to step the nodes
FEW_CELLS = 200  # cells up to which that holds: the time of a round grows with their number
ALIKE = 50_000  # nodes from which it is quicker to work out one node's law than to step all nodes


def engine_of(point: Point, wanted: str) -> str:
    """The engine's module: agents, asynchronous, graph, places, population or timed.

    wanted: one of ENGINES; `auto` is the population engine where it is exact and quicker, and where
    there are more nodes than other engines can hold. ConfigError where the wanted engine cannot run
    the point.
    """
    groups = point.network.groups
    allowed = "auto or population with network.groups"
    require(wanted != "agents" or not groups, "engine.name", wanted, allowed)
    if point.timed:
        require(wanted != "population", "engine.name", wanted, "auto or agents with schedule=timed")
        check_timed(point)
        return "timed"
    if groups or wanted == "population":
        reason = population.supports(point)
        require(reason is None or not groups, "network.groups", groups, f"none ({reason})")
        require(reason is None, "engine.name", wanted, f"auto or agents ({reason})")
        return "population"
    if wanted == "auto" and _suits(point):
        return "population"
    least = "" if wanted == "auto" else " with engine.name=agents"
    reason = population.supports(point) if point.n > _MOST_NODES else None
    why_not = f" ({reason})" if reason else ""
    require(point.n <= _MOST_NODES, "n", point.n, f"1 to {_MOST_NODES}{least}{why_not}")
    counted = point.n * max(point.protocol.max_rounds, point.protocol.k)
    allowed = "fewer rounds: n x max_rounds and n x k must stay below 2^31"
    require(counted < 2**31, "protocol.max_rounds", point.protocol.max_rounds, allowed)
    if point.network.topology != "complete":
        return "graph"
    if one_by_one(point):
        return "places"
    return "asynchronous" if point.schedule == "async" else "agents"


def _suits(point: Point) -> bool:
    """Whether the population engine can run the point, and is quicker or the only one."""
    rule = point.protocol
    if point.n < (ALIKE if rule.counts else MANY) or population.supports(point) is not None:
        return False
    if rule.counts or point.n > _MOST_NODES:
        return True
    cells = len(moves_of(rule, rule.max_rounds).preference) * population.classes_of(point)
    return cells <= FEW_CELLS
