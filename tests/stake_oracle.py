"""Trials in which nodes hold more or less stake than others, units and nodes drawn one by one.

Rules of nodes and answers of adversaries are those of `oracle`. Here every unit of stake has an
owner, a poll draws units, and what its owner answers, and whether that is lost, is drawn once for
each node asked (a shared fate) or for each place. Adversaries count units.

Nodes are numbered as in `held`, the units of each. Mixtures are dicts with
`of=[(share of the Byzantine stake, adversary), ...]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import oracle
from oracle import Random, View, coin, draw_peers, pick, shuffled


def divided(total: int, shares: Sequence[Any]) -> list[int]:
    """A total in whole parts in proportion to these shares, by the largest remainder."""
    exact = [total * Fraction(share) / sum(map(Fraction, shares)) for share in shares]
    parts = [math.floor(part) for part in exact]
    missing = total - sum(parts)
    for i in sorted(range(len(parts)), key=lambda i: parts[i] - exact[i])[:missing]:
        parts[i] += 1
    return parts


def holdings(weights: Sequence[float], units: int) -> list[int]:
    """Units of each node, the largest first: one each, the rest in proportion to the weights."""
    rest = divided(units - len(weights), sorted(weights, reverse=True))
    return sorted((1 + part for part in rest), reverse=True)


def first_until(order: Sequence[int], sizes: Sequence[int], target: float) -> list[int]:
    """The first nodes of an order whose sizes come nearest to a target; the fewest of these."""
    totals = [sum(sizes[node] for node in order[:count]) for count in range(len(order) + 1)]
    nearest = min(abs(total - target) for total in totals)
    return list(order[: [abs(total - target) for total in totals].index(nearest)])


@dataclass
class Roles:
    """Who is what in a trial."""

    byzantine: list[list[int]]  # nodes of each kind
    honest: list[int]
    ones: list[int]  # honest nodes that start at 1
    fed: list[int]  # honest nodes of safety_split's first group


def roles_of(
    held: Sequence[int],
    adversary: dict[str, Any],
    orders: Sequence[Sequence[int]],
    *,
    byzantine_fraction: float,
    initial_accept: float,
    byzantine: str = "random",
    initial_accept_of: str = "stake",
) -> Roles:
    """The roles that three orders of the nodes give: of Byzantine ones, of colours, and of those
    fed at random."""
    nodes, total = range(len(held)), sum(held)
    of_rank = {"random": orders[0], "largest": nodes, "smallest": nodes[::-1]}
    # The last node of an order is honest.
    bad = set(first_until(of_rank[byzantine][:-1], held, byzantine_fraction * total))
    honest = [node for node in orders[1] if node not in bad]
    stake = sum(held[node] for node in honest)
    if initial_accept_of == "stake":
        ones = first_until(honest, held, initial_accept * stake)
    else:
        ones = honest[: round(initial_accept * len(honest))]
    listed = adversary.get("of", [(1, adversary)])
    parts = divided(total - stake, [share for share, _ in listed])
    rest, kinds = [node for node in orders[1] if node in bad], []
    for count in range(len(parts)):
        taken = [node for kind in kinds for node in kind]
        until = first_until(rest, held, sum(parts[: count + 1]))
        kinds.append([node for node in until if node not in taken])
    fed: list[int] = []
    for config in (oracle.complete_adversary(kind) for _, kind in listed):
        if config["name"] == "safety_split":
            queue = ones + [node for node in honest if node not in ones]
            if config["grouping"] == "random":
                queue = [node for node in orders[2] if node not in bad]
            elif config["grouping"] != "by_colour":  # equal holders in the order of colours
                sign = -1 if config["grouping"] == "largest" else 1
                queue = sorted(honest, key=lambda node: sign * held[node])
            fed = first_until(queue, held, min(config["fed"] * total, stake))
    return Roles(kinds, honest, ones, fed)


class Trial:
    """One trial between two polls."""

    def __init__(self, rule, adversary, held, roles, *, shared_fate, sampling, loss, rng):
        self.rule, self.held, self.rng = oracle.complete_protocol(rule), held, rng
        self.shared_fate, self.sampling, self.loss = shared_fate, sampling, loss
        self.honest, self.fed = roles.honest, set(roles.fed)
        self.nodes = {i: oracle.make_node(rule, int(i in roles.ones)) for i in roles.honest}
        self.preferences = {i: node.preference for i, node in self.nodes.items()}
        self.stake, self.start_ones = self.units(roles.honest), self.units(roles.ones)
        # The kind of each Byzantine node in the network.
        self.kinds: dict[int, oracle.Byzantine] = {}
        self.gangs = []
        listed = [kind for _, kind in adversary.get("of", [(1, adversary)])]
        for kind, nodes in zip(
            map(oracle.complete_adversary, listed), roles.byzantine, strict=True
        ):
            if kind["name"] == "sybil":  # those admitted collude
                nodes = [node for node in nodes if coin(kind["admission"], rng)]
                kind = {"name": "coordinated_collusion", "reject_share": kind["reject_share"]}
            counted = {"honest": self.stake, "start_ones": self.start_ones, "exclude_self": False}
            gang = oracle.Byzantine(kind, self.rule, byzantine=len(nodes), rng=rng, **counted)
            self.gangs.append(gang)
            self.kinds |= dict.fromkeys(nodes, gang)
        for gang in self.gangs:
            gang.everybody = self.units(self.kinds)
        there = [*roles.honest, *self.kinds]
        self.owners = [node for node in there for _ in range(held[node])]
        self.targets = {gang.config.get("target") for gang in self.gangs} - {None}

    def units(self, nodes) -> int:
        """What these nodes hold together."""
        return sum(self.held[node] for node in nodes)

    def view(self, rounds: int) -> View:
        """What an adversary knows now, in units."""
        ones = self.units(i for i in self.honest if self.preferences[i] == 1)
        won = any(node.decision in self.targets for node in self.nodes.values())
        return View(ones, self.stake - ones, rounds, won)

    def pool(self) -> None:
        """Each Byzantine node that pools asks k honest units, independently of one another."""
        pooling = [gang for gang in self.gangs if gang.name == "balance_pooled"]
        there = self.honest if pooling else []
        asked = [self.preferences[i] for i in there for _ in range(self.held[i])]
        for gang in pooling:
            gang.start_round(asked, "with_replacement", self.rng)

    def answer(self, node: int, querier: int, view: View) -> int | None:
        """What a node answers, or None where that is lost."""
        if node in self.kinds:
            group = 0 if querier in self.fed else 1
            colour = self.preferences[querier]
            answer = self.kinds[node].answer(colour, group, view, self.rng)
        else:
            answer = self.preferences[node]
        return None if self.loss > 0 and coin(self.loss, self.rng) else answer

    def poll(self, querier: int, view: View) -> tuple[int, int]:
        """The answers (ones, zeros) to one poll."""
        total, k = len(self.owners), self.rule["k"]
        fates: dict[int, int | None] = {}
        for place, unit in enumerate(draw_peers(None, total, k, self.sampling, False, self.rng)):
            node = self.owners[unit]
            same = place if not self.shared_fate else k + node
            if same not in fates:
                fates[same] = self.answer(node, querier, view)
            fates[place] = fates[same]
        answers = [fates[place] for place in range(k)]
        return answers.count(1), answers.count(0)


def simulate(
    rule: dict[str, Any],
    adversary: dict[str, Any],
    *,
    held: Sequence[int],
    byzantine_fraction: float,
    initial_accept: float,
    byzantine: str = "random",
    initial_accept_of: str = "stake",
    shared_fate: bool = True,
    sampling: str = "without_replacement",
    loss: float = 0.0,
    schedule: str = "lockstep",
    rng: Random,
) -> dict[str, float]:
    """One trial and its outcome: counts of nodes, times in rounds, and shares of stake."""
    n = len(held)
    asked = {"byzantine_fraction": byzantine_fraction, "initial_accept": initial_accept}
    asked |= {"byzantine": byzantine, "initial_accept_of": initial_accept_of}
    orders = [shuffled(list(range(n)), rng) for _ in range(3)]
    roles = roles_of(held, adversary, orders, **asked)
    drawn = {"shared_fate": shared_fate, "sampling": sampling, "loss": loss, "rng": rng}
    trial = Trial(rule, adversary, held, roles, **drawn)
    nodes, preferences, h = trial.nodes, trial.preferences, len(trial.honest)
    decides = trial.rule["name"] != "slush"
    most = trial.rule["max_rounds" if decides else "m"]
    undecided, times = sorted(nodes), []
    unanimity, flips, polls, rounds, step = math.nan, 0, 0, 0.0, 0

    def update(node: int, answers: tuple[int, int], now: float) -> None:
        nonlocal flips, polls
        polls += 1
        nodes[node].poll(*answers)
        flips += nodes[node].preference != preferences[node]
        preferences[node] = nodes[node].preference
        if nodes[node].decision != -1:
            undecided.remove(node)
            times.append(now)

    while True:
        unanimous = len(set(preferences.values())) == 1
        if unanimous and math.isnan(unanimity):
            unanimity = rounds
        if not undecided or rounds >= most or (unanimous and not decides and not trial.kinds):
            break
        if schedule == "lockstep":
            trial.pool()
            view = trial.view(int(rounds))
            answers = {node: trial.poll(node, view) for node in undecided}
            rounds += 1
        else:
            each = any(gang.config.get("every") == "poll" for gang in trial.gangs)
            if step % n == 0 or each:
                trial.pool()
            node = undecided[pick(len(undecided), rng)]
            answers = {node: trial.poll(node, trial.view(step // n))}
            step += 1
            rounds = step / n
        for node, found in answers.items():
            update(node, found, rounds)

    def of(colour: int) -> list[int]:
        return [node for node in nodes if nodes[node].decision == colour]

    def when(count: int) -> float:
        return sorted(times)[count - 1] if count <= len(times) else math.nan

    final = [node for node in nodes if preferences[node] == 1]
    shown = {"start_ones": roles.ones, "final_ones": final, "undecided": undecided}
    shown |= {"decided_0": of(0), "decided_1": of(1)}
    outside = trial.units(trial.kinds)
    return {
        **{name: len(found) for name, found in shown.items()},
        **{f"{name}_stake": trial.units(found) / trial.stake for name, found in shown.items()},
        "byzantine_stake": outside / (trial.stake + outside),
        "admitted": len(trial.kinds),
        "rounds": rounds,
        "first_decision": when(1),
        "median_decision": when(math.ceil(h / 2)),
        "last_decision": when(h),
        "unanimity": unanimity,
        "flips": flips,
        "polls": polls,
    }
