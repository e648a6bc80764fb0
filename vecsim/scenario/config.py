"""What a scenario is: its keys, its variants and its criteria, checked before anything runs."""

import copy
from collections.abc import Mapping
from typing import Any

from vecsim.cluster import constants
from vecsim.errors import ConfigError, mapping, require
from vecsim.results.measures import checks
from vecsim.results.measures.probed import METRICS, PROBED
from vecsim.scenario.criteria import Criterion, parse_criterion

# What a scenario is about, in the order of the summary.
CATEGORIES = ("infrastructure", "load", "stress", "soak", "chaos", "byzantine", "regression")
VARIED = (  # what variants may differ in
    *("seed", "duration_s", "drain_s", "window_s", "sampled_vertices"),
    *("cluster", "workload", "timeline"),
)
SIMULATED = ("trials", *VARIED)  # what the simulator is told
# The keys of a scenario.
_KEYS = ("name", "category", *SIMULATED, "simulate", "variants", "probes", "expect", "criteria")
DEFAULT_TRIALS = 8  # unless a scenario says otherwise: an event in none of 8 is below 0.37


def checked(config: Any) -> dict[str, Any]:
    """A copy of the configuration; ConfigError where a key, a value or a name in it has no meaning.

    `simulate.prepare` checks what only the simulator can judge: cluster, workload, timeline.
    """
    mapping("scenario", config, _KEYS)
    checks.name("scenario.name", config.get("name"))
    checks.word("scenario.category", config.get("category"), CATEGORIES, needed=True)
    expect = config.get("expect", "passed")
    checks.word("scenario.expect", expect, ("passed", "not_passed"), needed=True)
    simulate = config.get("simulate", True)
    require(isinstance(simulate, bool), "scenario.simulate", simulate, "true or false")
    probes = checks.list_of("scenario.probes", config.get("probes"), "names of probes")
    for name in probes:
        require(name is not None, "scenario.probes", probes, ", ".join(PROBED))
        checks.word("scenario.probes", name, PROBED)
    require(len(probes) == len(set(probes)), "scenario.probes", probes, "each probe once")
    require(simulate or bool(probes), "scenario.probes", probes, "a probe, where simulate is false")
    found = criteria(config)
    require(bool(found), "scenario.criteria", config.get("criteria"), "one criterion or more")
    fails = any(criterion.expect == "fails" for criterion in found)
    require(fails == (expect == "not_passed"), "scenario.expect", expect, "as its criteria expect")
    named = list(variants(config)) if config.get("variants") is not None else []
    provided = {metric for name in probes for metric in PROBED[name]}
    for number, criterion in enumerate(found):
        where = f"criteria[{number}]"
        for name in criterion.variants():
            require(name in named, f"{where}.variant", name, ", ".join(named) or "none here")
        for metric in criterion.metrics():
            _there(where, metric, simulate, provided)
    return copy.deepcopy(dict(config))


def criteria(config: Mapping[str, Any]) -> list[Criterion]:
    """The criteria of a scenario; ConfigError where one has no meaning."""
    listed = checks.list_of("scenario.criteria", config.get("criteria"), "criteria")
    return [parse_criterion(each, f"criteria[{number}]") for number, each in enumerate(listed)]


def variants(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The configuration of every variant by name; one without a name where there are none.

    ConfigError where a variant changes what variants may not differ in.
    """
    given = config.get("variants")
    if given is None:
        return {"": copy.deepcopy(dict(config))}
    allowed = "{NAME: {cluster.nodes: 10, ...}, ...}"
    require(isinstance(given, Mapping) and bool(given), "scenario.variants", given, allowed)
    result = {}
    for name, changes in given.items():
        checks.name("a name in scenario.variants", name)
        where = f"scenario.variants.{name}"
        require(isinstance(changes, Mapping), where, changes, "{cluster.nodes: 10, ...}")
        changed = copy.deepcopy(dict(config))
        for path, value in changes.items():
            _set(changed, where, path, copy.deepcopy(value))
        result[name] = changed
    return result


def simulated(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that the simulator takes."""
    return {key: config[key] for key in SIMULATED if key in config}


def _set(config: dict[str, Any], where: str, path: Any, value: Any) -> None:
    """Change one parameter, by its path (dotted); ConfigError where variants may not differ in
    it."""
    parts = str(path).split(".")
    if parts[0] not in VARIED:
        raise ConfigError(f"{where}.{path} is no parameter; allowed: {', '.join(VARIED)}")
    allowed = "one key for each parameter, such as cluster.nodes"
    require(path != "cluster", f"{where}.cluster", value, allowed)
    section = config
    for number, parent in enumerate(parts[:-1], 1):
        section[parent] = {} if section.get(parent) is None else section[parent]
        section = section[parent]
        good = isinstance(section, dict)
        require(good, f"{where}.{path}", value, f"a key of {'.'.join(parts[:number])}: a mapping")
    section[parts[-1]] = value


def _there(where: str, metric: str, simulate: bool, provided: set[str]) -> None:
    """A metric is measured by the run, or by a probe of the scenario."""
    if metric in METRICS:
        probes = [name for name, given in PROBED.items() if metric in given]
        allowed = f"with probes: [{' or '.join(probes)}]"
        require(metric in provided, f"{where}.metric", metric, allowed)
    else:
        allowed = "wall_s or a probe's metric, where simulate is false"
        require(simulate or metric == "wall_s", f"{where}.metric", metric, allowed)


def scenario_cost_usd(config: Mapping[str, Any]) -> float:
    """What the time with load would cost on rented machines, in USD."""
    nodes = (config.get("cluster") or {}).get("nodes", 1000)
    return constants.cost_usd(nodes, config.get("duration_s", 0))
