"""The DAG of vertices, whose speed `vecsim.scenario.speed` measures: records, ids and order.

Parents are int32 [vertices, most parents], -1 where a vertex has fewer. Vertices are numbered in
order of issue, so that a parent's index is smaller than its children's. The first of ten vertices
with up to four parents, the most recent ones:

    vertex 0   -1 -1 -1 -1      vertex 3    2  1 -1 -1
    vertex 1    0 -1 -1 -1      vertex 4    3  2  1  0
    vertex 2    1  0 -1 -1      vertex 5    4  3  2 -1

Ids and digests are uint8 [vertices, 32].
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from blake3 import blake3

from vecsim.errors import require

NONE = -1  # in place of a parent, or of a vertex that is not found
MOST = 16  # parents of a vertex: as many as in the widest DAG of the simulated cluster
# Fields of a vertex that its id hashes behind the parents' ids, as they lie in memory.
_HASHED = [("digest", "u1", 32), ("issuer", "<i4"), ("issue_s", "<f8")]
_TAIL = np.dtype(_HASHED).itemsize  # bytes of an id's input behind the parents' ids


def recent_parents(count: int, generator: np.random.Generator) -> np.ndarray:
    """Parents of a graph of so many vertices: int32 [count, 4].

    Each vertex takes the 2 to 4 (uniform) most recent ones, or all where there are fewer.
    """
    vertex, slots = np.arange(count)[:, None], np.arange(4)
    parents = np.maximum(vertex - 1 - slots, NONE)
    return np.where(slots < generator.integers(2, 5, (count, 1)), parents, NONE).astype(np.int32)


def in_order(parents: np.ndarray, vertex: np.ndarray) -> bool:
    """Whether all parents are vertices before their child (int [vertices]), or -1."""
    return bool((parents < vertex[:, None]).all()) and parents.min(initial=NONE) == NONE


def topological_order(parents: np.ndarray) -> np.ndarray:
    """All vertices (int64), parents before children; the array may be in any order.

    A vertex waits at the first of its parents that is not placed yet, and goes on from there.
    ConfigError where an index is not that of a vertex, or a vertex is its own ancestor.
    """
    count = len(parents)
    issued = np.arange(count)
    if in_order(parents, issued):
        return issued
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
    require(len(listed) == count, "parents", "a cycle", "no vertex among its own ancestors")
    return np.array(listed)


def hashes(messages: Sequence[bytes]) -> list[bytes]:
    """BLAKE3 (O'Connor, Aumasson, Neves and Wilcox-O'Hearn 2020) of each message, 32 bytes."""
    hasher, out = blake3(), []
    for message in messages:  # starting one hasher anew takes half as long as making another
        hasher.reset()
        hasher.update(message)
        out.append(hasher.digest())
    return out


def digests(payloads: Sequence[bytes]) -> np.ndarray:
    """BLAKE3 of each payload: uint8 [payloads, 32]."""
    return np.frombuffer(b"".join(hashes(payloads)), np.uint8).reshape(-1, 32)


EMPTY = digests([b""])  # of a vertex without payload, uint8 [1, 32]


class Vertices:
    """Vertices in order of issue, added by batches.

    An id is the BLAKE3 hash of the parents' ids, the digest of the payload, the issuer (int32) and
    the time of issue (float64), end to end; ids are made when they are first asked for.
    """

    def __init__(self):
        self._rows = np.empty(256, [*_HASHED, ("parents", "<i4", (MOST,))])
        self._size = 0
        self._ids = np.empty((0, 32), np.uint8)
        self._known: list[bytes] = []
        self._sorted = np.empty(0, np.int64)  # vertices in order of the first word of their ids
        self._first_words = np.empty(0, np.uint64)  # those words

    def append(
        self,
        parents: np.ndarray,
        payload: Sequence[bytes] | None = None,
        issuer: Any = 0,
        issue_s: Any = 0.0,
    ) -> np.ndarray:
        """Add vertices and return their indices (int64).

        parents: indices [vertices, any number], -1 for none; a parent may be of the same batch.
        payload: bytes of each vertex, none unless given. issuer: a node; issue_s: seconds; each
        one for all, or [vertices]. ConfigError where parents or payloads do not fit.
        """
        count, width = parents.shape
        first, last = self._size, self._size + count
        rows = self._rows
        require(width <= MOST, "parents", f"{width} of a vertex", f"at most {MOST}")
        new = np.arange(first, last)
        allowed = "vertices before the child, or -1"
        require(in_order(parents, new), "parents", "out of order", allowed)
        if payload is not None:
            require(len(payload) == count, "payload", f"{len(payload)} payloads", f"{count}")
        if last > len(rows):
            self._rows = np.empty(max(last, 2 * len(rows)), rows.dtype)
            self._rows[:first] = rows[:first]
        row = self._rows[first:last]
        row["parents"][:, :width] = parents
        row["parents"][:, width:] = NONE
        row["digest"] = EMPTY if payload is None else digests(payload)
        row["issuer"], row["issue_s"] = issuer, issue_s
        self._size = last
        return new

    @property
    def ids(self) -> np.ndarray:
        """Ids of all vertices, uint8 [vertices, 32]; those of new ones are made now."""
        known, first = self._known, len(self._known)
        if first == self._size:
            return self._ids
        rows = self._rows[first : self._size]
        there = rows["parents"] >= 0
        memory = rows.view(np.uint8).reshape(len(rows), -1)
        tails = np.ascontiguousarray(memory[:, :_TAIL]).view(f"V{_TAIL}")[:, 0]
        # A list for each vertex would set off the garbage collector.
        listed, ends = rows["parents"][there].tolist(), np.cumsum(there.sum(axis=1)).tolist()
        hasher, begin = blake3(), 0
        for end, tail in zip(ends, tails.tolist(), strict=True):
            message = b""
            for parent in listed[begin:end]:
                message += known[parent]
            hasher.reset()
            hasher.update(message + tail)
            known.append(hasher.digest())
            begin = end
        self._ids = np.frombuffer(b"".join(known), np.uint8).reshape(-1, 32)
        return self._ids

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Indices (int64) of the vertices with these ids (uint8 [any number, 32]), -1 for none.

        Where all fields of several vertices are the same, and so their ids, it is the first.
        """
        own, wanted = _words(self.ids), _words(ids)
        if not len(own):
            return np.full(len(wanted), NONE)
        if len(self._sorted) < len(own):
            self._sorted = own[:, 0].argsort(kind="stable")
            self._first_words = own[self._sorted, 0]
        place = np.searchsorted(self._first_words, wanted[:, 0])
        found = self._sorted[np.minimum(place, len(own) - 1)]
        return np.where((own[found] == wanted).all(axis=1), found, NONE)


def _words(ids: np.ndarray) -> np.ndarray:
    """Ids as uint64 [ids, 4]."""
    return np.ascontiguousarray(ids).view(np.uint64)
