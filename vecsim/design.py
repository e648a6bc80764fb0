"""Studies that choose parameters: for each k and alpha the smallest beta that meets a safety
target, what it costs, and its probability of disagreement by splitting.

Every point is a candidate, whose beta is found here. The costs are exact (`vecsim.engines.runs`).
The first of two decisions is screened in a field that does not move, which is cheap; splitting then
verifies candidates that others do not clearly beat, and corrects their beta, in ATTEMPTS at most.
What is verified depends on the configuration alone, so a study may be interrupted anywhere.
"""

import dataclasses
import json
import math
from typing import Any, NamedTuple

import numpy as np

from vecsim import build
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.engines import independent
from vecsim.engines.climb import Climbers, supports
from vecsim.engines.runs import Undisputed, attacked, length_of, undisputed
from vecsim.engines.scores import SCORES
from vecsim.errors import ConfigError, require, whole
from vecsim.estimate import rare_interval
from vecsim.front import STATES, before
from vecsim.layout import Variable
from vecsim.point import Point
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.splitting import MOST_REPLICAS, MOST_WALKERS, Effort, split
from vecsim.sweep import Study

FIELDS = ("name", "safety", "latency_rounds", "latency_quantile", "latency_adversary")
FIELDS += ("most_beta", "walkers", "keep")
EVENT = "disagreement"
ATTEMPTS = 3  # betas of a candidate that are tried by splitting
MOST_BETA = 1000
LENIENT = 0.4  # of one beta, by which the screened slope may be too steep
WIDE = 100.0  # times the estimate, that an interval ends at, where it says little
# Splitting gave 0.4 to 2 times the screened probability, where others then turn.
START = 0.5  # of the target, that screening must give for the first beta that is tried
SURE, AT_BEST = 0.1, 3.0  # the same for a beta that will do, and for one that may
TURNED = 0.5  # P(others then decide the other colour), below which a split rather stalls


class Target(NamedTuple):
    """What is asked for. rounds: by which, in that share of decisions, all honest nodes decide."""

    safety: float
    rounds: int
    quantile: float
    most_beta: int


class Costs(NamedTuple):
    """messages: of one honest node until it decides. rounds: until all have decided."""

    messages: float
    rounds: float


class Candidate:
    """A point whose beta is to be found."""

    def __init__(self, point: Any, target: Target, adversary):
        # Whoever is fed starts at the fed colour, nobody else does: the best that can be sent out.
        share = point.first_group / point.honest
        self.point = point._replace(initial_accept=share if point.adversary.target else 1 - share)
        self.target = target
        self.quorums: Undisputed = undisputed(point._replace(adversary=adversary))
        self.extra = length_of(point.protocol) - int(point.protocol.beta)
        lengths = np.arange(1, target.most_beta + 1) + self.extra
        self.chances, self.turned = attacked(self.point, lengths)

    def first(self, share: float) -> int | None:
        """The smallest beta for which screening gives that share of the target."""
        enough = np.flatnonzero(self.chances <= share * self.target.safety)
        return int(enough[0]) + 1 if len(enough) else None

    def costs(self, beta: int) -> Costs:
        length, target = beta + self.extra, self.target
        most = int(self.point.protocol.max_rounds)
        rounds = self.quorums.rounds(length, target.quantile, most)
        return Costs(self.quorums.messages(length), rounds)

    def slope(self, beta: int) -> float:
        """Decades that one more beta takes off the screened probability."""
        at = min(beta, len(self.chances) - 1)
        here, more = np.maximum(self.chances[at - 1 : at + 1], 1e-300)
        return max(math.log10(here / more), 0.05)

    def at(self, beta: int) -> Point:
        rule = dataclasses.replace(self.point.protocol, beta=beta)
        return self.point._replace(protocol=rule)


class Found(NamedTuple):
    """What a candidate came to. tried: beta and estimates [replicas, scores] of each attempt."""

    state: str  # of STATES
    beta: int | None
    tried: list[tuple[int, np.ndarray]]


class Designs:
    """The work of a study that looks for parameters (see `runner.Work`).

    memory: bytes that a batch may take. Raises ConfigError where a setting has no meaning.
    """

    def __init__(self, study: Study, memory: int):
        self.study, self.memory = study, memory
        whole("trials", study.trials, 2, MOST_REPLICAS)
        self.targets, self.efforts, self.adversaries = [], [], []
        keys = [dimension.key for dimension in study.dimensions]
        require("protocol.beta" not in keys, "sweep", "protocol.beta", "k and alpha: beta is found")
        for number, given in enumerate(study.estimators):
            target, effort, adversary = _settings(dict(given))
            self.targets.append(target)
            self.efforts.append(effort)
            self.adversaries.append(adversary)
            _check(study.points[number], study.engines[number], adversary)
        self.planned: list[tuple[Candidate, str | None]] | None = None
        self.inner = {"attempt": list(range(1, ATTEMPTS + 1)), "score": list(SCORES[EVENT])[:2]}
        self.variables = _variables(self._own_dimensions())

    def chunks(self) -> tuple[int, ...]:
        """A candidate at a time, all its replicas."""
        return (*(1 for _ in self.study.dimensions), self.study.trials)

    def compute(self, numbers: list[int], trials: np.ndarray) -> dict[str, np.ndarray]:
        """Values [points, replicas, ...]."""
        if self.planned is None:
            self.planned = self._plan()
        found = [self._values(number, len(trials)) for number in numbers]
        return {name: np.stack([each[name] for each in found]) for name in found[0]}

    def events(self, values):
        """Not used: these studies have a fixed number of replicas."""
        raise NotImplementedError

    def _own_dimensions(self) -> list[str]:
        """Dimensions along which only the protocol differs: candidates for the same network."""
        sizes = [len(dimension.values) for dimension in self.study.dimensions]
        keys = np.array([self._network(i) for i in range(len(self.study.points))]).reshape(sizes)
        found = []
        for axis, dimension in enumerate(self.study.dimensions):
            if (keys == np.take(keys, [0], axis)).all():
                found.append(dimension.name)
        return found

    def _network(self, number: int) -> str:
        """What the candidate is for."""
        parameters = self.study.points[number].parameters()
        kept = {name: value for name, value in parameters.items() if name != "protocol"}
        return json.dumps([kept, dict(self.study.estimators[number])], sort_keys=True)

    def _plan(self) -> list[tuple[Candidate, str | None]]:
        """Every candidate, and why it is not verified."""
        points = self.study.points
        given = zip(points, self.targets, self.adversaries, strict=True)
        candidates = [Candidate(*each) for each in given]
        states = [_screen(candidate) for candidate in candidates]
        networks: dict[str, list[int]] = {}
        for number, state in enumerate(states):
            if state is None:
                networks.setdefault(self._network(number), []).append(number)
        for numbers in networks.values():
            best = {i: candidates[i].costs(candidates[i].first(AT_BEST) or 1) for i in numbers}
            sure = {i: _sure(candidates[i]) for i in numbers}
            for i in numbers:
                if any(points[i].hash() == points[j].hash() for j in numbers if j < i):
                    states[i] = "repeated"
                elif any(before(sure[j], best[i]) for j in numbers if j != i):
                    states[i] = "beaten"
        return list(zip(candidates, states, strict=True))

    def _values(self, number: int, replicas: int) -> dict[str, np.ndarray]:
        assert self.planned
        candidate, state = self.planned[number]
        found = Found(state, candidate.first(START), []) if state else self._search(number)
        rule, beta = candidate.point.protocol, found.beta
        costs = candidate.costs(beta) if beta else Costs(np.inf, np.inf)
        low, high = rule.quorums
        numbers = {
            "chosen_k": rule.k,
            "chosen_alpha_preference": low,
            "chosen_alpha_confidence": high,
            "chosen_beta": beta or -1,
            "state": STATES.index(found.state),
            "messages": costs.messages,
            "rounds": costs.rounds,
            "screened": candidate.chances[beta - 1] if beta else np.nan,
            "turned": candidate.turned[beta - 1] if beta else np.nan,
            "target_safety": candidate.target.safety,
            "target_rounds": candidate.target.rounds,
        }
        values: dict[str, Any] = {name: np.full(replicas, value) for name, value in numbers.items()}
        values["tried"] = np.full((replicas, ATTEMPTS), -1)
        values["probability"] = np.full((replicas, ATTEMPTS, len(self.inner["score"])), np.nan)
        for attempt, (beta, estimates) in enumerate(found.tried):
            values["tried"][:, attempt] = beta
            values["probability"][:, attempt] = estimates
        return values

    def _search(self, number: int) -> Found:
        """The smallest beta that splitting finds to meet the target."""
        assert self.planned
        candidate, target = self.planned[number][0], self.targets[number]
        beta = min(candidate.first(START) or target.most_beta, target.most_beta)
        tried: dict[int, np.ndarray] = {}
        upper: dict[int, float] = {}
        state = "unverified"
        while len(tried) < ATTEMPTS:
            if candidate.costs(beta).rounds > target.rounds:
                state = "too slow"
                break
            tried[beta] = self._estimates(number, beta)
            found = rare_interval(tried[beta])
            upper[beta] = float(found.high)
            if found.value == 0 or target.safety <= found.high > WIDE * found.value:
                break  # another beta would not help: replicas do not agree on the order
            beta = following(upper, target.safety, candidate.slope(beta), beta)
            if beta is None:
                break
            if beta > target.most_beta:
                state = "beyond"
                break
        good = [each for each, high in upper.items() if high < target.safety]
        if good:
            state, beta = "verified", min(good)
        elif upper and all(np.isnan(high) for high in upper.values()):
            state, beta = "not reached", max(upper)
        else:
            beta = max(upper) if state == "unverified" else min(beta or 1, target.most_beta)
        return Found(state, beta, list(tried.items()))

    def _estimates(self, number: int, beta: int) -> np.ndarray:
        """Of each replica by each score; the second only where the first meets the target."""
        point, target = self.planned[number][0].at(beta), self.targets[number]  # type: ignore
        climbers = Climbers(point, EVENT, self.study.engines[number], self.memory)
        found = np.full((self.study.trials, len(self.inner["score"])), np.nan)
        for score in range(found.shape[1]):
            result = split(climbers, score, self.efforts[number], len(found), self.study.seed)
            if result is not None:
                found[:, score] = result.estimates
            if rare_interval(found).high >= target.safety:
                break
        return found


def following(upper: dict[int, float], safety: float, slope: float, beta: int) -> int | None:
    """The beta to try next; None where there is nothing to gain.

    upper: ends of the intervals so far, NaN where the event was not reached. slope: decades that
    one more takes off. beta: the last.
    """
    high = upper[beta]
    decades = 2.0 if np.isnan(high) or high <= 0 else math.log10(safety / high)
    good = [each for each, end in upper.items() if end < safety or np.isnan(end)]
    bad = [each for each, end in upper.items() if end >= safety]
    if high >= safety:
        wanted = beta + max(1, math.ceil(-decades / slope))
        return wanted if not good else min(good) - 1 if min(good) - 1 > max(bad) else None
    wanted = max(beta - int(decades / slope + LENIENT), max(bad, default=0) + 1)
    if np.isnan(high):
        wanted = min(wanted, beta - 1)
    return wanted if 0 < wanted < beta and wanted not in upper else None


def _sure(candidate: Candidate) -> Costs:
    """At a beta that will do; infinite where there is none that is quick enough."""
    beta = candidate.first(SURE)
    costs = candidate.costs(beta) if beta else Costs(np.inf, np.inf)
    return costs if costs.rounds <= candidate.target.rounds else Costs(np.inf, np.inf)


def _screen(candidate: Candidate) -> str | None:
    """Why a candidate is out of the question by its own; None if it is not."""
    if not np.isfinite(candidate.costs(1).rounds):
        return "never decides"
    beta = candidate.first(AT_BEST)
    if beta is None:
        return "beyond"
    if candidate.costs(beta).rounds > candidate.target.rounds:
        return "too slow"
    return "stalls" if candidate.turned[beta - 1] < TURNED else None


def _settings(given: dict[str, Any]) -> tuple[Target, Effort, Any]:
    require(set(given) == set(FIELDS), "estimator", sorted(given), f"{', '.join(FIELDS)}")
    for name in ("safety", "latency_quantile", "keep"):
        value = given[name]
        good = isinstance(value, float) and 0 < value < 1
        key = name if name == "safety" else f"estimator.{name}"
        require(good, key, value, "above 0, below 1")
    whole("latency_rounds", given["latency_rounds"], 1, 2**20)
    whole("estimator.most_beta", given["most_beta"], 1, MOST_BETA)
    whole("estimator.walkers", given["walkers"], 10, MOST_WALKERS)
    try:
        adversary = build.component("adversary", given["latency_adversary"])
    except ConfigError as error:
        raise ConfigError(f"estimator.latency_adversary: {error}") from None
    target = (given[name] for name in ("safety", "latency_rounds", "latency_quantile", "most_beta"))
    return Target(*target), Effort(given["walkers"], given["keep"]), adversary


def _check(point: Point, engine: str, adversary) -> None:
    rule = point.protocol
    good = isinstance(rule, Snowflake | Snowball) and rule.reset_on_failure
    allowed = "snowflake or snowball with reset_on_failure, whose nodes count quorums in a row"
    require(good, "protocol", type(rule).__name__, allowed)
    attack = type(point.adversary).__name__
    require(isinstance(point.adversary, SafetySplit), "adversary", attack, "safety_split")
    reason = supports(point, engine)
    require(reason is None, "estimator", "design", f"plain ({reason})")
    steady = independent.steady(adversary) and float(adversary.admission) == 1
    allowed = "one whose answers stay the same, as always_reject, random_voting or silent"
    require(steady, "estimator.latency_adversary", type(adversary).__name__, allowed)
    require(point.byzantine > 0, "byzantine_fraction", point.byzantine_fraction, "above 0")


def _variables(own: list[str]) -> tuple[Variable, ...]:
    about = {
        "chosen_k": ("sample size", "peers"),
        "chosen_alpha_preference": ("answers that set the preference", "answers"),
        "chosen_alpha_confidence": ("answers that count", "answers"),
        "chosen_beta": ("quorums in a row that decide", "polls"),
        "state": ("what became of the candidate", "1"),
    }
    whole_numbers = [
        Variable(n, "int32", {"long_name": t, "units": u}) for n, (t, u) in about.items()
    ]
    whole_numbers[3].attrs["meaning"] = "the smallest that meets the target, or may; missing: none"
    whole_numbers[4].attrs.update(meaning=", ".join(STATES), candidates=own)
    reals = {
        "messages": ("queries and answers of an honest node until it decides", "messages"),
        "rounds": ("rounds until all honest nodes have decided an undisputed vertex", "rounds"),
        "screened": ("probability of a first decision while nothing moves", "1"),
        "turned": ("probability that others then decide the other colour, without chance", "1"),
        "target_safety": (f"probability of {EVENT} that is allowed", "1"),
        "target_rounds": ("rounds that are allowed", "rounds"),
    }
    listed = [Variable(n, "float64", {"long_name": t, "units": u}) for n, (t, u) in reals.items()]
    tried = {"long_name": "beta of each attempt", "units": "polls", "meaning": "missing: not made"}
    estimates = {
        "long_name": f"probability of {EVENT}, by splitting",
        "units": "1",
        "meaning": "each replica's own estimate; missing: not made, or no way there was found",
        "event": EVENT,
    }
    return (
        *whole_numbers,
        *listed,
        Variable("tried", "int32", tried, ("attempt",)),
        Variable("probability", "float64", estimates, ("attempt", "score")),
    )
