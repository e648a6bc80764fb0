"""A plain-Python simulator of consensus by sampled polls, to test faster engines against.

Every peer is drawn by itself and every peer answers by itself; nothing is vectorised, tabulated or
taken from a closed form. Random numbers come from `rng.random()` alone, so `rng` is either a
`random.Random` or a `numpy.random.Generator`.

Nodes 0 .. h-1 are honest, the rest are Byzantine. Colours are 0 (reject) and 1 (accept); an answer
that does not come is None.

Protocols are dicts with a "name" and the fields below (those with a value here may be left out):

    slush         k, alpha, m
    snowflake     k, alpha_preference, alpha_confidence, beta,
    snowball        reset_on_failure=True, decide_when="ge", count_after_flip=1, max_rounds=200
                    snowflake also conditions=((alpha, beta), ...), in place of alpha_confidence
                    and beta
    qr_avalanche  k=30, alpha=24, beta=20, confidence_threshold=0.95, initial_confidence=0.5,
                    max_rounds=100

Adversaries are dicts with a "name" and its own fields:

    none  random_voting  always_reject  always_accept  silent  echo  flip  balance_informed
    non_answer  stall  coordinated_collusion(reject_share=0.1)  balance_pooled(lag=0)
    sybil(admission=0.1, reject_share=0.1)  safety_split(target=1, fed=0.45, grouping="by_colour")
    release(release_round=50)  mixture(of=[(nodes, adversary), ...]): so many nodes of each kind

balance_pooled also has every="round" or "poll" (async only).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
}
SNOW_FIELDS = {"name", "k", "alpha_preference", "alpha_confidence", "beta", *SNOW_DEFAULTS}
PROTOCOL_FIELDS = {
    "slush": {"name", "k", "alpha", "m"},
    "snowflake": {*SNOW_FIELDS, "conditions"},
    "snowball": SNOW_FIELDS,
    "qr_avalanche": {"name", *PROTOCOL_DEFAULTS["qr_avalanche"]},
}
ADVERSARY_DEFAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "random_voting": {},
    "always_reject": {},
    "always_accept": {},
    "silent": {},
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


Node = Slush | Snowflake | Snowball | QrAvalanche


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
        self.quorum = protocol["alpha_preference" if "alpha_preference" in protocol else "alpha"]
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

    def answer(self, colour: int, group: int, view: View, rng: Random, node: int = 0) -> int | None:
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
    honest = len(preferences)
    ones = zeros = 0
    for peer in draw_peers(querier, honest + byzantine.count, k, sampling, exclude_self, rng):
        if peer < honest:
            answer = preferences[peer] if hears(peer) else None
        else:
            answer = byzantine.answer(preferences[querier], group, view, rng, peer - honest)
        if loss > 0 and coin(loss, rng):
            answer = None
        if answer == 1:
            ones += 1
        elif answer == 0:
            zeros += 1
    return ones, zeros


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
) -> dict[str, Any]:
    """One trial and its outcome.

    groups: honest nodes of each group, how many start at 1, how many safety_split feeds, and the
    probability that one takes part in a round (lockstep only). cut: rounds in which groups do not
    hear each other.

    Times are in rounds: whole numbers in lockstep, steps / n under the async schedule, NaN for
    what never happened. `decided_at` lists them per honest node. `stop_at_unanimity` ends the
    trial as soon as all honest nodes prefer one colour.
    """
    full = complete_protocol(protocol)
    f = round(byzantine_fraction * n)
    h = n - f
    start_ones = round(initial_accept * h)
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

    undecided = list(range(h))
    decided_at = [math.nan] * h
    decisions: list[int] = []
    unanimity = 0 if start_ones in (0, h) else math.nan
    flips = 0
    poll_rule = {
        "k": full["k"],
        "sampling": sampling,
        "exclude_self": exclude_self,
        "loss": loss,
        "rng": rng,
    }

    def view_now(rounds_completed: int) -> View:
        ones = sum(preferences)
        return View(ones, h - ones, rounds_completed, target in decisions)

    def update(i: int, ones: int, zeros: int, now: float) -> None:
        nonlocal flips
        nodes[i].poll(ones, zeros)
        if nodes[i].preference != preferences[i]:
            preferences[i] = nodes[i].preference
            flips += 1
        if nodes[i].decision != -1:
            undecided.remove(i)
            decided_at[i] = now
            decisions.append(nodes[i].decision)

    def goes_on() -> bool:
        return bool(undecided) and not (stop_at_unanimity and not math.isnan(unanimity))

    rounds: float = 0
    if schedule == "lockstep":
        while goes_on() and rounds < max_rounds:
            view = view_now(int(rounds))
            byzantine.start_round(preferences, sampling, rng)
            awake = [not groups or coin(groups[side[i]][3], rng) for i in range(h)]
            polls = []
            for i in (i for i in undecided if awake[i]):

                def hears(peer, own=side[i], awake=awake, apart=rounds < cut):
                    return awake[peer] and (side[peer] == own or not apart)

                group = group_of(place[i], sizes[side[i]][2])
                answers = one_poll(i, group, preferences, byzantine, view, **poll_rule, hears=hears)
                polls.append((i, *answers))
            rounds += 1
            for i, ones, zeros in polls:
                update(i, ones, zeros, rounds)
            if math.isnan(unanimity) and sum(preferences) in (0, h):
                unanimity = rounds
    elif schedule == "async":
        step = 0
        while goes_on() and step < max_rounds * n:
            if step % n == 0 or byzantine.config.get("every") == "poll":
                byzantine.start_round(preferences, sampling, rng)
            i = undecided[pick(len(undecided), rng)]
            view = view_now(step // n)
            group = group_of(place[i], fed)
            ones, zeros = one_poll(i, group, preferences, byzantine, view, **poll_rule)
            step += 1
            rounds = step / n
            update(i, ones, zeros, rounds)
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
        "admitted": byzantine.count,
        "decided_at": decided_at,
    }
