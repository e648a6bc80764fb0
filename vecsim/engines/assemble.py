"""From points and trial numbers to the arrays of a batch (host side)."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from vecsim import graphs, random
from vecsim import pool as pools
from vecsim.engines.batch import Shape, Tables, Trials
from vecsim.engines.stack import Stack, Wanted
from vecsim.point import Point
from vecsim.poll import Kind, boundary, thresholds
from vecsim.pool import Pool
from vecsim.types import Adversary

WIDE_BELOW = 5  # runs shorter than this draw two words; the bias of longer ones is below 6e-7
TABLE_BYTES = 2**25  # of threshold tables sent with a batch, unless one trial needs more
POOLED_TABLES = 8


class Item(NamedTuple):
    """Trials of one point with the same number of admitted Byzantine nodes."""

    point: Point
    key: tuple[np.ndarray, np.ndarray]  # of the point
    trials: np.ndarray  # numbers of the trials
    place: np.ndarray  # where their outcomes belong in the caller's order
    admitted: int


def kind_of(point: Point) -> Kind:
    """The draw that the point needs."""
    rule = point.protocol
    mixes = [pool_of(point, mix, point.byzantine) for mix in point.adversary.mixes]
    silent = rule.counts and any(pool.silent for pool in mixes)
    return Kind(
        counts=rule.counts,
        silent=silent,
        split=not rule.counts and len(set(rule.quorums)) > 1,
        wide=not silent and getattr(rule, "beta", 0) < WIDE_BELOW,
        k=rule.k,
    )


def program_key(point: Point):
    """Points with the same key share one compiled program."""
    network = point.network
    graph = None if network.topology == "complete" else network
    rule = jax.tree.structure(point.protocol)
    return rule, point.n, point.schedule, graph, kind_of(point)._replace(k=0)


def shape_of(points: list[Point], seed: int) -> Shape:
    """What the program that serves all these points is compiled for."""
    first = points[0]
    kind = kind_of(first)._replace(k=max(point.protocol.k for point in points))
    if first.network.topology != "complete":
        degree = graphs.neighbours(first.network, first.n, seed).shape[-1]
        return Shape("graph", first.n, 32, kind, degree)
    honest = max(point.honest for point in points)
    if first.schedule == "async":
        return Shape("asynchronous", honest, 32, kind)
    limit = max(point.protocol.cell_limit() for point in points)
    return Shape("agents", honest, 8 if limit <= 2**8 else 16 if limit <= 2**16 else 32, kind)


def pool_of(point: Point, mix: tuple[float, float], admitted: int) -> Pool:
    """Whom a node of this point may poll when Byzantine nodes answer by `mix`."""
    network, (accept, reject) = point.network, mix
    return Pool(
        honest=point.honest - network.exclude_self,
        byzantine=admitted,
        k=point.protocol.k,
        accept=accept,
        reject=reject,
        loss=network.loss,
        replacement=network.replacement,
    )


def items(point: Point, seed: int, trials: np.ndarray, place: np.ndarray) -> list[Item]:
    """Trials grouped by the number of Byzantine nodes admitted to each."""
    key = random.point_key(seed, point.hash())
    number = admitted(point, key, trials)
    return [
        Item(point, key, trials[number == a], place[number == a], int(a)) for a in np.unique(number)
    ]


def admitted(point: Point, key, trials: np.ndarray) -> np.ndarray:
    """Byzantine nodes admitted to the network of each of the point's trials."""
    most, admission = point.byzantine, float(point.adversary.admission)
    if admission == 1.0:
        return np.full(len(trials), most)
    from scipy import stats  # slow to import, and few points need it

    words = random.trial_key(key, trials)
    high, low = random.threefry(*words, np.uint32(1), np.uint32(random.TRIAL))
    uniform = ((high.astype(np.uint64) << np.uint64(21)) | (low >> np.uint32(11))) * 2.0**-53
    return np.clip(stats.binom.ppf(uniform, most, admission), 0, most).astype(np.int64)


class Assembler:
    """Packs items into batches of one shape.

    roster: one adversary of each class that occurs. size: trials of a batch.
    """

    def __init__(self, shape: Shape, points: list[Point], size: int, seed: int):
        self.shape, self.size = shape, size
        self.roster: dict[type[Adversary], Adversary] = {
            type(point.adversary): point.adversary for point in points
        }
        self.mixes = max(len(adversary.mixes) for adversary in self.roster.values())
        row = (1 if shape.kind.counts else 2, shape.kind.columns, shape.kind.words)
        longest = max(point.n for point in points) + 1
        graph = shape.engine == "graph"
        tables = max(self.mixes, TABLE_BYTES // (4 * longest * int(np.prod(row))))
        self.polls = Stack(0 if graph else min(self.mixes * size, tables) * longest, row)
        pooling = any(adversary.pools for adversary in self.roster.values())
        self.pooled = Stack(POOLED_TABLES * longest if pooling else 1, ())
        network = points[0].network
        none = np.full((1, 1, 1), -1, np.int32)
        self.neighbours = graphs.neighbours(network, points[0].n, seed) if graph else none

    def batches(self, items_: Iterable[Item]) -> Iterator[tuple[Trials, Tables, np.ndarray]]:
        """Trials, tables, and where the outcomes belong (fewer than the batch at the end)."""
        taken: list[tuple[Trials, Item]] = []
        count = 0
        for item in items_:
            while len(item.trials):
                polls, pooled = self._tables(item)
                if count == self.size or not (self.polls.fits(polls) and self.pooled.fits(pooled)):
                    yield self._finish(taken)
                    taken, count = [], 0
                self.polls.add(polls)
                self.pooled.add(pooled)
                room = self.size - count
                part = item._replace(trials=item.trials[:room], place=item.place[:room])
                taken.append((self._trial(item, pooled), part))
                count += len(part.trials)
                item = item._replace(trials=item.trials[room:], place=item.place[room:])
        if taken:
            yield self._finish(taken)

    def _tables(self, item: Item) -> tuple[Wanted, Wanted]:
        """What the item's trials look up: thresholds of polls, and of the adversary's pools."""
        point, polls, pooled = item.point, {}, {}
        quorums = point.protocol.quorums
        for mix in point.adversary.mixes if self.shape.engine != "graph" else ():
            pool, _ = pool_of(point, mix, item.admitted).merged()
            make = partial(thresholds, pool, self.shape.kind, quorums)
            polls[pool, quorums] = (pool.honest + 1, make)
        if point.adversary.pools:
            key = (point.honest, item.admitted, point.protocol.k, point.network.replacement)
            pooled[key] = (point.honest + 1, partial(_pooled, *key))
        return polls, pooled

    def _trial(self, item: Item, pooled: Wanted) -> Trials:
        """One of the item's trials, but for its key and graph."""
        point, quorums = item.point, item.point.protocol.quorums
        offsets, coins = np.zeros(self.mixes, np.int32), np.zeros((self.mixes, 2), np.uint32)
        for i, mix in enumerate(point.adversary.mixes):
            pool, extra = pool_of(point, mix, item.admitted).merged()
            offsets[i] = self.polls.start.get((pool, quorums), 0) + extra
            coins[i] = _boundary(np.cumsum(mix))
        return Trials(
            key=(np.uint32(0), np.uint32(0)),
            coin=np.uint32(0),
            protocol=point.stepped(),
            adversaries=tuple((self.roster | {type(point.adversary): point.adversary}).values()),
            which=list(self.roster).index(type(point.adversary)),
            honest=point.honest,
            byzantine=item.admitted,
            start_ones=point.start_ones,
            first_group=point.first_group,
            exclude_self=int(point.network.exclude_self),
            round_steps=point.steps,
            offsets=offsets,
            pooled_offset=next((self.pooled.start[key] for key in pooled), 0),
            graph=0,
            coins=coins,
            loss=_boundary(point.network.loss),
            replacement=point.network.replacement,
        )

    def _finish(self, taken: list[tuple[Trials, Item]]) -> tuple[Trials, Tables, np.ndarray]:
        """One batch, filled up with trials of no nodes."""
        scalars = [scalar for scalar, _ in taken]
        sizes = [len(item.trials) for _, item in taken]
        missing = self.size - sum(sizes)
        if missing:
            scalars.append(scalars[-1]._replace(honest=0))
            sizes.append(missing)
        trials = jax.tree.map(lambda *leaves: np.repeat(_array(leaves), sizes, axis=0), *scalars)
        filling = np.zeros(missing, np.uint32)
        keys = [random.trial_key(item.key, item.trials) for _, item in taken]
        key = tuple(np.concatenate([*words, filling]) for words in zip(*keys, strict=True))
        numbers = np.concatenate([*(item.trials for _, item in taken), filling.astype(int)])
        graph = (numbers % len(self.neighbours)).astype(np.int32)
        tables = Tables(self.polls.array(), self.pooled.array(), self.neighbours)
        self.polls.clear()
        self.pooled.clear()
        place = np.concatenate([item.place for _, item in taken])
        trials = trials._replace(key=key, coin=random.trial_coin(key), graph=graph)
        return trials, tables, place


def _boundary(probability) -> np.ndarray:
    """32-bit integers for P(word < integer) = probability."""
    probability = np.asarray(probability, float)
    return boundary(probability, 1 - probability, wide=False)[..., 0]


def _pooled(honest: int, samples: int, k: int, replacement: bool) -> np.ndarray:
    return _boundary(pools.pooled_minority_one(honest, samples, k, replacement))


def _array(leaves: tuple[Any, ...]) -> np.ndarray:
    array = np.stack([np.asarray(leaf) for leaf in leaves])
    narrow = {"i": np.int32, "f": np.float32, "b": np.bool_, "u": np.uint32}
    return array.astype(narrow[array.dtype.kind])
