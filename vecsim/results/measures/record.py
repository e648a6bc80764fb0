"""The metrics record: fifteen figures of a run.

Rates are vertices per second (peak_tps: the largest over 10 s), latencies ms, memory MB (10^6
bytes), network Mbit/s, CPU per cent of what a node has; total_vertices, byzantine_detected and
false_positives are counts, avg_rounds_to_finalize is in polls, confidence as the rule defines it.
"""

import xarray as xr

from vecsim.results.layout import Array
from vecsim.results.measures.compare import Estimate, estimate
from vecsim.results.measures.measure import measure

_FIELDS: dict[str, tuple[str, str | None]] = {  # field -> metric and statistic
    "avg_tps": ("avg_tps", None),
    "peak_tps": ("peak_tps", None),
    "total_vertices": ("total_vertices", None),
    "latency_p50": ("latency_ms", "p50"),
    "latency_p95": ("latency_ms", "p95"),
    "latency_p99": ("latency_ms", "p99"),
    "avg_cpu_percent": ("cpu_percent", "mean"),
    "peak_cpu_percent": ("peak_cpu_percent", "max"),
    "avg_memory_mb": ("memory_mb", "mean"),
    "peak_memory_mb": ("peak_memory_mb", "max"),
    "avg_network_mbps": ("network_mbps", "mean"),
    "avg_rounds_to_finalize": ("rounds_to_finalise", "mean"),
    "confidence_at_finalization": ("confidence", "mean"),
    "byzantine_detected": ("byzantine_detected", None),
    "false_positives": ("false_positives", None),
}


def metrics(dataset: xr.Dataset) -> dict[str, Array]:
    """The metrics record of a run without variants: fifteen figures, a value for each trial."""
    return {field: measure(dataset, *of) for field, of in _FIELDS.items()}


def record(data: xr.Dataset) -> dict[str, Estimate]:
    """The metrics record of one variant: means over trials with their 95 % intervals."""
    return {field: estimate(values) for field, values in metrics(data).items()}
