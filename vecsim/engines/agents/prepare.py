"""From points and trial numbers to the arrays of a batch (host side).

A batch has room for `size` trials of any points that share a program; every leaf of `Trials` has
them along its first axis. Two trials of a point with n = 10 (9 honest) in a batch of three:

    trials.honest      9      9      0        the third is filled up with a trial of no nodes
    trials.key         k(0)   k(1)   0        what all random words of the trial are made from
    trials.offsets     0      0      0        where the trial's table begins, for each mix
    place              0      1               where the outcomes belong

    tables.thresholds  row i: thresholds of a poll where i of the 9 honest nodes prefer 1
                       [rows, own colour, columns, words]; 10 rows, filled up with zeros
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from vecsim.engines.agents.stake_polls import one_by_one, scale_of, trial_fields, unit_thresholds
from vecsim.engines.agents.tables import Stack, WantedTables
from vecsim.engines.drawn import admitted, first_ones
from vecsim.engines.timed.shape import TimedTables, lost_share, timed_shape
from vecsim.engines.timed.ticks import steps_of
from vecsim.engines.trial import Shape, Tables, Trials
from vecsim.model import graphs, random
from vecsim.model import poll_law as pools
from vecsim.model.point import Nodes, Point
from vecsim.model.poll_draw import PollKind, boundary, thresholds
from vecsim.types import Adversary

# Values of beta below which a poll draws two words. With one word the relative error of P(a run of
# successes) is below 6e-7 from beta 5 on, for runs down to 1e-15; with beta 1 it is 12 % at 1e-9.
WIDE_BELOW = 5
TABLE_BYTES = 2**25  # of threshold tables sent with a batch at most, unless one trial needs more
POOLED_TABLES = 8  # tables of pooled minorities sent with a batch at most: one of each point

Roster = dict[Any, Adversary]  # one adversary of each structure that a program serves


class Item(NamedTuple):
    """Trials of one point with the same number of admitted Byzantine nodes."""

    point: Point
    key: tuple[np.ndarray, np.ndarray]  # of the point
    trials: np.ndarray  # numbers of the trials
    place: np.ndarray  # where their outcomes belong in the caller's order
    kinds: Nodes  # Byzantine nodes of each kind in the network

    @property
    def admitted(self) -> int:
        """Byzantine nodes in the network, of all kinds together."""
        return sum(self.kinds)


def poll_kind(point: Point) -> PollKind:
    """The draw that the point needs."""
    rule = point.protocol
    if one_by_one(point):
        return PollKind(rule.counts, False, 1, False, rule.k)
    mixes = [mix for way in point.adversary.ways for mix in way] if point.byzantine else []
    missing = point.network.loss > 0 or any(sum(mix) < 1 for mix in mixes)
    silent = rule.counts and missing
    number = len(rule.quorums)
    if rule.counts or (number == 2 and len(set(rule.quorums)) == 1):
        number = 1
    wide = not silent and rule.least_beta < WIDE_BELOW
    return PollKind(rule.counts, silent, number, wide, rule.k)


def agents_program_key(point: Point):
    """What decides which program runs the point: points with the same key share one."""
    network = point.network
    graph = None if network.topology == "complete" else network
    rule = jax.tree.structure(point.protocol)
    drawn = (point.stake.weighted, one_by_one(point))
    return rule, point.n, point.schedule, graph, poll_kind(point)._replace(k=0), drawn


def agents_shape(points: list[Point], seed: int) -> Shape:
    """What the program that serves all these points, of one program key, is compiled for."""
    first = points[0]
    kind = poll_kind(first)._replace(k=max(point.protocol.k for point in points))
    if first.network.topology != "complete":
        degree = graphs.neighbours(first.network, first.n, seed).shape[-1]
        return Shape("graph", first.n, 32, kind, degree)
    honest, places = max(point.honest for point in points), one_by_one(first)
    if first.stake.weighted or places:  # how many nodes are honest may differ from trial to trial
        honest = first.n
    if first.timed:
        return Shape("timed", honest, 32, kind, places=True, timed=timed_shape(points))
    if first.schedule == "async":
        return Shape("asynchronous", honest, 32, kind, places=places)
    if places:
        return Shape("places", honest, 32, kind, places=True)
    limit = max(point.protocol.cell_limit() for point in points)
    return Shape("agents", honest, 8 if limit <= 2**8 else 16 if limit <= 2**16 else 32, kind)


def items(point: Point, seed: int, trials: np.ndarray, place: np.ndarray) -> list[Item]:
    """Trials grouped by the Byzantine nodes admitted to each.

    trials: their numbers, int64. place: where their outcomes belong, of the same length.
    """
    key = random.point_key(seed, point.hash())
    if point.stake.weighted:  # every trial has Byzantine nodes of its own
        return [Item(point, key, trials, place, point.kinds)]
    number = admitted(point, random.trial_key(key, trials))
    found, which = np.unique(number, axis=0, return_inverse=True)
    which = which.reshape(-1)
    parts = enumerate(map(tuple, found.tolist()))
    return [Item(point, key, trials[which == i], place[which == i], kinds) for i, kinds in parts]


def roster_of(points: Iterable[Point]) -> Roster:
    """One adversary of each structure; others of that structure differ from it in numbers only."""
    return {jax.tree.structure(point.adversary): point.adversary for point in points}


def shared_fields(point: Point, roster: Roster) -> dict[str, Any]:
    """The fields of `Trials` that are the same in all trials of a point."""
    key = jax.tree.structure(point.adversary)
    return dict(
        protocol=point.stepped(),
        adversaries=tuple((roster | {key: point.adversary}).values()),
        which=list(roster).index(key),
        start_ones=point.start_ones,
        exclude_self=int(point.network.exclude_self),
    )


class Assembler:
    """Packs items into batches of one shape.

    size: trials of a batch. mixes, kinds: ways to answer, and kinds of Byzantine nodes, of an
    adversary at most. polls, pooled: tables of the batch in the making. neighbours: of `Tables`.
    """

    def __init__(self, shape: Shape, points: list[Point], size: int, seed: int):
        self.shape, self.size = shape, size
        self.roster = roster_of(points)
        listed = self.roster.values()
        self.mixes = max(len(adversary.ways) for adversary in listed)
        self.kinds = max(len(adversary.kinds) for adversary in listed)
        row = (1 if shape.kind.counts else 2, shape.kind.columns, shape.kind.words)
        longest = max(point.n for point in points) + 1
        self.weighted, graph = points[0].stake.weighted, shape.engine == "graph" or shape.places
        if self.weighted and not shape.places:
            row = (2, shape.kind.columns // 2, shape.kind.words)
            longest = max(point.size * scale_of(point) for point in points) + 1
        # Ways that differ only in how many nodes answer a fixed colour share a table, as those
        # nodes count as honest ones.
        ways = ({frozenset(way).difference(pools.FIXED) for way in each.ways} for each in listed)
        apart = max(map(len, ways))
        tables = max(apart, TABLE_BYTES // (4 * longest * int(np.prod(row))))
        self.polls = Stack(0 if graph else min(apart * size, tables) * longest, row)
        pooling = any(adversary.pools for adversary in listed) and not self.weighted
        self.pooled = Stack(POOLED_TABLES * longest if pooling else 1, ())
        self.timed = TimedTables(points, shape.timed.regions) if shape.timed else None
        self.neighbours = np.full((1, 1, 1), -1, np.int32)
        if shape.engine == "graph":
            self.neighbours = graphs.neighbours(points[0].network, points[0].n, seed)

    def batches(self, items_: Iterable[Item]) -> Iterator[tuple[Trials, Tables, np.ndarray]]:
        """Trials, tables, and where the outcomes belong: as many as there are trials, of which the
        last batch has fewer than `size`. All items must be of the points given at the start.
        """
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

    def _tables(self, item: Item) -> tuple[WantedTables, WantedTables]:
        """Tables that the item's trials look up: thresholds of polls, and pooled minorities."""
        point, polls, pooled = item.point, {}, {}
        quorums = point.protocol.quorums
        if self.weighted:
            return {} if self.shape.places else self._units_table(point), {}
        none = self.shape.engine == "graph" or self.shape.places
        for way in () if none else point.adversary.ways:
            pool, _ = point.pool(way, item.kinds).merged()
            make = partial(thresholds, pool, self.shape.kind, quorums)
            polls[pool, quorums] = (pool.honest + 1, make)
        if point.adversary.pools:
            samples = point.adversary.pooling(item.kinds)
            key = (point.honest, samples, point.protocol.k, point.network.replacement)
            pooled[key] = (point.honest + 1, lambda: _boundary(pools.pooled_minority_one(*key)))
        return polls, pooled

    def _units_table(self, point: Point) -> WantedTables:
        """The table of polls among units of stake."""
        kind, network = self.shape.kind._replace(k=point.protocol.k), point.network
        drawn = (point.protocol.quorums, float(network.loss), network.replacement)
        key = (point.size, scale_of(point), kind, *drawn)
        return {key: (point.size * scale_of(point) + 1, lambda: unit_thresholds(*key))}

    def _trial(self, item: Item, pooled: WantedTables) -> Trials:
        """What the item's trials have in common: all but key, coin, first_ones and graph."""
        point, quorums = item.point, item.point.protocol.quorums
        adversary, offsets = point.adversary, np.zeros(self.mixes, np.int32)
        coins = np.zeros((self.mixes, self.kinds, 3), np.uint32)
        if self.weighted and not self.shape.places:
            offsets[:] = self.polls.start[next(iter(self._units_table(point)))]
        for i, way in enumerate(adversary.ways):
            if not self.weighted:
                pool, extra = point.pool(way, item.kinds).merged()
                offsets[i] = self.polls.start.get((pool, quorums), 0) + extra
            given = np.column_stack([way, adversary.neutrals[i]])
            coins[i, : len(way)] = _boundary(np.minimum(np.cumsum(given, axis=1), 1.0))
        return Trials(
            key=(None, None),
            coin=None,
            **shared_fields(point, self.roster),
            honest=point.honest,
            byzantine=item.admitted,
            kinds=np.pad(item.kinds, (0, self.kinds - len(item.kinds))),
            first_group=point.first_group,
            round_steps=steps_of(point),
            offsets=offsets,
            pooled_offset=next((self.pooled.start[key] for key in pooled), 0),
            coins=coins,
            loss=_boundary(lost_share(point)),
            replacement=point.network.replacement,
            timing=self.timed and self.timed.timing(point),
        )

    def held_fields(self, point: Point, keys, trial: Trials) -> dict[str, Any]:
        """The fields of Trials that differ among a point's trials of a weighted stake, by name.

        keys: the trials', two uint32 [trials]. trial: what they have in common.
        """
        first = int(np.max(trial.offsets))
        return trial_fields(self.shape, point, keys, first, self.mixes, self.kinds)

    def _finish(self, taken: list[tuple[Trials, Item]]) -> tuple[Trials, Tables, np.ndarray]:
        """One batch, filled up with trials of no nodes."""
        known, listed = zip(*taken, strict=True)
        empty, sizes = known[-1]._replace(honest=0), [len(item.trials) for item in listed]
        sizes.append(self.size - sum(sizes))

        def filled(parts) -> np.ndarray:
            return np.pad(np.concatenate(parts), (0, sizes[-1]))

        trials = jax.tree.map(partial(_repeated, sizes), *known, empty)
        keys = [random.trial_key(item.key, item.trials) for item in listed]
        key = tuple(map(filled, zip(*keys, strict=True)))
        graph = filled([item.trials for item in listed]) % len(self.neighbours)
        times = () if self.timed is None else self.timed.arrays
        tables = Tables(self.polls.array(), self.pooled.array(), self.neighbours, *times)
        self.polls.clear()
        self.pooled.clear()
        whole: dict[str, Any] = dict(graph=graph.astype(np.int32))
        if self.weighted:
            every = zip(known, listed, keys, strict=True)
            parts = [self.held_fields(item.point, own, trial) for trial, item, own in every]
            whole |= jax.tree.map(lambda *leaves: _filled(leaves, sizes[-1]), *parts)
        else:
            firsts = map(first_ones, (item.point for item in listed), keys)
            whole["first_ones"] = filled([ones[:, 0] for ones in firsts]).astype(np.int32)
        trials = trials._replace(key=key, coin=random.trial_coin(key), **whole)
        return trials, tables, np.concatenate([item.place for item in listed])


def _boundary(probability) -> np.ndarray:
    """32-bit integers for P(word < integer) = probability."""
    probability = np.asarray(probability, float)
    return boundary(probability, 1 - probability, wide=False)[..., 0]


def _filled(leaves: Sequence[np.ndarray], more: int) -> np.ndarray:
    """Trials end to end, and so many more of zeros."""
    whole = np.concatenate(leaves)
    return np.pad(whole, ((0, more), *((0, 0) for _ in whole.shape[1:])))


def _repeated(sizes: list[int], *leaves: Any) -> np.ndarray:
    """So many trials of each leaf end to end, in 32 bits."""
    array = np.stack([np.asarray(leaf) for leaf in leaves])
    narrow = {"i": np.int32, "f": np.float32, "b": np.bool_, "u": np.uint32}
    return np.repeat(array.astype(narrow[array.dtype.kind]), sizes, axis=0)
