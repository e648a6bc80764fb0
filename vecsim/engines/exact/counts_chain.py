"""Chain on how many honest nodes are in each cell, for a handful of nodes.

Only reachable states are visited, breadth first.
"""

from functools import cache
from itertools import combinations
from math import factorial, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecsim.engines.behaviour import Branch, Conduct
from vecsim.engines.exact.absorbing import Chain, transitions
from vecsim.engines.exact.counts import CellCounts, Census, States, names_of, remembered
from vecsim.engines.exact.polls import poll_results
from vecsim.errors import ConfigError
from vecsim.model.point import Nodes
from vecsim.model.poll_law import Floats

MOST_MOVES = 20_000_000  # pairs of a state and one that may follow it, to bound memory and time

Scene = tuple[int, tuple[int, ...]]  # honest 1-holders, and the mix for each [group, colour]


class Law(NamedTuple):
    """Some of the nodes after a step, in all ways that are possible.

    keys: a number for each census, uint64 [ways]; the key of two lots of nodes together is the sum
    of theirs. weights: probabilities [ways]. rows: the censuses, int16 [ways, width].
    """

    keys: NDArray[np.uint64]
    weights: Floats
    rows: CellCounts


def census_chain(
    census: Census, admitted: Nodes, conduct: Conduct, most_moves: int = MOST_MOVES
) -> tuple[Chain, CellCounts]:
    """The chain on censuses, breadth first, and the census of each state, int16 [states, width].

    The first state is the start. ConfigError where there are more moves than `most_moves`.
    """
    walk, situations = _Walk(census, admitted, most_moves), census.situations()
    fresh = States(census.start[None], np.zeros(1, np.int32))
    known = names_of(census, fresh)
    layers, moves = [fresh], [[] for _ in conduct.branches]
    first = total = 0
    while len(fresh.rows):
        place = census.situation(situations, fresh.rows)
        found = [States(fresh.rows[:0], fresh.memory[:0])]
        for kept, branches in zip(moves, conduct.branches, strict=True):
            for source, memory, law in walk.steps(fresh, place, branches):
                names = law.keys + remembered(memory)
                kept.append((first + source, names, law.weights))
                nearest = np.minimum(np.searchsorted(known, names), len(known) - 1)
                new = law.rows[known[nearest] != names]
                found.append(States(new, np.full(len(new), memory, np.int32)))
                total += len(names)
                _bound(total, most_moves)
        first += len(fresh.rows)
        fresh = _joined(found)
        _, once = np.unique(names_of(census, fresh), return_index=True)
        fresh = States(fresh.rows[once], fresh.memory[once])
        known = np.union1d(known, names_of(census, fresh))
        layers.append(fresh)
    states = _joined(layers)
    names = names_of(census, states)
    order = np.argsort(names)

    def number(wanted):
        return order[np.searchsorted(names, wanted, sorter=order)]

    matrices = tuple(transitions(kept, len(names), number) for kept in moves)
    return Chain(matrices, conduct.phases, 0, walk.done(states.rows)), states.rows


def _bound(moves: int, most_moves: int) -> None:
    """ConfigError where there are too many moves."""
    if moves > most_moves:
        raise ConfigError(f"too many states: more than {most_moves} moves between them")


def _joined(parts: list[Any]) -> Any:
    """Lists of states, or laws, end to end."""
    return type(parts[0])(*map(np.concatenate, zip(*parts, strict=True)))


class _Walk:
    """One step from a census, lockstep or async."""

    def __init__(self, census: Census, admitted: Nodes, most_moves: int):
        self.census, self.admitted, self.most_moves = census, admitted, most_moves
        point, ways = census.point, census.point.adversary.ways
        self._chances = cache(lambda mix, colour: poll_results(point, ways[mix], admitted, colour))
        self._scene: Scene | None = None
        self._laws: dict[tuple, Law] = {}

    def done(self, rows: CellCounts) -> NDArray[np.bool_]:
        """Whether all honest nodes have decided; without decisions, whether they agree."""
        census, honest = self.census, self.census.point.honest
        if census.point.protocol.decides:
            return rows @ census.over == honest
        ones = rows @ census.ones
        return (ones == 0) | (ones == honest)

    def steps(self, states: States, place, branches: tuple[Branch, ...]):
        """For each way that a step may go: index of the state, number of the next memory, and the
        Law of what follows.

        place: index of the situation that each state is in. A state may come several times.
        """
        point, ones = self.census.point, states.rows @ self.census.ones
        lockstep = point.schedule == "lockstep"
        stays = self.done(states.rows) & (point.protocol.decides or sum(self.admitted) == 0)
        jobs: list[tuple[Scene, int, float, int]] = []
        for i, (memory, where) in enumerate(zip(states.memory, place, strict=True)):
            if stays[i]:
                yield i, memory, self._fixed(states.rows[i])
                continue
            for branch in branches:
                mixes = tuple(branch.mixes[memory, where].ravel().tolist())
                share, after = float(branch.weight[where]), int(branch.memory[memory, where])
                if share:
                    jobs.append(((int(ones[i]), mixes), i, share, after))
        for scene, i, share, after in sorted(jobs):  # by scene, whose laws are kept
            law = (self._lockstep if lockstep else self._poll)(scene, states.rows[i])
            yield i, after, law._replace(weights=share * law.weights)

    def _fixed(self, row: CellCounts) -> Law:
        """Nodes that stay where they are."""
        return Law(row[None].astype(np.uint64) @ self.census.keys, np.ones(1), row[None])

    def _lockstep(self, scene: Scene, row: CellCounts) -> Law:
        """All undecided nodes poll."""
        if scene != self._scene:
            self._scene, self._laws = scene, {}
        moving = [(i, int(row[i])) for i in np.flatnonzero((row > 0) & ~self.census.over).tolist()]
        decided = np.where(self.census.over, row, 0).astype(np.int16)
        return _together(self._fixed(decided), self._all(scene, tuple(moving)))

    def _all(self, scene: Scene, moving: tuple[tuple[int, int], ...]) -> Law:
        """Nodes of several cells poll; states share what they begin with."""
        if not moving:
            return self._fixed(np.zeros(self.census.width, np.int16))
        if moving not in self._laws:
            last = moving[-1:]
            if len(moving) == 1:
                self._laws[moving] = self._cell(scene, *last[0])
            else:
                first, other = self._all(scene, moving[:-1]), self._all(scene, last)
                _bound(len(first.keys) * len(other.keys), self.most_moves)
                self._laws[moving] = _together(first, other)
        return self._laws[moving]

    def _cell(self, scene: Scene, place: int, nodes: int) -> Law:
        """So many nodes of one cell poll."""
        targets, chances = self._next(scene, place)
        counts = compositions(nodes, len(targets))
        ways = [factorial(nodes) // prod(map(factorial, row)) for row in counts.tolist()]
        weights = np.array(ways, float) * np.prod(chances**counts, axis=1)
        rows = np.zeros((len(counts), self.census.width), np.int16)
        rows[:, targets] = counts
        return Law(rows.astype(np.uint64) @ self.census.keys, weights, rows)

    def _poll(self, scene: Scene, row: CellCounts) -> Law:
        """One undecided node polls, each with the same probability."""
        laws, undecided = [], row[~self.census.over].sum()
        for place in np.flatnonzero((row > 0) & ~self.census.over):
            others = row.copy()
            others[place] -= 1
            law = _together(self._fixed(others), self._cell(scene, int(place), 1))
            laws.append(law._replace(weights=law.weights * row[place] / undecided))
        return _merged(_joined(laws))

    def _next(self, scene: Scene, place: int):
        """Where a poll may take a node of [group and cell] `place`, and the probabilities."""
        group, cell = divmod(place, len(self.census.preference))
        colour = int(self.census.preference[cell])
        ones, mixes = scene
        chances = self._chances(mixes[2 * group + colour], colour)[ones]
        targets, which = np.unique(self.census.after[cell], return_inverse=True)
        chances = np.bincount(which, chances)
        return group * len(self.census.preference) + targets[chances > 0], chances[chances > 0]


@cache
def compositions(total: int, parts: int) -> NDArray[np.int16]:
    """All ways to write `total` as an ordered sum of so many parts, 0 included."""
    places = total + parts - 1  # of `total` stones and of the bars between the parts
    bars = np.array(list(combinations(range(places), parts - 1)), int)
    return (np.diff(bars, prepend=-1, append=places) - 1).astype(np.int16)


def _together(one: Law, other: Law) -> Law:
    """Two lots of nodes that move independently."""
    keys = (one.keys[:, None] + other.keys).ravel()
    weights = (one.weights[:, None] * other.weights).ravel()
    law = Law(keys, weights, (one.rows[:, None] + other.rows).reshape(len(keys), -1))
    return law if min(len(one.keys), len(other.keys)) == 1 else _merged(law)


def _merged(law: Law) -> Law:
    """Each census once."""
    keys, index, which = np.unique(law.keys, return_index=True, return_inverse=True)
    rows = law.rows[index]
    assert np.array_equal(rows[which], law.rows), "two censuses share a key"
    return Law(keys, np.bincount(which, law.weights).astype(float), rows)
