"""The DAG: against plain recursion, Kahn's algorithm and published BLAKE3 vectors."""

from collections import deque
from itertools import pairwise

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from vecsim.errors import ConfigError
from vecsim.scenario import dag
from vecsim.scenario.dag import Vertices, digests


@st.composite
def graphs(draw):
    """Parents of up to 40 vertices, with gaps among the -1 and sometimes without a column."""
    count, width = draw(st.integers(0, 40)), draw(st.integers(0, 5))
    rows = [
        draw(st.lists(st.integers(-1, i - 1), min_size=width, max_size=width)) for i in range(count)
    ]
    return np.array(rows, np.int32).reshape(count, width)


@st.composite
def shuffled(draw):
    """The same in any order."""
    parents = draw(graphs())
    place = np.array(draw(st.permutations(range(len(parents)))), np.int64)
    return relabelled(parents, place)


def relabelled(parents, place):
    """The graph in which vertex i has become vertex place[i]."""
    out = np.full_like(parents, -1)
    out[place] = np.where(parents >= 0, np.append(place, -1)[parents], -1)
    return out


def rows_of(parents):
    return [[p for p in row if p >= 0] for row in parents.tolist()]


def kahn(parents):
    """An order, or None where there is a cycle."""
    rows = [set(row) for row in rows_of(parents)]
    ready, out = deque(v for v, row in enumerate(rows) if not row), []
    while ready:
        out.append(ready.popleft())
        for vertex, row in enumerate(rows):
            if out[-1] in row:
                row.remove(out[-1])
                if not row:
                    ready.append(vertex)
    return out if len(out) == len(rows) else None


def assert_order(parents, listed):
    assert sorted(listed.tolist()) == list(range(len(parents)))
    place = {vertex: i for i, vertex in enumerate(listed.tolist())}
    assert all(place[p] < place[v] for v, row in enumerate(rows_of(parents)) for p in row)


@given(shuffled())
def test_order(parents):
    listed = dag.topological_order(parents)
    assert_order(parents, listed)
    assert_order(parents, np.array(kahn(parents), np.int64))


@given(
    st.integers(1, 25).flatmap(
        lambda n: (
            st.lists(st.lists(st.integers(-1, n - 1), min_size=3, max_size=3), min_size=n)
            .map(lambda rows: rows[:n])
            .filter(lambda rows: len(rows) == n)
        )
    )
)
def test_cycles(rows):
    parents = np.array(rows, np.int32)
    if kahn(parents) is not None:
        assert_order(parents, dag.topological_order(parents))
        return
    with pytest.raises(ConfigError, match="allowed: no vertex among its own ancestors"):
        dag.topological_order(parents)


def test_order_of_recent_parents():
    kept = dag.recent_parents(500, np.random.default_rng(0))
    assert dag.topological_order(kept).tolist() == list(range(500))
    parents = relabelled(kept, np.random.default_rng(2).permutation(500))
    assert_order(parents, dag.topological_order(parents))


def test_an_index_of_no_vertex_is_refused():
    for parents in (np.array([[-1], [2]]), np.array([[-2], [0]])):
        with pytest.raises(ConfigError, match="allowed: -1 to 1"):
            dag.topological_order(parents)


def test_recent_parents():
    """Two to four of the vertices right before; each number as often as the others."""
    parents = dag.recent_parents(4000, np.random.default_rng(3))
    assert parents.shape == (4000, 4)
    assert parents.dtype == np.int32
    distances = [[i - p for p in row] for i, row in enumerate(rows_of(parents))]
    for vertex, row in enumerate(distances):
        assert min(2, vertex) <= len(row) <= min(4, vertex)
        assert row == list(range(1, len(row) + 1))
    counts = np.bincount([len(row) for row in distances[100:]], minlength=5)[2:]
    assert (abs(counts - 1300) <= 5 * np.sqrt(1300)).all()


# From the test vectors of the BLAKE3 team: input byte i is i mod 251.
VECTORS = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
}


def test_known_hashes():
    payloads = [bytes(i % 251 for i in range(size)) for size in VECTORS]
    assert [bytes(digest).hex() for digest in digests(payloads)] == list(VECTORS.values())
    assert digests([]).shape == (0, 32)


def plain_ids(parents, payloads, issuers, times):
    out = []
    for row, payload, issuer, issue_s in zip(parents, payloads, issuers, times, strict=True):
        message = b"".join(out[p] for p in row if p >= 0) + blake3(payload).digest()
        message += np.array(issuer, "<i4").tobytes() + np.array(issue_s, "<f8").tobytes()
        out.append(blake3(message).digest())
    return out


@given(graphs(), st.integers(0, 40), st.data())
def test_ids(parents, cut, data):
    count = len(parents)
    payloads = [bytes([i]) * (i % 7) for i in range(count)]
    issuers, times = np.arange(count) % 5, np.arange(count) / 8
    vertices = Vertices()
    for part in (slice(0, cut), slice(cut, count)):
        vertices.append(parents[part], payloads[part], issuers[part], times[part])
        if data.draw(st.booleans()):
            assert len(vertices.ids) == min(part.stop, count)
    assert [bytes(each) for each in vertices.ids] == plain_ids(parents, payloads, issuers, times)
    assert vertices.find(vertices.ids).tolist() == list(range(count))
    unknown = digests([b"unknown"])
    assert vertices.find(unknown).tolist() == [-1]


FIELDS = {
    "parents": np.array([[1, 0]]),
    "payload": [b"another"],
    "issuer": 8,
    "issue_s": 2.0,
}


@pytest.mark.parametrize("name", FIELDS)
def test_an_id_depends_on_every_field(name):
    fields = {"parents": np.array([[0, 1]]), "payload": [b"one"], "issuer": 7, "issue_s": 1.0}
    vertices = Vertices()
    vertices.append(np.full((2, 1), -1), issue_s=np.array([0.0, 0.5]))
    vertices.append(**fields)
    vertices.append(**fields)
    vertices.append(**(fields | {name: FIELDS[name]}))
    one, same, other = (bytes(each) for each in vertices.ids[2:])
    assert one == same != other
    assert vertices.find(vertices.ids[3:]).tolist() == [2, 4]


def test_vertices_grow():
    parents = dag.recent_parents(5000, np.random.default_rng(0))
    vertices = Vertices()
    sizes = [1, 2, 700, 0, 297, 4000]
    starts = np.cumsum([0, *sizes])
    for first, last in pairwise(starts):
        new = vertices.append(parents[first:last], issuer=3, issue_s=np.arange(first, last) / 4)
        assert new.tolist() == list(range(first, last))
        found = vertices.find(vertices.ids[::-1])
        assert found.tolist() == list(range(last))[::-1]
    expected = plain_ids(parents, [b""] * 5000, [3] * 5000, np.arange(5000) / 4)
    assert [bytes(each) for each in vertices.ids] == expected


def test_what_vertices_refuse():
    vertices = Vertices()
    vertices.append(np.full((3, 1), -1))
    for wrong in ([[3]], [[-2]], [[0], [4]]):
        with pytest.raises(ConfigError, match="allowed: vertices before the child, or -1"):
            vertices.append(np.array(wrong))
    with pytest.raises(ConfigError, match="allowed: at most 16"):
        vertices.append(np.full((1, 17), -1))
    with pytest.raises(ConfigError, match="payload is '1 payloads'; allowed: 2"):
        vertices.append(np.array([[0], [1]]), [b"one"])
    assert len(vertices.ids) == 3
