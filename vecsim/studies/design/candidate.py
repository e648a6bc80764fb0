"""A candidate of a study of designs: what is asked of it, what it costs, and what can be said of
its safety without drawing anything."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from vecsim.errors import ConfigError, count, require
from vecsim.model import build
from vecsim.model.point import Point
from vecsim.results.layout import Variable
from vecsim.results.pareto import STATES
from vecsim.studies.design.quorum_runs import Undisputed, attacked, length_of, undisputed_runs
from vecsim.studies.dimensions import listed
from vecsim.studies.rare.splitting import MOST_WALKERS, Effort

EVENT = "disagreement"
_FIELDS = ("name", "safety", "latency_rounds", "latency_quantile", "latency_adversary")
_FIELDS += ("most_beta", "fed", "walkers", "keep")
MOST_BETA = 1000

LEAST_SLOPE = 0.05  # decades for one more beta
# Plain trials and splitting gave 0.3 to 3 times the screened probability where one quorum does both
# (tests/engines); with a lower one for the preference the field turns before anybody decides, and
# it may be many orders too large.
START = 0.5  # of the target, that screening must give for the first beta that is tried
SURE, AT_BEST = 0.1, 3.0  # the same for a beta that will do, and for one that may
TURNED = 0.01  # P(others turn in time), below which screening says little: chance has to do it


class Target(NamedTuple):
    """What is asked for. rounds: by which, in that share of decisions, all honest nodes decide."""

    safety: float
    rounds: int
    quantile: float
    most_beta: int


class Settings(NamedTuple):
    """`estimator` in the configuration. fed: shares of all nodes, rising."""

    target: Target
    effort: Effort
    fed: list[float]
    adversary: Any

    @classmethod
    def parse(cls, given: dict[str, Any]) -> "Settings":
        """ConfigError where a setting has no meaning."""
        require(set(given) == set(_FIELDS), "estimator", sorted(given), f"{', '.join(_FIELDS)}")
        for name in ("safety", "latency_quantile", "keep"):
            value = given[name]
            good = isinstance(value, float) and 0 < value < 1
            key = name if name == "safety" else f"estimator.{name}"
            require(good, key, value, "above 0, below 1")
        rounds = count("latency_rounds", given["latency_rounds"], 1, 2**20)
        most_beta = count("estimator.most_beta", given["most_beta"], 1, MOST_BETA)
        walkers = count("estimator.walkers", given["walkers"], 10, MOST_WALKERS)
        fed = listed("estimator.fed", given["fed"])
        good = all(isinstance(share, (int, float)) and 0 < share < 1 for share in fed)
        require(good, "estimator.fed", fed, "shares above 0, below 1")
        try:
            adversary = build.component("adversary", given["latency_adversary"])
        except ConfigError as error:
            raise ConfigError(f"estimator.latency_adversary: {error}") from None
        target = Target(given["safety"], rounds, given["latency_quantile"], most_beta)
        return cls(target, Effort(walkers, given["keep"]), sorted(fed), adversary)


class Costs(NamedTuple):
    """messages: of one honest node until it decides. rounds: until all have decided."""

    messages: float
    rounds: float


NO_COSTS = Costs(np.inf, np.inf)


class Candidate:
    """A point whose beta is to be found.

    fed: shares of the nodes that the attack may feed. adversary: of decisions that are to be quick.
    """

    def __init__(self, point: Point, target: Target, fed: list[float], adversary: Any):
        self.point, self.target, self.fed = point, target, fed
        self.quorums: Undisputed = undisputed_runs(point._replace(adversary=adversary))
        rule: Any = point.protocol
        self.extra = length_of(rule) - int(rule.beta)
        lengths = np.arange(1, target.most_beta + 1) + self.extra
        laws = np.array([attacked(self._fed(i), lengths) for i in range(len(fed))])
        self.worst = laws[:, 1].argmax(axis=0)  # which share is, for each beta
        one, self.chances = laws[self.worst, :, np.arange(len(lengths))].T
        self.turned = self.chances / np.maximum(one, 1e-300)

    def _fed(self, share: int) -> Point:
        adversary: Any = dataclasses.replace(self.point.adversary, fed=self.fed[share])
        point = self.point._replace(adversary=adversary)
        # Whoever is fed starts at the fed colour, nobody else does: the best that can be sent out.
        first = point.first_group / point.honest
        return point._replace(initial_accept=first if adversary.target else 1 - first)

    def at(self, beta: int, share: int) -> Point:
        """The candidate with that beta, under the attack that feeds the share of that number."""
        rule = dataclasses.replace(self.point.protocol, beta=beta)
        return self._fed(share)._replace(protocol=rule)

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
        logs = np.log10(np.maximum(self.chances, 1e-300))
        at = min(beta, len(logs) - 1)
        return max(float(logs[at - 1] - logs[at]), LEAST_SLOPE)

    def sure(self) -> Costs:
        """At a beta that will do; infinite where there is none that is quick enough."""
        beta = self.first(SURE)
        costs = self.costs(beta) if beta else NO_COSTS
        return costs if costs.rounds <= self.target.rounds else NO_COSTS

    def screened(self) -> str | None:
        """Why the candidate is out of the question by its own; None if it is not."""
        if not np.isfinite(self.costs(1).rounds):
            return "never decides"
        beta = self.first(AT_BEST)
        if beta is None:
            return "beyond"
        if self.costs(beta).rounds > self.target.rounds:
            return "too slow"
        return "stalls" if self.turned[beta - 1] < TURNED else None


def variables(own: list[str]) -> tuple[Variable, ...]:
    """What a study of designs stores. own: dimensions along which only the protocol differs."""
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
        "screened": (f"probability of {EVENT}, about, where the field moves without chance", "1"),
        "target_safety": (f"probability of {EVENT} that is allowed", "1"),
        "target_rounds": ("rounds that are allowed", "rounds"),
    }
    listed = [Variable(n, "float64", {"long_name": t, "units": u}) for n, (t, u) in reals.items()]
    tried = {"long_name": "beta of each attempt", "units": "polls", "meaning": "missing: not made"}
    fed = {"long_name": "share of the nodes that the attack does best to feed", "units": "1"}
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
        Variable("fed", "float64", fed, ("attempt",)),
        Variable("probability", "float64", estimates, ("attempt", "score")),
    )
