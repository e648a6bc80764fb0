"""The plain-Python cluster against closed forms, published figures and cases done by hand.

Tolerances are five standard errors, computed, with fixed seeds.
"""

import itertools
import math
import statistics
from collections import Counter

import pytest
from cluster_oracle import AGREE, DISAGREE, EXCLUDE, Cluster
from latency_law import (
    ALPHA,
    ROUNDS,
    K,
    last_failures,
    latency_below,
    latency_with_failures_below,
)
from scipy import optimize, stats

WAN = {"round_trip_ms": (50, 200), "loss": 1e-3}


def assert_mean(values, expected):
    error = statistics.stdev(values) / math.sqrt(len(values))
    assert abs(statistics.fmean(values) - expected) <= 5 * error


def assert_share(cluster, holds, expected):
    """Vertices of one issuer share polls: the error is that of independent issuers."""
    excess = Counter()
    for vertex in cluster.vertices:
        excess[vertex.issuer] += holds(vertex) - expected
    error = math.sqrt(sum(value**2 for value in excess.values())) / len(cluster.vertices)
    assert abs(sum(excess.values())) / len(cluster.vertices) <= 5 * error


def assert_conserved(cluster):
    """What was counted by event agrees with where the vertices are, ten times a second."""
    for _, counts, states in cluster.snapshots:
        assert counts["issued"] == states.total()
        for state in ("finalised", "rejected", "given_up", "dropped"):
            assert counts[state] == states[state]
    ends = [counts.copy() for _, counts, _ in cluster.snapshots]
    assert all(not before - after for before, after in itertools.pairwise(ends))


def assert_all_finalised(cluster):
    assert cluster.counts["finalised"] == cluster.counts["issued"] == len(cluster.vertices)


# Latency


@pytest.mark.parametrize(
    ("round_trip_ms", "loss", "published_ms"),
    [((0.1, 1), 0, 85), ((1, 10), 1e-4, 93), ((50, 200), 1e-3, 268)],
    ids=["local", "lan", "wan"],
)
def test_latency_of_22_polls(round_trip_ms, loss, published_ms):
    cluster = Cluster(
        1,
        round_trip_ms=round_trip_ms,
        loss=loss,
        rate_tps=200,
        parents="none",
        duration_s=6,
        drain_s=1,
    )
    assert_all_finalised(cluster)
    assert {vertex.rounds for vertex in cluster.vertices} == {ROUNDS}

    def above(latency_ms):
        return latency_below(latency_ms, *round_trip_ms, loss) - 0.95

    expected_ms = optimize.brentq(above, 84, 400)
    assert round(expected_ms) == published_ms
    assert_share(cluster, lambda v: v.latency_ms(parents=False) <= expected_ms, 0.95)


def test_latency_at_5_percent_loss():
    cluster = Cluster(2, loss=0.05, rate_tps=200, parents="none", drain_s=3, benching=False)
    steps = range(250, 650, 4)
    assert next(ms for ms in steps if latency_with_failures_below(ms + 0.5, 0.05) >= 0.95) == 362
    for latency_ms in (85.5, 300, 362.5):
        expected = latency_with_failures_below(latency_ms, 0.05)
        assert_share(cluster, lambda v, b=latency_ms: v.latency_ms(False) <= b, expected)
    decided = last_failures(stats.binom.sf(ALPHA - 1, K, 0.95**2))
    mean_rounds = sum((max(last, 1) + 21) * chance for last, chance in decided.items())
    finished = [v.rounds for v in cluster.vertices if v.attempts == 1]
    assert_mean(finished, mean_rounds / sum(decided.values()))


def test_a_poll_of_everybody_resolves_at_its_24th_reply():
    cluster = Cluster(3, nodes=31, parents="none", duration_s=20, drain_s=1)
    assert {vertex.rounds for vertex in cluster.vertices} == {ROUNDS}
    assert {round(v.confidence, 12) for v in cluster.vertices} == {round(1 - 0.5 * 0.9**22, 12)}
    latencies = [vertex.latency_ms(parents=False) for vertex in cluster.vertices]
    assert_mean(latencies, 84 + 0.1 + 0.9 * ALPHA / (K + 1))


def test_fewer_peers_than_k_keep_the_share():
    cluster = Cluster(4, nodes=11, parents="none", duration_s=20, drain_s=1)
    assert {vertex.rounds for vertex in cluster.vertices} == {ROUNDS}
    latencies = [vertex.latency_ms(parents=False) for vertex in cluster.vertices]
    assert_mean(latencies, 84 + 0.1 + 0.9 * 8 / 11)  # alpha' = 8 of k' = 10


def test_a_vertex_is_final_when_its_line_is():
    cluster = Cluster(5, nodes=31, parents="linear", duration_s=5, drain_s=1, **WAN)
    latest_s = 0
    for vertex in cluster.vertices:
        latest_s = max(latest_s, vertex.decided_s)
        assert vertex.finished_s == latest_s


def test_parents_only_delay():
    cluster = Cluster(6, duration_s=3, drain_s=2, loss=0.05)
    assert_all_finalised(cluster)
    late = [v.finished_s - v.decided_s for v in cluster.vertices]
    assert min(late) == 0 < max(late)


def test_without_defence_a_fifth_of_rejecting_nodes_stops_everything():
    cluster = Cluster(7, byzantine=10, adversary="always_reject", duration_s=1, reputation=False)
    assert cluster.counts["given_up"] == cluster.counts["issued"] == 100
    assert cluster.counts["timed_out"] == cluster.counts["admitted"] == 400
    # Four attempts of 99 intervals and of 250 ms at most, a second apart.
    ends = [vertex.latency_ms() for vertex in cluster.vertices]
    assert 3000 + 4 * 396 < min(ends) <= max(ends) <= 3000 + 4 * (396 + 250) + 1e-6
    assert_conserved(cluster)


# Benching


def test_a_dead_peer_is_benched_after_four_queries():
    delays = []
    for seed in range(4):
        cluster = Cluster(seed, duration_s=1, drain_s=1, timeline=((0.5, "kill", [7], False),))
        assert sorted(entry[0] for entry in cluster.benches) == [q for q in range(50) if q != 7]
        assert all(peer == 7 and math.isnan(to) for _, peer, _, to in cluster.benches)
        delays += [1e3 * (entry[2] - 0.5) for entry in cluster.benches]
    # Up to one interval to the first query, then one per interval in which the peer is sampled.
    assert min(delays) >= 250 + 3 * 4
    assert_mean(delays, 250 + 2 + 4 * (4 / (K / 49) - 1))


def test_a_restart_ends_benches():
    cluster = Cluster(1, duration_s=1, drain_s=11, timeline=((0.5, "kill", [7]),))
    assert len(cluster.benches) == 49
    assert {entry[3] for entry in cluster.benches} == {10.5}


@pytest.mark.parametrize("heals_s", [11, 20.4])
def test_probes_after_a_cut(heals_s):
    timeline = ((1, "partition", [6, 6]), (heals_s, "heal"))
    cluster = Cluster(1, nodes=12, duration_s=1, drain_s=22, timeline=timeline)
    assert len(cluster.benches) == 2 * 6 * 6
    for _, _, from_s, to_s in cluster.benches:
        # Every peer is asked every interval.
        assert 1.262 <= from_s <= 1.266
        probes = max(0, math.ceil(heals_s - from_s - 15))
        assert 0.0001 <= to_s - (from_s + 15 + probes) <= 0.001


def test_without_benching_nobody_is_benched():
    cluster = Cluster(
        1, duration_s=1, benching=False, timeline=((0.5, "kill", list(range(5)), False),)
    )
    assert cluster.benches == []
    assert_conserved(cluster)


def test_lost_answers_bench_at_the_rate_of_four_in_a_row():
    counts = []
    for seed in range(8):
        cluster = Cluster(seed, nodes=12, loss=0.3, rate_tps=1, duration_s=5, drain_s=0)
        first_s = {}
        for querier, peer, from_s, _ in cluster.benches:
            first_s.setdefault((querier, peer), from_s)
        counts += [round((at_s - 0.25) / 0.004) for at_s in first_s.values()]
    # Every peer is asked every interval: the mean wait for four in a row of chance u, which for
    # nearly all pairs is over well before the end.
    unanswered = 1 - 0.7**2
    assert len(counts) == 8 * 12 * 11
    assert_mean(counts, (unanswered**-4 - 1) / (1 - unanswered) - 0.5)


def test_silent_nodes_are_benched_and_never_excluded():
    cluster = Cluster(2, byzantine=10, adversary="silent", duration_s=3, drain_s=3)
    pairs = {tuple(entry[:2]) for entry in cluster.benches}
    assert pairs == {(q, peer) for q in range(40) for peer in range(40, 50)}
    assert cluster.excluded_s == {}
    assert_all_finalised(cluster)


# Reputation


def evidence_needed():
    """The chance of each number of coins (a fair disagreement) before the ratio passes 10^4."""
    alive, needed = {(0, 0): 1.0}, {}
    for number in range(1, 200):
        following = {}
        for (bad, good), chance in alive.items():
            for state in ((bad + 1, good), (bad, good + 1)):
                if state[0] * DISAGREE + state[1] * AGREE >= EXCLUDE:
                    needed[number] = needed.get(number, 0) + chance / 2
                else:
                    following[state] = following.get(state, 0) + chance / 2
        alive = following
    return needed


def test_evidence_until_random_voters_are_excluded():
    needed = evidence_needed()
    mean = sum(number * chance for number, chance in needed.items())
    # Wald: the threshold over the drift, and an overshoot of one disagreement at most.
    drift = (DISAGREE + AGREE) / 2
    assert EXCLUDE / drift <= mean <= (EXCLUDE + DISAGREE) / drift
    evidence = []
    for seed in range(12):
        cluster = Cluster(seed, byzantine=10, duration_s=0.8, drain_s=1.5)
        assert set(cluster.excluded_s) == set(range(40, 50))
        evidence += cluster.evidence.values()
    assert_mean(evidence, mean)


def test_evidence_is_pooled_one_second_late():
    cluster = Cluster(3, byzantine=2, duration_s=2, drain_s=2)
    assert set(cluster.excluded_s) == {48, 49}
    assert cluster.counts["timed_out"] == 0
    decisions = sorted(vertex.decided_s for vertex in cluster.vertices)
    for peer, at_s in cluster.excluded_s.items():
        assert at_s == decisions[cluster.evidence[peer] - 1] + 1


def test_always_rejecting_nodes_are_excluded_after_six_vertices():
    cluster = Cluster(4, byzantine=10, adversary="always_reject", duration_s=3)
    assert cluster.evidence == dict.fromkeys(range(40, 50), 6)
    assert_all_finalised(cluster)
    # Once they are gone a vertex takes 22 polls.
    free_s = max(cluster.excluded_s.values())
    assert {v.rounds for v in cluster.vertices if v.issued_s > free_s} == {ROUNDS}


def test_honest_nodes_are_not_excluded():
    cluster = Cluster(5, byzantine=5, adversary="honest", duration_s=3, drain_s=3, loss=0.01)
    assert cluster.excluded_s == {}
    assert_all_finalised(cluster)


def test_evidence_when_a_part_of_the_vertices_is_misbehaved_on():
    expected = {peer: 0 for peer in range(40, 50)}
    cluster = Cluster(
        6, byzantine=10, adversary="always_reject", misbehaving_share=0.5, duration_s=3
    )
    # All misbehave on the same vertices: they are excluded at the same piece of evidence.
    assert cluster.excluded_s.keys() == expected.keys()
    assert len(set(cluster.evidence.values())) == 1
    (pieces,) = set(cluster.evidence.values())
    disagreements = math.ceil((EXCLUDE - (pieces - 6) * AGREE) / DISAGREE)
    assert disagreements in (6, 7)


# Quorum guard


def halting_deaths(nodes):
    return next(dead for dead in range(nodes) if 100 * (nodes - dead) <= 67 * nodes)


@pytest.mark.parametrize("nodes", [12, 31, 50])
def test_the_guard_halts_at_the_right_number_of_dead(nodes):
    dead = halting_deaths(nodes)
    assert {12: 4, 31: 11, 50: 17}[nodes] == dead
    running = set(range(nodes - dead))
    for count in (dead - 1, dead):
        timeline = ((1, "kill", list(range(nodes - count, nodes)), False),)
        cluster = Cluster(1, nodes=nodes, duration_s=2, drain_s=5, timeline=timeline)
        assert_conserved(cluster)
        if count < dead:
            assert cluster.guard_changes == []
            assert_all_finalised(cluster)
            continue
        assert {node for node, _, _ in cluster.guard_changes} == running
        assert all(1.262 < at_s < 1.4 and not holds for _, at_s, holds in cluster.guard_changes)
        lost_s = max(at_s for _, at_s, _ in cluster.guard_changes)
        assert all(not vertex.decided_s > lost_s for vertex in cluster.vertices)
        assert cluster.snapshots[-1][2]["waiting"] > 0


def test_restarts_let_a_halted_cluster_go_on():
    cluster = Cluster(2, duration_s=5, drain_s=10, timeline=((1, "kill", 20),))
    lost = [node for node, _, holds in cluster.guard_changes if not holds]
    regained_s = {at_s for _, at_s, holds in cluster.guard_changes if holds}
    assert len(set(lost)) == len(lost) == 30
    assert regained_s == {11}
    assert_all_finalised(cluster)
    assert_conserved(cluster)


@pytest.mark.parametrize("byzantine", [16, 17])
def test_a_third_of_excluded_nodes_fails_safely(byzantine):
    cluster = Cluster(3, byzantine=byzantine, duration_s=3)
    assert set(cluster.excluded_s) == set(range(50 - byzantine, 50))
    halted_s = max(cluster.excluded_s.values())
    progress = any(vertex.decided_s > halted_s for vertex in cluster.vertices)
    assert progress == (byzantine == 16)
    assert len(cluster.guard_changes) == (byzantine == 17) * 33
    assert_conserved(cluster)


def test_without_its_guard_a_cluster_goes_on_when_half_are_dead():
    timeline = ((1, "kill", list(range(25)), False),)
    cluster = Cluster(4, duration_s=3, drain_s=5, guard=False, timeline=timeline)
    assert cluster.guard_changes == []
    assert_all_finalised(cluster)


@pytest.mark.parametrize("sizes", [[40, 10], [25, 25]])
def test_sides_of_a_cut(sizes):
    timeline = ((1, "partition", sizes), (18, "heal"))
    cluster = Cluster(5, rate_tps=20, duration_s=19, drain_s=10, timeline=timeline)
    lost = [node for node, _, holds in cluster.guard_changes if not holds]
    assert len(lost) == len(set(lost)) == sum(size for size in sizes if size <= 33)
    during = [vertex.decided_s for vertex in cluster.vertices if 2 < vertex.decided_s < 18]
    assert bool(during) == (40 in sizes)
    assert all(18 < at_s < 19.1 for _, at_s, holds in cluster.guard_changes if holds)
    assert_all_finalised(cluster)
    assert_conserved(cluster)


# Everything at once


def test_conservation_through_trouble():
    timeline = (
        (1, "kill", 8),
        (2, "partition", [20, 16, 14]),
        (3, "kill", 5, False),
        (7, "heal"),
        (8, "kill", list(range(40))),
    )
    trouble = {"loss": 0.02, "byzantine": 5, "misbehaving_share": 0.5, "waiting_limit": 300}
    cluster = Cluster(6, duration_s=12, drain_s=18, timeline=timeline, **trouble)
    assert_conserved(cluster)
    for name in ("finalised", "dropped", "timed_out"):
        assert cluster.counts[name] > 0
    assert max(states["waiting"] for _, _, states in cluster.snapshots) == 300


def test_a_seed_repeats_its_run():
    first, again = (Cluster(1, byzantine=2, duration_s=1, loss=0.02) for _ in range(2))
    assert [v.finished_s for v in first.vertices] == [v.finished_s for v in again.vertices]
    assert first.benches == again.benches != []


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="unknown: node"):
        Cluster(node=5)
