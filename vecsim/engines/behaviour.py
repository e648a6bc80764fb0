"""What an adversary does in every situation of a trial, tabulated from its own `answer`."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vecsim.engines.cells import padded
from vecsim.engines.trial import asked, pooling_nodes
from vecsim.errors import require
from vecsim.model import poll_law as pools
from vecsim.model import random
from vecsim.model.point import Nodes, Point
from vecsim.model.uses import uses
from vecsim.types import Adversary, View

_GRID = 512  # values of a coin that are compared first; narrower pieces may be missed
MOST_MEMORIES = 16  # different ones that may come up in a trial
Memory = tuple[int, ...]  # what an adversary keeps, one number for each kind of its nodes
MOST_SITUATIONS = 20_000_000


class Situations(NamedTuple):
    """What an adversary may see of the honest nodes; arrays of one length."""

    ones: NDArray[np.int64]
    decided_0: NDArray[np.int64]
    decided_1: NDArray[np.int64]


class Branch(NamedTuple):
    """One way in which a round may go for the adversary, by chance that all its nodes share."""

    weight: NDArray[np.float64]  # [situations]: its probability
    mixes: NDArray[np.int64]  # [memories, situations, group, colour]
    memory: NDArray[np.int64]  # [memories, situations]: number of the next memory


class Conduct(NamedTuple):
    """An adversary's answers while the trial's own coin has one value.

    weight: probability of that. phases: rounds from which on another list of branches holds.
    memories: how many the adversary may have; the first is the one at the start.
    """

    weight: float
    phases: tuple[int, ...]
    branches: tuple[tuple[Branch, ...], ...]
    memories: int


def unsupported(point: Point, situations: int) -> str | None:
    """Why an adversary's answers are not tabulated."""
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

    ConfigError where it may come to remember more than can be tabulated.
    """
    used = uses(point.adversary)
    table = partial(_table, point, admitted, situations, used)
    memories = _memories(table, used, point.adversary.memories)
    coarse = _grid(_GRID) if "round_coin" in used else [0]
    found = []

    def toss(coin: int, tossed: int):
        return table(memories, [coin], [tossed])

    def trial(coin: int):
        return table(memories, [coin], coarse)

    for coin, weight in _pieces(trial, "trial_coin" in used):
        tosses = _pieces(partial(toss, coin), "round_coin" in used)
        mixes, after = table(memories, [coin], [tossed for tossed, _ in tosses])
        shares = [share for _, share in tosses]
        found.append(_conduct(point, admitted, situations, memories, weight, shares, mixes, after))
    return found


def _conduct(point, admitted, situations, memories, weight, shares, mixes, after) -> Conduct:
    """From tables [rounds, memory, trial coin, round coin, pooled, situation, ...]."""
    numbered = partial(_numbered, memories)
    chances = _pooled(point, admitted, situations)
    rounds = len(mixes)
    changed = [
        r
        for r in range(1, rounds)
        if not (np.array_equal(mixes[r], mixes[r - 1]) and np.array_equal(after[r], after[r - 1]))
    ]
    phases = (0, *changed)
    branches = []
    for r in phases:
        branches.append(
            tuple(
                Branch(
                    share * chances[pooled],
                    mixes[r, :, 0, toss, pooled],
                    numbered(after[r, :, 0, toss, pooled]),
                )
                for toss, share in enumerate(shares)
                for pooled in range(len(chances))
            )
        )
    return Conduct(weight, phases, tuple(branches), len(memories))


def _numbered(memories: list[Memory], found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the memories in an array [..., slots]."""
    number = {memory: i for i, memory in enumerate(memories)}
    rows, which = np.unique(found.reshape(-1, found.shape[-1]), axis=0, return_inverse=True)
    met = [tuple(row) for row in rows.tolist()]
    allowed = f"at most {MOST_MEMORIES} different ones, none that hardly ever comes up"
    missing = [memory for memory in met if memory not in number]
    require(not missing, "the adversary's memory", missing[:1], allowed)
    numbers = np.array([number[memory] for memory in met])
    return numbers[which.reshape(found.shape[:-1])]


def _pooled(point: Point, admitted: Nodes, situations: Situations) -> list[NDArray[np.float64]]:
    """P(the pooled minority is 0) and P(it is 1) in each situation, where it is looked at."""
    if not point.adversary.pools:
        return [np.ones(len(situations.ones))]
    rule, replacement = point.protocol, point.network.replacement
    samples = pooling_nodes(point.adversary, admitted)
    one = pools.pooled_minority_one(point.honest, samples, rule.k, replacement)
    return [1 - one[situations.ones], one[situations.ones]]


def _grid(pieces: int) -> list[int]:
    return [*range(0, random.COINS, random.COINS // pieces), random.COINS - 1]


def _pieces(table: Callable[[int], Any], used: bool) -> list[tuple[int, float]]:
    """Values of a coin that stand for all, and how likely each is, from where answers change."""
    if not used:
        return [(0, 1.0)]
    known: dict[int, bytes] = {}

    def signature(coin: int) -> bytes:
        if coin not in known:
            known[coin] = b"".join(np.ascontiguousarray(part).tobytes() for part in table(coin))
        return known[coin]

    starts = [0]
    grid = _grid(_GRID)
    for low, high in pairwise(grid):
        while signature(low) != signature(high):
            same, other = low, high
            while other - same > 1:
                middle = (same + other) // 2
                if signature(middle) == signature(low):
                    same = middle
                else:
                    other = middle
            starts.append(other)
            low = other
    ends = [*starts[1:], random.COINS]
    weights: dict[bytes, tuple[int, float]] = {}
    for start, end in zip(starts, ends, strict=True):
        coin, weight = weights.get(signature(start), (start, 0.0))
        weights[signature(start)] = (coin, weight + (end - start) / random.COINS)
    return list(weights.values())


def _memories(table: Callable[..., Any], used: frozenset[str], slots: int) -> list[Memory]:
    """The adversary's memories that can come up, the one at the start first."""
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
    point: Point,
    admitted: Nodes,
    situations: Situations,
    used: frozenset[str],
    memories: Sequence[Memory],
    trial_coins: Sequence[int],
    round_coins: Sequence[int],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mixes and next memories: [rounds, memory, trial coin, round coin, pooled, situation, ...].

    Only rounds in which the adversary may differ are told apart; without memory the next is 0.
    """
    byzantine, held = sum(admitted), np.array(memories, np.int32)
    rounds = np.arange(point.protocol.max_rounds if "round" in used else 1)
    pooled = np.arange(2 if point.adversary.pools else 1)
    axes = [
        rounds,
        np.arange(len(held)),
        trial_coins,
        round_coins,
        pooled,
        np.arange(len(situations.ones)),
    ]
    where = [part.ravel() for part in np.meshgrid(*map(np.asarray, axes), indexing="ij")]
    network, place = point.network, where[5]
    fixed = dict(
        honest=point.honest,
        byzantine=byzantine,
        peers=point.honest + byzantine - network.exclude_self,
        exclude_self=int(network.exclude_self),
        k=point.protocol.k,
        alpha=point.protocol.quorums[0],
        start_ones=point.start_ones,
    )
    varying = dict(
        round=where[0],
        ones=situations.ones[place],
        decided_0=situations.decided_0[place],
        decided_1=situations.decided_1[place],
        pooled_minority=where[4],
    )
    coins = dict(trial_coin=where[2] / random.COINS, round_coin=where[3] / random.COINS)
    parts: dict[str, Any] = {name: np.int32(value) for name, value in fixed.items()}
    parts |= {name: padded(value.astype(np.int32)) for name, value in varying.items()}
    parts |= {name: padded(value.astype(np.float32)) for name, value in coins.items()}
    seen = View(**parts)
    mixes, after = answered(point.adversary, seen, held[padded(where[1])])
    sizes = [len(axis) for axis in axes]
    mixes = np.asarray(mixes)[: len(place)].reshape(*sizes, -1, 2)
    if "memory" not in used:
        return mixes, np.zeros((*sizes, held.shape[1]), np.int64)
    return mixes, np.asarray(after)[: len(place)].reshape(*sizes, -1)


@jax.jit
def answered(adversary: Adversary, seen: View, memory):
    """Mixes and next memory for each element of the view's arrays; its scalars are shared.

    memory: int32 [elements, slots].
    """
    axes = jax.tree.map(lambda value: 0 if jnp.ndim(value) else None, seen)

    def answer(seen: View, memory):
        mixes, after = asked(adversary, seen, memory)
        return jnp.asarray(mixes), after

    return jax.vmap(answer, (axes, 0))(seen, memory)
