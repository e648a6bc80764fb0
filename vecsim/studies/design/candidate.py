"""A candidate of a study of designs: what is asked of it, what it costs, and what can be said of
its safety without drawing anything."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from vecsim.errors import count, require, within
from vecsim.model import build
from vecsim.model.point import Point
from vecsim.results.layout import Variable
from vecsim.results.pareto import CHOSEN, STATES
from vecsim.studies.design.quorum_runs import attacked, undisputed_runs
from vecsim.studies.dimensions import listed
from vecsim.studies.rare.splitting import MOST_WALKERS, Effort
from vecsim.studies.work import variable

EVENT = "disagreement"  # the failure whose probability must stay below the target
# The settings of the estimator, as the configuration names them.
_FIELDS = (
    *("name", "safety", "latency_rounds", "latency_quantile", "latency_adversary"),
    *("most_beta", "fed", "walkers", "keep"),
)
MOST_BETA = 1000  # quorums in a row: screening works out every beta up to the most that is tried
LEAST_SLOPE = 0.05  # decades that one more beta takes off, at least: no step of beta is too wide
# Plain trials and splitting gave 0.3 to 3 times the screened probability where one quorum does both
# (tests/engines); with a lower one for the preference the field turns before anybody decides, and
# it may be many orders too large.
START = 0.5  # of the target, that screening must give for the first beta that is tried
SURE, AT_BEST = 0.1, 3.0  # the same for a beta that will do, and for one that may
TURNED = 0.01  # P(others turn in time), below which screening says little: chance has to do it


class Settings(NamedTuple):
    """`estimator` in the configuration.

    safety: P(disagreement) that is allowed. rounds: by which, in the share `quantile` of decisions,
    all honest nodes decide. most_beta: the largest beta that is tried. effort: of splitting. fed:
    shares of all nodes that the attack may feed, rising. adversary: what Byzantine nodes do in the
    decisions that are to be quick.
    """

    safety: float
    rounds: int
    quantile: float
    most_beta: int
    effort: Effort
    fed: list[float]
    adversary: Any

    @classmethod
    def parse(cls, given: dict[str, Any]) -> "Settings":
        """ConfigError where a setting has no meaning."""
        require(set(given) == set(_FIELDS), "estimator", sorted(given), f"{', '.join(_FIELDS)}")
        for name in ("safety", "latency_quantile", "keep"):
            good = isinstance(given[name], float) and 0 < given[name] < 1
            key = name if name == "safety" else f"estimator.{name}"
            require(good, key, given[name], "above 0, below 1")
        rounds = count("latency_rounds", given["latency_rounds"], 1, 2**20)
        most_beta = count("estimator.most_beta", given["most_beta"], 1, MOST_BETA)
        walkers = count("estimator.walkers", given["walkers"], 10, MOST_WALKERS)
        fed = listed("estimator.fed", given["fed"])
        good = all(isinstance(share, (int, float)) and 0 < share < 1 for share in fed)
        require(good, "estimator.fed", fed, "shares above 0, below 1")
        with within("estimator.latency_adversary"):
            adversary = build.component("adversary", given["latency_adversary"])
        effort, quantile = Effort(walkers, given["keep"]), given["latency_quantile"]
        return cls(given["safety"], rounds, quantile, most_beta, effort, sorted(fed), adversary)


class Costs(NamedTuple):
    """On an undisputed vertex. messages: of one honest node until it decides, on average. rounds:
    until all honest nodes have decided, in the share of decisions that the settings name."""

    messages: float
    rounds: float


# What values of two variables are, and what a missing one means.
_SMALLEST = "the smallest that meets the target, or may; missing: none"
_REPLICAS = "each replica's own estimate; missing: not made, or no way there was found"
NO_COSTS = Costs(np.inf, np.inf)  # of a candidate without a beta that will do


class Candidate:
    """A point whose beta is to be found.

    worst, chances, turned: for each beta from 1 to the most that is tried [betas], which of the
    shares to feed is the worst, the screened probability of disagreement under it, and P(others
    turn in time) there. extra: quorums in a row that a rule asks for beyond beta, 0 or 1.
    """

    def __init__(self, point: Point, target: Settings):
        self.point, self.target = point, target
        self.quorums = undisputed_runs(point._replace(adversary=target.adversary))
        rule: Any = point.protocol
        self.extra = int(rule.run_length) - int(rule.beta)
        lengths = np.arange(1, target.most_beta + 1) + self.extra
        laws = np.array([attacked(self._fed(i), lengths) for i in range(len(target.fed))])
        self.worst = laws[:, 1].argmax(axis=0)  # which share is, for each beta
        one, self.chances = laws[self.worst, :, np.arange(len(lengths))].T
        self.turned = self.chances / np.maximum(one, 1e-300)

    def _fed(self, share: int) -> Point:
        adversary: Any = dataclasses.replace(self.point.adversary, fed=self.target.fed[share])
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

    def costs(self, beta: int | None) -> Costs:
        """At that beta; infinite where there is none."""
        if not beta:
            return NO_COSTS
        length, most = beta + self.extra, int(self.point.protocol.max_rounds)
        rounds = self.quorums.rounds(length, self.target.quantile, most)
        return Costs(self.quorums.messages(length), rounds)

    def slope(self, beta: int) -> float:
        """Decades that one more beta takes off the screened probability."""
        logs = np.log10(np.maximum(self.chances, 1e-300))
        at = min(beta, len(logs) - 1)
        return max(float(logs[at - 1] - logs[at]), LEAST_SLOPE)

    def sure(self) -> Costs:
        """At a beta that will do; infinite where there is none that is quick enough."""
        costs = self.costs(self.first(SURE))
        return costs if costs.rounds <= self.target.rounds else NO_COSTS

    def screened(self) -> str | None:
        """Why the candidate is ruled out without any other, as one of STATES; None if it is not."""
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
    event, attempt = f"probability of {EVENT}", ("attempt",)
    told = {
        "chosen_k": ("sample size", "peers"),
        "chosen_alpha_preference": ("answers that set the preference", "answers"),
        "chosen_alpha_confidence": ("answers that count", "answers"),
        "chosen_beta": ("quorums in a row that decide", "polls", _SMALLEST),
        "state": ("what became of the candidate", "1", ", ".join(STATES)),
        "messages": ("queries and answers of an honest node until it decides", "messages"),
        "rounds": ("rounds until all honest nodes have decided an undisputed vertex", "rounds"),
        "screened": (f"{event}, about, where the field moves without chance", "1"),
        "target_safety": (f"{event} that is allowed", "1"),
        "target_rounds": ("rounds that are allowed", "rounds"),
        "tried": ("beta of each attempt", "polls", "missing: not made", attempt),
        "fed": ("share of the nodes that the attack does best to feed", "1", "", attempt),
        "probability": (f"{event}, by splitting", "1", _REPLICAS, (*attempt, "score")),
    }
    more = {"state": {"candidates": own}, "probability": {"event": EVENT}}
    dtypes = dict.fromkeys(told, "float64") | dict.fromkeys((*CHOSEN, "state", "tried"), "int32")
    return tuple(variable(n, dtypes[n], *row, **more.get(n, {})) for n, row in told.items())
