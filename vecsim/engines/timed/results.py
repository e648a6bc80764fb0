"""What trials in simulated time tell besides what all trials do: times in milliseconds (host side).

A share of a trial's nodes has decided by a time of the trial (`node_p95_ms`); how these times
differ between trials is another matter, which estimates over trials tell.
"""

from typing import Any

import numpy as np

# Shares of a trial's honest nodes, by what their times are called.
SHARES = {"node_p50_ms": 0.5, "node_p95_ms": 0.95, "node_p99_ms": 0.99}
NOT_IN_TIME = "missing: never, within polling.max_ms and max_rounds"
UNTIMED = "missing: never told of points in rounds"
# By name: what it is, its unit, when it is missing.
TIMED_OUTCOMES = {
    "first_decision_ms": ("time to the first decision of an honest node", "ms", NOT_IN_TIME),
    "node_mean_ms": ("mean over honest nodes of the time to decision", "ms", NOT_IN_TIME),
    **{
        name: (f"time by which {share:.0%} of honest nodes have decided", "ms", NOT_IN_TIME)
        for name, share in SHARES.items()
    },
    "last_decision_ms": ("time by which all honest nodes have decided", "ms", NOT_IN_TIME),
    "ended_ms": ("time at which the trial ended", "ms", UNTIMED),
    "queries": (
        "messages by which honest nodes ask, one for each node asked in a poll",
        "messages",
        UNTIMED,
    ),
}


def times_of(tick: Any, honest: Any, decided_at: Any, ended: Any, queries: Any) -> dict[str, Any]:
    """The values of TIMED_OUTCOMES, float64 [trials], NaN for never.

    tick: ms [trials]. honest: honest nodes, int [trials]. decided_at: tick of each node's decision,
    int [trials, nodes], -1 for never. ended: tick, int [trials]. queries: int [trials].
    """
    trials = np.arange(len(honest))
    # Pollers that never decide, and after them those that are not honest, come last.
    times = np.sort(np.where(decided_at < 0, np.inf, decided_at * tick[:, None]), axis=1)
    found = {"first_decision_ms": times[:, 0], "last_decision_ms": times[trials, honest - 1]}
    for name, share in SHARES.items():
        found[name] = times[trials, np.ceil(share * honest).astype(int) - 1]
    real = np.arange(times.shape[1]) < np.reshape(honest, (-1, 1))
    found["node_mean_ms"] = np.where(real, times, 0.0).sum(axis=1) / honest
    found |= {"ended_ms": ended * tick, "queries": np.asarray(queries, float)}
    return {name: np.where(np.isinf(found[name]), np.nan, found[name]) for name in TIMED_OUTCOMES}
