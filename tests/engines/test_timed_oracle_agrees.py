"""Trials in simulated time against the plain loop in continuous time, event by event.

Who holds which stake is drawn by vecsim for both; tests/stake_oracle.py draws that by itself.
"""

import math
import random

import numpy as np
import pytest
import timed
from timed_oracle import Latency, Polling, simulate

from vecsim.engines.agents.holdings import holdings_of
from vecsim.model import random as words

TRIALS = 400  # of the engine
SMALL = {"k": 5, "alpha_preference": 4, "alpha_confidence": 4, "beta": 6}
TWO = {**SMALL, "k": 8, "alpha_preference": 5, "alpha_confidence": 7}
QR = {"k": 8, "alpha": 6, "beta": 6}
ECASH = {"finalization_score": 24, "stale_votes": 200, "stale_factor": 8}
FPC = {"k": 7, "finality": 4}
WAN = {"low_ms": 50.0, "high_ms": 200.0}
WORLD = {"medians_ms": [[10, 80, 200], [80, 12, 140], [200, 140, 15]], "sigma": 0.2}

# name: protocol, its numbers, adversary and its share, share of honest nodes at 1, latency,
# polling, trials of the plain loop
SETTINGS = {
    "contested": ("snowflake", SMALL, None, 0.5, WAN, {}, 150),
    "no early end": ("snowflake", TWO, None, 0.5, WAN, {"concurrent": 2, "early_end": False}, 150),
    "coins": ("snowball", SMALL, ("random_voting", 0.1), 0.5, WAN, {"concurrent": 3}, 150),
    "loss": (
        *("snowflake", SMALL, ("balance_informed", 0.1), 0.6),
        *(WAN | {"loss": 0.02}, {"timeout_ms": 400.0}, 150),
    ),
    "short time-out": ("snowflake", TWO, ("echo", 0.1), 0.7, WAN, {"timeout_ms": 180.0}, 150),
    "by colour": ("snowflake", TWO, ("flip", 0.1), 0.7, WAN, {}, 150),
    "counts": (
        *("qr_avalanche", QR, ("always_reject", 0.04), 0.75, WAN),
        *({"concurrent": 64, "interval_ms": 5.0, "timeout_ms": 300.0}, 40),
    ),
    "ecash": (
        *("ecash", ECASH, ("silent", 0.1), 0.6, {"low_ms": 50.0, "high_ms": 100.0}),
        *({"concurrent": 5, "interval_ms": 10.0, "cooldown_ms": 50.0, "timeout_ms": 400.0}, 60),
    ),
    "common threshold": ("fpc", FPC, ("balance_informed", 0.1), 0.55, WAN, {"concurrent": 1}, 150),
    "slush": ("slush", {"k": 5, "alpha": 4, "m": 12}, ("release", 0.1), 0.5, WAN, {}, 150),
    "regions": ("snowflake", SMALL, ("always_accept", 0.1), 0.3, WORLD, {}, 150),
    "exponential": (
        *("snowflake", SMALL, None, 0.5, WAN),
        *({"interval_ms": 80.0, "interval": "exponential"}, 150),
    ),
    "stake": ("snowflake", SMALL, ("balance_informed", 0.1), 0.6, WAN | {"loss": 0.02}, {}, 150),
    "stake and coins": ("snowball", SMALL, ("random_voting", 0.1), 0.5, WAN, {}, 150),
}


def made(setting):
    """The point of a setting, with 40 nodes."""
    protocol, rule, attack, ones, latency, polling, _ = SETTINGS[setting]
    name, share = attack or ("silent", 0.0)
    given = [f"protocol={protocol}", f"adversary={name}", f"initial_accept={ones}"]
    given += [f"byzantine_fraction={share}"]
    given += [f"protocol.{key}={value}" for key, value in rule.items()]
    if protocol == "fpc":
        given += ["network.sampling=with_replacement"]
    if "medians_ms" in latency:
        given += ["latency=regions", "latency.names=[]", "latency.shares=[0.25,0.25,0.5]"]
    given += [f"latency.{key}={value}" for key, value in ({"loss": 0.0} | latency).items()]
    given += [f"polling.{key}={value}" for key, value in ({"tick_ms": 1.0} | polling).items()]
    if setting.startswith("stake"):
        given += ["stake=zipf", "stake.exponent=0.8", "stake.units=1000"]
    return timed.point_of_words(*(word.replace(" ", "") for word in given), n=40)


def by_the_loop(setting, point, trials):
    """For each trial of the plain loop: mean time of decisions, how many decided, those for 1, who
    prefer 1 at the end, polls."""
    protocol, rule, attack, _, latency, polling, _ = SETTINGS[setting]
    rng, found = random.Random(1), []
    numbers = vars(point.protocol)
    rule = {"name": protocol, **{k: v for k, v in numbers.items() if v is not None}, **rule}
    times = dict(polling)
    early = {} if times.pop("early_end", True) else {"early_end": "none"}
    exponential = times.pop("interval", "fixed") == "exponential"
    if "medians_ms" in latency:
        times["round_ms"] = point.latency.median_ms
    if protocol == "fpc":
        times["sampling"] = "with_replacement"
    polls = Polling(**times, **early, exponential=exponential)
    keys = words.trial_key(words.point_key(99, point.hash()), np.arange(trials))
    held = holdings_of(point, keys) if point.stake.weighted else None
    for i in range(trials):
        byzantine, start, units = point.byzantine, point.start_ones, None
        if held is not None:
            units = held.units[i].tolist()
            byzantine, start = int(held.kinds[i].sum()), int(held.start_ones[i])
        regions = [0] * 10 + [1] * 10 + [2] * 20
        rng.shuffle(regions)
        result = simulate(
            rng,
            n=point.n,
            byzantine=byzantine,
            start_ones=start,
            rule=rule,
            adversary={"name": attack[0], **vars(point.adversary)} if attack else None,
            latency=Latency(**latency),
            polling=polls,
            units=units,
            regions=regions if "medians_ms" in latency else None,
        )
        decided = [time for time in result.decided_ms if time is not None]
        found.append(
            (
                sum(decided) / max(len(decided), 1),
                len(decided),
                sum(each == 1 for each in result.decisions),
                sum(result.colours),
                sum(result.polls),
            )
        )
    return np.array(found, float)


@pytest.mark.parametrize("setting", SETTINGS)
def test_trials_are_those_of_the_plain_loop(setting):
    point = made(setting)
    theirs = by_the_loop(setting, point, SETTINGS[setting][-1])
    ran = timed.run(point, TRIALS, size=100)
    values, decided = ran.values, np.isfinite(ran.decided_ms)
    times = np.where(decided, ran.decided_ms, 0.0).sum(axis=1)
    ours = np.column_stack(
        [
            times / np.maximum(decided.sum(axis=1), 1),
            values["decided_0"] + values["decided_1"],
            *(values[name] for name in ("decided_1", "final_ones", "polls")),
        ]
    )
    names = ("time", "decided", "decided 1", "ones", "polls")
    for name, mine, other in zip(names, ours.T, theirs.T, strict=True):
        error = math.hypot(mine.std(ddof=1) / TRIALS**0.5, other.std(ddof=1) / len(other) ** 0.5)
        slack = 1e-9  # of rounding, where all trials are alike
        assert abs(mine.mean() - other.mean()) <= 5 * error + slack, (
            name,
            mine.mean(),
            other.mean(),
        )
