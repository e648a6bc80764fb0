"""Studies of single decisions: their variables, programs and chunks."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, pairwise
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vecsim.engines import population
from vecsim.engines.agents.prepare import Assembler, agents_program_key, agents_shape, items
from vecsim.engines.choose import PROGRAMS
from vecsim.engines.holders import equal_shares, stake_shares
from vecsim.engines.timed.results import TIMED_OUTCOMES, times_of
from vecsim.engines.timed.shape import node_bytes_of
from vecsim.engines.timed.ticks import steps_of, tick_ms
from vecsim.engines.trial import all_devices, batch
from vecsim.errors import require
from vecsim.model.point import Point
from vecsim.results import outcomes
from vecsim.results.layout import Variable
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work, variable
from vecsim.types import STEPPED

BATCH_NODES = 2**20  # nodes of a batch per CPU device: enough to hide the fixed cost of a round
ACCELERATOR_NODES = 2**25  # the same for an accelerator, which steps many more at once
CACHED = 2**23  # bytes of a batch in simulated time, per CPU device: more leave its cache
CHUNK_NODES = 2**25  # nodes x trials of a chunk: small enough that a killed run loses little
# Nodes of the agents engine that take as long as a trial of the population engine of any larger n.
COUNTED_NODES = 20_000
TIMED_NODES = 500  # nodes in rounds that take as long as one in simulated time, or less
_NEVER = "missing: never"  # the meaning of a variable that has no value in some trials
_Pairs = Iterable[tuple[Point, str]]  # points and what runs each


def _variables(counts: str = "int32") -> tuple[Variable, ...]:
    nodes, rounds = "honest nodes", "rounds"
    about = {
        "decided_0": ("honest nodes that decided 0", nodes),
        "decided_1": ("honest nodes that decided 1", nodes),
        "undecided": ("honest nodes undecided at the end", nodes, "above 0: a liveness failure"),
        "rounds": ("rounds run", rounds),
        "first_decision": ("rounds to the first decision", rounds, _NEVER),
        "median_decision": ("rounds until half have decided", rounds, _NEVER),
        "last_decision": ("rounds until all have decided", rounds, _NEVER),
        "unanimity": ("rounds until all first hold one preference", rounds, _NEVER),
        "start_ones": ("honest nodes that prefer 1 at the start", nodes),
        "final_ones": ("honest nodes that prefer 1 at the end", nodes),
        "flips": ("changes of preference", "changes", "summed over honest nodes and polls"),
        "polls": ("polls made by honest nodes", "polls", "summed over honest nodes"),
        "admitted": ("Byzantine nodes in the network", "nodes"),
        "decides": ("whether nodes decide under the protocol", "1", "0: what they prefer counts"),
    }
    dtypes = dict.fromkeys(about, counts) | dict.fromkeys(STEPPED, "float64")
    return tuple(variable(name, dtypes[name], *told) for name, told in about.items())


def _stake_variables() -> tuple[Variable, ...]:
    of = "honest nodes' share of their stake"
    about = {
        "byzantine_stake": "share of stake held by Byzantine nodes in the network",
        "start_ones_stake": f"{of} that prefers 1 at the start",
        "final_ones_stake": f"{of} that prefers 1 at the end",
        "decided_0_stake": f"{of} that decided 0",
        "decided_1_stake": f"{of} that decided 1",
        "undecided_stake": f"{of} undecided at the end",
    }
    return tuple(variable(name, "float64", told, "1") for name, told in about.items())


# What every trial gives; the counts as int32, or as float64 where they may be larger.
DECISION_VARIABLES = _variables()
LARGE_VARIABLES = _variables("float64")  # whole numbers past 32 bits
STAKE_VARIABLES = _stake_variables()  # the same in shares of stake, where any point's is weighted
# In simulated time, where any point is.
TIMED_VARIABLES = tuple(variable(name, "float64", *told) for name, told in TIMED_OUTCOMES.items())


class Decisions(Work):
    """The work of a study whose trials are single decisions.

    memory: bytes that a batch may take.
    """

    def __init__(self, study: Study, memory: int):
        super().__init__(study)
        pairs = zip(study.points, study.engines, strict=True)
        self.engines = Engines(pairs, study.seed, memory, study.block)
        self.variables = self.engines.variables
        self.always = frozenset(
            v.name for v in self.variables if not v.attrs.get("meaning", "").startswith(_NEVER)
        )
        target = study.precision.target if study.precision else None
        others = ", ".join(name for name in outcomes.RATES if name not in outcomes.MAJORITY)
        for point in study.points if target in outcomes.MAJORITY else ():
            allowed = f"{others}, as half of {point.honest} honest nodes start at 1"
            even = 2 * point.start_ones == point.honest and not point.stake.weighted
            require(not even, "precision.target", target, allowed)

    def chunks(self) -> tuple[int, ...]:
        """Whole trailing dimensions, as large as may be lost."""
        study = self.study
        pairs = zip(study.points, study.engines, strict=True)
        # Nodes that a trial of the most expensive point is worth, in time.
        largest = max(_worth(point, engine) for point, engine in pairs)
        block = study.block
        room = max(1, CHUNK_NODES // (largest * block))
        if room == 1 and study.precision is None:
            block = max(1, min(block, CHUNK_NODES // largest))
        chunks = [block]
        for dimension in reversed(study.dimensions):
            size = len(dimension.values)
            chunks.append(min(size, room))
            room = max(1, room // size)
        return tuple(reversed(chunks))

    def compute(self, numbers: list[int], trials: np.ndarray) -> dict[str, np.ndarray]:
        """Outcomes of the points with these numbers: for each variable [points, trials]."""
        points, engines = self.study.points, self.study.engines
        values = self.engines.run([(points[i], engines[i], trials) for i in numbers])
        return {name: array.reshape(len(numbers), -1) for name, array in values.items()}

    def node_rounds(self, numbers: list[int], values: dict[str, np.ndarray]) -> float:
        """Rounds of each trial, by the nodes of its point."""
        nodes = np.array([self.study.points[number].n for number in numbers], float)
        return float(nodes @ values["rounds"].sum(axis=1))

    def events(self, values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Which trials show what the precision is about, and which count for it."""
        assert self.study.precision
        target = self.study.precision.target
        counted = outcomes.defined(values, target)
        return outcomes.event(values, target) & counted, counted


class Engines:
    """Runs trials of points, and of others between them, each on its engine.

    Points between are those whose numbers lie between those of the given ones: what is compiled
    for these serves them as well. pairs: each point and what runs it. memory: bytes that a batch
    may take. each: trials of a point that a batch should have. least: trials of a batch.
    """

    def __init__(self, pairs: _Pairs, seed: int, memory: int, each: int, least: int = 0):
        self.pairs, self.seed, self.memory = list(pairs), seed, memory
        self.each, self.least = each, least
        counted = partial(population.run, seed=seed, memory=memory)
        self.programs: dict[Any, Callable[[list], dict[str, np.ndarray]]] = {}
        self.programs |= dict.fromkeys((False, True), counted)  # by whether stake is weighted
        most = max(point.n * max(point.protocol.max_rounds, 1) for point, _ in self.pairs)
        self.variables = DECISION_VARIABLES if most < 2**31 else LARGE_VARIABLES
        if any(point.stake.weighted for point, _ in self.pairs):
            self.variables += STAKE_VARIABLES
        if any(point.timed for point, _ in self.pairs):
            self.variables += TIMED_VARIABLES

    def run(self, work: list[tuple[Point, str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Outcomes of the numbered trials of each point, by its engine: for each variable [trials],
        those of the first point, then of the second, and so on."""
        sizes = [len(trials) for *_, trials in work]
        number = np.repeat(np.arange(len(work)), sizes)  # of the point, in `work`
        out = {v.name: v.unset((len(number),)) for v in self.variables}
        out["decides"][:] = np.repeat([point.protocol.decides for point, *_ in work], sizes)
        groups: dict[Any, list[int]] = {}
        for i, (point, engine, _) in enumerate(work):
            counted = engine == "population"
            key = point.stake.weighted if counted else agents_program_key(point)
            groups.setdefault(key, []).append(i)
        for key, group in groups.items():
            values = self._program(key)([(work[i][0], work[i][2]) for i in group])
            if "byzantine_stake" in out and "byzantine_stake" not in values:
                values |= equal_shares(values)
            place = np.isin(number, group)
            for name, array in values.items():
                out[name][place] = array
        return out

    def _program(self, key) -> Callable[[list], dict[str, np.ndarray]]:
        if key not in self.programs:
            held = [point for point, engine in self.pairs if engine != "population"]
            served = [point for point in held if agents_program_key(point) == key]
            wanted = max(self.each * len(served), self.least)
            size = batch_size(served, self.seed, self.memory, wanted)
            self.programs[key] = Program(served, self.seed, size).run
        return self.programs[key]


class Program:
    """One compiled program and the points that it serves, which have the same
    `agents_program_key`.

    size: trials of a batch, a multiple of the mesh's devices (all there are, if it is not given).
    """

    def __init__(self, points: list[Point], seed: int, size: int, mesh: Mesh | None = None):
        self.seed, self.mesh = seed, mesh or all_devices()
        # Packs the trials of these points into batches.
        self.assembler = Assembler(agents_shape(points, seed), points, size, seed)

    def run(self, work: list[tuple[Point, np.ndarray]]) -> dict[str, np.ndarray]:
        """Outcomes of the numbered trials of each point, [trials], point after point. Rounds are
        float64, NaN for never; the rest is int32."""
        sizes = [len(trials) for _, trials in work]
        weighted, timed = work[0][0].stake.weighted, work[0][0].timed
        variables = (*DECISION_VARIABLES, *(STAKE_VARIABLES if weighted else ()))
        variables = (*variables, *(TIMED_VARIABLES if timed else ()))
        out = {v.name: v.unset((sum(sizes),)) for v in variables if v.name != "decides"}
        places = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        tick = np.repeat([tick_ms(point) if timed else 0.0 for point, _ in work], sizes)
        pairs = zip(work, places, strict=True)
        listed = (items(point, self.seed, trials, at) for (point, trials), at in pairs)
        shape = self.assembler.shape
        run = partial(batch, PROGRAMS[shape.engine], shape, self.mesh)
        batches = self.assembler.batches(chain.from_iterable(listed))
        begun: Iterator[Any] = ((run(t, tables), t, at) for t, tables, at in batches)
        # The host prepares the next batch while the device works on one.
        for (ended, trials, place), _ in pairwise(chain(begun, [None])):
            outcome, units, *own = jax.device_get(ended)
            values = outcome._asdict() | {"admitted": trials.byzantine}
            if weighted:
                values |= stake_shares(trials.holders, units)
            if timed:
                there = len(place)
                told = [each[:there] for each in (trials.honest, own[0], outcome.rounds, own[1])]
                values |= times_of(tick[place], *told)
            for name, array in values.items():
                out[name][place] = array[: len(place)]
        steps = np.repeat([steps_of(point) for point, _ in work], sizes)
        for name in STEPPED:
            out[name] = np.where(out[name] < 0, np.nan, out[name] / steps)
        return out


def _worth(point: Point, engine: str) -> int:
    """Nodes of the agents engine that take about as long as those of the point, or less."""
    if engine == "population":
        return min(point.n, COUNTED_NODES)
    return point.n * (TIMED_NODES if engine == "timed" else 1)


def batch_size(points: list[Point], seed: int, memory: int, wanted: int) -> int:
    """Trials of a batch: a multiple of the devices, within `memory` bytes, and hardly more than
    are wanted. points: that one program serves."""
    shape, mesh = agents_shape(points, seed), all_devices()
    node_bytes = {"agents": shape.bits // 8 * 4, "asynchronous": 64, "graph": 32 * shape.degree}
    words = len(points[0].protocol.further())  # of a cell, besides the first
    node_bytes["places"] = 64 * shape.kind.k + 32 * words
    if shape.timed:
        node_bytes["timed"] = node_bytes_of(shape) + 8 * words
    keyed = shape.engine if shape.timed or not shape.places else "places"
    trial_bytes = node_bytes[keyed] * shape.nodes + 1024
    nodes = shape.nodes * max(1, shape.degree, shape.places * shape.kind.k)
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    most, trials = (BATCH_NODES, 2**14) if on_cpu else (ACCELERATOR_NODES, 2**17)
    if shape.timed:  # it numbers the units of all trials of a device in 32 bits
        units = max(point.size for point in points)
        trials = min(trials, 2**32 // units - 1, 2**31 // (shape.nodes * shape.timed.slots) - 1)
        memory = min(memory, CACHED * mesh.size) if on_cpu else memory
    size = min(max(1, min(most // nodes, memory // trial_bytes // mesh.size)), trials)
    return min(size, -(-wanted // mesh.size)) * mesh.size
