"""A plain-Python, event-driven simulation of a small defended cluster, to test faster ones against.

One run of n nodes (up to about 50), the last `byzantine` of them Byzantine. Clients issue vertices
evenly in time, each at a random running honest node, its issuer, which polls once per interval
without waiting for earlier polls; polls count in order. Simulated query by query: every running
honest node asks k' distinct peers every interval, in one message for all its vertices in flight;
a peer that leaves four queries in a row unanswered is benched by that node, later probed. Simulated
answer by answer: the issuer's polls. Honest nodes answer 1, as no vertex is disputed. Reputation
takes one answer per (peer, vertex), pooled within a side one second after the outcome. A node whose
quorum guard fails admits and finalises nothing.

What the model leaves open is read so. A query meets the nodes and cuts of the moment when it is
sent; "in a row" is in the order of sending. A poll that meets the rule while the guard fails does
not finalise, and the next one may. A vertex waits at its issuer; one whose issuer dies is timed out
there and then. A vertex gives evidence about a peer once, at the end of the first attempt on which
it answered. Byzantine nodes misbehave all on the same vertices; silent ones that misbehave on some
only still answer messages, without those vertices.

Times are simulated seconds; latencies, intervals and round trips are milliseconds.
"""

import math
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from types import SimpleNamespace

DISAGREE, AGREE = math.log(0.05 / 0.01), math.log(0.95 / 0.99)
EXCLUDE = math.log(1e4)
DEFAULTS = {
    # Adversaries: random_voting, always_reject, silent, honest, one_coin (all answer the same coin,
    # one for each poll of a vertex). They misbehave on a share of the
    # vertices and answer honestly on the others.
    **{"nodes": 50, "byzantine": 0, "adversary": "random_voting", "misbehaving_share": 1.0},
    # Round trips are uniform between two bounds; the loss is per message.
    **{"round_trip_ms": (0.1, 1.0), "loss": 0.0, "interval_ms": 4.0},
    **{"k": 30, "alpha": 24, "beta": 20, "max_rounds": 100},
    **{"confidence_threshold": 0.95, "initial_confidence": 0.5},
    # Parents: few (the last 2 to 4 vertices issued), linear (the last one), none.
    **{"rate_tps": 100.0, "duration_s": 10.0, "drain_s": 10.0, "parents": "few"},
    **{"benching": True, "reputation": True, "guard": True},
    # (at_s, "kill", a count or a list of nodes, whether they restart = True),
    # (at_s, "restart", nodes), (at_s, "partition", sizes or lists of nodes), (at_s, "heal").
    "timeline": (),
    # From death to start, and from start to the first answer.
    **{"restart_s": 10.0, "sync_s": 0.0},
    **{"bench_s": 15.0, "probe_s": 1.0, "pooling_s": 1.0, "reissue_s": 1.0},
    **{"attempts": 4, "waiting_limit": 10_000},
}


@dataclass(eq=False)
class Vertex:
    """A vertex and its current attempt."""

    issued_s: float
    misbehaved: bool
    # waiting, polling, decided (waits for its parents), timed_out (waits for its next attempt);
    # for good: finalised, rejected, given_up, dropped
    state: str = "waiting"
    attempts: int = 0
    issuer: int | None = None
    start_s: float = 0.0  # of this attempt
    effect_s: float = 0.0  # when the last poll so far takes effect
    coin: int = 0  # of this poll
    preference: int = 1
    streak: int = 0
    confidence: float = 0.0
    answers: list = field(default_factory=lambda: [0, 0])  # of each colour, in this attempt
    rounds: int = 0
    decided_s: float = math.nan
    finished_s: float = math.nan  # or given up, dropped
    pending: int = 0  # parents not final yet
    children: list = field(default_factory=list)  # (vertex, its attempt) that wait for this one
    witnesses: set = field(default_factory=set)  # peers about which it gave evidence

    def latency_ms(self, parents=True):
        """From the first issue to the end, or to the decision, which does not wait for parents."""
        return 1e3 * ((self.finished_s if parents else self.decided_s) - self.issued_s)


class Cluster:
    """One run, with the options of `DEFAULTS`; afterwards its record."""

    def __init__(self, seed=0, **config):
        if unknown := config.keys() - DEFAULTS.keys():
            raise TypeError(f"unknown: {', '.join(sorted(unknown))}")
        self.config = config = SimpleNamespace(**DEFAULTS | config)
        self.random, self.n = random.Random(seed), config.nodes
        self.honest = range(self.n - config.byzantine)
        self.interval_s = config.interval_ms / 1e3
        self.timeout_s = max(0.25, 1.5e-3 * config.round_trip_ms[1])
        self.answered_share = (1 - config.loss) ** 2  # of the queries to a node that answers
        self.now, self.events, self.sequence = 0.0, [], count()

        self.vertices = []  # in order of issue
        self.benches = []  # [querier, peer, from_s, to_s (NaN: to the end)]
        self.excluded_s = {}  # peer: when it was first excluded
        self.evidence = {}  # peer: pieces of evidence about it by then
        self.guard_changes = []  # (node, at_s, whether the guard holds from then on)
        self.counts = Counter()  # issued, admitted, timed_out (attempts), finalised, rejected, ...
        self.snapshots = []  # (at_s, counts so far, vertices in each state), ten a second

        self.running, self.side, self.holds = [True] * self.n, [0] * self.n, [True] * self.n
        self.announced_s = [-math.inf] * self.n
        self.first_tick_s: list = [None] * self.n  # None while down
        # Of the current interval: the peers that may be asked and those of them that would answer,
        # as its query met them; how many were asked, and who answered; (round trip, peer) of each.
        self.view, self.query, self.replies = ([None] * self.n for _ in range(3))
        self.pollable, self.heard = [[] for _ in self.running], [set() for _ in self.running]
        self.unanswered = [[0] * self.n for _ in self.running]  # queries in a row, to each peer
        self.benched: list = [{} for _ in self.running]  # peer: its entry in `benches`
        self.scores, self.excluded = [[0.0] * self.n], [set()]  # of each side
        self.common_scores = self.scores[0]  # when the sides parted
        self.pooled = [0] * self.n
        self.waiting = {node: deque() for node in [None, *self.honest]}
        self.recent = deque(maxlen=4)  # vertices last issued

        self.refresh()
        for node in self.honest:
            self.tick(node, -self.random.random() * self.interval_s)
        for i in range(round(config.rate_tps * config.duration_s)):
            self.at(i / config.rate_tps, self.issue)
        for at_s, action, *arguments in config.timeline:
            self.at(at_s, getattr(self, action), *arguments)
        end_s = config.duration_s + config.drain_s
        for i in range(round(10 * end_s) + 1):
            self.at(i / 10, self.snapshot)
        while self.events[0][0] <= end_s:
            self.now, _, action, arguments = heappop(self.events)
            action(*arguments)

    def at(self, time, action, *arguments):
        heappush(self.events, (time, next(self.sequence), action, arguments))

    def snapshot(self):
        states = Counter(vertex.state for vertex in self.vertices)
        self.snapshots.append((self.now, self.counts.copy(), states))

    def tick(self, node, first_s, number=0):
        if number == 0:
            self.first_tick_s[node] = first_s
        if self.first_tick_s[node] != first_s:
            return
        self.view[node] = peers, heard = self.pollable[node], self.heard[node]
        self.query[node] = self.replies[node] = None
        # A query that everybody answers is drawn only if a vertex needs it.
        if self.config.loss or len(heard) < len(peers):
            self.ask(node)
        self.at(first_s + (number + 1) * self.interval_s, self.tick, node, first_s, number + 1)

    def ask(self, node):
        (peers, heard), row, draw = self.view[node], self.unanswered[node], self.random.random
        asked, answered = min(self.config.k, len(peers)), []
        for i in range(asked):
            j = i + int((len(peers) - i) * draw())
            peers[i], peers[j] = peers[j], peers[i]
        for peer in peers[:asked]:
            if peer in heard and draw() < self.answered_share:
                row[peer] = 0
                answered.append(peer)
                continue
            row[peer] += 1
            if row[peer] == 4 and self.config.benching:
                self.at(self.now + self.timeout_s, self.bench, node, peer, self.now)
        self.query[node] = asked, answered

    def answers(self, querier, peer):
        """Whether the peer answers messages that reach it."""
        mute = self.config.adversary == "silent" and self.config.misbehaving_share == 1
        reached = self.running[peer] and self.side[peer] == self.side[querier]
        return reached and (peer in self.honest or not mute)

    def bench(self, node, peer, sent_s):
        fresh = max(self.announced_s[node], self.announced_s[peer]) > sent_s
        if self.running[node] and not fresh and peer not in self.benched[node]:
            self.benched[node][peer] = entry = [node, peer, self.now, math.nan]
            self.benches.append(entry)
            self.at(self.now + self.config.bench_s, self.probe, entry)
            self.refresh([node])

    def probe(self, entry):
        node, peer = entry[:2]
        if self.benched[node].get(peer) is not entry:
            return
        if self.answers(node, peer) and self.random.random() < self.answered_share:
            self.at(self.now + self.round_trip_s(), self.unbench, entry)
        else:
            self.at(self.now + self.config.probe_s, self.probe, entry)

    def unbench(self, entry):
        node, peer = entry[:2]
        if self.benched[node].get(peer) is entry:
            del self.benched[node][peer]
            self.unanswered[node][peer], entry[3] = 0, self.now
            self.refresh([node])

    def refresh(self, nodes=None):
        """Samples and guards after a change."""
        for node in self.honest if nodes is None else nodes:
            if not self.running[node]:
                continue
            out = self.excluded[self.side[node]] | self.benched[node].keys()
            self.pollable[node] = [p for p in range(self.n) if p != node and p not in out]
            self.heard[node] = {p for p in self.pollable[node] if self.answers(node, p)}
            holds = not self.config.guard or 100 * (self.n - len(out)) > 67 * self.n
            if holds != self.holds[node]:
                self.holds[node] = holds
                self.guard_changes.append((node, self.now, holds))
                while holds and self.waiting[node]:
                    self.admit(self.waiting[node].popleft())

    def round_trip_s(self):
        low, high = self.config.round_trip_ms
        return 1e-3 * (low + (high - low) * self.random.random())

    def issue(self):
        self.counts["issued"] += 1
        misbehaved = self.random.random() < self.config.misbehaving_share
        self.vertices.append(Vertex(self.now, misbehaved))
        self.offer(self.vertices[-1])

    def offer(self, vertex):
        running = [node for node in self.honest if self.running[node]]
        vertex.issuer = self.random.choice(running) if running else None
        if running and self.holds[vertex.issuer]:
            self.admit(vertex)
        elif sum(map(len, self.waiting.values())) < self.config.waiting_limit:
            vertex.state = "waiting"
            self.waiting[vertex.issuer].append(vertex)
        else:
            self.settle(vertex, "dropped")

    def offer_again(self, node):
        waiting, self.waiting[node] = self.waiting[node], deque()
        for vertex in waiting:
            self.offer(vertex)

    def admit(self, vertex):
        self.counts["admitted"] += 1
        vertex.state, vertex.attempts = "polling", vertex.attempts + 1
        vertex.start_s = vertex.effect_s = self.now
        vertex.preference, vertex.streak, vertex.answers = 1, 0, [0, 0]
        vertex.confidence = self.config.initial_confidence
        number = {"few": self.random.randint(2, 4), "linear": 1, "none": 0}[self.config.parents]
        for parent in list(self.recent)[max(0, len(self.recent) - number) :]:
            # One that is final, or was replaced by final tips, is not waited for.
            if parent is not vertex and parent.state in ("polling", "decided"):
                parent.children.append((vertex, vertex.attempts))
                vertex.pending += 1
        self.recent.append(vertex)
        self.poll(vertex, vertex.attempts, 1)

    def poll(self, vertex, attempt, rounds):
        if vertex.state != "polling" or vertex.attempts != attempt:
            return
        config, node = self.config, vertex.issuer
        if self.query[node] is None:
            self.ask(node)
        asked, answered = self.query[node]
        if self.replies[node] is None:
            self.replies[node] = sorted((self.round_trip_s(), peer) for peer in answered)
        times = [], []  # of the answers 0 and 1, in order of arrival
        vertex.coin = int(self.random.random() < 0.5)
        for round_trip_s, peer in self.replies[node]:
            if (colour := self.answer(peer, vertex)) is not None:
                times[colour].append(round_trip_s)
                vertex.answers[colour] += 1
        alpha = max(1, -(-config.alpha * asked // config.k))
        positive, contrary = times[vertex.preference], times[1 - vertex.preference]
        success = len(positive) >= alpha
        start_s = vertex.start_s + (rounds - 1) * self.interval_s
        resolution_s = positive[alpha - 1] if success else self.timeout_s
        vertex.effect_s = max(vertex.effect_s, start_s + resolution_s)
        vertex.streak = vertex.streak + 1 if success else 0
        if positive or contrary:
            share = len(positive) / (len(positive) + len(contrary))
            vertex.confidence = 0.9 * vertex.confidence + 0.1 * share
        if len(contrary) >= alpha:
            vertex.preference, vertex.streak = 1 - vertex.preference, 0
            vertex.confidence = config.initial_confidence
        if vertex.streak >= config.beta and vertex.confidence >= config.confidence_threshold:
            decision = rounds, vertex.preference, vertex.confidence
            self.at(vertex.effect_s, self.decide, vertex, attempt, decision)
        if rounds < config.max_rounds:
            self.at(start_s + self.interval_s, self.poll, vertex, attempt, rounds + 1)
        else:
            self.at(vertex.effect_s, self.time_out, vertex, attempt)

    def answer(self, peer, vertex):
        adversary = self.config.adversary
        if peer in self.honest or not vertex.misbehaved or adversary == "honest":
            return 1
        if adversary == "random_voting":
            return int(self.random.random() < 0.5)
        if adversary == "one_coin":
            return vertex.coin
        return {"always_reject": 0, "silent": None}[adversary]

    def decide(self, vertex, attempt, decision):
        stale = vertex.state != "polling" or vertex.attempts != attempt
        if not stale and self.holds[vertex.issuer]:
            vertex.state, vertex.decided_s = "decided", self.now
            vertex.rounds, vertex.preference, vertex.confidence = decision
            self.testify(vertex, vertex.preference)
            if vertex.preference == 0 or not vertex.pending:
                self.settle(vertex, "finalised" if vertex.preference else "rejected")

    def settle(self, vertex, state):
        """Leave flight; finalise what waited for this vertex alone, and what waited for that."""
        stack = [(vertex, state)]
        while stack:
            vertex, state = stack.pop()
            vertex.state, vertex.finished_s, vertex.pending = state, self.now, 0
            self.counts[state] += 1
            children, vertex.children = vertex.children, []
            for child, attempt in children:
                if child.attempts == attempt and child.pending:
                    child.pending -= 1
                    if not child.pending and child.state == "decided":
                        stack.append((child, "finalised"))

    def time_out(self, vertex, attempt):
        if vertex.state != "polling" or vertex.attempts != attempt:
            return
        zeros, ones = vertex.answers
        if zeros != ones:
            self.testify(vertex, int(ones > zeros))
        vertex.rounds = self.config.max_rounds
        self.settle(vertex, "timed_out")
        if vertex.attempts < self.config.attempts:
            self.at(self.now + self.config.reissue_s, self.offer, vertex)
        else:
            self.settle(vertex, "given_up")

    def testify(self, vertex, outcome):
        """One answer of each peer that answered anybody of the issuer's side."""
        side, pieces = self.side[vertex.issuer], []
        askers = [q for q in self.honest if self.running[q] and self.side[q] == side]
        for peer in set(range(self.n)) - vertex.witnesses - self.excluded[side]:
            asked = any(q != peer and peer not in self.benched[q] for q in askers)
            if asked and self.answers(vertex.issuer, peer):
                colour = self.answer(peer, vertex)
                if colour is not None:
                    vertex.witnesses.add(peer)
                    pieces.append((peer, AGREE if colour == outcome else DISAGREE))
        if self.config.reputation:
            self.at(self.now + self.config.pooling_s, self.pool, vertex.issuer, pieces)

    def pool(self, issuer, pieces):
        for peer, weight in pieces:
            self.scores[self.side[issuer]][peer] += weight
            self.pooled[peer] += 1
        self.exclude(self.side[issuer])

    def exclude(self, side):
        found = {peer for peer, score in enumerate(self.scores[side]) if score >= EXCLUDE}
        found -= self.excluded[side]
        for peer in found:
            self.excluded_s.setdefault(peer, self.now)
            self.evidence.setdefault(peer, self.pooled[peer])
        if found:
            self.excluded[side] |= found
            self.refresh([node for node in self.honest if self.side[node] == side])

    def kill(self, which, restarts=True):
        nodes = [node for node in range(self.n) if self.running[node]]
        nodes = self.random.sample(nodes, which) if isinstance(which, int) else which
        for node in nodes:
            self.running[node], self.first_tick_s[node] = False, None
        self.refresh()
        for vertex in self.vertices:
            if vertex.issuer in nodes and vertex.state == "polling":
                self.time_out(vertex, vertex.attempts)
        for node in set(nodes) & set(self.honest):
            self.offer_again(node)
        if restarts:
            self.at(self.now + self.config.restart_s + self.config.sync_s, self.restart, nodes)

    def restart(self, nodes):
        for node in nodes:
            self.running[node], self.announced_s[node] = True, self.now
            for other in range(self.n):
                for querier, peer in (node, other), (other, node):
                    self.unanswered[querier][peer] = 0
                    if peer in self.benched[querier]:
                        self.unbench(self.benched[querier][peer])
        self.refresh()
        for node in set(nodes) & set(self.honest):
            self.tick(node, self.now)
        self.offer_again(None)

    def partition(self, groups):
        self.heal()
        if isinstance(groups[0], int):
            order = self.random.sample(range(self.n), self.n)
            groups = [[order.pop() for _ in range(size)] for size in groups]
        for side, nodes in enumerate(groups):
            for node in nodes:
                self.side[node] = side
        self.common_scores = self.scores[0]
        self.scores = [list(self.common_scores) for _ in groups]
        self.excluded = [set(self.excluded[0]) for _ in groups]
        self.refresh()

    def heal(self):
        if len(self.scores) > 1:
            pairs = zip(self.common_scores, *self.scores, strict=True)
            self.scores = [[old + sum(score - old for score in scores) for old, *scores in pairs]]
            self.excluded = [set().union(*self.excluded)]
            self.side = [0] * self.n
            self.exclude(0)
            self.refresh()
