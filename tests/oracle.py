"""A plain-Python simulator of consensus by sampled polls, to test faster engines against.

Every peer is drawn by itself and every peer answers by itself; nothing is vectorised, tabulated or
taken from a closed form. Random numbers come from `rng.random()` alone, so `rng` is either a
`random.Random` or a `numpy.random.Generator`.

Nodes 0 .. h-1 are honest, the rest are Byzantine. Colours are 0 (reject) and 1 (accept); an answer
that does not come is None, one for neither colour is NEUTRAL.

Protocols are dicts with a "name" and the fields below (those with a value here may be left out):

    slush         k, alpha, m
    snowflake     k, alpha_preference, alpha_confidence, beta,
    snowball        reset_on_failure=True, decide_when="ge", count_after_flip=1, max_rounds=200
                    snowflake also conditions=((alpha, beta), ...), in place of alpha_confidence
                    and beta
    qr_avalanche  k=30, alpha=24, beta=20, confidence_threshold=0.95, initial_confidence=0.5,
                    max_rounds=100
    ecash         conclusive=7, finalization_score=128, stale_votes=4096, stale_factor=64,
                    distinct_voters=False, max_rounds=10_000; k is 1
    fpc           k=21, first_low=0.67, first_high=0.67, low=0.5, high=0.67, finality=10,
                    cooling=0, max_rounds=100

Adversaries are dicts with a "name" and its own fields:

    none  random_voting  always_reject  always_accept  silent  neutral  echo  flip  balance_informed
    non_answer  stall  coordinated_collusion(reject_share=0.1)  balance_pooled(lag=0)
    sybil(admission=0.1, reject_share=0.1)  safety_split(target=1, fed=0.45, grouping="by_colour")
    release(release_round=50)  mixture(of=[(nodes, adversary), ...]): so many nodes of each kind

balance_pooled also has every="round" or "poll" (async only).
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

NEUTRAL = "neutral"
SNOW_DEFAULTS: dict[str, Any] = {
    "reset_on_failure": True,
    "decide_when": "ge",
    "count_after_flip": 1,
    "max_rounds": 200,
}
PROTOCOL_DEFAULTS: dict[str, dict[str, Any]] = {
    "slush": {},
    "snowflake": {**SNOW_DEFAULTS, "conditions": ()},
    "snowball": SNOW_DEFAULTS,
    "qr_avalanche": {
        "k": 30,
        "alpha": 24,
        "beta": 20,
        "confidence_threshold": 0.95,
        "initial_confidence": 0.5,
        "max_rounds": 100,
    },
    "ecash": {
        "k": 1,
        "conclusive": 7,
        "finalization_score": 128,
        "stale_votes": 4096,
        "stale_factor": 64,
        "distinct_voters": False,
        "max_rounds": 10_000,
    },
    "fpc": {
        "k": 21,
        "first_low": 0.67,
        "first_high": 0.67,
        "low": 0.5,
        "high": 0.67,
        "finality": 10,
        "cooling": 0,
        "max_rounds": 100,
    },
}
SNOW_FIELDS = {"name", "k", "alpha_preference", "alpha_confidence", "beta", *SNOW_DEFAULTS}
PROTOCOL_FIELDS = {
    "slush": {"name", "k", "alpha", "m"},
    "snowflake": {*SNOW_FIELDS, "conditions"},
    "snowball": SNOW_FIELDS,
    **{name: {"name", *PROTOCOL_DEFAULTS[name]} for name in ("qr_avalanche", "ecash", "fpc")},
}
ADVERSARY_DEFAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "random_voting": {},
    "always_reject": {},
    "always_accept": {},
    "silent": {},
    "neutral": {},
    "echo": {},
    "flip": {},
    "coordinated_collusion": {"reject_share": 0.1},
    "sybil": {"admission": 0.1, "reject_share": 0.1},
    "balance_informed": {},
    "balance_pooled": {"lag": 0, "every": "round"},
    "non_answer": {},
    "stall": {},
    "safety_split": {"target": 1, "fed": 0.45, "grouping": "by_colour"},
    "release": {"release_round": 50},
    "mixture": {"of": ()},
}


class Random(Protocol):
    """What the oracle needs of a random generator."""

    def random(self) -> float:
        """A uniform number in [0, 1)."""
        ...


# The rules of one node. `poll` takes the number of answers of each colour in one poll.
# `decision` is the colour decided, -1 while undecided.


class Slush:
    """Take the colour of every quorum; never decide."""

    def __init__(self, colour: int, *, alpha: int) -> None:
        self.alpha = alpha
        self.preference = colour
        self.decision = -1

    def poll(self, ones: int, zeros: int) -> None:
        if ones >= self.alpha:
            self.preference = 1
        elif zeros >= self.alpha:
            self.preference = 0


class Snowflake:
    """A preference and a counter of the polls in a row that confirmed it."""

    def __init__(
        self,
        colour: int,
        *,
        alpha_preference: int,
        alpha_confidence: int,
        beta: int,
        reset_on_failure: bool = True,
        decide_when: str = "ge",
        count_after_flip: int = 1,
        conditions: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.alpha_preference = alpha_preference
        self.conditions = list(conditions) or [(alpha_confidence, beta)]
        self.reset_on_failure = reset_on_failure
        self.decide_when = decide_when
        self.count_after_flip = count_after_flip
        self.preference = colour
        self.counters = [0] * len(self.conditions)
        self.decision = -1

    @property
    def counter(self) -> int:
        """Of the first condition."""
        return self.counters[0]

    def poll(self, ones: int, zeros: int) -> None:
        if self.decision != -1:
            return
        if ones >= self.alpha_preference:
            self._successful_poll(1, ones)
        elif zeros >= self.alpha_preference:
            self._successful_poll(0, zeros)
        elif self.reset_on_failure:
            self.counters = [0] * len(self.conditions)

    def _successful_poll(self, colour: int, votes: int) -> None:
        flip = colour != self.preference
        self.preference = colour
        if flip:
            self.counters = [0] * len(self.conditions)
        for i, (alpha, beta) in enumerate(self.conditions):
            if votes >= alpha:
                self.counters[i] += self.count_after_flip if flip else 1
            elif self.reset_on_failure:
                self.counters[i] = 0
            if self.counters[i] >= beta + (self.decide_when == "gt"):
                self.decision = self.preference
                break


class Snowball:
    """A Snowflake, and beside it the colour that has had more successful polls."""

    def __init__(self, colour: int, **snowflake: Any) -> None:
        self.snowflake = Snowflake(colour, **snowflake)
        self.strength = [0, 0]
        self.stronger = colour

    @property
    def preference(self) -> int:
        """The answer to a poll; once decided, the decision."""
        return self.stronger if self.decision == -1 else self.decision

    @property
    def last(self) -> int:
        """The colour of the last successful poll, or the start colour."""
        return self.snowflake.preference

    @property
    def counter(self) -> int:
        return self.snowflake.counter

    @property
    def decision(self) -> int:
        return self.snowflake.decision

    def poll(self, ones: int, zeros: int) -> None:
        if ones >= self.snowflake.alpha_preference:
            self._strengthen(1)
        elif zeros >= self.snowflake.alpha_preference:
            self._strengthen(0)
        self.snowflake.poll(ones, zeros)

    def _strengthen(self, colour: int) -> None:
        self.strength[colour] += 1
        if self.strength[colour] > self.strength[1 - colour]:
            self.stronger = colour


class QrAvalanche:
    """A preference, a streak of successful polls and a smoothed confidence."""

    def __init__(
        self,
        colour: int,
        *,
        alpha: int = 24,
        beta: int = 20,
        confidence_threshold: float = 0.95,
        initial_confidence: float = 0.5,
    ) -> None:
        self.alpha = alpha
        self.beta = beta
        self.confidence_threshold = confidence_threshold
        self.initial_confidence = initial_confidence
        self.preference = colour
        self.streak = 0
        self.confidence = initial_confidence
        self.decision = -1

    def poll(self, ones: int, zeros: int) -> None:
        if self.decision != -1:
            return
        positive, negative = (ones, zeros) if self.preference == 1 else (zeros, ones)
        if negative >= self.alpha:
            self.preference = 1 - self.preference
            self.streak = 0
            self.confidence = self.initial_confidence
            return
        self.streak = self.streak + 1 if positive >= self.alpha else 0
        answered = positive + negative
        if answered > 0:
            self.confidence = 0.9 * self.confidence + 0.1 * positive / answered
        if self.streak >= self.beta and self.confidence >= self.confidence_threshold:
            self.decision = self.preference


class Ecash:
    """The last eight votes, and how many in a row of them were conclusive for one colour."""

    def __init__(
        self,
        colour: int,
        *,
        conclusive: int = 7,
        finalization_score: int = 128,
        stale_votes: int = 4096,
        stale_factor: int = 64,
        distinct_voters: bool = False,
    ) -> None:
        self.conclusive = conclusive
        self.score = finalization_score
        self.stale = (stale_votes, stale_factor)
        self.distinct_voters = distinct_voters
        self.preference = colour
        self.confidence = 0
        self.window: list[Answer] = []
        self.voters: list[int] = []
        self.votes = 0
        self.decision = -1

    def vote(self, answer: Answer, voter: int) -> None:
        if answer is None or self.decision != -1 or self.gives_up:
            return
        if self.distinct_voters and voter in self.voters:
            return
        self.voters = [*self.voters, voter][-7:]
        self.votes += 1
        self.window = [*self.window, answer][-8:]
        for colour in (0, 1):
            if self.window.count(colour) < self.conclusive:
                continue
            if colour == self.preference:
                self.confidence += 1
            else:
                self.preference, self.confidence = colour, 0
        if self.confidence >= self.score:
            self.decision = self.preference

    @property
    def gives_up(self) -> bool:
        many, factor = self.stale
        return self.decision == -1 and self.votes > many and self.votes > factor * self.confidence


class Fpc:
    """An opinion, and the rounds in a row that it has been the same."""

    def __init__(
        self,
        colour: int,
        *,
        first_low: float = 0.67,
        first_high: float = 0.67,
        low: float = 0.5,
        high: float = 0.67,
        finality: int = 10,
        cooling: int = 0,
    ) -> None:
        self.first, self.later = (first_low, first_high), (low, high)
        self.finality, self.cooling = finality, cooling
        self.preference = colour
        self.opinions: list[int] = []
        self.decision = -1

    def round(self, ones: int, zeros: int, common: float) -> None:
        """common: uniform in [0, 1), the same for all nodes in a round."""
        low, high = self.later if self.opinions else self.first
        threshold = low + common * (high - low)
        if ones + zeros > 0:
            self.preference = 1 if ones >= threshold * (ones + zeros) else 0
        self.opinions.append(self.preference)
        last = self.opinions[self.cooling :][-self.finality :]
        if len(last) == self.finality and len(set(last)) == 1:
            self.decision = self.preference


Answer = int | str | None
Node = Slush | Snowflake | Snowball | QrAvalanche | Ecash | Fpc


def complete_protocol(protocol: dict[str, Any]) -> dict[str, Any]:
    """The protocol with its defaults filled in."""
    name = protocol["name"]
    full = {**PROTOCOL_DEFAULTS[name], **protocol}
    if set(full) != PROTOCOL_FIELDS[name]:
        raise ValueError(f"{name} takes {sorted(PROTOCOL_FIELDS[name])}, not {sorted(full)}")
    return full


def complete_adversary(adversary: dict[str, Any]) -> dict[str, Any]:
    """The adversary with its defaults filled in."""
    name = adversary["name"]
    full = {**ADVERSARY_DEFAULTS[name], **adversary}
    if set(full) != {"name", *ADVERSARY_DEFAULTS[name]}:
        raise ValueError(f"{name} takes {sorted(ADVERSARY_DEFAULTS[name])}, not {sorted(full)}")
    return full


def make_node(protocol: dict[str, Any], colour: int) -> Node:
    """One honest node at its start."""
    full = complete_protocol(protocol)
    classes = {
        "slush": Slush,
        "snowflake": Snowflake,
        "snowball": Snowball,
        "qr_avalanche": QrAvalanche,
        "ecash": Ecash,
        "fpc": Fpc,
    }
    rule = {key: full[key] for key in full if key not in ("name", "k", "m", "max_rounds")}
    return classes[full["name"]](colour, **rule)


# Chance: all of it is made of these three.


def coin(probability: float, rng: Random) -> bool:
    """True with this probability."""
    return rng.random() < probability


def pick(count: int, rng: Random) -> int:
    """One of 0 .. count-1, all alike."""
    return int(rng.random() * count)


def draw_holders(units: Sequence[int], k: int, sampling: str, rng: Random) -> list[int]:
    """The nodes that hold the k units that one querier polls."""
    peers = draw_peers(None, sum(units), k, sampling, False, rng)
    ends = list(itertools.accumulate(units))
    return [bisect.bisect_right(ends, unit) for unit in peers]


def draw_peers(
    querier: int | None, nodes: int, k: int, sampling: str, exclude_self: bool, rng: Random
) -> list[int]:
    """The k nodes of 0 .. nodes-1 that one querier polls, one after the other.

    A querier of None is not one of these nodes.
    """
    if sampling not in ("without_replacement", "with_replacement"):
        raise ValueError(f"unknown sampling {sampling}")
    distinct = sampling == "without_replacement"
    refused = {querier} if exclude_self and querier is not None else set()
    available = nodes - len(refused)
    if available < 1 or (distinct and k > available):
        raise ValueError(f"cannot draw {k} of {available} nodes {sampling}")
    peers: list[int] = []
    while len(peers) < k:
        peer = int(rng.random() * nodes)
        if peer in refused:
            continue
        peers.append(peer)
        if distinct:
            refused.add(peer)
    return peers


@dataclass
class View:
    """What the adversary may know when a poll is answered."""

    ones: int  # honest nodes that prefer 1
    zeros: int  # honest nodes that prefer 0
    rounds_completed: int
    target_decided: bool  # an honest node has decided safety_split's target


class Byzantine:
    """The Byzantine nodes of one trial and what they have agreed on."""

    def __init__(
        self,
        adversary: dict[str, Any],
        protocol: dict[str, Any],
        *,
        honest: int,
        start_ones: int,
        byzantine: int,
        exclude_self: bool,
        rng: Random,
    ) -> None:
        self.config = complete_adversary(adversary)
        self.name = self.config["name"]
        if self.name == "none" and byzantine > 0:
            raise ValueError("Byzantine nodes need an adversary")
        self.exclude_self = exclude_self
        self.k = protocol["k"]
        named = protocol.get("alpha_preference", protocol.get("alpha"))
        self.quorum = protocol["k"] // 2 + 1 if named is None else named
        self.honest = honest
        self.count = byzantine
        self.kinds: list[Byzantine] = []
        if self.name == "mixture":
            assert sum(nodes for nodes, _ in self.config["of"]) == byzantine
            shared = {"honest": honest, "start_ones": start_ones, "exclude_self": exclude_self}
            self.kinds = [
                Byzantine(kind, protocol, byzantine=nodes, rng=rng, **shared)
                for nodes, kind in self.config["of"]
            ]
            self.count = sum(kind.count for kind in self.kinds)
            for kind in self.kinds:
                self.config = kind.config | self.config
        if self.name == "sybil":
            self.count = sum(coin(self.config["admission"], rng) for _ in range(byzantine))
        self.pushed = 0
        if self.name in ("coordinated_collusion", "sybil"):
            self.pushed = self._agree(start_ones, rng)
        self.estimate: int | None = None
        self.everybody = self.count
        for kind in self.kinds:
            kind.everybody = self.count

    def _agree(self, start_ones: int, rng: Random) -> int:
        """The colour that colluding nodes push for the whole trial."""
        disputed = 0 < start_ones < self.honest
        if disputed:
            return 1 if 2 * start_ones < self.honest else 0
        start_colour = 1 if start_ones == self.honest else 0
        against = coin(self.config["reject_share"], rng)
        return 1 - start_colour if against else start_colour

    def start_round(self, preferences: list[int], sampling: str, rng: Random) -> None:
        """Pool what the Byzantine nodes see at the start of a round (only balance_pooled does)."""
        for kind in self.kinds:
            kind.start_round(preferences, sampling, rng)
        if self.name != "balance_pooled" or self.count == 0:
            return
        pooled_ones = 0
        for _ in range(self.count):
            for peer in draw_peers(None, self.honest, self.k, sampling, False, rng):
                pooled_ones += preferences[peer]
        estimate = 1 if 2 * pooled_ones < self.count * self.k else 0
        if self.config["lag"] == 0:
            self.pushed = estimate
        else:
            self.pushed = 0 if self.estimate is None else self.estimate
        self.estimate = estimate

    def answer(self, colour: int, group: int, view: View, rng: Random, node: int = 0) -> Answer:
        """One Byzantine node's answer to an honest querier of this colour and group."""
        for kind in self.kinds:
            if node < kind.count:
                return kind.answer(colour, group, view, rng)
            node -= kind.count
        minority = 1 if view.ones < view.zeros else 0
        match self.name:
            case "random_voting":
                return 1 if coin(0.5, rng) else 0
            case "always_reject":
                return 0
            case "always_accept":
                return 1
            case "silent":
                return None
            case "neutral":
                return NEUTRAL
            case "echo":
                return colour
            case "flip":
                return 1 - colour
            case "coordinated_collusion" | "sybil" | "balance_pooled":
                return self.pushed
            case "balance_informed":
                return minority
            case "non_answer":
                return minority if colour == minority else None
            case "stall":
                return self._spoil(colour, view)
            case "safety_split":
                target = self.config["target"]
                if view.target_decided:
                    return 1 - target
                return target if group == 0 else 1 - target
            case "release":
                balancing = view.rounds_completed < self.config["release_round"]
                return minority if balancing else colour
        raise ValueError(f"{self.name} has no answer")

    def _spoil(self, colour: int, view: View) -> int | None:
        """Vote against the querier if the honest answers alone are not expected to be a quorum."""
        holders = view.ones if colour == 1 else view.zeros
        peers = self.honest + self.everybody
        if self.exclude_self:
            holders -= 1
            peers -= 1
        expected_too_few = self.k * holders < self.quorum * peers
        return 1 - colour if expected_too_few else None


def byzantine_fed(adversary: dict[str, Any], n: int) -> float:
    """How many nodes safety_split feeds."""
    listed = [kind for _, kind in adversary.get("of", ())] or [adversary]
    return max(complete_adversary(kind).get("fed", 0.0) for kind in listed) * n


Poll = tuple[list[int], list[Answer]]  # peers, and what each of them answers


def dealt(
    holdings: Sequence[int], byzantine_fraction: float, initial_accept: float, rng: Random
) -> tuple[list[int], int, int]:
    """Units of the nodes, honest ones that start at 1 first and Byzantine ones last; how many are
    honest, and how many start at 1.

    Nodes are Byzantine in a random order until their units come nearest to their share; honest ones
    start at 1 likewise, in another random order.
    """

    def parted(some: list[int], share: float) -> tuple[list[int], list[int]]:
        some = [units for _, units in sorted((rng.random(), units) for units in some)]
        sums = [0, *itertools.accumulate(some)]
        taken = min(range(len(sums)), key=lambda i: abs(sums[i] - share * sums[-1]))
        return some[:taken], some[taken:]

    byzantine, honest = parted(list(holdings), byzantine_fraction)
    ones, zeros = parted(honest, initial_accept)
    return ones + zeros + byzantine, len(honest), len(ones)


def shuffled(items: list[int], rng: Random) -> list[int]:
    return [item for _, item in sorted((rng.random(), item) for item in items)]


def group_of(node: int, fed: float) -> int:
    """The group that safety_split puts an honest node in. fed: nodes in group 0; half of one counts
    as one."""
    return 0 if node + 0.5 <= fed else 1


def one_poll(
    querier: int,
    group: int,
    preferences: list[int],
    byzantine: Byzantine,
    view: View,
    *,
    k: int,
    sampling: str,
    exclude_self: bool,
    loss: float,
    rng: Random,
    hears: Callable[[int], bool] = lambda peer: True,
) -> tuple[int, int]:
    """The answers (ones, zeros) that one honest querier gets from k peers.

    hears: whether an honest peer's answer can reach the querier in this round.
    """
    peers = draw_peers(querier, len(preferences) + byzantine.count, k, sampling, exclude_self, rng)
    answers = ask(querier, group, peers, preferences, byzantine, view, loss, rng, hears)
    return answers.count(1), answers.count(0)


def ask(
    querier: int,
    group: int,
    peers: list[int],
    preferences: list[int],
    byzantine: Byzantine,
    view: View,
    loss: float,
    rng: Random,
    hears: Callable[[int], bool] = lambda peer: True,
    shared: bool = False,
) -> list[Answer]:
    """The answers of these peers to an honest querier.

    shared: whether a peer that is asked several times always gives the same answer.
    """
    honest, answers, known = len(preferences), [], {}
    for peer in peers:
        if peer < honest:
            answer = preferences[peer] if hears(peer) else None
        else:
            answer = byzantine.answer(preferences[querier], group, view, rng, peer - honest)
        if loss > 0 and coin(loss, rng):
            answer = None
        answers.append(known.setdefault(peer, answer) if shared else answer)
    return answers


def poll_counts(
    protocol: dict[str, Any],
    adversary: dict[str, Any],
    *,
    honest_ones: int,
    honest_zeros: int,
    byzantine: int,
    colour: int,
    group: int = 0,
    start_ones: int | None = None,
    rounds_completed: int = 0,
    previous_ones: int | None = None,
    target_decided: bool = False,
    sampling: str = "without_replacement",
    exclude_self: bool = True,
    loss: float = 0.0,
    rng: Random,
) -> tuple[int, int]:
    """The answers (ones, zeros) to one poll by an honest querier of this colour and group.

    `honest_ones` and `honest_zeros` count the honest preferences, the querier's own among them.
    `start_ones` is how many honest nodes started at 1 (left out: as many as hold it now).
    `previous_ones` is how many preferred 1 at the start of the round before, for balance_pooled
    with lag 1 (left out: this is the first round). What a trial draws once (the pushed colour,
    the identities admitted out of `byzantine`, the pool) is drawn anew in each call.
    """
    full = complete_protocol(protocol)
    honest = honest_ones + honest_zeros
    if (honest_ones if colour == 1 else honest_zeros) == 0:
        raise ValueError("no honest node holds the querier's colour")
    preferences = [1] * honest_ones + [0] * honest_zeros
    adversaries = Byzantine(
        adversary,
        full,
        honest=honest,
        start_ones=honest_ones if start_ones is None else start_ones,
        byzantine=byzantine,
        exclude_self=exclude_self,
        rng=rng,
    )
    if previous_ones is not None:
        before = [1] * previous_ones + [0] * (honest - previous_ones)
        adversaries.start_round(before, sampling, rng)
    adversaries.start_round(preferences, sampling, rng)
    return one_poll(
        preferences.index(colour),
        group,
        preferences,
        adversaries,
        View(honest_ones, honest_zeros, rounds_completed, target_decided),
        k=full["k"],
        sampling=sampling,
        exclude_self=exclude_self,
        loss=loss,
        rng=rng,
    )


def simulate(
    protocol: dict[str, Any],
    adversary: dict[str, Any],
    *,
    n: int,
    byzantine_fraction: float,
    initial_accept: float,
    sampling: str = "without_replacement",
    exclude_self: bool = True,
    loss: float = 0.0,
    schedule: str = "lockstep",
    rng: Random,
    stop_at_unanimity: bool = False,
    groups: Sequence[tuple[int, int, int, float]] = (),
    cut: int = 0,
    holdings: Sequence[int] = (),
) -> dict[str, Any]:
    """One trial and its outcome.

    groups: honest nodes of each group, how many start at 1, how many safety_split feeds, and the
    probability that one takes part in a round (lockstep only). cut: rounds in which groups do not
    hear each other. holdings: units of stake of the nodes in any order, where it is weighted; polls
    are among units, shares are of stake, and `n` is how many nodes there are.

    Times are in rounds: whole numbers in lockstep, steps / n under the async schedule, NaN for
    what never happened. `decided_at` lists them per honest node. `stop_at_unanimity` ends the
    trial as soon as all honest nodes prefer one colour.
    """
    full = complete_protocol(protocol)
    f = round(byzantine_fraction * n)
    h = n - f
    start_ones = round(initial_accept * h)
    units: list[int] = []
    if holdings:
        if byzantine_fed(adversary, n):
            raise ValueError("who is fed is a share of nodes here, of stake in stake_oracle")
        units, h, start_ones = dealt(holdings, byzantine_fraction, initial_accept, rng)
        f = n - h
    fed = byzantine_fed(adversary, n)
    side, among = [0] * h, list(range(h))  # of each node: its group, its number in there
    sizes = [(h, start_ones, fed, 1.0)]
    if groups:
        sizes = list(groups)
        side = [g for g, group in enumerate(groups) for _ in range(group[0])]
        among = [i for group in groups for i in range(group[0])]
        start_ones = sum(group[1] for group in groups)
    nodes = [make_node(full, 1 if among[i] < sizes[side[i]][1] else 0) for i in range(h)]
    preferences = [node.preference for node in nodes]
    byzantine = Byzantine(
        adversary,
        full,
        honest=h,
        start_ones=start_ones,
        byzantine=f,
        exclude_self=exclude_self,
        rng=rng,
    )
    target = byzantine.config.get("target")
    place = list(among)  # of each node, by which safety_split decides whom it feeds
    if byzantine.config.get("grouping") == "random":
        for g in set(side):
            members = [i for i in range(h) if side[i] == g]
            for i, own in zip(members, shuffled([among[i] for i in members], rng), strict=True):
                place[i] = own
    max_rounds = full["m"] if full["name"] == "slush" else full["max_rounds"]

    undecided, polling = list(range(h)), list(range(h))
    common, polled = 0.0, 0
    decided_at = [math.nan] * h
    decisions: list[int] = []
    unanimity = 0 if start_ones in (0, h) else math.nan
    flips = 0

    def view_now(rounds_completed: int) -> View:
        weights = units[:h] if units else [1] * h
        ones = sum(w for w, colour in zip(weights, preferences, strict=True) if colour)
        return View(ones, sum(weights) - ones, rounds_completed, target in decisions)

    def poll_of(i: int, view: View, hears: Callable[[int], bool] = lambda peer: True) -> Poll:
        """Whom a node asks, and what they answer."""
        group = group_of(place[i], sizes[side[i]][2])
        if units:
            peers = draw_holders(units, full["k"], sampling, rng)
        else:
            everybody = h + byzantine.count
            peers = draw_peers(i, everybody, full["k"], sampling, exclude_self, rng)
        many = bool(units)
        answers = ask(i, group, peers, preferences, byzantine, view, loss, rng, hears, many)
        return peers, answers

    def update(i: int, poll: Poll, now: float) -> None:
        nonlocal flips
        peers, answers = poll
        node, ones, zeros = nodes[i], answers.count(1), answers.count(0)
        if isinstance(node, Ecash):
            node.vote(answers[0], peers[0])
        elif isinstance(node, Fpc):
            node.round(ones, zeros, common)
        else:
            node.poll(ones, zeros)
        if nodes[i].preference != preferences[i]:
            preferences[i] = nodes[i].preference
            flips += 1
        if nodes[i].decision != -1:
            undecided.remove(i)
            polling.remove(i)
            decided_at[i] = now
            decisions.append(nodes[i].decision)
        elif getattr(nodes[i], "gives_up", False):
            polling.remove(i)

    def goes_on() -> bool:
        return bool(polling) and not (stop_at_unanimity and not math.isnan(unanimity))

    rounds: float = 0
    if schedule == "lockstep":
        while goes_on() and rounds < max_rounds:
            view = view_now(int(rounds))
            byzantine.start_round(preferences, sampling, rng)
            common = rng.random() if full["name"] == "fpc" else 0.0
            awake = [not groups or coin(groups[side[i]][3], rng) for i in range(h)]
            polls = []
            for i in (i for i in polling if awake[i]):

                def hears(peer, own=side[i], awake=awake, apart=rounds < cut):
                    return awake[peer] and (side[peer] == own or not apart)

                polls.append((i, poll_of(i, view, hears)))
            rounds += 1
            polled += len(polls)
            for i, poll in polls:
                update(i, poll, rounds)
            if math.isnan(unanimity) and sum(preferences) in (0, h):
                unanimity = rounds
    elif schedule == "async":
        step = 0
        while goes_on() and step < max_rounds * n:
            if step % n == 0 or byzantine.config.get("every") == "poll":
                byzantine.start_round(preferences, sampling, rng)
            if step % n == 0 and full["name"] == "fpc":
                common = rng.random()
            i = polling[pick(len(polling), rng)]
            poll = poll_of(i, view_now(step // n))
            step += 1
            polled += 1
            rounds = step / n
            update(i, poll, rounds)
            if math.isnan(unanimity) and sum(preferences) in (0, h):
                unanimity = rounds
    else:
        raise ValueError(f"unknown schedule {schedule}")

    times = sorted(time for time in decided_at if not math.isnan(time))

    def when_decided(count: int) -> float:
        return times[count - 1] if 1 <= count <= len(times) else math.nan

    return {
        "decided_0": decisions.count(0),
        "decided_1": decisions.count(1),
        "undecided": len(undecided),
        "rounds": rounds,
        "first_decision": when_decided(1),
        "median_decision": when_decided(math.ceil(h / 2)),
        "last_decision": when_decided(h),
        "unanimity": unanimity,
        "start_ones": start_ones,
        "final_ones": sum(preferences),
        "flips": flips,
        "polls": polled,
        "admitted": byzantine.count,
        "decided_at": decided_at,
    }
