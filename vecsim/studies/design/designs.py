"""Studies that choose parameters: for each k and alpha the smallest beta that meets a safety
target, what it costs, and its probability of disagreement by splitting.

Every point is a candidate, whose beta is found here. The costs are exact (`quorum_runs`).
Screening takes a field that does not move until somebody decides, and then follows its drift, which
is cheap; splitting verifies candidates that others do not clearly beat, and corrects their beta, in
ATTEMPTS tries at most. Both judge a candidate by the worst of the listed shares of nodes to feed:
splitting begins at the share that screening finds worst, and goes on to its neighbours while they
are worse. What is verified depends on the configuration alone, so a study may be interrupted
anywhere.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from vecsim.adversaries.safety_split import SafetySplit
from vecsim.engines.population import undisputed
from vecsim.errors import require, whole
from vecsim.model.point import Point
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.results.estimate import rare_interval
from vecsim.results.pareto import CHOSEN, STATES, TARGETS, before
from vecsim.studies.design.candidate import AT_BEST, EVENT, START, Candidate, Settings, variables
from vecsim.studies.dimensions import keys_of
from vecsim.studies.rare.scores import SCORES
from vecsim.studies.rare.splitting import MOST_REPLICAS, split
from vecsim.studies.rare.supported import supports_splitting
from vecsim.studies.rare.walkers import Climbers
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work

ATTEMPTS = 3  # betas of a candidate that are tried by splitting, which takes most of the time
LENIENT = 0.4  # of one beta: by this much the screened slope may be too steep
ENOUGH = 3  # candidates that beat another by screening rule it out: not all may be verified
WIDE = 100.0  # an interval that ends at so many times its estimate says little


class Attempt(NamedTuple):
    """A beta that splitting has tried.

    share: number of the share of nodes that the attack does best to feed, of those in the settings.
    estimates: of P(disagreement) [replicas, scores], NaN for a score that was not tried.
    """

    beta: int
    share: int
    estimates: np.ndarray

    @property
    def value(self) -> float:
        """The estimated probability; 0 where no replica reached the event."""
        return float(np.nan_to_num(rare_interval(self.estimates).value))

    @property
    def high(self) -> float:
        """The upper end of its interval; NaN where no replica reached the event."""
        return float(rare_interval(self.estimates).high)


class Designs(Work):
    """The work of a study that looks for parameters.

    memory: bytes that a batch may take. Raises ConfigError where a setting has no meaning.
    """

    grows: str | None = None  # what is tried depends on all replicas, and on the other candidates

    def __init__(self, study: Study, memory: int):
        super().__init__(study)
        self.memory = memory
        whole("trials", study.trials, 2, MOST_REPLICAS)
        keys = keys_of(study.dimensions)
        require("protocol.beta" not in keys, "sweep", "protocol.beta", "k and alpha: beta is found")
        self.settings = [Settings.parse(dict(given)) for given in study.estimators]
        for point, engine, each in zip(study.points, study.engines, self.settings, strict=True):
            _check(point, engine, each.adversary)
        self.inner = {"attempt": list(range(1, ATTEMPTS + 1)), "score": list(SCORES[EVENT])[:2]}
        self.variables = variables(self._own_dimensions())
        self.always = frozenset(("state",))

    def _own_dimensions(self) -> list[str]:
        """Dimensions along which only the protocol differs: candidates for the same network."""
        sizes = [len(dimension.values) for dimension in self.study.dimensions]
        keys = np.array([self._network(i) for i in range(len(self.study.points))]).reshape(sizes)
        alike = [(keys == np.take(keys, [0], axis)).all() for axis in range(keys.ndim)]
        return [d.name for d, same in zip(self.study.dimensions, alike, strict=True) if same]

    def _network(self, number: int) -> str:
        """What the candidate is for."""
        parameters = self.study.points[number].parameters()
        kept = {name: value for name, value in parameters.items() if name != "protocol"}
        return json.dumps([kept, dict(self.study.estimators[number])], sort_keys=True)

    @cached_property
    def planned(self) -> list[tuple[Candidate, str | None]]:
        """Every candidate, and why it is not verified (of STATES); None where it is to be."""
        points = self.study.points
        candidates = list(map(Candidate, points, self.settings))
        states = [candidate.screened() for candidate in candidates]
        networks: dict[str, list[int]] = defaultdict(list)
        for number, state in enumerate(states):
            if state is None:
                networks[self._network(number)].append(number)
        for numbers in networks.values():
            best = {i: candidates[i].costs(candidates[i].first(AT_BEST) or 1) for i in numbers}
            sure = {i: candidates[i].sure() for i in numbers}
            for i in numbers:
                if any(points[i].hash() == points[j].hash() for j in numbers if j < i):
                    states[i] = "repeated"
                elif sum(before(sure[j], best[i]) for j in numbers if j != i) >= ENOUGH:
                    states[i] = "beaten"
        return list(zip(candidates, states, strict=True))

    def one(self, number: int, trials: np.ndarray) -> dict[str, np.ndarray]:
        """Values of each variable [replicas, ...]; all replicas of a point have the same, but for
        `probability`."""
        replicas, (candidate, state) = len(trials), self.planned[number]
        state, beta, tried = (state, candidate.first(START), []) if state else self._search(number)
        rule, target = candidate.point.protocol, candidate.target
        chosen, aimed = (rule.k, *rule.quorums, beta or -1), (target.safety, target.rounds)
        numbers = dict(zip((*CHOSEN, *TARGETS), (*chosen, *aimed), strict=True))
        numbers |= candidate.costs(beta)._asdict() | {"state": STATES.index(state)}
        numbers["screened"] = candidate.chances[beta - 1] if beta else np.nan
        values: dict[str, Any] = {name: np.full(replicas, value) for name, value in numbers.items()}
        values["tried"] = np.full((replicas, ATTEMPTS), -1)
        values["fed"] = np.full((replicas, ATTEMPTS), np.nan)
        values["probability"] = np.full((replicas, ATTEMPTS, len(self.inner["score"])), np.nan)
        for i, attempt in enumerate(tried):
            values["tried"][:, i] = attempt.beta
            values["fed"][:, i] = target.fed[attempt.share]
            values["probability"][:, i] = attempt.estimates
        return values

    def _search(self, number: int) -> tuple[str, int | None, list[Attempt]]:
        """The smallest beta that splitting finds to meet the target, what became of the candidate
        (of STATES) before it, and every attempt after it."""
        candidate = self.planned[number][0]
        target = candidate.target
        beta = candidate.first(START) or target.most_beta
        share = int(candidate.worst[beta - 1])
        tried: list[Attempt] = []
        upper: dict[int, float] = {}
        slow = False
        while len(tried) < ATTEMPTS:
            slow = candidate.costs(beta).rounds > target.rounds
            if slow:
                break
            attempt = partial(self._attempt, number, beta)
            tried.append(worst(attempt, share, len(target.fed), target.safety))
            value, high, share = tried[-1].value, tried[-1].high, tried[-1].share
            upper[beta] = high
            if value == 0 or target.safety <= high > WIDE * value:
                break  # another beta would not help: replicas do not agree on the order
            beta = following(upper, target.safety, candidate.slope(beta), beta)
            if beta is None or beta > target.most_beta:
                break
        good = [each for each, high in upper.items() if high < target.safety]
        if good:
            return "verified", min(good), tried
        if upper and all(map(np.isnan, upper.values())):
            return "not reached", max(upper), tried
        if slow:
            return "too slow", beta, tried
        if beta and beta > target.most_beta:
            return "beyond", target.most_beta, tried
        return "unverified", max(upper), tried

    def _attempt(self, number: int, beta: int, share: int) -> Attempt:
        """By each score; by the second only where the first meets the target."""
        candidate = self.planned[number][0]
        point, engine = candidate.at(beta, share), self.study.engines[number]
        climbers, effort = Climbers(point, EVENT, engine, self.memory), candidate.target.effort
        found = np.full((self.study.trials, len(self.inner["score"])), np.nan)
        for score in range(found.shape[1]):
            result = split(climbers, score, effort, len(found), self.study.seed)
            if result is not None:
                found[:, score] = result.estimates
            if rare_interval(found).high >= candidate.target.safety:
                break
        return Attempt(beta, share, found)


def worst(attempt: Callable[[int], Attempt], share: int, shares: int, safety: float) -> Attempt:
    """The attempt at the first share, going from `share` to worse neighbours, that has no worse
    neighbour, or at which the target is missed.

    attempt: takes the number of a share. shares: how many there are. safety: the target.
    """
    found = attempt(share)
    for step in (1, -1):
        moved = False
        while not found.high >= safety:
            share = found.share + step
            if not 0 <= share < shares:
                break
            other = attempt(share)
            if other.value <= found.value:
                break
            found, moved = other, True
        if moved:
            break
    return found


def following(upper: dict[int, float], safety: float, slope: float, beta: int) -> int | None:
    """The beta to try next; None where there is nothing to gain.

    upper: upper ends of the intervals so far, by beta, NaN where the event was not reached. safety:
    the target. slope: decades that one more beta takes off, by screening. beta: the last tried.
    """
    high = upper[beta]
    decades = 2.0 if np.isnan(high) or high <= 0 else math.log10(safety / high)
    bad = [each for each, end in upper.items() if end >= safety]
    good = upper.keys() - bad
    if high >= safety:
        if good and min(good) > beta and upper[min(good)] > 0:
            # What splitting gave on both sides of the target says more than screening.
            slope = math.log10(high / upper[min(good)]) / (min(good) - beta)
        wanted = min([beta + max(1, math.ceil(-decades / slope)), *(each - 1 for each in good)])
        return wanted if wanted > max(bad) else None
    wanted = max(beta - int(decades / slope + LENIENT), max(bad, default=0) + 1)
    if np.isnan(high):
        wanted = min(wanted, beta - 1)
    return wanted if 0 < wanted < beta and wanted not in upper else None


def check_rule(rule: Any) -> None:
    """ConfigError unless designs serve a protocol. rule: it, or its class."""
    class_ = rule if isinstance(rule, type) else type(rule)
    good = issubclass(class_, Snowflake | Snowball) and (rule is class_ or rule.reset_on_failure)
    allowed = "snowflake or snowball with reset_on_failure, whose nodes count quorums in a row"
    require(good, "protocol", class_.__name__, f"{allowed}, with estimator=design")


def _check(point: Point, engine: str, adversary) -> None:
    rule = point.protocol
    check_rule(rule)
    conditions = getattr(rule, "conditions", ())
    allowed = "none with estimator=design, which finds beta"
    require(not conditions, "protocol.conditions", conditions, allowed)
    attack, needed = point.adversary, "safety_split with estimator=design"
    require(isinstance(attack, SafetySplit), "adversary", attack.title, needed)
    by_colour = attack.grouping == "by_colour"
    require(by_colour, "adversary.grouping", attack.grouping, "by_colour with design")
    reason = supports_splitting(point, engine)
    require(reason is None, "estimator", "design", f"plain ({reason})")
    steady = undisputed.steady(adversary) and float(adversary.admission) == 1
    allowed = "one whose answers stay the same, as always_reject, random_voting or silent"
    require(steady, "estimator.latency_adversary", adversary.title, allowed)
    require(point.byzantine > 0, "byzantine_fraction", point.byzantine_fraction, "above 0")
