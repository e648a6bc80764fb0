"""The toolkit's own speed, measured: nanoseconds of one unit of work, in the best of many runs.

Everything is done in batches, as the simulator does it, and a batch's time is divided by its
size; what is made at the first call (compiled programs, caches) is made beforehand. Nothing here
is modelled.
"""

import collections
import itertools
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vecsim.adversaries.random_voting import RandomVoting
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.results import store
from vecsim.results.layout import Layout
from vecsim.scenario import dag
from vecsim.studies.decisions import DECISION_VARIABLES, Program, batch_size

RUNS = 7  # of one piece of work, at least: the quickest of a few is left alone now and then
TIME_NS = 600_000_000  # ns to go on running: other work may slow a machine for a while
VERTICES = 4096  # in a graph: many enough that a call's own time hardly counts
_TRIALS = 2**14  # of a chunk of the result store: half of what a study of 1,000 nodes has


def best(work: Callable[[], object], units: int) -> float:
    """Nanoseconds of one unit in the quickest run. units: how many a run of `work` does.

    Runs are short and many, so that some are not disturbed by whatever else the machine does.
    """
    work()
    began = now = time.perf_counter_ns()
    spent = []
    while len(spent) < RUNS or now - began < TIME_NS:
        before, _, now = time.perf_counter_ns(), work(), time.perf_counter_ns()
        spent.append(now - before)
    return min(spent) / units


Timer = Callable[[Callable[[], object], int], float]  # `best`, or one that does the same


def repeated(measure: Callable[[Timer], dict[str, float]], passes: int) -> dict[str, float]:
    """A measure taken in several passes, each of its times the best of all passes, in nanoseconds.

    measure: calls the timer that it is given, in the same order in each pass.

    Passes are seconds apart, so that a machine that others use too is likely to have a quiet
    moment for each time; what a measure computes from several is computed from their best.
    """
    least: dict[int, float] = collections.defaultdict(lambda: math.inf)
    found: dict[str, float] = {}
    for _ in range(passes):
        places = itertools.count()

        def timer(work: Callable[[], object], units: int, places=places) -> float:
            place = next(places)
            least[place] = min(least[place], best(work, units))
            return least[place]

        found = measure(timer)
    return found


def vertex_creation(best: Timer = best) -> dict[str, float]:
    """Creation of one vertex, ns: without parents, its id not yet asked for; with 2-4 parents, and
    with 10 KB of payload, the id made. `genesis_id`: the id of a vertex without parents."""
    few = dag.recent_parents(VERTICES, np.random.default_rng(0))
    none = np.zeros((VERTICES, 0), np.int32)
    payloads = [bytes([i]) * 10_000 for i in range(200)]

    def create(parents, *payload) -> np.ndarray:
        vertices = dag.Vertices()
        vertices.append(parents, *payload)
        return vertices.ids

    genesis = best(lambda: dag.Vertices().append(none), VERTICES)
    return {
        "genesis_vertex": genesis,
        "genesis_id": best(lambda: create(none), VERTICES) - genesis,
        "vertex_with_parents": best(lambda: create(few), VERTICES),
        "vertex_10kb_payload": best(lambda: create(few[:200], payloads), 200),
    }


def graph_operations(best: Timer = best) -> dict[str, float]:
    """Operations on a graph, ns each: 100 and 1,000 vertices added; one id looked up; 100 vertices
    sorted as they are kept, where sorting is only a check, and `shuffled`, in any order."""
    generator = np.random.default_rng(0)
    parents = dag.recent_parents(VERTICES, generator)
    vertices = dag.Vertices()
    vertices.append(parents)
    ids = vertices.ids[generator.permutation(VERTICES)]
    vertices.find(ids)
    kept, place = parents[:100], generator.permutation(100)
    shuffled = np.where(kept >= 0, place[kept], -1)[np.argsort(place)]
    return {
        "add_100": best(lambda: dag.Vertices().append(parents[:100]), 1),
        "add_1000": best(lambda: dag.Vertices().append(parents[:1000]), 1),
        "look_up": best(lambda: vertices.find(ids), VERTICES),
        "topological_sort_100": best(lambda: dag.topological_order(kept), 1),
        "topological_sort_100_shuffled": best(lambda: dag.topological_order(shuffled), 1),
    }


def hashing(best: Timer = best) -> dict[str, float]:
    """BLAKE3 of 100 B, 1 KB and 10 KB, ns each, without `blake3_call`, the time of a Python call.

    A call that hashes nothing compresses one empty block, which is no overhead; a block costs a
    fifteenth of what 1,024 bytes, 16 blocks, take longer than one.
    """

    def spent(size: int) -> float:
        return best(lambda: dag.hashes([bytes(size)] * 500), 500)

    block = (spent(1024) - spent(64)) / 15
    call = spent(0) - block
    sizes = {"blake3_100b": 100, "blake3_1kb": 1_000, "blake3_10kb": 10_000}
    return {name: spent(size) - call for name, size in sizes.items()} | {"blake3_call": call}


def result_store(best: Timer = best) -> dict[str, float]:
    """One trial's record with all its variables, ns: `put` into a store, `cached_get` from a
    dataset that is open, in random order, and `cold_get` from a store that is opened for it."""
    layout = Layout({}, _TRIALS, (_TRIALS,), DECISION_VARIABLES)
    generator = np.random.default_rng(0)
    values = {
        v.name: generator.integers(0, 200, _TRIALS).astype(v.dtype) for v in DECISION_VARIABLES
    }
    wanted = generator.permutation(_TRIALS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.zarr"
        with store.Store.open_or_create(path, layout, {}, {}) as study:
            put = best(lambda: study.write((0,), values), _TRIALS)
        opened = store.open(path)
        return {
            "put": put,
            "cached_get": best(lambda: opened.isel(trial=wanted), _TRIALS),
            "cold_get": best(lambda: store.open(path), _TRIALS),
        }


def consensus(best: Timer = best, trials: int = 512) -> dict[str, float]:
    """One undisputed vertex decided by 150 nodes (k 30, alpha 24, beta 20), all honest, ns.

    trials: run in one batch.
    """
    rule = QrAvalanche(k=30, alpha=24, beta=20)
    point = Point(150, 0.0, 1.0, "lockstep", rule, RandomVoting(), Network())
    program = Program([point], 0, batch_size([point], 0, 2**30, trials))
    work = [(point, np.arange(trials))]
    return {"consensus_vertex": best(lambda: program.run(work), trials)}
