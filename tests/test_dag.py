"""The DAG: against plain recursion, Kahn's algorithm, networkx and published BLAKE3 vectors."""

import math
from collections import deque
from functools import cache
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from vecsim.errors import ConfigError
from vecsim.scenario import dag
from vecsim.scenario.vertices import Vertices, digests

KINDS = sorted(dag.PARENT_KINDS)
INF = math.inf


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


def of_kind(kind, count, seed=0):
    return dag.drawn_parents(kind, count, 0, np.random.default_rng(seed))


def rows_of(parents):
    return [[p for p in row if p >= 0] for row in parents.tolist()]


def plain_depth(parents):
    rows = rows_of(parents)

    @cache
    def of(vertex):
        return 1 + max((of(p) for p in rows[vertex]), default=0)

    return [of(vertex) for vertex in range(len(rows))]


def plain_finish(parents, own):
    rows = rows_of(parents)

    @cache
    def of(vertex):
        return max([own[vertex], *(of(p) for p in rows[vertex])])

    return [of(vertex) for vertex in range(len(rows))]


def plain_ancestors(parents, vertex):
    rows = rows_of(parents)

    def of(vertex):
        for p in rows[vertex]:
            yield p
            yield from of(p)

    return set(of(vertex))


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


def network(parents):
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(parents)))
    graph.add_edges_from((p, v) for v, row in enumerate(rows_of(parents)) for p in row)
    return graph


def assert_order(parents, listed):
    assert sorted(listed.tolist()) == list(range(len(parents)))
    place = {vertex: i for i, vertex in enumerate(listed.tolist())}
    assert all(place[p] < place[v] for v, row in enumerate(rows_of(parents)) for p in row)


@given(graphs())
def test_depth(parents):
    depth = dag.depth(parents)
    assert depth.tolist() == plain_depth(parents)
    if len(parents):
        assert depth.max() == len(nx.dag_longest_path(network(parents)))


@pytest.mark.parametrize("kind", KINDS)
def test_depth_of_kinds(kind):
    parents = of_kind(kind, 600)
    expected = plain_depth(parents)
    assert dag.depth(parents).tolist() == expected
    # What is deep is settled one by one, and must come out the same.
    assert (max(expected) == 600) == (kind != "random")


def test_a_chain_is_as_deep_as_it_is_long():
    parents = of_kind("linear", 200_000)
    assert dag.depth(parents)[-1] == 200_000


@given(graphs(), st.data())
def test_finish(parents, data):
    times = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, INF]))
    own = np.array(data.draw(st.lists(times, min_size=len(parents), max_size=len(parents))))
    finish = dag.finish(parents, own)
    assert finish.tolist() == plain_finish(parents, own.tolist())
    assert (finish >= own).all()
    for vertex, row in enumerate(rows_of(parents)):
        assert all(finish[vertex] >= finish[p] for p in row)


@pytest.mark.parametrize("kind", KINDS)
def test_finish_of_kinds(kind):
    generator = np.random.default_rng(1)
    parents = of_kind(kind, 600)
    own = np.arange(600) * 0.01 + generator.uniform(0.05, 0.1, 600)
    own[generator.random(600) < 0.02] += 2
    assert dag.finish(parents, own).tolist() == plain_finish(parents, own.tolist())
    own[300] = INF  # all that builds on it, and nothing else, is never final
    finish = dag.finish(parents, own)
    never = [v == 300 or 300 in behind for v, behind in enumerate(plain_ancestors_of(parents))]
    assert np.isinf(finish).tolist() == never


def plain_ancestors_of(parents):
    """Sets of ancestors of all vertices, in order of issue."""
    out = []
    for row in rows_of(parents):
        out.append(set(row).union(*(out[p] for p in row)))
    return out


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
    with pytest.raises(ConfigError, match="allowed: no vertex among its own ancestors") as caught:
        dag.topological_order(parents)
    text = str(caught.value).partition("[")[2].partition("]")[0]
    cycle = [int(v) for v in text.split(",")]
    assert cycle[0] == cycle[-1]
    assert all(p in rows[v] for v, p in pairwise(cycle))


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_kinds(kind):
    kept = of_kind(kind, 500)
    assert dag.topological_order(kept).tolist() == list(range(500))
    parents = relabelled(kept, np.random.default_rng(2).permutation(500))
    assert_order(parents, dag.topological_order(parents))


def test_out_of_order_is_refused():
    ahead, beyond = np.array([[1], [-1]]), np.array([[-1], [2]])
    for function in (dag.depth, lambda p: dag.finish(p, np.zeros(2))):
        for parents in (ahead, beyond, np.array([[-2], [0]])):
            with pytest.raises(ConfigError, match="allowed: vertices before the child, or -1"):
                function(parents)
    for parents in (beyond, np.array([[-2], [0]])):
        with pytest.raises(ConfigError, match="allowed: -1 to 1"):
            dag.topological_order(parents)
    with pytest.raises(ConfigError, match="no NaN"):
        dag.finish(ahead, np.array([0, math.nan]))
    with pytest.raises(ConfigError, match="allowed: vertices, 0 to 1"):
        dag.ancestors(ahead, 2)


@given(shuffled(), st.data())
def test_ancestors(parents, data):
    if not len(parents):
        return
    some = data.draw(st.lists(st.integers(0, len(parents) - 1), max_size=4))
    graph = network(parents)
    for vertex in some:
        found = set(np.flatnonzero(dag.ancestors(parents, vertex)).tolist())
        assert found == nx.ancestors(graph, vertex) == plain_ancestors(parents, vertex)
    together = set(np.flatnonzero(dag.ancestors(parents, some)).tolist())
    assert together == set().union(*(nx.ancestors(graph, v) for v in some))


@given(graphs(), st.data())
def test_tips(parents, data):
    graph = network(parents)
    assert dag.tips(parents).tolist() == [v for v in graph if graph.out_degree(v) == 0]
    chosen = st.lists(st.booleans(), min_size=len(parents), max_size=len(parents))
    among = np.array(data.draw(chosen), bool)
    inside = graph.subgraph(np.flatnonzero(among).tolist())
    expected = sorted(v for v in inside if inside.out_degree(v) == 0)
    assert dag.tips(parents, among).tolist() == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [0, 5, 1000])
def test_kinds(kind, first):
    least, most, window = dag.PARENT_KINDS[kind]
    parents = dag.drawn_parents(kind, 4000, first, np.random.default_rng(3))
    assert parents.shape == (4000, most)
    assert parents.dtype == np.int32
    distances = [[i - p for p in row] for i, row in enumerate(rows_of(parents), first)]
    for vertex, row in enumerate(distances, first):
        assert len(set(row)) == len(row)
        assert min(least, vertex) <= len(row) <= min(most, vertex)
        assert all(1 <= d <= min(window or len(row), vertex) for d in row)
    counts = np.bincount([len(row) for row in distances[100:]], minlength=most + 1)[least:]
    expected = 3900 / (most - least + 1)
    assert (abs(counts - expected) <= 5 * np.sqrt(expected)).all()
    if window:
        drawn = np.bincount(np.concatenate(distances[100:]), minlength=window + 1)[1:]
        assert (abs(drawn - drawn.mean()) <= 5 * np.sqrt(drawn.mean())).all()


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_from_words(kind):
    most = dag.PARENT_KINDS[kind].most
    words = np.random.default_rng(4).integers(0, 2**32, (300, 1 + most), np.uint32)
    whole = dag.drawn_parents(kind, 300, 0, words)
    assert (dag.drawn_parents(kind, 100, 200, words[200:]) == whole[200:]).all()
    with pytest.raises(ConfigError, match="allowed: uint32 of shape"):
        dag.drawn_parents(kind, 299, 0, words)
    with pytest.raises(ConfigError, match="allowed: few, linear, wide, random"):
        dag.drawn_parents("many", 1, 0, words)


def test_reparent():
    #                    0         1         2        3       4        5
    parents = np.array([[-1, -1], [0, -1], [1, 0], [2, 1], [3, -1], [3, 2]])
    lost = np.array([INF, INF, 5.0, 7.0, INF, INF])
    own = np.array([1.0, 2.0, 9.0, 12.0, 4.0, 4.0])
    final = np.array([True, True, False, False, False, False])
    assert dag.tips(parents, final).tolist() == [1]
    moved, earliest = dag.reparent(parents, lost, dag.tips(parents, final))
    # 3 has 1 as a parent already; for the second place of 5 there is no tip left.
    assert moved.tolist() == [[-1, -1], [0, -1], [1, 0], [-1, 1], [1, -1], [1, -1]]
    assert earliest.tolist() == [-INF, -INF, -INF, 5, 7, 7]
    assert dag.finish(moved, np.maximum(own, earliest)).tolist() == [1, 2, 9, 12, 7, 7]
    assert dag.finish(parents, own).tolist() == [1, 2, 9, 12, 12, 12]


def test_reparent_rescues_what_would_never_be_final():
    parents = of_kind("few", 50)
    own = np.arange(50.0)
    own[20] = INF
    assert np.isinf(dag.finish(parents, own)[20:]).all()
    lost = np.full(50, INF)
    lost[20] = 30.5
    moved, earliest = dag.reparent(parents, lost, np.array([19]))
    finish = dag.finish(moved, np.maximum(own, earliest))
    assert np.isinf(finish).tolist() == [v == 20 for v in range(50)]
    assert finish[21] == 30.5


@given(graphs(), st.data())
def test_reparent_keeps_a_graph(parents, data):
    count = len(parents)
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    lost = np.where(np.array(data.draw(flags), bool), np.arange(count) + 0.5, INF)
    onto = np.flatnonzero(np.array(data.draw(flags), bool) & np.isinf(lost))
    moved, earliest = dag.reparent(parents, lost, onto)
    assert dag.in_order(moved)
    for vertex, (old, new) in enumerate(zip(rows_of(parents), rows_of(moved), strict=True)):
        gone = [p for p in old if np.isfinite(lost[p])]
        kept = [p for p in old if p not in gone]
        older = [t for t in onto if t < vertex and t not in kept]
        assert sorted(new) == sorted(kept + older[::-1][: len(gone)])
        assert earliest[vertex] == max((lost[p] for p in gone), default=-INF)


@given(st.lists(st.integers(-1, 5), max_size=30), st.data())
def test_double_spends(spent, data):
    spends, count = np.array(spent, np.int64), len(spent)
    pairs = {(a, b) for b in range(count) for a in range(b) if spent[a] == spent[b] >= 0}
    found = dag.conflicts(spends).tolist()
    assert len(found) == len(pairs)
    assert {tuple(pair) for pair in found} == pairs
    nodes = data.draw(st.integers(1, 3))
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    final = np.array([data.draw(flags) for _ in range(nodes)], bool).reshape(nodes, count)
    anywhere = final.any(axis=0)
    wrong = {spent[a] for a, b in pairs if anywhere[a] and anywhere[b]}
    assert dag.divergent(spends, final).tolist() == sorted(wrong)
    assert dag.divergent(spends, anywhere).tolist() == sorted(wrong)


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
    vertices = Vertices(most=5)
    for part in (slice(0, cut), slice(cut, count)):
        vertices.append(parents[part], payloads[part], issuers[part], times[part])
        if data.draw(st.booleans()):
            assert len(vertices.ids) == len(vertices)
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
    parents = of_kind("random", 5000)
    vertices = Vertices()
    sizes = [1, 2, 700, 0, 297, 4000]
    starts = np.cumsum([0, *sizes])
    for first, last in pairwise(starts):
        new = vertices.append(parents[first:last], issuer=3, issue_s=np.arange(first, last) / 4)
        assert new.tolist() == list(range(first, last))
        found = vertices.find(vertices.ids[::-1])
        assert found.tolist() == list(range(last))[::-1]
    assert (vertices.field("parents") == parents).all()
    assert (vertices.field("issue_s") == np.arange(5000) / 4).all()
    assert (vertices.field("issuer") == 3).all()
    assert (vertices.field("spends") == -1).all()
    assert dag.depth(vertices.field("parents")).tolist() == dag.depth(parents).tolist()


def test_what_vertices_refuse():
    vertices = Vertices(most=2)
    vertices.append(np.full((3, 1), -1))
    for wrong in ([[3]], [[-2]], [[0], [4]]):
        with pytest.raises(ConfigError, match="allowed: vertices before the child, or -1"):
            vertices.append(np.array(wrong))
    with pytest.raises(ConfigError, match="allowed: at most 2"):
        vertices.append(np.array([[0, 1, 2]]))
    with pytest.raises(ConfigError, match="payload is '1 payloads'; allowed: 2"):
        vertices.append(np.array([[0], [1]]), [b"one"])
    with pytest.raises(ConfigError, match="field is 'colour'; allowed: digest, issuer"):
        vertices.field("colour")
    assert len(vertices) == 3
