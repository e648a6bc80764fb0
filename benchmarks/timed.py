"""What a poll costs in simulated time, beside scalar event loops of the same model.

`python benchmarks/timed.py [nodes] [trials of a loop] [trials of vecsim]` prints nanoseconds per
poll on one core, of vecsim and of the loops in event_loop.py, with what each finds. Compilation is
not timed.
"""

import os
import sys
import time

import event_loop
import numpy as np

import vecsim
from vecsim.studies.decisions import Engines

WORDS = ("schedule=timed", "protocol=avalanche_mainnet", "latency=wan", "latency.loss=0")


def show(name: str, each_s: float, polls: float, node_ms: float, last_ms: float) -> None:
    """One line. polls: of a node. node_ms, last_ms: mean times of a node, and of the last one."""
    print(f"{name:8}{each_s * 1e9:8.0f} ns per poll, {polls:.2f} a node;", end="")
    print(f" decided at {node_ms:.1f} ms, the last node at {last_ms:.1f} ms", flush=True)


def main(n: int = 1000, trials: int = 5, batch: int = 60) -> None:
    """Print a line for vecsim and for each loop."""
    if hasattr(os, "sched_setaffinity"):  # one core, as the loops have
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    point = vecsim.point(*WORDS, n=n)
    engines, work = Engines([(point, "timed")], 1, 2**31, batch), np.arange(batch)
    engines.run([(point, "timed", work)])
    began = time.perf_counter()
    values = engines.run([(point, "timed", work)])
    seconds, polls = time.perf_counter() - began, int(values["polls"].sum())
    times = values["node_mean_ms"].mean(), values["last_decision_ms"].mean()
    show("vecsim", seconds / polls, polls / batch / n, *times)
    for name, loop in {"python": event_loop.python, **event_loop.compiled()}.items():
        loop(100, 1)
        began = time.perf_counter()
        times_ms, begun = zip(*(loop(n, seed) for seed in range(1, trials + 1)), strict=True)
        each_s = (time.perf_counter() - began) / sum(begun)
        last = np.max(times_ms, axis=1).mean()
        show(name, each_s, sum(begun) / trials / n, float(np.mean(times_ms)), float(last))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
