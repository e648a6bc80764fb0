"""What workers cost, measured: `python benchmarks/workers.py compare` or `saturate`.

compare: two processes of one core each against two devices in one process, in turn, each of them
from an empty folder with the compile cache filled; medians of wall time and of CPU time.
saturate: a driver whose workers sleep for 4 s and then answer: how many of them it keeps busy.
"""

import heapq
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

JOB = (
    *("experiment=byzantine_sweep", "defence=off", "precision=null", "trials=200"),
    *("figure=false", "output=here"),
)
WAYS = {"two devices": (), "two processes": ("engine.workers=2",)}
ROUNDS = 5
CHUNK_S = 4.0  # that a sleeping worker takes
WORKERS = (50, 100, 200, 400, 1000)
CHUNKS_EACH = 5  # answers of each worker that are waited for


def compare() -> None:
    """Print the medians of both ways, and their ratios."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for way in [*WAYS] * (ROUNDS + 1):
        found[way].append(_timed(*WAYS[way]))
        print(way, "wall {:.1f} s, CPU {:.1f} s".format(*found[way][-1]), flush=True)
    medians = {
        way: [*map(statistics.median, zip(*rows[1:], strict=True))] for way, rows in found.items()
    }
    (wall, cpu), (others_wall, others_cpu) = medians.values()
    print(
        f"two processes to two devices: wall {others_wall / wall:.2f}, CPU {others_cpu / cpu:.2f}"
    )


def _timed(*words: str) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        command = [sys.executable, "-m", "vecsim", *JOB, *words]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def saturate() -> None:
    """Print for each number of workers how busy the driver kept them, and what it took itself."""
    import vecsim
    from vecsim import progress
    from vecsim.studies import decisions, runner
    from vecsim.studies.executors.worker import Answer, this_worker

    class Sleeping:
        """Workers that answer after CHUNK_S, each with one chunk in hand and one waiting."""

        def __init__(self, count: int, layout):
            self.count, self.slots, self.layout = count, 2 * count, layout
            self.free = [0.0] * count  # when each worker is free
            self.due: list = []

        def start(self, tell) -> None:
            self.worker = this_worker({})

        def submit(self, ticket, numbers, trials) -> None:
            began = max(time.monotonic(), heapq.heappop(self.free))
            heapq.heappush(self.free, began + CHUNK_S)
            heapq.heappush(self.due, (began + CHUNK_S, ticket, len(numbers), len(trials)))

        def next(self) -> Answer:
            due, ticket, *shape = heapq.heappop(self.due)
            time.sleep(max(0.0, due - time.monotonic()))
            values = {v.name: np.zeros(shape, v.dtype) for v in self.layout.variables}
            return Answer(ticket, values, self.worker, CHUNK_S)

        def close(self) -> None:
            pass

    decisions.CHUNK_NODES = 1  # a chunk for each trial
    for count in WORKERS:
        chunks = count * CHUNKS_EACH
        with tempfile.TemporaryDirectory() as folder:
            study = vecsim.study("n=100", f"trials={chunks}", output=Path(folder) / "here")
            plan, name = study._plan, "data.zarr"
            work = plan.works[name]
            executor = Sleeping(count, runner.layout(plan.studies[name], work))
            began, cpu = time.monotonic(), time.process_time()
            runner.run_study(work, plan.folder / name, {}, progress.Lines(), executor)
            wall, cpu = time.monotonic() - began, time.process_time() - cpu
        busy = CHUNKS_EACH * CHUNK_S / wall
        told = f"{count:5} workers, {chunks} chunks of {CHUNK_S:g} s: {wall:.1f} s"
        print(
            f"{told}, {busy:.0%} busy, {1000 * cpu / chunks:.1f} ms of the driver a chunk",
            flush=True,
        )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    {"compare": compare, "saturate": saturate}[sys.argv[1]]()
