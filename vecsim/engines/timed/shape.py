"""What a program of simulated time is compiled for, and what its trials are given (host side).

Times are whole ticks. Round trips are drawn from a table of their quantiles, which has a row for
each pair of regions, so that every device draws the same: with ticks of 5 ms and round trips of 50
to 200 ms, the first row of `round_trips` is 10 10 10 ... 40 40.
"""

from typing import Any, NamedTuple

import numpy as np

from vecsim.engines.trial import Shape
from vecsim.errors import require
from vecsim.latencies.latency import TICKS_OF_SHORTEST
from vecsim.model.point import Point

QUANTILE_BITS = 12  # of a random word, which choose one of the quantiles in a table
TRIP_BITS = 14  # of a round trip in ticks
NO_ANSWER = 2**TRIP_BITS - 1  # a round trip that never ends
MOST_POLLERS = 2**17  # the number of a node takes 17 bits
MOST_TICKS = 2**30  # of a trial: times of polls are beyond it by less than as much


class TimedShape(NamedTuple):
    """What a program of simulated time is compiled for, besides what all programs are."""

    slots: int  # open polls of a node at most
    words: int  # of 32 ticks of the past that are kept
    recent: int  # peers that a node does not ask again at once
    regions: int
    groups: int  # of honest nodes that adversaries tell apart
    hostile: bool  # whether there may be Byzantine nodes
    coins: bool  # whether what a node answers may be left to a coin


class Timing(NamedTuple):
    """The times of a trial, in ticks; every leaf has a leading axis of trials, int32 or bool."""

    trips: Any  # first row of Tables.round_trips
    regions: Any  # rows and columns of pairs
    ends: Any  # [regions]: the last node of each, in random order
    waits: Any  # row of Tables.waits
    concurrent: Any  # polls open at once
    timeout: Any
    cooldown: Any
    most: Any  # when the trial ends
    early: Any  # bool: polls end as soon as their result is settled
    rests_first: Any  # bool: a node waits before its first poll, too
    spaced: Any  # bool: there is a least time between the beginnings of a node's polls


def tick_ms(point: Point) -> float:
    """Milliseconds of a tick of the point."""
    polling, latency = point.polling, point.latency
    if polling.tick_ms:
        return float(polling.tick_ms)
    tick = latency.shortest_ms / TICKS_OF_SHORTEST
    if polling.interval_ms and polling.interval == "fixed":
        tick = polling.interval_ms / max(1, np.ceil(polling.interval_ms / tick))
    return float(tick)


def round_ms(point: Point) -> float:
    """Milliseconds of a round of what all nodes share."""
    return float(point.polling.round_ms or point.latency.median_ms)


def ticks(point: Point, ms: float) -> int:
    """So many milliseconds in ticks, to the nearest."""
    return int(ms / tick_ms(point) + 0.5)


def steps_of(point: Point) -> int:
    """Steps of an engine in one round: ticks in simulated time, else as the point says."""
    return max(1, ticks(point, round_ms(point))) if point.timed else point.steps


def check_timed(point: Point) -> None:
    """ConfigError where the point's times do not fit the engine."""
    rule, polling, loss = point.protocol, point.polling, point.network.loss
    require(loss == 0, "network.loss", loss, "0 with schedule=timed, which has latency.loss")
    require(point.n < MOST_POLLERS, "n", point.n, f"less than {MOST_POLLERS} with schedule=timed")
    allowed = "above 0 where round trips may take no time"
    require(polling.tick_ms > 0 or point.latency.shortest_ms > 0, "polling.tick_ms", 0, allowed)
    longest, allowed = ticks(point, polling.max_ms), f"less than {MOST_TICKS} ticks of"
    allowed = f"{allowed} {tick_ms(point):g} ms"
    require(longest < MOST_TICKS, "polling.max_ms", polling.max_ms, allowed)
    require(
        ticks(point, polling.timeout_ms) >= 1,
        "polling.timeout_ms",
        polling.timeout_ms,
        f"a tick or more, {tick_ms(point):g} ms",
    )
    trip = _longest(point)
    allowed = f"such that the longest round trip takes less than {NO_ANSWER} ticks"
    require(trip < NO_ANSWER, "polling.tick_ms", tick_ms(point), allowed)
    if polling.cooldown_ms:
        require(rule.k == 1, "polling.cooldown_ms", polling.cooldown_ms, "0 unless k is 1")
        recent = _recent(point)
        allowed = f"so that at most a third of {point.n} nodes were asked in that time"
        require(3 * recent <= point.n, "polling.cooldown_ms", polling.cooldown_ms, allowed)


def _levels() -> Any:
    number = 1 << QUANTILE_BITS
    return (np.arange(number) + 0.5) / number


def _trips(point: Point) -> Any:
    """Round trips in ticks, int64 [pairs, quantiles]; NO_ANSWER where they are past the time-out,
    which is told by milliseconds, before anything is rounded."""
    found = point.latency.quantiles(_levels())
    trips = np.floor(found / tick_ms(point) + 0.5).astype(np.int64)
    trips = np.where(found <= point.polling.timeout_ms, trips, NO_ANSWER)
    return trips.reshape(-1, trips.shape[-1])


def _waits(point: Point) -> Any:
    """Least times between polls, in ticks: int64 [1, quantiles]."""
    levels, polling = _levels(), point.polling
    each = -np.log1p(-levels) if polling.interval == "exponential" else np.ones_like(levels)
    return np.floor(each * polling.interval_ms / tick_ms(point) + 0.5).astype(np.int64)[None]


def _longest(point: Point) -> float:
    """The longest round trip whose answer counts, ticks."""
    found = point.latency.quantiles(_levels())
    return found[found <= point.polling.timeout_ms].max(initial=0.0) / tick_ms(point)


def _recent(point: Point) -> int:
    """Peers that a node may not ask again, at most."""
    polling = point.polling
    return int(np.ceil(polling.cooldown_ms / polling.interval_ms)) if polling.cooldown_ms else 0


def timed_shape(points: list[Point]) -> TimedShape:
    """What the program that serves all these points is compiled for."""
    ways = [way for p in points if p.byzantine for way in p.adversary.ways]
    chances = {chance for way in ways for mix in way for chance in mix}
    past = max(int(_longest(p)) - int(_trips(p).min()) // 2 for p in points) + 3
    return TimedShape(
        slots=max(p.polling.concurrent for p in points),
        words=-(-past // 32),
        recent=max(map(_recent, points)),
        regions=max(len(p.latency.shares) for p in points),
        groups=max(p.adversary.groups for p in points),
        hostile=any(p.byzantine for p in points),
        coins=not chances <= {0.0, 1.0},
    )


def lost_share(point: Point) -> float:
    """P(an answer is lost): in simulated time the query or the answer."""
    return 1 - (1 - point.latency.loss) ** 2 if point.timed else point.network.loss


def node_bytes_of(shape: Shape) -> int:
    """Bytes that a batch takes for each node of a trial."""
    timed = shape.timed
    return 64 + 4 * timed.slots * (8 + shape.kind.k) + 8 * timed.words + 8 * timed.recent


class TimedTables:
    """The tables of round trips and of waits of all these points, each once.

    arrays: both, int32 [rows, quantiles] each, as `Tables` has them.
    """

    def __init__(self, points: list[Point], regions: int):
        self.regions = regions
        self._trips, trips = _stacked({self._trip_key(p): p for p in points}, _trips)
        self._waits, waits = _stacked({self._wait_key(p): p for p in points}, _waits)
        self.arrays = trips, waits

    @staticmethod
    def _trip_key(point: Point):
        return point.latency, tick_ms(point), point.polling.timeout_ms

    @staticmethod
    def _wait_key(point: Point):
        return point.polling.interval, point.polling.interval_ms, tick_ms(point)

    def timing(self, point: Point) -> Timing:
        """The times of the point's trials."""
        polling = point.polling
        shares = np.cumsum(point.latency.shares)
        ends = np.full(self.regions, point.n)
        ends[: len(shares)] = np.floor(shares / shares[-1] * point.n + 0.5)
        return Timing(
            trips=self._trips[self._trip_key(point)],
            regions=len(shares),
            ends=ends,
            waits=self._waits[self._wait_key(point)],
            concurrent=polling.concurrent,
            timeout=ticks(point, polling.timeout_ms),
            cooldown=ticks(point, polling.cooldown_ms),
            most=max(1, ticks(point, polling.max_ms)),
            early=polling.early_end,
            rests_first=polling.interval == "exponential",
            spaced=polling.interval_ms > 0,
        )


def _stacked(points, rows) -> tuple[dict[Any, int], Any]:
    """By key, the first of its rows, and all rows on top of each other, int32."""
    start, parts, below = {}, [], 0
    for key, point in points.items():
        part = rows(point)
        start[key], below = below, below + len(part)
        parts.append(part)
    return start, np.concatenate(parts).astype(np.int32)
