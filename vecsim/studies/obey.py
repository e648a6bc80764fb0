"""What is set by hand is used, or refused: nothing that a user says is dropped without a word."""

import re
from collections.abc import Collection, Iterable, Mapping
from math import prod
from typing import Any

from vecsim.errors import ConfigError, require
from vecsim.model import build
from vecsim.network import Network
from vecsim.studies.dimensions import MOST_POINTS, Dimension, keys_of
from vecsim.studies.resolve import is_used, references

CAMPAIGN = "campaign"  # the key of all that campaigns of the defended cluster are made of
Given = Mapping[str, str]  # keys that were set by hand, with the texts of their values
_Keys = Collection[str]  # dotted, as in `protocol.k`
_Config = Mapping[str, Any]  # unresolved, as plain values
_Used = Mapping[str, set[str]]  # keys that single decisions (off) and campaigns (on) are made of
SYSTEM = (*build.NUMBERS, *build.GROUPS)  # what describes the nodes and their network
_FILES = ("output", "netcdf", "figure")  # where results go, and what is made of them
_WHOLE = ("preset", "experiment")  # options that set keys of the whole configuration
# The other keys of a configuration.
OTHERS = (
    *("seed", "trials", "precision", "sweep", *_FILES, "theory", "engine"),
    *("shard", "watch", "defence", "estimator", "packages", CAMPAIGN),
)
KNOWN = (*SYSTEM, *OTHERS)  # every key of a configuration at its top
# What single decisions are made of, and what every study uses, whatever it is of.
DECISIONS = (*SYSTEM, "trials", "precision", "estimator", "engine", "theory", "preset")
ALWAYS = ("seed", "sweep", "defence", *_FILES, "shard", "watch", "experiment")
ALWAYS += ("packages", "engine.cores", "engine.workers", "engine.price_per_core_hour")
# By a key that campaigns do not use: what they have instead.
INSTEAD = {
    "n": "campaign.cluster.nodes",
    "byzantine_fraction": "campaign.cluster.byzantine_fraction",
    "adversary": "campaign.cluster.adversary",
    "protocol": "campaign.cluster.protocol, parameters of QR-Avalanche",
    "stake": "nothing: nodes of the cluster hold the same",
    "preset": "nothing: presets are of single decisions",
    "latency": "campaign.cluster.profile",
    "polling": "nothing: nodes of the cluster poll at intervals of their own",
    "network": "campaign.cluster.profile, and set_packet_loss in campaign.timeline",
    "trials": "campaign.trials",
    "precision": "campaign.trials, as many as it says",
}
# By a key of campaigns: the one key that describes the same to single decisions and campaigns.
SHARED = {
    "campaign.cluster.nodes": "n",
    "campaign.cluster.byzantine_fraction": "byzantine_fraction",
    "campaign.cluster.adversary": "adversary",
}
PROTOCOL = "campaign.cluster.protocol"  # the parameters of the cluster's protocol
# Fields that say what Byzantine nodes do: without such nodes they have no effect.
OF_BYZANTINE = ("adversary", "misbehaving_share", "double_votes", "double_spend_share")

CAMPAIGNS_USE_IT = "with defence=on, whose campaigns use it"  # what is allowed for a key
# Fields of the network that matter on such a graph only, or only with groups.
OF_TOPOLOGY = {"complete": (), "random_regular": ("degree", "graphs")}
OF_TOPOLOGY["small_world"] = ("degree", "graphs", "rewiring")
OF_GROUPS = ("active", "start", "cut")


def used_by(config: _Config) -> dict[str, set[str]]:
    """Keys that single decisions (off) and campaigns (on) are made of. config: unresolved."""
    kinds = {"off": DECISIONS, "on": (CAMPAIGN,)}
    return {kind: references(config, (*keys, *ALWAYS)) for kind, keys in kinds.items()}


def check_given(given: Given, used: _Used, wanted: list[str]) -> None:
    """Raise ConfigError where a key that was set is not used.

    given: the texts of their values. wanted: whether there are single decisions (off), campaigns
    (on), or both, which must describe the same network.
    """
    for key, text in given.items():
        if key.partition(".")[0] == "sweep":
            continue
        taken = [each for each in ("off", "on") if is_used(key, used[each])]
        told = f"{key} is {text or 'taken away'}; allowed: "
        if not set(taken) & set(wanted):
            instead = _of_campaigns(key.partition(".")[0])
            raise ConfigError(told + (CAMPAIGNS_USE_IT if wanted == ["off"] else instead))
        if len(wanted) > 1 and not _same(key, text, given, taken):
            raise ConfigError(f"{told}with defence=[off,on] what describes both: {_both(key)}")


def check_file(written: _Config, bare: _Config, used: _Keys, name: str) -> None:
    """Raise ConfigError where the file of an experiment of campaigns sets what they do not use.

    written: the configuration without the keys set by hand; bare: the one without any word; both
    unresolved. used: keys that campaigns use. name: of the experiment.
    """
    for key in DECISIONS:
        if key in written and not is_used(key, used) and written[key] != bare.get(key):
            raise ConfigError(f"{key} is set by experiment={name}; allowed: {_of_campaigns(key)}")


def _of_campaigns(key: str) -> str:
    """What is allowed instead of a key that campaigns do not use."""
    instead = f" ({INSTEAD[key]})" if key in INSTEAD else ""
    return f"what the campaign uses with defence=on{instead}"


def _same(key: str, text: str, given: Given, taken: list[str]) -> bool:
    """Whether single decisions and campaigns stay of the same network."""
    if key in SHARED or key.startswith(f"{PROTOCOL}."):
        return given.get(SHARED.get(key, key.removeprefix("campaign.cluster."))) == text
    if key.startswith("protocol.") and "on" not in taken:
        return given.get(f"campaign.cluster.{key}") == text
    return key.partition(".")[0] not in (*SYSTEM, "preset") or len(taken) > 1


def _both(key: str) -> str:
    if key in SHARED:
        return f"{SHARED[key]}=..."
    name = key.rpartition(".")[2]
    if key.startswith(("protocol.", PROTOCOL)):
        return f"protocol.{name}=... and {PROTOCOL}.{name}=..., the same"
    return "n, byzantine_fraction, adversary"


def check_swept(
    swept: list[Dimension], files: _Keys, written: _Keys, used: _Used, given: Given, wanted: _Keys
) -> None:
    """Raise ConfigError where what is swept is no parameter, is set as well, is too much, or is not
    used.

    files: what an experiment sweeps by itself: it may sweep for single decisions what campaigns do
    not have. written: the keys of the configuration.
    """
    files, single = set(files), "off" in wanted
    unused = CAMPAIGNS_USE_IT if single else _of_campaigns("")
    parameters = f"{', '.join((*build.NUMBERS, *build.GROUPS))}, or theirs, such as protocol.k"
    for dimension, each in ((d, p) for d in swept for p in d.parameters):
        own_name = not dimension.zipped or dimension.name not in written
        require(own_name, "sweep", dimension.name, "for a zip, a name that is no parameter's")
        key = each.key
        group, _, field = key.partition(".")
        known = key in build.NUMBERS or group == CAMPAIGN
        known = known or (group in build.GROUPS and "." not in field)
        referred = any(key in names for names in used.values())
        referred = referred and key not in (*OTHERS, *_WHOLE)
        if not known and not referred:
            raise ConfigError(f"sweep.{key} is no parameter of a trial; allowed: {parameters}")
        if key in given:
            allowed = f"{key}=... with ~sweep.{dimension.key}, or sweep.{dimension.key}=... alone"
            raise ConfigError(f"{key} is both set and swept; allowed: {allowed}")
        words = all(isinstance(value, str) for value in each.values)
        require(words or key not in build.GROUPS, f"sweep.{key}", each.values, "options")
        taken = {kind for kind in ("off", "on") if is_used(key, used[kind])}
        require(not taken.isdisjoint(wanted), "sweep", key, unused)
        alone = len(wanted) > 1 and (len(taken) < 2 or key in SHARED)
        network = group in SYSTEM or key.startswith((*SHARED, PROTOCOL))
        if alone and (dimension.zipped or (network and key not in files)):
            text = f"sweep.{dimension.key} is {each.values}; allowed: "
            raise ConfigError(f"{text}with defence=[off,on] what describes both: {_both(key)}")
    total = prod(len(dimension.values) for dimension in swept)
    require(total <= MOST_POINTS, "sweep", f"{total} points", f"at most {MOST_POINTS}")


def check_byzantine(given: _Keys, moving: _Keys, numbers: Iterable[int], share: str) -> None:
    """Raise ConfigError where a key says what Byzantine nodes do and there are none anywhere.

    given: keys that were set by hand. moving: keys that are swept, by hand (then among the given
    ones too) or by an experiment. share: the key that would make some.
    """
    if any(numbers):
        return
    given = {*given}
    told = {key: key for key in sorted(given)}
    for key in moving:  # what the file of an experiment sweeps is said to be its own
        told[key] = f"sweep.{key}" if f"sweep.{key}" in given else f"sweep.{key} of the experiment"
    for key, name in told.items():
        field = re.sub(r"^(sweep\.)?(campaign\.|scenario\.)?(cluster\.)?", "", key)
        if field.partition(".")[0] in OF_BYZANTINE or field == "stake.byzantine":
            reason = f"{name} has no effect, for no node is Byzantine"
            raise ConfigError(f"{reason}; allowed: with {share} that makes one at least")


def check_effect(given: _Keys, swept: list[Dimension], points: list[Any], estimator: Any) -> None:
    """Raise ConfigError where a parameter of single decisions that was set has no effect."""
    moving = keys_of(swept)
    if estimator in ("plain", "splitting", "design"):  # a threshold tries fractions of its own
        check_byzantine(given, moving, [p.some_byzantine for p in points], "byzantine_fraction")
    networks = list({id(point.network): point.network for point in points}.values())
    useful, usual = set().union(*map(_effective, networks)), vars(Network())
    kinds = {each.topology for each in networks}
    rules = list({id(point.protocol): point.protocol for point in points}.values())
    for key in (*given, *moving):
        group, _, field = key.partition(".")
        some = any if key in moving else all
        started = some(each.start for each in networks)
        instead = some(each.replaced.get(field) for each in rules)
        if group in build.IN_TIME and not any(point.timed for point in points):
            allowed = f"{key} with schedule=timed"
        elif key == "polling.early_end" and all(map(_waits_for_all, rules)):
            allowed = "none with protocols that wait for all answers"
        elif group == "network" and field and field not in useful:
            allowed = _needs(field, kinds)
        elif key == "initial_accept" and started:
            allowed = "network.start, which sets it already"
        elif key == "stake.shared_fate" and not any(_shares_fate(p, estimator) for p in points):
            allowed = "stake.shared_fate where answers are coins, or network.loss is above 0"
            allowed += ", and a poll asks for more than one"
        elif group == "protocol" and instead:
            others = {each.replaced[field] for each in rules if field in each.replaced}
            allowed = f"protocol.{', '.join(others)}, which sets it already"
        elif estimator == "design" and key in ("protocol.beta", "initial_accept", "adversary.fed"):
            allowed = "none with estimator=design, which finds it"
        else:
            continue
        raise ConfigError(f"{key} has no effect; allowed: {allowed}")
    for name, value in ((n, v) for each in networks for n, v in vars(each).items()):
        if name not in useful and value != usual[name]:  # a file has set it
            raise ConfigError(f"network.{name} is {value}; allowed: {_needs(name, kinds)}")


def _shares_fate(point: Any, estimator: Any) -> bool:
    """Whether places of one node in a poll could differ. point: of single decisions."""
    if estimator == "threshold":  # it tries fractions of its own, most of them above 0
        point = point._replace(byzantine_fraction=1.0)
    return (point.by_chance or point.timed) and point.protocol.k > 1


def _waits_for_all(rule: Any) -> bool:
    """Whether polls of a protocol end only when all have answered, or with the time-out."""
    return rule.counts and not rule.settled_by_quorums


def _effective(network: Network) -> set[str]:
    """The fields that matter to the network as it is."""
    always = {"_target_", "sampling", "exclude_self", "loss", "topology", "groups"}
    return always | {*OF_TOPOLOGY[network.topology], *(OF_GROUPS if network.groups else ())}


def _needs(field: str, kinds: set[str]) -> str:
    if field in OF_GROUPS:
        return f"network.{field} with network.groups"
    needs = "small_world" if field == "rewiring" else "random_regular or small_world"
    return f"network.{field} with network.topology={needs}, not {', '.join(sorted(kinds))}"
