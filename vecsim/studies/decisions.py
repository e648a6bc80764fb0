"""Studies of single decisions: their variables, programs and chunks."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vecsim.engines import population
from vecsim.engines.agents.prepare import Assembler, agents_program_key, agents_shape, items
from vecsim.engines.choose import PROGRAMS
from vecsim.engines.trial import Shape, all_devices, batch
from vecsim.errors import require
from vecsim.model.point import Point
from vecsim.results import outcomes
from vecsim.results.layout import Variable
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work
from vecsim.types import STEPPED

BATCH_NODES = 2**20  # cells of a batch per CPU device: enough to hide what a round costs otherwise
ACCELERATOR_NODES = 2**25  # the same for an accelerator, which steps many more at once
CHUNK_NODES = 2**25  # nodes x trials of a chunk: what is lost when a run is killed
COUNTED_NODES = 20_000  # that a trial of the population engine takes as long as, whatever its n


def _variables(counts: str = "int32") -> tuple[Variable, ...]:
    nodes, rounds = "honest nodes", "rounds"
    about = {
        "decided_0": ("honest nodes that decided 0", nodes, ""),
        "decided_1": ("honest nodes that decided 1", nodes, ""),
        "undecided": ("honest nodes undecided at the end", nodes, "above 0: a liveness failure"),
        "rounds": ("rounds run", rounds, ""),
        "first_decision": ("rounds to the first decision", rounds, "missing: never"),
        "median_decision": ("rounds until half have decided", rounds, "missing: never"),
        "last_decision": ("rounds until all have decided", rounds, "missing: never"),
        "unanimity": ("rounds until all first hold one preference", rounds, "missing: never"),
        "start_ones": ("honest nodes that prefer 1 at the start", nodes, ""),
        "final_ones": ("honest nodes that prefer 1 at the end", nodes, ""),
        "flips": ("changes of preference", "changes", "summed over honest nodes and polls"),
        "polls": ("polls made by honest nodes", "polls", "summed over honest nodes"),
        "admitted": ("Byzantine nodes in the network", "nodes", ""),
        "decides": ("whether nodes decide under the protocol", "1", "0: what they prefer counts"),
    }
    return tuple(
        Variable(
            name,
            "float64" if name in STEPPED else counts,
            {"long_name": long_name, "units": units} | ({"meaning": meaning} if meaning else {}),
        )
        for name, (long_name, units, meaning) in about.items()
    )


DECISION_VARIABLES = _variables()
LARGE_VARIABLES = _variables("float64")  # whole numbers past 32 bits


class Decisions(Work):
    """The work of a study whose trials are single decisions.

    memory: bytes that a batch may take.
    """

    def __init__(self, study: Study, memory: int):
        super().__init__(study)
        pairs = zip(study.points, study.engines, strict=True)
        self.engines = Engines(pairs, study.seed, memory, study.block)
        self.variables = self.engines.variables
        self._check_majority()

    def _check_majority(self) -> None:
        precision = self.study.precision
        if precision is None or precision.target not in outcomes.MAJORITY:
            return
        for point in self.study.points:
            others = ", ".join(name for name in outcomes.RATES if name not in outcomes.MAJORITY)
            allowed = f"{others}, as half of {point.honest} honest nodes start at 1"
            uneven = 2 * point.start_ones != point.honest
            require(uneven, "precision.target", precision.target, allowed)

    def chunks(self) -> tuple[int, ...]:
        """Whole trailing dimensions, as large as may be lost."""
        study = self.study
        sizes = [len(dimension.values) for dimension in study.dimensions]
        largest = max(map(self._cost, range(len(study.points))))
        block = min(study.block, study.trials)
        room = max(1, CHUNK_NODES // (largest * block))
        if room == 1 and study.precision is None:
            block = max(1, min(block, CHUNK_NODES // largest))
        chunks = []
        for size in reversed(sizes):
            chunks.append(min(size, room))
            room = max(1, room // size)
        return (*reversed(chunks), block)

    def compute(self, numbers: list[int], trials: np.ndarray) -> dict[str, np.ndarray]:
        """Outcomes of the points with these numbers, [points, trials] per variable."""
        points, engines = self.study.points, self.study.engines
        values = self.engines.run([(points[i], engines[i], trials) for i in numbers])
        return {name: array.reshape(len(numbers), -1) for name, array in values.items()}

    def _cost(self, number: int) -> int:
        """Nodes that a trial of a point is worth, in time."""
        n = self.study.points[number].n
        return min(n, COUNTED_NODES) if self.study.engines[number] == "population" else n

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

    def __init__(
        self, pairs: Iterable[tuple[Point, str]], seed: int, memory: int, each: int, least: int = 0
    ):
        self.pairs, self.seed, self.memory = list(pairs), seed, memory
        self.each, self.least = each, least
        self.programs: dict[Any, Program] = {}
        most = max(point.n * max(point.protocol.max_rounds, 1) for point, _ in self.pairs)
        self.variables = DECISION_VARIABLES if most < 2**31 else LARGE_VARIABLES

    def run(self, work: list[tuple[Point, str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Outcomes of the numbered trials of each point, by its engine, end to end."""
        starts = np.cumsum([0, *(len(trials) for *_, trials in work)])
        out = {v.name: np.empty(starts[-1], v.dtype) for v in self.variables}
        groups: dict[Any, list[int]] = {}
        for i, (point, engine, _) in enumerate(work):
            key = None if engine == "population" else agents_program_key(point)
            groups.setdefault(key, []).append(i)
        for key, group in groups.items():
            listed = [(work[i][0], work[i][2]) for i in group]
            if key is None:
                values = population.run(listed, self.seed, self.memory)
            else:
                values = self._program(key).run(listed)
            place = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in group])
            decides = [p.protocol.decides for p, trials in listed for _ in range(len(trials))]
            for name, array in (values | {"decides": np.array(decides)}).items():
                out[name][place] = array
        return out

    def _program(self, key) -> "Program":
        if key not in self.programs:
            held = [point for point, engine in self.pairs if engine != "population"]
            served = [point for point in held if agents_program_key(point) == key]
            wanted = max(self.each * len(served), self.least)
            size = batch_size(served, self.seed, self.memory, wanted)
            self.programs[key] = Program(served, self.seed, size)
        return self.programs[key]


class Program:
    """One compiled program and the points that it serves, which have the same `program_key`.

    size: trials of a batch, a multiple of the mesh's devices (all there are, if it is not given).
    assembler: another one for the points than their own engine's.
    """

    def __init__(
        self,
        points: list[Point],
        seed: int,
        size: int,
        mesh: Mesh | None = None,
        assembler: Assembler | None = None,
    ):
        self.mesh, self.seed = mesh or all_devices(), seed
        self.assembler = assembler or Assembler(agents_shape(points, seed), points, size, seed)
        self.shape: Shape = self.assembler.shape

    def run(self, work: list[tuple[Point, np.ndarray]]) -> dict[str, np.ndarray]:
        """Outcomes of the trials of each point, end to end."""
        total = sum(len(trials) for _, trials in work)
        out = {v.name: v.unset((total,)) for v in DECISION_VARIABLES if v.name != "decides"}
        for outcome, admitted, place in self._batches(work):
            for name, values in (outcome._asdict() | {"admitted": admitted}).items():
                out[name][place] = values[: len(place)]
        steps = np.concatenate([np.full(len(trials), p.steps) for p, trials in work])
        for name in STEPPED:
            never = out[name] < 0
            out[name] = np.where(never, np.nan, out[name] / steps)
        return out

    def _batches(self, work) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Results of batches; the host prepares the next while the device works on one."""
        starts = np.cumsum([0, *(len(trials) for _, trials in work)])
        listed = (
            item
            for (point, trials), start in zip(work, starts[:-1], strict=True)
            for item in items(point, self.seed, trials, start + np.arange(len(trials)))
        )
        pending = None
        for trials, tables, place in self.assembler.batches(listed):
            current = (
                batch(PROGRAMS[self.shape.engine], self.shape, self.mesh, trials, tables),
                trials.byzantine,
                place,
            )
            if pending:
                yield jax.device_get(pending[0]), *pending[1:]
            pending = current
        if pending:
            yield jax.device_get(pending[0]), *pending[1:]


def batch_size(points: list[Point], seed: int, memory: int, wanted: int) -> int:
    """Trials of a batch: a multiple of the devices, within `memory` bytes, and hardly more than
    are wanted.
    """
    shape, mesh = agents_shape(points, seed), all_devices()
    node_bytes = {"agents": shape.bits // 8 * 4, "asynchronous": 64, "graph": 32 * shape.degree}
    trial_bytes = node_bytes[shape.engine] * shape.nodes + 1024
    nodes = shape.nodes * max(1, shape.degree)
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    most, trials = (BATCH_NODES, 2**14) if on_cpu else (ACCELERATOR_NODES, 2**17)
    size = min(max(1, min(most // nodes, memory // trial_bytes // mesh.size)), trials)
    return min(size, -(-wanted // mesh.size)) * mesh.size
