"""Vertices as records: parents, payload, issuer and time, and the BLAKE3 ids that name them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from blake3 import blake3

from vecsim.errors import require

_MOST = 16  # parents of a vertex, unless told otherwise
HASHED = [("digest", "u1", 32), ("issuer", "<i4"), ("issue_s", "<f8")]
_TAIL = np.dtype(HASHED).itemsize  # bytes of an id's input behind the parents' ids
FREE = -1  # a slot without a vertex


def digests(payloads: Sequence[bytes]) -> np.ndarray:
    """BLAKE3 of each payload: uint8 [payloads, 32]."""
    return np.frombuffer(b"".join(hashes(payloads)), np.uint8).reshape(-1, 32)


def hashes(messages: Sequence[bytes]) -> list[bytes]:
    """BLAKE3 of each message, 32 bytes."""
    hasher, out = blake3(), []
    for message in messages:  # starting one hasher anew takes half as long as making another
        hasher.reset()
        hasher.update(message)
        out.append(hasher.digest())
    return out


EMPTY = digests([b""])


class Vertices:
    """Vertices in order of issue, added by batches. most: parents of a vertex.

    An id is the BLAKE3 hash of the parents' ids, the digest of the payload, the issuer (int32) and
    the time of issue (float64), end to end; ids are made when they are first asked for.
    """

    def __init__(self, most: int = _MOST):
        self._rows = np.empty(256, [*HASHED, ("spends", "<i8"), ("parents", "<i4", (most,))])
        self._most, self._size = most, 0
        self._ids = np.empty((len(self._rows), 32), np.uint8)
        self._known: list[bytes] = []
        self._slots = np.empty(0, np.int64)  # of a table from ids to vertices
        self._indexed = 0

    def __len__(self) -> int:
        return self._size

    def append(
        self,
        parents: np.ndarray,
        payload: Sequence[bytes] | np.ndarray = EMPTY,
        issuer: Any = 0,
        issue_s: Any = 0.0,
        spends: Any = -1,
    ) -> np.ndarray:
        """Add vertices and return their indices (int64).

        parents: indices [vertices, any number], -1 for none; a parent may be of the same batch.
        payload: bytes of each vertex, or digests, uint8 [vertices or 1, 32]. issuer: a node;
        issue_s: seconds; spends: as in `dag.conflicts`; each one for all, or [vertices].
        """
        count, width = parents.shape
        first, last = self._size, self._size + count
        rows, most = self._rows, self._most
        require(width <= most, "parents", f"{width} of a vertex", f"at most {most}")
        new = np.arange(first, last)
        good = not parents.size or ((parents < new[:, None]).all() and parents.min() >= -1)
        require(bool(good), "parents", "out of order", "vertices before the child, or -1")
        if not isinstance(payload, np.ndarray):
            require(len(payload) == count, "payload", f"{len(payload)} payloads", f"{count}")
            payload = digests(payload)
        if last > len(rows):
            room = max(last, 2 * len(rows))
            self._rows = np.empty(room, rows.dtype)
            self._rows[:first] = rows[:first]
            ids, made = self._ids, len(self._known)
            self._ids = np.empty((room, 32), np.uint8)
            self._ids[:made] = ids[:made]
        row = self._rows[first:last]
        row["parents"][:, :width] = parents
        row["parents"][:, width:] = -1
        row["digest"], row["issuer"], row["issue_s"] = payload, issuer, issue_s
        row["spends"] = spends
        self._size = last
        return new

    def field(self, name: str) -> np.ndarray:
        """A field of all vertices: digest (of the payload), issuer, issue_s, spends or parents
        (int32 [vertices, most], -1 where there are fewer)."""
        names = self._rows.dtype.names or ()
        require(name in names, "field", name, ", ".join(names))
        return self._rows[name][: self._size]

    @property
    def ids(self) -> np.ndarray:
        """uint8 [vertices, 32]."""
        known, first = self._known, len(self._known)
        if first == self._size:
            return self._ids[:first]
        parents = self.field("parents")[first:]
        there = parents >= 0
        memory = self._rows.view(np.uint8).reshape(len(self._rows), -1)
        tails = np.ascontiguousarray(memory[first : self._size, :_TAIL]).view(f"V{_TAIL}")[:, 0]
        # A list for each vertex would set off the garbage collector.
        listed, ends = parents[there].tolist(), np.cumsum(there.sum(axis=1)).tolist()
        hasher, begin = blake3(), 0
        for end, tail in zip(ends, tails.tolist(), strict=True):
            message = b""
            for parent in listed[begin:end]:
                message += known[parent]
            hasher.reset()
            hasher.update(message + tail)
            known.append(hasher.digest())
            begin = end
        fresh = np.frombuffer(b"".join(known[first:]), np.uint8)
        self._ids[first : self._size] = fresh.reshape(-1, 32)
        return self._ids[: self._size]

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Indices (int64) of the vertices with these ids (uint8 [any number, 32]), -1: none.

        Of vertices with all fields the same, and so the id, it is the first.
        """
        own, wanted = _words(self.ids), _words(ids)
        if not len(own):
            return np.full(len(wanted), FREE)
        self._index(own)
        at = self._slot(wanted)
        found = self._slots[at]
        passed = np.flatnonzero((found != FREE) & (own[found, 0] != wanted[:, 0]))
        while passed.size:
            at[passed] = (at[passed] + 1) % len(self._slots)
            found[passed] = self._slots[at[passed]]
            other = own[found[passed], 0] != wanted[passed, 0]
            passed = passed[(found[passed] != FREE) & other]
        same = (own[found] == wanted).all(axis=1)
        return np.where(same, found, FREE)

    def _index(self, own: np.ndarray) -> None:
        """Enter the vertices that are not yet in the table of slots.

        A vertex is in the first slot that was free from the one which its id names.
        """
        if 2 * len(own) > len(self._slots):
            self._slots, self._indexed = np.full(4 * len(own), FREE), 0
        vertex = np.arange(self._indexed, len(own))
        at = self._slot(own[self._indexed :])
        while vertex.size:
            free = self._slots[at] == FREE
            # Of several vertices the one written last stays: the first.
            self._slots[at[free][::-1]] = vertex[free][::-1]
            lost = self._slots[at] != vertex
            vertex, at = vertex[lost], (at[lost] + 1) % len(self._slots)
        self._indexed = len(own)

    def _slot(self, words: np.ndarray) -> np.ndarray:
        return (words[:, 0] % np.uint64(len(self._slots))).astype(np.int64)


def _words(ids: np.ndarray) -> np.ndarray:
    """Ids as uint64 [ids, 4]."""
    return np.ascontiguousarray(ids).view(np.uint64)
