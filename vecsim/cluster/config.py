"""What a simulated cluster is: its configuration, checked, with defaults for what is not given."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from vecsim import places
from vecsim.cluster.constants import constants
from vecsim.cluster.workload import Workload
from vecsim.errors import mapping, number, plain_value, require, whole
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.types import Adversary

# Parents of a vertex, least and most, by the name of the way they are chosen.
PARENTS = {"linear": (1, 1), "few": (2, 4), "wide": (10, 16), "random": (1, 16)}
LONGEST_S = 1_000_000  # s of a run, at most: times are milliseconds in 32 bits
MOST_MEMBERS = 20_000  # nodes of a cluster, at most, to bound the time of a window
MOST_POLLS = 2**20 - 1  # polls of a vertex, at most: fewer than the 2^28 of `random.counter`
# Of the protocol, at most: random words are told apart for 512 peers of a poll; a cell has 7 bits.
_MOST = {"k": 400, "alpha": 400, "beta": 127}
MOST_VERTICES = 2**31 - 1  # vertices of a run: counts are 32 bits
TICK_MS = 100  # ms: times of actions, and ends of vertices in flight, are told apart so finely
_LOAD = {"kind": "constant", "rate_tps": 100}  # of a run that names none, vertices per second
# Vertices: how far back `random` parents are looked for, three times as many as a vertex may have.
# In a sample the first 48 places have fewer before them, and so fewer parents.
RANDOM_REACH = 48


class Cluster(NamedTuple):
    """A cluster of `nodes` members, its conditions at the start, and its defence.

    nodes: 2 to `MOST_MEMBERS`. byzantine_fraction: share of the nodes that is Byzantine.
    misbehaving_share: share of vertices on which a Byzantine node misbehaves; on others it answers
    as an honest one. double_votes: share of vertices on which it signs two contradicting votes.
    profile: name of the network profile. payload_bytes: of each vertex. parents: linear, few, wide
    or random. pruning: whether nodes forget old vertices. memory_limit_mb: of a node, on average.
    double_spend_share: share of vertices that have a rival. All shares are 0 to 1.

    The defaults are those of a configuration; `parse_run` puts values in place of None.
    """

    nodes: int = 1000
    byzantine_fraction: float = 0.0
    adversary: Any = "random_voting"  # parsed, an Adversary
    misbehaving_share: float = 1.0
    double_votes: float = 0.0
    profile: str = "local"
    protocol: Any = None  # parsed, a QrAvalanche
    poll_interval_ms: Any = None  # parsed, a number, as the next two that are None here
    benching: bool = True
    reputation: bool = True
    guard: bool = True
    payload_bytes: int = 1000
    parents: str = "few"
    pruning: bool = True
    memory_limit_mb: Any = None
    link_mbps: Any = None
    double_spend_share: float = 0.0

    @property
    def byzantine(self) -> int:
        """Byzantine nodes."""
        return round(self.byzantine_fraction * self.nodes)

    @property
    def honest(self) -> int:
        """Nodes that are not Byzantine."""
        return self.nodes - self.byzantine


class Run(NamedTuple):
    """A cluster under load for a while: one variant of a scenario. All times are in seconds.

    duration_s: how long load is offered (by hand, infinity is without end); drain_s: how long what
    is in flight may then finish; window_s: the longest window, in steady state; timeline: see
    `vecsim.cluster.actions`; sampled_vertices: how many vertices of a window are run one by one, at
    most; first_trial: the number of the first trial, on which its random numbers depend.

    The defaults are those of a configuration; `parse_run` puts what is parsed in their place.
    """

    trials: int = 8
    seed: int = 0
    duration_s: float = 60
    drain_s: int = 30
    window_s: int = 10
    sampled_vertices: int = None  # type: ignore[assignment]
    cluster: Cluster = None  # type: ignore[assignment]
    workload: Workload = _LOAD  # type: ignore[assignment]
    timeline: tuple[dict[str, Any], ...] = None  # type: ignore[assignment]
    first_trial: int = 0  # set by campaigns, no key of a configuration


# What a configuration may set, with the defaults: keys of a run, and of its `cluster`.
KEYS = {name: value for name, value in Run._field_defaults.items() if name != "first_trial"}
DEFAULTS = Cluster._field_defaults


def parse_run(config: Mapping[str, Any], by_hand: bool = False) -> Run:
    """The run that a configuration describes; ConfigError, in one line, where it has no meaning.

    config: the keys of `KEYS`, each with a default; `cluster` those of `DEFAULTS`. by_hand: of a
    cluster that is stepped: without duration_s its load has no end, and drain_s has no meaning.
    """
    given = _filled("scenario", config, KEYS, "")
    for key, value in given.items():
        plain_value(key, value)
    cluster = _cluster(_filled("cluster", given["cluster"], DEFAULTS))
    if by_hand:
        told = "drain_s" not in config
        require(told, "drain_s", given["drain_s"], "with simulate only; by hand advance goes on")
        given["drain_s"] = 0
    endless = by_hand and config.get("duration_s") is None
    for name, low in (("duration_s", 1), ("drain_s", 0), ("window_s", 1), ("trials", 1)):
        whole(name, given[name], low, LONGEST_S)
    most = LONGEST_S - given["duration_s"]
    require(given["drain_s"] <= most, "drain_s", given["drain_s"], f"{most} after duration_s")
    given["duration_s"] = math.inf if endless else given["duration_s"]
    whole("seed", given["seed"], 0, 2**32 - 1)
    if given["sampled_vertices"] is None:
        given["sampled_vertices"] = constants().sampled_vertices
    whole("sampled_vertices", given["sampled_vertices"], 2, 2**16)  # new ones, and issued again
    timeline = () if given["timeline"] is None else given["timeline"]
    good = isinstance(timeline, (list, tuple)) and all(isinstance(e, Mapping) for e in timeline)
    require(good, "timeline", given["timeline"], "a list of {at_s: ..., do: ...}")
    workload = Workload.parse(given["workload"], given["duration_s"])
    if not endless:
        issued = workload.most()
        require(issued <= MOST_VERTICES, "workload", issued, f"{MOST_VERTICES} vertices or fewer")
    timeline = tuple(dict(entry) for entry in timeline)
    given |= {"cluster": cluster, "workload": workload, "timeline": timeline}
    return Run(**given)


def tenths(name: str, seconds: Any) -> int:
    """Milliseconds of a time that is a whole number of tenths of a second; else ConfigError."""
    allowed = f"0 to {LONGEST_S} seconds, in whole tenths"
    number(name, seconds, allowed, lambda v: 0 <= v <= LONGEST_S)
    ms = round(seconds * 1000 / TICK_MS) * TICK_MS
    require(abs(seconds * 1000 - ms) < 1e-3, name, seconds, allowed)
    return ms


def playable(adversary: Adversary, disputed: bool) -> None:
    """ConfigError unless the cluster can play this adversary.

    disputed: whether some vertices have a rival. Nodes of a cluster belong to no groups, and
    nobody pools answers between polls; where all honest nodes agree a pool says nothing new.
    """
    allowed = "one kind of Byzantine nodes in a cluster"
    require(len(adversary.kinds) == 1, "cluster.adversary", adversary.title, allowed)
    name = type(adversary).__module__.rpartition(".")[2]  # that of its file
    for good, allowed in (
        (adversary.memories == 1, "one that keeps one number"),
        (adversary.groups == 1, "one that does not tell groups of honest nodes apart"),
        (not (adversary.pools and disputed), "one that pools no answers, or double_spend_share 0"),
    ):
        require(good, "cluster.adversary", name, allowed)


def _filled(where: str, given: Any, defaults: dict[str, Any], prefix: str | None = None) -> dict:
    """What is given, with defaults for the rest; nothing (None) is as good as no key."""
    return defaults | dict(mapping(where, {} if given is None else given, defaults, prefix))


def _cluster(given: dict[str, Any]) -> Cluster:
    fixed = constants()
    nodes = whole("cluster.nodes", given["nodes"], 2, MOST_MEMBERS)
    for name in ("byzantine_fraction", "misbehaving_share", "double_votes", "double_spend_share"):
        number(f"cluster.{name}", given[name], "0 to 1", lambda v: 0 <= v <= 1)
    for name, known in (("parents", PARENTS), ("profile", fixed.profiles)):
        good = isinstance(given[name], str) and given[name] in known
        require(good, f"cluster.{name}", given[name], ", ".join(known))
    for name in ("benching", "reputation", "guard", "pruning"):
        require(isinstance(given[name], bool), f"cluster.{name}", given[name], "true or false")
    small = nodes < fixed.small_below
    interval = fixed.poll_interval_small_ms if small else fixed.poll_interval_large_ms
    limits = {name: getattr(fixed, name) for name in ("memory_limit_mb", "link_mbps")}
    for name, value in {"poll_interval_ms": interval, **limits}.items():
        given[name] = value if given[name] is None else given[name]
        number(f"cluster.{name}", given[name], "0.001 to 1e+09", lambda v: 1e-3 <= v <= 1e9)
    whole("cluster.payload_bytes", given["payload_bytes"], 0, 10**8)
    rule = protocol("cluster.protocol", QrAvalanche(), given["protocol"])
    adversary = _adversary(given["adversary"])
    playable(adversary, given["double_spend_share"] > 0)
    built = Cluster(**given | {"adversary": adversary, "protocol": rule})
    require(built.honest >= 1, "cluster.byzantine_fraction", given["byzantine_fraction"], "below 1")
    return built


def protocol(where: str, rule: QrAvalanche, given: Any) -> QrAvalanche:
    """The rule with other parameters; ConfigError where one does not exist or is of no use."""
    values = _filled(where, given, vars(rule))
    for field in dataclasses.fields(QrAvalanche):
        name, value = f"{where}.{field.name}", values[field.name]
        if field.type in (int, "int"):
            whole(name, value, 1, _MOST.get(field.name, MOST_POLLS))
        else:
            number(name, value, "0 to 1", lambda v: 0 <= v <= 1)
    return QrAvalanche(**values)


def _adversary(given: Any) -> Any:
    """An adversary by its option's name, {name: ..., parameter: ...}, or a section of its own.

    ConfigError where there is none of that name, or a parameter does not fit.
    """
    from vecsim.model import build

    if isinstance(given, Mapping) and "_target_" in given:
        return build.component("adversary", dict(given))
    options = places.root("conf") / "adversary"
    known = sorted(path.stem for path in options.glob("*.yaml"))
    section = {"name": given} if isinstance(given, str) else given
    require(isinstance(section, Mapping), "cluster.adversary", given, ", ".join(known))
    section = dict(section)
    name = section.pop("name", None)
    require(name in known, "cluster.adversary", name, ", ".join(known))
    values = yaml.safe_load((options / f"{name}.yaml").read_text(encoding="utf-8"))
    return build.component("adversary", values | section)
