"""The DAG of vertices: an array of parents' indices, and what follows from it.

`parents` is int32 [vertices, most parents], -1 where a vertex has fewer. Vertices are numbered in
order of issue, so that a parent's index is smaller than its children's. Every function takes such
an array; `vecsim.scenario.vertices` grows one by batches and gives its vertices ids.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vecsim.errors import require

NONE = -1
_LEAST = np.iinfo(np.int64).min // 4  # below every value, and still so when steps are added


class _Kind(NamedTuple):
    """How many parents a vertex takes, least to most, uniformly, and of which."""

    least: int
    most: int
    window: int  # drawn from so many before it; 0: the most recent themselves


PARENT_KINDS = {
    "few": _Kind(2, 4, 0),
    "linear": _Kind(1, 1, 0),
    "wide": _Kind(10, 16, 0),
    "random": _Kind(1, 16, 64),  # a window of 64 is one bit each in a word
}


def drawn_parents(
    kind: str, count: int, first: int, words: np.random.Generator | np.ndarray
) -> np.ndarray:
    """Parents of the vertices first ... first + count - 1: int32 [count, most of the kind].

    A vertex with fewer vertices before it than the kind asks for takes them all. words: a
    generator, or uniform uint32 [count, 1 + most of the kind], of which a vertex uses its own row.
    """
    require(kind in PARENT_KINDS, "parents", kind, ", ".join(PARENT_KINDS))
    least, most, window = PARENT_KINDS[kind]
    if isinstance(words, np.random.Generator):
        words = words.integers(0, 2**32, (count, 1 + most), np.uint32)
    good = words.shape == (count, 1 + most) and words.dtype == np.uint32
    require(good, "words", (words.dtype, words.shape), f"uint32 of shape {(count, 1 + most)}")
    words = words.astype(np.uint64)
    vertex = np.arange(first, first + count)
    there, slots = np.minimum(vertex, window or most), np.arange(most)
    wanted = np.minimum(least + _below(words[:, 0], np.array(most - least + 1)), there)
    if not window:
        return np.where(slots < wanted[:, None], vertex[:, None] - 1 - slots, NONE).astype(np.int32)
    # Floyd's sample without replacement; the bits of `taken` are the distances drawn already.
    parents = np.full((count, most), NONE, np.int32)
    taken = np.zeros(count, np.uint64)
    for slot in slots:
        last = np.maximum(there - wanted + slot, 0)
        drawn = _below(words[:, 1 + slot], last + 1)
        again = (taken >> drawn.astype(np.uint64)) & np.uint64(1) == 1
        drawn = np.where(again, last, drawn)
        used = slot < wanted
        taken |= np.where(used, np.uint64(1) << drawn.astype(np.uint64), np.uint64(0))
        parents[used, slot] = (vertex - 1 - drawn)[used]
    return parents


def _below(word: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Uniform integers in [0, limit) from 32-bit words; probabilities are met to 2^-32."""
    return ((word * limit.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def depth(parents: np.ndarray) -> np.ndarray:
    """Vertices in the longest chain that ends in each: int64 [vertices], 1 without parents."""
    return _settle(parents, np.ones(len(parents), np.int64), 1)


def finish(parents: np.ndarray, own: np.ndarray) -> np.ndarray:
    """When each vertex is final: the latest of its own decision and its ancestors'.

    own: times [vertices], infinity for never; what has an ancestor that is never decided is never
    final (see `reparent`).
    """
    good = own.shape == parents.shape[:1] and not np.isnan(own).any()
    require(good, "own", own.shape, "a time of each vertex, and no NaN")
    times, rank = np.unique(own, return_inverse=True)
    return times[_settle(parents, rank.astype(np.int64), 0)]


def _settle(parents: np.ndarray, least: np.ndarray, step: int) -> np.ndarray:
    """The smallest values (int64) of at least `least` and of every parent's value + step."""
    require(in_order(parents), "parents", "out of order", "vertices before the child, or -1")
    values = [*least.tolist(), _LEAST]  # the last stands for the parent that there is not
    for vertex, row in enumerate(parents.tolist()):
        values[vertex] = max([values[vertex], *(values[parent] + step for parent in row)])
    return np.array(values[:-1], np.int64)


def in_order(parents: np.ndarray) -> bool:
    """Whether all parents are vertices before their child, or -1."""
    before = (parents < np.arange(len(parents))[:, None]).all()
    return bool(before) and parents.min(initial=NONE) == NONE


def topological_order(parents: np.ndarray) -> np.ndarray:
    """All vertices (int64), parents before children; the array may be in any order.

    A vertex waits at the first of its parents that is not placed yet, and goes on from there.
    """
    count = len(parents)
    if in_order(parents):
        return np.arange(count)
    inside = bool(parents.min() >= NONE and parents.max() < count)
    require(inside, "parents", "an index", f"-1 to {count - 1}")
    rows, listed = [iter(row) for row in parents.tolist()], []
    placed = [False] * count + [True]  # the last stands for the parent that there is not
    waiting: list[list[int]] = [[] for _ in rows]
    for vertex in range(count):
        ready = [vertex]
        for each in ready:
            for parent in rows[each]:
                if not placed[parent]:
                    waiting[parent].append(each)
                    break
            else:
                placed[each] = True
                listed.append(each)
                ready += waiting[each]
    if len(listed) < count:
        require(False, "parents", _cycle(parents, placed), "no vertex among its own ancestors")
    return np.array(listed)


def _cycle(parents: np.ndarray, placed: list[bool]) -> list[int]:
    """Vertices each of which is a parent of the one before; the first is also the last."""
    path: dict[int, None] = {}
    vertex = placed.index(False)
    while vertex not in path:
        path[vertex] = None
        # What waits for ever has a parent that waits for ever.
        vertex = next(parent for parent in parents[vertex].tolist() if not placed[parent])
    return [*list(path)[list(path).index(vertex) :], vertex]


def ancestors(parents: np.ndarray, of: int | Sequence[int] | np.ndarray) -> np.ndarray:
    """Which vertices are ancestors of the vertex `of`, or of any of several: bool [vertices].

    The array may be in any order.
    """
    ahead = np.atleast_1d(np.asarray(of, np.int64)).tolist()
    rows = parents.tolist()
    good = all(0 <= vertex < len(rows) for vertex in ahead)
    require(good, "of", of, f"vertices, 0 to {len(rows) - 1}")
    behind = bytearray(len(rows) + 1)
    behind[NONE] = 1  # the parent that there is not is never to be visited
    while ahead:
        for parent in rows[ahead.pop()]:
            if not behind[parent]:
                behind[parent] = 1
                ahead.append(parent)
    return np.frombuffer(behind, bool)[:-1].copy()


def tips(parents: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Vertices without a child, ascending (int64). among (bool [vertices]): as if these were all,
    so that with the final vertices these are the final tips."""
    here = np.ones(len(parents), bool) if among is None else among
    childless = np.append(here, False)  # the last stands for the parent that there is not
    childless[parents[here]] = False
    return np.flatnonzero(childless)


def reparent(
    parents: np.ndarray, lost: np.ndarray, onto: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Replace parents that timed out or were rejected by final tips.

    lost: times [vertices] at which a vertex was lost, infinity where it was not. onto: the
    vertices to build on, ascending. Each lost parent is replaced by a tip that is older than the
    child, the most recent first; where there is none left it is dropped.
    Returns the parents, and the times [vertices] at which a vertex lost its last lost parent,
    before which it cannot be final; -infinity where it lost none.
    """
    gone = (parents >= 0) & np.isfinite(lost)[parents]
    earliest = np.where(gone, lost[parents], -np.inf).max(axis=1, initial=-np.inf)
    child = np.flatnonzero(gone.any(axis=1))
    gone = gone[child]
    kept = np.where(gone, NONE, parents[child])
    # As many tips as there are places are enough: each replaces a parent or is one already.
    place = np.searchsorted(onto, child)[:, None] - 1 - np.arange(parents.shape[1])
    fresh = np.append(onto, NONE)[np.maximum(place, NONE)]
    fresh[(fresh[:, :, None] == kept[:, None, :]).any(axis=2)] = NONE
    fresh = np.take_along_axis(fresh, np.argsort(fresh == NONE, axis=1, kind="stable"), axis=1)
    turn = np.maximum(gone.cumsum(axis=1) - 1, 0)
    out = parents.copy()
    out[child] = np.where(gone, np.take_along_axis(fresh, turn, axis=1), kept)
    return out, earliest


def conflicts(spends: np.ndarray) -> np.ndarray:
    """Double spends: all pairs of vertices that spend the same, int64 [pairs, 2].

    spends: what each vertex spends, int64 [vertices], -1 where that is nobody else's. At most one
    vertex of those that spend the same may ever be final.
    """
    spending = np.flatnonzero(spends >= 0)
    spending = spending[np.argsort(spends[spending], kind="stable")]
    what, pairs = spends[spending], [np.zeros((0, 2), np.int64)]
    for apart in range(1, len(what)):
        same = np.flatnonzero(what[apart:] == what[:-apart])
        if not same.size:
            break
        pairs.append(np.stack([spending[same], spending[same + apart]], axis=1))
    return np.concatenate(pairs)


def divergent(spends: np.ndarray, final: np.ndarray) -> np.ndarray:
    """What more than one final vertex spends, ascending; empty as long as consensus is safe.

    spends: as in `conflicts`. final: bool [vertices], or [nodes, vertices] as each honest node
    has it: what two nodes give to different vertices is divergent all the same.
    """
    anywhere = np.atleast_2d(final).any(axis=0)
    what, count = np.unique(spends[anywhere & (spends >= 0)], return_counts=True)
    return what[count > 1]
