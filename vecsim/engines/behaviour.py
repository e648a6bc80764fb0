"""What an adversary does in every situation of a trial, tabulated from its own `answer`.

All combinations of what it may see are asked at once. Sizes for n = 10, 9 of them honest, and an
adversary of one group that depends on nothing but the 1-holders:

    mixes   [round, memory, trial coin, round coin, pooled, situation, group, colour]
             1      1       1           1           1       10         1      2
    after   [round, ..., situation, slot]: the next memory, with one slot for each number kept
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vecsim.engines.cells import padded
from vecsim.engines.trial import asked
from vecsim.errors import require
from vecsim.model import poll_law as pools
from vecsim.model import random
from vecsim.model.point import Nodes, Point
from vecsim.model.uses import uses
from vecsim.types import Adversary, Protocol, View

# Values of a coin, evenly spaced, at which answers are compared first: other answers within a piece
# narrower than 1 / 512 may be missed.
_GRID = 512
MOST_MEMORIES = 16  # different memories that may occur in a trial: they multiply the states
Memory = tuple[int, ...]  # what an adversary keeps, one number for each kind of its nodes
MOST_SITUATIONS = 20_000_000  # rounds x coins x situations tabulated at most: bounds memory, time


class Situations(NamedTuple):
    """What an adversary may see of the honest nodes: numbers of them, [situations] each."""

    ones: NDArray[np.int64]  # prefer 1
    decided_0: NDArray[np.int64]
    decided_1: NDArray[np.int64]


class Branch(NamedTuple):
    """One way in which a round may go for the adversary, by chance that all its nodes share: the
    toss of the round's coin, and the pooled minority.
    """

    weight: NDArray[np.float64]  # [situations]: its probability
    mixes: NDArray[np.int64]  # [memories, situations, group, colour]: index into its ways
    memory: NDArray[np.int64]  # [memories, situations]: number of the next memory


class Conduct(NamedTuple):
    """An adversary's answers while the trial's own coin has one value.

    weight: probability of that. phases: the rounds, ascending from 0, at which another list of
    branches begins to hold. branches: the list of each phase. memories: how many the adversary may
    have; the first is the one at the start.
    """

    weight: float
    phases: tuple[int, ...]
    branches: tuple[tuple[Branch, ...], ...]
    memories: int


def unsupported(point: Point, situations: int) -> str | None:
    """Why the adversary's answers are not tabulated; None if they are. situations: how many."""
    used = uses(point.adversary)
    rounds = point.protocol.max_rounds if "round" in used else 1
    coins = _GRID if used & {"trial_coin", "round_coin"} else 1
    if rounds * coins * situations > MOST_SITUATIONS:
        return "the adversary may see too many different rounds"
    by_round = point.adversary.pools and point.adversary.every == "round"
    if point.schedule == "async" and (by_round or used & {"memory", "round_coin"}):
        return "under async, an adversary that pools, remembers or tosses a coin per round"
    return None


def conducts(point: Point, admitted: Nodes, situations: Situations) -> list[Conduct]:
    """The adversary's answers for each value of the trial's coin that makes a difference.

    admitted: Byzantine nodes of each kind in the network.
    ConfigError where it may come to remember more than can be tabulated.
    """
    used = uses(point.adversary)
    table = partial(_table, point, admitted, situations)
    memories = _memories(table, used, point.adversary.memories)
    coarse = _grid(_GRID) if "round_coin" in used else [0]
    chances = _pooled(point, admitted, situations)
    found = []
    for coin, weight in _pieces(partial(table, memories, round_coins=coarse), "trial_coin" in used):
        tosses = _pieces(partial(table, memories, [coin]), "round_coin" in used)
        mixes, after = table(memories, [coin], [tossed for tossed, _ in tosses])
        rounds = list(zip(mixes, after, strict=True))
        phases = (0, *(r for r in range(1, len(rounds)) if _differ(rounds[r], rounds[r - 1])))
        branches = tuple(_branches(memories, tosses, chances, *rounds[r]) for r in phases)
        found.append(Conduct(weight, phases, branches, len(memories)))
    return found


def _differ(one: Sequence[NDArray[np.int64]], other: Sequence[NDArray[np.int64]]) -> bool:
    return any((a != b).any() for a, b in zip(one, other, strict=True))


def _branches(memories: list[Memory], tosses, chances, mixes, after) -> tuple[Branch, ...]:
    """The ways in which a round may go: one for each toss of its coin, and for what is pooled.

    mixes, after: of the round, [memory, trial coin, round coin, pooled, situation, ...].
    """
    return tuple(
        Branch(share * chance, mixes[:, 0, i, j], _numbered(memories, after[:, 0, i, j]))
        for i, (_, share) in enumerate(tosses)
        for j, chance in enumerate(chances)
    )


def _numbered(memories: list[Memory], found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the memories in an array [..., slots]."""
    number = {memory: i for i, memory in enumerate(memories)}
    rows, which = np.unique(found.reshape(-1, found.shape[-1]), axis=0, return_inverse=True)
    met = [tuple(row) for row in rows.tolist()]
    allowed = f"at most {MOST_MEMORIES} different ones, none that hardly ever comes up"
    missing = [memory for memory in met if memory not in number]
    require(not missing, "the adversary's memory", missing[:1], allowed)
    return np.array([number[memory] for memory in met])[which.reshape(found.shape[:-1])]


def _pooled(point: Point, admitted: Nodes, situations: Situations) -> list[NDArray[np.float64]]:
    """P(the pooled minority is 0) and P(it is 1), [situations] each; one of ones without pools."""
    if not point.adversary.pools:
        return [np.ones(len(situations.ones))]
    samples, replacement = point.adversary.pooling(admitted), point.network.replacement
    one = pools.pooled_minority_one(point.honest, samples, point.protocol.k, replacement)
    return [1 - one[situations.ones], one[situations.ones]]


def _grid(pieces: int) -> list[int]:
    """Values of a coin, of COINS: where so many equal pieces begin, and the last one."""
    return [*range(0, random.COINS, random.COINS // pieces), random.COINS - 1]


def _pieces(table: Callable[[list[int]], Any], used: bool) -> list[tuple[int, float]]:
    """Values of a coin that stand for all others, and the probability of each: answers change only
    between the pieces that they stand for. table: what is answered at a list of values.
    """
    if not used:
        return [(0, 1.0)]

    @cache
    def signature(coin: int) -> bytes:
        return b"".join(part.tobytes() for part in table([coin]))

    starts = [0]
    for low, high in pairwise(_grid(_GRID)):
        while (same := signature(low)) != signature(high):
            low = bisect_left(
                range(high), True, low, key=lambda coin, same=same: signature(coin) != same
            )
            starts.append(low)
    weights: dict[bytes, tuple[int, float]] = {}
    for start, end in pairwise([*starts, random.COINS]):
        coin, weight = weights.get(signature(start), (start, 0.0))
        weights[signature(start)] = (coin, weight + (end - start) / random.COINS)
    return list(weights.values())


def _memories(table: Callable[..., Any], used: frozenset[str], slots: int) -> list[Memory]:
    """The memories that the adversary may reach, the one at the start first."""
    found = [(0,) * slots]
    if "memory" not in used:
        return found
    coarse = [_grid(16) if coin in used else [0] for coin in ("trial_coin", "round_coin")]
    while True:
        _, after = table(found, *coarse)
        met = map(tuple, np.unique(after.reshape(-1, slots), axis=0).tolist())
        fresh = [memory for memory in met if memory not in found]
        found += fresh
        if not fresh or len(found) > MOST_MEMORIES:
            return found


def _table(
    point: Point, admitted: Nodes, situations: Situations, memories, trial_coins, round_coins
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mixes and next memories: [rounds, memory, trial coin, round coin, pooled, situation, ...].

    Only rounds in which the adversary may differ are told apart; without memory the next is 0.
    memories: list of Memory. trial_coins, round_coins: lists of whole numbers below COINS.
    """
    used, held = uses(point.adversary), np.array(memories, np.int32)
    rounds = point.protocol.max_rounds if "round" in used else 1
    pooled = 2 if point.adversary.pools else 1
    sizes = (rounds, len(held), len(trial_coins), len(round_coins), pooled, len(situations.ones))
    round_, kept, trial, toss, minority, place = np.indices(sizes).reshape(len(sizes), -1)
    varying = {name: seen[place] for name, seen in situations._asdict().items()}
    varying |= dict(round=round_, pooled_minority=minority)
    counts = counts_of(point, sum(admitted)) | {name: padded(v) for name, v in varying.items()}
    coins = np.array(trial_coins)[trial], np.array(round_coins)[toss]
    coins = (padded(coin) / random.COINS for coin in coins)
    seen = view_of(point.protocol, *coins, **counts)
    mixes, after = answered(point.adversary, seen, held[padded(kept)])
    mixes = np.asarray(mixes)[: len(place)].reshape(*sizes, -1, 2)
    if "memory" not in used:
        return mixes, np.zeros((*sizes, held.shape[1]), np.int64)
    return mixes, np.asarray(after)[: len(place)].reshape(*sizes, -1)


def counts_of(point: Point, byzantine: int) -> dict[str, int]:
    """What an adversary always knows of a point's nodes: fields of View.

    byzantine: Byzantine nodes in the network.
    """
    own = int(point.network.exclude_self)
    known = dict(honest=point.honest, byzantine=byzantine, start_ones=point.start_ones)
    return known | dict(peers=point.honest + byzantine - own, exclude_self=own)


def view_of(rule: Protocol, trial_coin, round_coin, *, whole: type = np.int32, **counts) -> View:
    """The view of these coins and counts, scalars or arrays; what is not given is 0.

    trial_coin, round_coin: 0 to below 1. whole: the type of counts.
    """
    given = dict.fromkeys(View._fields, 0) | dict(k=rule.k, alpha=rule.quorums[0]) | counts
    parts: dict[str, Any] = {name: np.asarray(count, whole) for name, count in given.items()}
    parts |= dict(trial_coin=np.float32(trial_coin), round_coin=np.float32(round_coin))
    return View(**parts)


@jax.jit
def answered(adversary: Adversary, seen: View, memory):
    """Mixes [elements, group, colour] and next memories [elements, slots].

    seen: of one length where its parts are arrays; its scalars are shared by all elements.
    memory: int32 [elements, slots].
    """
    axes = jax.tree.map(lambda value: 0 if jnp.ndim(value) else None, seen)

    def answer(seen: View, memory):
        mixes, after = asked(adversary, seen, memory)
        return jnp.asarray(mixes), after

    return jax.vmap(answer, (axes, 0))(seen, memory)
