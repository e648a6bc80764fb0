"""What a program of simulated time is compiled for, and what its trials are given (host side).

Times are whole ticks. Round trips are drawn from a table of their quantiles, which has a row for
each pair of regions, so that every device draws the same: with ticks of 5 ms and round trips of 50
to 200 ms, the first row of `round_trips` is 10 10 10 ... 40 40.
"""

from typing import Any, NamedTuple

import numpy as np

from vecsim.engines.timed.ticks import NO_ANSWER, recent, tick_ms, ticks, trips, waits
from vecsim.engines.trial import Shape
from vecsim.model.point import Point


class TimedShape(NamedTuple):
    """What a program of simulated time is compiled for, besides what all programs are."""

    slots: int  # open polls of a node at most
    words: int  # of 32 ticks of the past that are kept
    bits: int  # of a round trip in ticks, and of one more than the longest
    recent: int  # peers that a node does not ask again at once
    regions: int
    groups: int  # of honest nodes that adversaries tell apart
    hostile: bool  # whether there may be Byzantine nodes
    coins: bool  # whether what a node answers may be left to a coin


class Timing(NamedTuple):
    """The times of a trial, in ticks; every leaf has a leading axis of trials, int32 or bool."""

    trips: Any  # first row of Tables.round_trips
    regions: Any  # rows and columns of pairs
    ends: Any  # [regions]: nodes in it and those before, in random order
    waits: Any  # row of Tables.waits
    concurrent: Any  # polls open at once
    timeout: Any
    cooldown: Any
    most: Any  # when the trial ends
    early: Any  # bool: polls end as soon as their result is settled
    rests_first: Any  # bool: a node waits before its first poll, too
    spaced: Any  # bool: there is a least time between the beginnings of a node's polls


def timed_shape(points: list[Point]) -> TimedShape:
    """What the program that serves all these points is compiled for."""
    ways = [way for p in points if p.byzantine for way in p.adversary.ways]
    chances = {chance for way in ways for mix in way for chance in mix}
    chances |= {chance for p in points for mix in p.adversary.neutrals for chance in mix}
    shortest, longest = zip(*map(_extremes, points), strict=True)
    past = max(map(_furthest, shortest, longest)) + 3
    return TimedShape(
        slots=max(p.polling.concurrent for p in points),
        words=-(-past // 32),
        bits=(max(longest) + 1).bit_length(),
        recent=max(map(recent, points)),
        regions=max(len(p.latency.shares) for p in points),
        groups=max(p.adversary.groups for p in points),
        hostile=any(p.byzantine for p in points),
        coins=not chances <= {0.0, 1.0},
    )


def _extremes(point: Point) -> tuple[int, int]:
    """The shortest and the longest round trip that is in time, in ticks; 0 and 0 if none is."""
    known = trips(point)
    known = known[known < NO_ANSWER]
    return (int(known.min()), int(known.max())) if len(known) else (0, 0)


def _furthest(shortest: int, longest: int) -> int:
    """Ticks by which what a poll looks up is past, at most: at its first look the query that
    arrived first may be as old as all but half of the shortest round trip."""
    return longest - shortest // 2


def lost_share(point: Point) -> float:
    """P(an answer is lost): in simulated time the query or the answer."""
    return 1 - (1 - point.latency.loss) ** 2 if point.timed else point.network.loss


def node_bytes_of(shape: Shape) -> int:
    """Bytes that a batch takes for each node of a trial."""
    timed = shape.timed
    past = 8 * timed.words + (512 * timed.words * timed.groups * timed.hostile) // shape.nodes
    return 64 + 4 * timed.slots * (8 + shape.kind.k) + past + 8 * timed.recent


class TimedTables:
    """The tables of round trips and of waits of all these points, each once.

    arrays: both, int32 [rows, quantiles] each, as `Tables` has them.
    """

    def __init__(self, points: list[Point], regions: int):
        self.regions = regions
        self._trips, drawn = _stacked({self._trip_key(p): p for p in points}, trips)
        self._waits, apart = _stacked({self._wait_key(p): p for p in points}, waits)
        self.arrays = drawn, apart

    @staticmethod
    def _trip_key(point: Point):
        return str(point.parameters()["latency"]), tick_ms(point), point.polling.timeout_ms

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
