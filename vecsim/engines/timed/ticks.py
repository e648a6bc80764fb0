"""The times of a point in ticks, the steps of simulated time, and what they may be (host side)."""

from typing import Any

import numpy as np

from vecsim.errors import require
from vecsim.model.point import Point
from vecsim.stakes.stake import Weighted

QUANTILE_BITS = 12  # of a random word, which choose one of the quantiles in a table
TRIP_BITS = 14  # of a round trip in ticks
NO_ANSWER = 2**TRIP_BITS - 1  # a round trip that never ends
MOST_POLLERS = 2**17  # the number of a node takes 17 bits
MOST_TICKS = 2**30  # of any time: two of them together fit 31 bits
LEAST_TICK_MS = 1e-6  # shorter ones are slips
PARTS = 10  # ticks in the shortest round trip, and in an exponential interval, unless they are set
_EXPONENTIAL = (
    5  # ticks in the mean of exponential intervals at least: rounding would bend their law
)


def tick_ms(point: Point) -> float:
    """Milliseconds of a tick of the point."""
    polling, latency = point.polling, point.latency
    if polling.tick_ms:
        return float(polling.tick_ms)
    tick, interval = latency.shortest_ms / PARTS, polling.interval_ms
    if interval and polling.interval == "exponential":
        tick = min(tick, interval / PARTS)
    elif interval:  # whole ticks
        tick = interval / max(1, np.ceil(interval / max(tick, LEAST_TICK_MS)))
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


def levels() -> Any:
    """The shares of which tables hold the quantiles."""
    number = 1 << QUANTILE_BITS
    return (np.arange(number) + 0.5) / number


def trips(point: Point) -> Any:
    """Round trips in ticks, int64 [pairs, quantiles]; NO_ANSWER where they are past the time-out,
    which is told by milliseconds, before anything is rounded."""
    found = point.latency.quantiles(levels())
    rounded = np.floor(found / tick_ms(point) + 0.5)
    rounded = np.where(found <= point.polling.timeout_ms, rounded, NO_ANSWER)
    return rounded.astype(np.int64).reshape(-1, rounded.shape[-1])


def waits(point: Point) -> Any:
    """Least times between polls, in ticks: int64 [1, quantiles]."""
    share, polling = levels(), point.polling
    each = -np.log1p(-share) if polling.interval == "exponential" else np.ones_like(share)
    return np.floor(each * polling.interval_ms / tick_ms(point) + 0.5).astype(np.int64)[None]


def recent(point: Point) -> int:
    """Peers that a node may not ask again, at most: so many polls begin within the cool-down."""
    cooldown = ticks(point, point.polling.cooldown_ms)
    return -(-cooldown // int(waits(point).min())) if cooldown else 0


def check_timed(point: Point) -> None:
    """ConfigError where the point's times do not fit the engine."""
    rule, polling, loss = point.protocol, point.polling, point.network.loss
    require(loss == 0, "network.loss", loss, "0 with schedule=timed, which has latency.loss")
    require(point.n < MOST_POLLERS, "n", point.n, f"less than {MOST_POLLERS} with schedule=timed")
    asked = point.n * max(rule.k, 1) * (rule.max_rounds + polling.concurrent)
    allowed = "fewer rounds: n x k x (max_rounds + polling.concurrent) must stay below 2^31"
    require(asked < 2**31, "protocol.max_rounds", rule.max_rounds, allowed)
    allowed = "above 0 where round trips may take no time"
    require(polling.tick_ms > 0 or point.latency.shortest_ms > 0, "polling.tick_ms", 0, allowed)
    tick = tick_ms(point)
    require(tick >= LEAST_TICK_MS, "polling.tick_ms", tick, f"{LEAST_TICK_MS:g} ms or more")
    longest = {name: getattr(polling, f"{name}_ms") for name in ("max", "timeout", "cooldown")}
    # The last quantile of an exponential law is nine times its mean.
    longest |= {"round": round_ms(point), "interval": polling.interval_ms * 10}
    for name, ms in longest.items():
        allowed = f"less than {MOST_TICKS} ticks of {tick:g} ms"
        key = f"{name}_ms"
        require(ms / tick < MOST_TICKS, f"polling.{key}", getattr(polling, key), allowed)
    allowed = f"a tick or more, {tick:g} ms"
    for key in ("timeout_ms", "interval_ms"):
        ms = getattr(polling, key)
        require(ms == 0 or ticks(point, ms) >= 1, f"polling.{key}", ms, allowed)
    if polling.interval == "exponential":
        allowed = f"{_EXPONENTIAL} ticks of {tick:g} ms or more"
        enough = polling.interval_ms >= _EXPONENTIAL * tick * (1 - 1e-9)
        require(enough, "polling.interval_ms", polling.interval_ms, allowed)
    _check_trips(point, tick)
    if polling.cooldown_ms:
        _check_cooldown(point)


def _check_trips(point: Point, tick: float) -> None:
    """ConfigError unless round trips fit their bits, and take time where polls follow at once."""
    found = point.latency.quantiles(levels())
    in_time = found[found <= point.polling.timeout_ms]
    allowed = f"such that the longest round trip takes less than {NO_ANSWER} ticks"
    longest = in_time.max(initial=0.0) / tick + 0.5
    require(longest < NO_ANSWER, "polling.tick_ms", tick, allowed)
    takes = in_time.min(initial=np.inf) / tick + 0.5 >= 1 or point.polling.interval_ms > 0
    allowed = "such that the shortest round trip takes a tick, or with polling.interval_ms"
    require(bool(takes), "polling.tick_ms", tick, allowed)


def _check_cooldown(point: Point) -> None:
    """ConfigError unless a peer that was not asked of late is soon found."""
    polling = point.polling
    require(point.protocol.k == 1, "polling.cooldown_ms", polling.cooldown_ms, "0 unless k is 1")
    fixed = polling.interval == "fixed"
    require(fixed, "polling.cooldown_ms", polling.cooldown_ms, "0 with exponential intervals")
    number = recent(point)
    if isinstance(point.stake, Weighted):
        held = float(point.stake.holdings(point.n)[:number].sum()) / point.size
    else:
        held = number / point.n
    allowed = "so short that those asked in that time hold at most half of the stake"
    require(held <= 0.5, "polling.cooldown_ms", polling.cooldown_ms, allowed)
