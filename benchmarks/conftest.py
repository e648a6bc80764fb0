"""Benchmarks: `pytest -n 0 benchmarks` on one core, with `VECSIM_CORES=2` on two."""

import os

import pytest

CORES = int(os.environ.get("VECSIM_CORES", "1"))
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])

RATES: dict[tuple[str, int], float] = {}  # (way, n) -> node-rounds per second


def pytest_configure(config):
    from vecsim.device import configure

    configure(CORES)


@pytest.fixture
def record(benchmark):
    """record(way, n, node_rounds, run): measure `run()`, which does so many node-rounds."""

    def measure(way, n, node_rounds, run):
        benchmark.pedantic(run, rounds=7, warmup_rounds=1)
        RATES[way, n] = node_rounds / benchmark.stats.stats.min
        benchmark.extra_info["node_rounds_per_second"] = RATES[way, n]

    return measure


def pytest_terminal_summary(terminalreporter):
    if not RATES:
        return
    write = terminalreporter.write_line
    write(f"million node-rounds/s on {CORES} core(s); ratios to NumPy one-uniform and to raw bits")
    for way, n in sorted(RATES, key=lambda key: (key[1], key[0])):
        rate = RATES[way, n]
        ratios = [rate / RATES.get((base, n), float("nan")) for base in ("numpy uniform", "bits")]
        write(f"n={n:<7} {way:15s} {rate / 1e6:9.1f}  x{ratios[0]:6.2f}  x{ratios[1]:5.2f}")
