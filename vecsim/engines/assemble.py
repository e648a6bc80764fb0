"""From points and trial numbers to the arrays of a batch (host side)."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from vecsim import pool as pools
from vecsim import random
from vecsim.engines.batch import Shape, Tables, Trials
from vecsim.point import Point
from vecsim.poll import Kind, boundary, thresholds
from vecsim.pool import Pool
from vecsim.types import Adversary

WIDE_BELOW = 5  # runs shorter than this draw two words (the bias of a longer run is below 6e-7)
CACHE_BYTES = 2**28  # of threshold tables kept on the host
BATCH_ROW_BYTES = 2**23  # of threshold tables sent with a batch, unless one trial needs more


class Item(NamedTuple):
    """Trials of one point with the same number of admitted Byzantine nodes."""

    point: Point
    key: tuple[np.ndarray, np.ndarray]  # of the point
    trials: np.ndarray  # numbers of the trials
    place: np.ndarray  # where their outcomes belong in the caller's order
    admitted: int


def shape_of(points: list[Point]) -> Shape:
    """The program that serves all these points (one protocol class, n, schedule and topology)."""
    rules = [point.protocol for point in points]
    counts = rules[0].counts
    short = not counts and any(getattr(r, "beta", 0) < WIDE_BELOW for r in rules)
    kind = Kind(
        counts=counts,
        silent=counts and any(_pool(p, *mix).silent for p in points for mix in p.adversary.mixes),
        split=not counts and any(len(set(rule.quorums)) > 1 for rule in rules),
        wide=short,
        k=max(rule.k for rule in rules),
    )
    limit = max(rule.cell_limit() for rule in rules)
    bits = 8 if limit <= 2**8 else 16 if limit <= 2**16 else 32
    if points[0].network.topology != "complete":
        engine = "graph"
    else:
        engine = "agents" if points[0].schedule == "lockstep" else "asynchronous"
    return Shape(engine, max(p.honest for p in points), bits if engine == "agents" else 32, kind)


def _pool(point: Point, accept: float, reject: float, admitted: int | None = None) -> Pool:
    network = point.network
    return Pool(
        honest=point.honest - network.exclude_self,
        byzantine=point.byzantine if admitted is None else admitted,
        k=point.protocol.k,
        accept=accept,
        reject=reject,
        loss=network.loss,
        replacement=network.replacement,
    )


def items(point: Point, key, trials: np.ndarray, place: np.ndarray) -> list[Item]:
    """Trials grouped by the number of Byzantine nodes admitted to each."""
    admission = float(point.adversary.admission)
    if admission == 1.0:
        return [Item(point, key, trials, place, point.byzantine)]
    high, low = random.threefry(
        *random.trial_key(key, trials), np.uint32(1), np.uint32(random.TRIAL)
    )
    word = (high.astype(np.uint64) << np.uint64(32)) | low
    uniform = (word >> np.uint64(11)) * 2.0**-53
    below = np.cumsum(pools.binomial(point.byzantine, admission))
    admitted = np.minimum(np.searchsorted(below, uniform, side="right"), point.byzantine)
    return [
        Item(point, key, trials[admitted == a], place[admitted == a], int(a))
        for a in np.unique(admitted)
    ]


class Cache:
    """Threshold rows by pool, the oldest dropped past CACHE_BYTES."""

    def __init__(self):
        self.rows: OrderedDict = OrderedDict()
        self.bytes = 0

    def get(self, key, make):
        if key not in self.rows:
            self.rows[key] = make()
            self.bytes += self.rows[key].nbytes
            while self.bytes > CACHE_BYTES and len(self.rows) > 1:
                self.bytes -= self.rows.popitem(last=False)[1].nbytes
        self.rows.move_to_end(key)
        return self.rows[key]


class Stack:
    """Tables of one batch end to end; one that several trials use is there once."""

    def __init__(self, cache: Cache, capacity: int):
        self.cache, self.capacity = cache, capacity
        self.clear()

    def clear(self):
        self.start: dict = {}
        self.parts: list[np.ndarray] = []
        self.length = 0

    def fits(self, tables: dict) -> bool:
        """Whether tables, given as {key: (length, make)}, still have a place."""
        new = sum(length for key, (length, _) in tables.items() if key not in self.start)
        return self.length + new <= self.capacity

    def add(self, tables: dict) -> None:
        for key, (length, make) in tables.items():
            if key not in self.start:
                self.start[key] = self.length
                self.parts.append(self.cache.get(key, make))
                self.length += length

    def array(self, empty) -> np.ndarray:
        """All tables, padded to the capacity with the row `empty`."""
        padding = np.repeat(empty, self.capacity - self.length, axis=0)
        return np.concatenate([*self.parts, padding])


class Assembler:
    """Packs items into batches of one shape.

    shape: what is compiled. roster: one adversary of each class that occurs. size: trials of a
    batch.
    """

    def __init__(self, shape: Shape, roster: dict[type, Adversary], size: int):
        self.shape, self.roster, self.size = shape, roster, size
        rows, cache = shape.nodes + 1, Cache()
        row_bytes = 8 * shape.kind.columns * shape.kind.words
        mixes = max(len(adversary.mixes) for adversary in roster.values())
        tables = min(mixes * size, max(mixes, BATCH_ROW_BYTES // (rows * row_bytes)))
        pooled = 8 * rows if any(adversary.pools for adversary in roster.values()) else 1
        self.mixes = mixes
        self.polls, self.pooled = Stack(cache, tables * rows), Stack(cache, pooled)
        self.neighbours = np.full((1, 1, 1), -1, np.int32)

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
                taken.append((self._trial(item, polls, pooled), part))
                count += len(part.trials)
                item = item._replace(trials=item.trials[room:], place=item.place[room:])
        if taken:
            yield self._finish(taken)

    def _tables(self, item: Item):
        kind, quorums = self.shape.kind, tuple(map(int, item.point.protocol.quorums))
        polls, pooled = {}, {}
        for mix in item.point.adversary.mixes:
            pool, _ = _pool(item.point, *mix, item.admitted).merged()
            make = partial(thresholds, pool, kind, quorums)
            polls[pool, quorums] = (pool.honest + 1, make)
        if item.point.adversary.pools:
            point = item.point
            key = (point.honest, item.admitted, point.protocol.k, point.network.replacement)
            pooled[key] = (point.honest + 1, partial(_pooled, *key))
        return polls, pooled

    def _trial(self, item: Item, polls, pooled) -> Trials:
        """The item's trial as scalars, but for its key."""
        point = item.point
        quorums = tuple(map(int, point.protocol.quorums))
        offsets = np.zeros(self.mixes, np.int32)
        for i, mix in enumerate(point.adversary.mixes):
            pool, extra = _pool(point, *mix, item.admitted).merged()
            offsets[i] = self.polls.start[pool, quorums] + extra
        return Trials(
            key=(np.uint32(0), np.uint32(0)),
            protocol=point.protocol,
            adversaries=tuple((self.roster | {type(point.adversary): point.adversary}).values()),
            which=list(self.roster).index(type(point.adversary)),
            honest=point.honest,
            byzantine=item.admitted,
            start_ones=point.start_ones,
            exclude_self=int(point.network.exclude_self),
            round_steps=1 if point.schedule == "lockstep" else point.n,
            offsets=offsets,
            pooled_offset=next((self.pooled.start[key] for key in pooled), 0),
            graph=0,
        )

    def _finish(self, taken: list[tuple[Trials, Item]]):
        """One batch, filled up with trials of no nodes."""
        scalars = [scalar for scalar, _ in taken]
        sizes = [len(item.trials) for _, item in taken]
        missing = self.size - sum(sizes)
        if missing:
            scalars.append(scalars[-1]._replace(honest=0))
            sizes.append(missing)
        trials = jax.tree.map(lambda *leaves: np.repeat(_array(leaves), sizes, axis=0), *scalars)
        keys = [random.trial_key(item.key, item.trials) for _, item in taken]
        padding = np.zeros(missing, np.uint32)
        key = tuple(np.concatenate([*words, padding]) for words in zip(*keys, strict=True))
        kind, colours = self.shape.kind, 1 if self.shape.kind.counts else 2
        tables = Tables(
            thresholds=self.polls.array(
                np.zeros((1, colours, kind.columns, kind.words), np.uint32)
            ),
            pooled=self.pooled.array(np.zeros(1, np.uint32)),
            neighbours=self.neighbours,
        )
        self.polls.clear()
        self.pooled.clear()
        return trials._replace(key=key), tables, np.concatenate([item.place for _, item in taken])


def _pooled(honest: int, samples: int, k: int, replacement: bool) -> np.ndarray:
    probability = pools.pooled_minority_one(honest, samples, k, replacement)
    return boundary(probability, 1 - probability, wide=False)[:, 0]


def _array(leaves) -> np.ndarray:
    array = np.stack([np.asarray(leaf) for leaf in leaves])
    narrow = {"i": np.int32, "f": np.float32, "b": np.bool_, "u": np.uint32}
    return array.astype(narrow[array.dtype.kind])
