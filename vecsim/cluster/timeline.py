"""A timeline: which action happens when, and the protocols that it sets."""

from collections.abc import Iterable, Mapping
from typing import Any

from vecsim.cluster.actions import ACTIONS
from vecsim.cluster.config import LONGEST_S, protocol, tenths
from vecsim.errors import require, whole
from vecsim.protocols.qr_avalanche import QrAvalanche

MOST_TIMES = 1_000_000  # times that an entry happens, at most: each is an item of a list
# Keys of an entry that are no arguments of its action, with their defaults.
WHEN = {"at_s": None, "every_s": 0, "times": 1, "do": None}


def arguments_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the action of an entry is given."""
    return {key: value for key, value in entry.items() if key not in WHEN}


def schedule(timeline: Iterable[Mapping[str, Any]], end_s: float) -> list[tuple[int, str, dict]]:
    """When each action of a timeline happens: [(ms, action, its arguments)], in order.

    An entry has at_s, do and the action's arguments; with every_s and times it happens again. All
    times are whole tenths of a second, up to end_s. ConfigError where one is not, or there is no
    such action.
    """
    listed, end_s = [], min(end_s, LONGEST_S)
    for entry in timeline:
        at, every, times, name = (entry.get(key, default) for key, default in WHEN.items())
        good = isinstance(name, str) and name in ACTIONS
        require(good, "timeline.do", name, ", ".join(ACTIONS))
        at_ms, every_ms = tenths("timeline.at_s", at), tenths("timeline.every_s", every)
        require(at_ms <= 1000 * end_s, "timeline.at_s", at, f"0 to {end_s:g}")
        whole("timeline.times", times, 1, MOST_TIMES)
        about = "above 0 with times, and only then"
        require((times == 1) == (every_ms == 0), "timeline.every_s", every, about)
        last_s = (at_ms + (times - 1) * every_ms) / 1000
        require(last_s <= end_s, "timeline.times", times, f"fewer: the last is at {last_s:g} s")
        listed += [(at_ms + i * every_ms, name, arguments_of(entry)) for i in range(times)]
    return sorted(listed, key=lambda planned: planned[0])


def rules(timeline: Iterable[Mapping[str, Any]], rule: QrAvalanche) -> list[QrAvalanche]:
    """Every set of protocol parameters that a timeline sets, in its order, each on top of the one
    before; rule: that at the start. ConfigError where a parameter has no meaning."""
    found = []
    for entry in timeline:
        if entry.get("do") == "set_protocol":
            rule = protocol("set_protocol", rule, arguments_of(entry))
            found.append(rule)
    return found


def spikes_ms(timeline: Iterable[Mapping[str, Any]]) -> float:
    """What all latency spikes of a timeline add to a round trip, ms, if they come together."""
    spikes = [entry for entry in timeline if entry.get("do") == "inject_latency_spike"]
    return sum(float(entry.get("extra_ms", 0)) * entry.get("times", 1) for entry in spikes)
