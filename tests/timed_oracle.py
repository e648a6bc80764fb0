"""Trials in continuous time, event by event: every query and every answer is a message.

Rules of nodes and answers of adversaries are those of `oracle`, here asked at the moment when a
query arrives. Random numbers come from `rng.random()` alone. Times are in ms, from 0.

Nodes 0 .. h-1 are honest, the first of them start at 1, the last nodes are Byzantine. Events at the
same moment happen in the order in which they were planned.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import oracle
from oracle import Answer, Random, View, coin

EARLY_END = {"qr_avalanche": "vote", "ecash": "none", "fpc": "none"}  # by default; else "prefix"
REFUSED = ("safety_split", "balance_pooled", "sybil", "mixture")  # adversaries


@dataclass(frozen=True)
class Latency:
    """Round trips and losses between two nodes.

    With medians, round trips are lognormal about the median of (region of the poller, region of the
    peer), else uniform.
    """

    low_ms: float = 0.0
    high_ms: float = 0.0
    loss: float = 0.0  # probability that a query is lost, and that an answer is
    medians_ms: Sequence[Sequence[float]] = ()
    sigma: float = 0.0  # of the logarithm

    def round_trip(self, here: int, there: int, rng: Random) -> float:
        """One round trip between two regions."""
        if not self.medians_ms:
            return self.low_ms + (self.high_ms - self.low_ms) * rng.random()
        normal = math.sqrt(-2 * math.log(1 - rng.random())) * math.cos(math.tau * rng.random())
        return self.medians_ms[here][there] * math.exp(self.sigma * normal)


@dataclass(frozen=True)
class Polling:
    """How nodes poll.

    early_end: "prefix" (once no missing answer can change what the votes for either colour, or
    their sum, amount to), "vote" (the same without the sum), "none" (all have answered, or time is
    out).
    """

    concurrent: float = 4  # open polls of one node; math.inf: one after each interval
    timeout_ms: float = 2000.0
    early_end: str | None = None  # see EARLY_END
    interval_ms: float = 0.0  # least time between two openings of one node
    exponential: bool = False  # that time is the mean of a random one, also before the first poll
    cooldown_ms: float = 0.0  # in which a peer is not asked again; k is 1
    sampling: str = "without_replacement"
    round_ms: float | None = None  # of the clock; by default the median round trip, if uniform
    max_ms: float = math.inf  # the trial ends


@dataclass
class Result:
    """One trial; lists are over honest nodes."""

    decided_ms: list[float | None]
    decisions: list[int]  # -1: undecided
    colours: list[int]  # preferences at the end
    polls: list[int]  # opened
    results: list[int]  # applied
    end_ms: float  # when the last node stopped polling, or max_ms
    unanimous_ms: float | None  # when all honest nodes first preferred one colour


@dataclass(eq=False)
class Asked:
    """A node that was asked, and whose answer comes back in time if it gives one."""

    peer: int
    places: int  # of the poll
    arrived: bool = False  # the query
    returned: bool = False  # the answer
    answer: Answer = None


@dataclass(eq=False)
class Poll:
    """One poll of one node."""

    poller: Poller
    missing: int  # places that have not answered
    asked: list[Asked] = field(default_factory=list)
    answers: Counter[Answer] = field(default_factory=Counter)  # places that have
    over: bool = False


@dataclass(eq=False)
class Poller:
    """An honest node."""

    number: int
    rule: oracle.Node
    to_open: float  # polls
    may_open: float  # earliest time of the next one
    asked_at: list[float]  # last time, by peer; inf: never to be asked
    waits: bool = False  # for the time at which it may open one
    polls: list[Poll] = field(default_factory=list)  # open, or waiting for older ones; oldest first
    begun: int = 0
    results: int = 0
    stopped: bool = False
    decided_ms: float | None = None


class Trial:
    """One trial: what is known at `now`, and the events to come."""

    def __init__(
        self, rng, n, byzantine, start_ones, rule, adversary, latency, polling, units, regions
    ):
        self.rng, self.latency, self.polling = rng, latency, polling
        self.rule = oracle.complete_protocol(rule)
        self.max_rounds = self.rule.get("max_rounds", self.rule.get("m"))
        self.early_end = polling.early_end or EARLY_END.get(rule["name"], "prefix")
        self.round_ms = polling.round_ms or (latency.low_ms + latency.high_ms) / 2
        self.common: dict[int, float] = defaultdict(rng.random)  # by round of the clock
        self.weighted, self.units = bool(units), list(units or [1] * n)
        self.region = regions or [0] * n
        h = n - byzantine
        self.honest_units, self.ones = sum(self.units[:h]), sum(self.units[:start_ones])
        if adversary["name"] in REFUSED:
            raise ValueError(f"{adversary['name']} is not played in continuous time")
        counted = {"honest": self.honest_units, "start_ones": self.ones, "byzantine": byzantine}
        counted["exclude_self"] = not self.weighted
        self.byzantine = oracle.Byzantine(adversary, self.rule, **counted, rng=rng)
        self.byzantine.everybody = sum(self.units[h:])
        self.now, self.planned = 0.0, 0
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.unanimous_ms = 0.0 if start_ones in (0, h) else None
        self.pollers = []
        for i in range(h):
            first = self.gap() if polling.exponential else 0.0
            node = oracle.make_node(self.rule, int(i < start_ones))
            asked_at = [math.inf if peer == i and not units else -math.inf for peer in range(n)]
            self.pollers.append(Poller(i, node, polling.concurrent, first, asked_at))
        self.running = h

    def plan(self, time: float, action: Callable[..., None], *of: Any) -> None:
        self.planned += 1
        heapq.heappush(self.events, (time, self.planned, action, of))

    def run(self) -> Result:
        """Everything, until all have stopped or time is out."""
        for poller in self.pollers:
            self.open_polls(poller)
        while self.running:
            time, _, action, of = heapq.heappop(self.events)
            self.now = min(time, self.polling.max_ms)
            if time > self.now:
                break
            action(*of)
        nodes = self.pollers
        return Result(
            decided_ms=[node.decided_ms for node in nodes],
            decisions=[node.rule.decision for node in nodes],
            colours=[node.rule.preference for node in nodes],
            polls=[node.begun for node in nodes],
            results=[node.results for node in nodes],
            end_ms=self.now,
            unanimous_ms=self.unanimous_ms,
        )

    def gap(self) -> float:
        """The least time until the next opening."""
        mean = self.polling.interval_ms
        return -mean * math.log(1 - self.rng.random()) if self.polling.exponential else mean

    def open_polls(self, poller: Poller, waited: bool = False) -> None:
        """As many as are to be opened and may be now; the others later."""
        poller.waits = poller.waits and not waited
        while poller.to_open > 0 and not poller.stopped and not poller.waits:
            free_at = [at + self.polling.cooldown_ms for at in poller.asked_at]  # peers
            ready = max(poller.may_open, min(free_at))
            if ready <= self.now:
                both = zip(self.units, free_at, strict=True)
                self.open_poll(poller, [units if at <= self.now else 0 for units, at in both])
            else:
                poller.waits = True
                self.plan(ready, self.open_polls, poller, True)

    def open_poll(self, poller: Poller, free: Sequence[int]) -> None:
        """Ask k places at once. free: units of each peer that may be asked."""
        rng, latency, timeout_ms = self.rng, self.latency, self.polling.timeout_ms
        poll = Poll(poller, missing=self.rule["k"])
        peers = oracle.draw_holders(free, poll.missing, self.polling.sampling, rng)
        for peer, places in Counter(peers).items() if self.weighted else [(p, 1) for p in peers]:
            trip = latency.round_trip(self.region[poller.number], self.region[peer], rng)
            if coin(latency.loss, rng) or coin(latency.loss, rng) or trip > timeout_ms:
                continue
            asked = Asked(peer, places)
            poll.asked.append(asked)
            self.plan(self.now + trip / 2, self.query_arrives, poll, asked)
            self.plan(self.now + trip, self.answer_returns, poll, asked)
        self.plan(self.now + timeout_ms, self.end, poll)
        if self.polling.cooldown_ms > 0:
            poller.asked_at[peers[0]] = self.now
        poller.polls.append(poll)
        poller.begun += 1
        poller.to_open -= 1
        poller.may_open = self.now + self.gap()

    @property
    def clock(self) -> int:
        """Rounds of the clock that are over."""
        return int(self.now // self.round_ms) if self.round_ms else 0

    def says(self, peer: int, poller: Poller) -> Answer:
        """What a node answers now."""
        if peer < len(self.pollers):
            return self.pollers[peer].rule.preference
        view = View(self.ones, self.honest_units - self.ones, self.clock, target_decided=False)
        return self.byzantine.answer(poller.rule.preference, 0, view, self.rng)

    def query_arrives(self, poll: Poll, asked: Asked) -> None:
        asked.arrived, asked.answer = True, self.says(asked.peer, poll.poller)

    def answer_returns(self, poll: Poll, asked: Asked) -> None:
        if not poll.over and asked.answer is not None:
            asked.returned = True
            poll.missing -= asked.places
            poll.answers[asked.answer] += asked.places
            if poll.missing == 0 or self.settled(poll):
                self.end(poll)

    def settled(self, poll: Poll) -> bool:
        """Whether the poll ends early: no answer that is missing can change what it means."""
        if self.early_end == "none":
            return False
        both, names = self.rule.get("alpha"), ("alpha_preference", "alpha_confidence")
        alpha_preference, alpha_confidence = (self.rule.get(name, both) for name in names)
        numbers = [poll.answers[1], poll.answers[0]]
        if self.early_end == "prefix":
            numbers = [*filter(None, numbers), sum(numbers)]

        def meets(votes: int) -> bool:
            most = votes + poll.missing
            preferred = alpha_preference <= votes and most < alpha_confidence
            return most < alpha_preference or preferred or votes >= alpha_confidence

        return all(map(meets, numbers))

    def end(self, poll: Poll) -> None:
        """The poll is over if it was not, and all results that are due are applied."""
        poller = poll.poller
        if poll.over or poller.stopped:
            return
        poll.over = True
        if self.rule["name"] == "qr_avalanche":  # counts what is yet to come, as far as it is known
            for asked in (asked for asked in poll.asked if not asked.returned):
                answer = asked.answer if asked.arrived else self.says(asked.peer, poller)
                poll.answers[answer] += asked.places
        due_of = filter if self.rule["name"] == "ecash" else itertools.takewhile  # in any order
        due = list(due_of(lambda poll: poll.over, poller.polls))
        for poll in due:
            if not poller.stopped:
                poller.polls.remove(poll)
                self.apply(poll)
        poller.to_open += len(due)
        self.open_polls(poller)

    def apply(self, poll: Poll) -> None:
        poller, node = poll.poller, poll.poller.rule
        before, ones, zeros = node.preference, poll.answers[1], poll.answers[0]
        if isinstance(node, oracle.Ecash):
            for answer in poll.answers:  # one or none
                node.vote(answer, poll.asked[0].peer)
        elif isinstance(node, oracle.Fpc):
            node.round(ones, zeros, self.common[self.clock])
        else:
            node.poll(ones, zeros)
        poller.results += 1
        self.ones += (node.preference - before) * self.units[poller.number]
        if self.unanimous_ms is None and self.ones in (0, self.honest_units):
            self.unanimous_ms = self.now
        if node.decision != -1:
            poller.decided_ms = self.now
        gives_up = getattr(node, "gives_up", False) or poller.results >= self.max_rounds
        poller.stopped = node.decision != -1 or gives_up
        self.running -= poller.stopped


def simulate(
    rng: Random,
    *,
    n: int,
    byzantine: int = 0,
    start_ones: int,
    rule: dict[str, Any],
    adversary: dict[str, Any] | None = None,
    latency: Latency,
    polling: Polling,
    units: Sequence[int] | None = None,
    regions: Sequence[int] | None = None,
) -> Result:
    """One trial.

    start_ones: honest nodes that prefer 1. rule, adversary: as in `oracle`. units: of stake, of
    each node; polls are among units, all places of one node share one fate, and the poller may be
    drawn. regions: of each node, an index into the medians of the latency.
    """
    adversary = adversary or {"name": "none"}
    of_nodes = (n, byzantine, start_ones, rule, adversary)
    return Trial(rng, *of_nodes, latency, polling, units, regions).run()
