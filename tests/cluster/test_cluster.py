"""The simulated cluster against its plain-Python oracle, closed forms and the agents engine."""

import math
import re

import cluster_oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cluster_oracle import AGREE, DISAGREE, EXCLUDE
from helpers import SIGMAS, assert_rate, point, run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from latency_law import latency_below, latency_with_failures_below
from scipy import stats

from vecsim.adversaries.always_accept import AlwaysAccept
from vecsim.adversaries.coordinated_collusion import CoordinatedCollusion
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.cluster import (
    ScaleTestCluster,
    campaign,
    checkpoint,
    defence,
    scale_test_cluster,
    simulate,
    votes,
    window,
)
from vecsim.cluster.config import parse_run
from vecsim.cluster.votes import vertex_coin
from vecsim.errors import ConfigError
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.results.files import StoreError

LOSSY = [{"at_s": 0, "do": "set_packet_loss", "loss": 0.05}]


def configured(seconds=60, rate_tps=100, **cluster):
    top = {"seed", "window_s", "timeline", "trials", "drain_s", "workload"}
    given = {key: cluster.pop(key) for key in top & cluster.keys()}
    workload = {"kind": "constant", "rate_tps": rate_tps}
    base = {"duration_s": seconds, "window_s": 1, "workload": workload, "cluster": cluster}
    return base | given


def sampled(data, name="latency_ms"):
    """The values of finalised vertices, with their weights."""
    values, weights = data[name].values, data["weight"].values
    kept = ~np.isnan(data["latency_ms"].values) & (weights > 0)
    return values[kept], weights[kept]


def weighted_quantile(values, weights, level):
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    return values[order][np.searchsorted(below, level)]


def totals(data):
    return {name: int(data[name].sum()) for name in ("issued", "finalised", "rejected", "given_up")}


# Latencies of an undisturbed vertex: 22 polls, 4 ms apart


@pytest.mark.parametrize(
    ("profile", "timeline", "quantile_ms", "share"),
    [
        ("local", [], 84.9, latency_below(84.9, 0.1, 1, 0)),
        ("lan", [], 93, latency_below(93, 1, 10, 1e-4)),
        ("wan", [], 268, latency_below(268, 50, 200, 1e-3)),
        ("local", LOSSY, 362.5, latency_with_failures_below(362.5, 0.05)),
    ],
    ids=["local", "lan", "wan", "5 % loss"],
)
def test_latency_of_22_polls(profile, timeline, quantile_ms, share):
    """The share of vertices, about 95 %, that take no longer than the quantile."""
    # One vertex a second: parents are final before their children are issued.
    data = simulate(configured(600, 1, nodes=1000, profile=profile, timeline=timeline))
    assert totals(data)["finalised"] == totals(data)["issued"] == 8 * 600
    assert int(data["timed_out"].isel(window=0).sum()) == 0
    latency, weights = sampled(data)
    assert (weights == 1).all()
    assert_rate(latency <= quantile_ms, share)


def test_a_poll_resolves_with_its_alpha_th_reply():
    data = simulate(configured(600, 1, nodes=1000))
    latency, _ = sampled(data)
    # The last poll starts at 84 ms; the 24th of 30 uniform round trips is Beta(24, 7).
    law = stats.beta(24, 7, loc=84.1, scale=0.9)
    assert stats.kstest(latency, law.cdf).pvalue > 1e-6
    assert set(sampled(data, "rounds")[0].tolist()) == {22}


# The oracle: every message of a small cluster, in plain Python


def oracle_runs(count, **options):
    return [cluster_oracle.Cluster(seed, **options) for seed in range(count)]


def compare_latency(data, runs, parents=True):
    """Two-sample KS test on latency and on polls of the last attempt."""
    ours, _ = sampled(data)
    theirs = [
        vertex.latency_ms(parents)
        for run_ in runs
        for vertex in run_.vertices
        if vertex.state == "finalised"
    ]
    # A weight is a repetition; the size of the test is that of the vertices that were run.
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-6
    rounds, _ = sampled(data, "rounds")
    their_rounds = [v.rounds for r in runs for v in r.vertices if v.state == "finalised"]
    assert stats.ks_2samp(rounds, their_rounds).pvalue > 1e-6


SMALL = {"nodes": 50, "poll_interval_ms": 4.0}
PLAIN = {"benching": False, "reputation": False, "guard": False}


def test_oracle_loss():
    data = simulate(configured(60, 1, **SMALL, timeline=LOSSY, trials=32, guard=False))
    runs = oracle_runs(2, rate_tps=10, duration_s=40, parents="none", loss=0.05, guard=False)
    compare_latency(data, runs, parents=False)


@pytest.mark.parametrize("adversary", ["random_voting", "always_reject"])
def test_oracle_byzantine_without_defence(adversary):
    fraction = 0.1 if adversary == "random_voting" else 0.06
    cluster = {**SMALL, **PLAIN, "byzantine_fraction": fraction, "adversary": adversary}
    data = simulate(configured(60, 1, **cluster, trials=32))
    options = {"byzantine": round(fraction * 50), "adversary": adversary, **PLAIN}
    runs = oracle_runs(2, rate_tps=20, duration_s=30, parents="none", **options)
    rounds = data["rounds"].values[(data["weight"].values > 0) & (data["outcome"].values == 1)]
    ended = [v.rounds for r in runs for v in r.vertices if v.state == "finalised"]
    assert stats.ks_2samp(rounds, ended).pvalue > 1e-6


def test_oracle_parents():
    """With parents a lossy cluster is slower; the line of the last vertices makes it so."""
    cluster = {**SMALL, "parents": "linear", "guard": False}
    data = simulate(configured(20, 50, **cluster, timeline=LOSSY, trials=16))
    runs = oracle_runs(6, rate_tps=50, duration_s=20, loss=0.05, parents="linear", guard=False)
    theirs = [[v.latency_ms() for v in r.vertices[50:]] for r in runs]
    ours = data["latency_ms"].values[:, 1:].reshape(16, -1)
    for level in (0.25, 0.5, 0.75, 0.95):
        # Latencies of a line depend on one another: runs and trials are what is independent.
        one, other = (np.array([np.nanquantile(r, level) for r in each]) for each in (ours, theirs))
        error = math.hypot(*(part.std(ddof=1) / math.sqrt(part.size) for part in (one, other)))
        assert abs(one.mean() - other.mean()) < SIGMAS * error


@pytest.mark.parametrize("adversary", ["random_voting", "always_reject"])
def test_oracle_detection(adversary):
    """Attackers are excluded after as many vertices as the test needs, and a window: on average,
    and the first and the last of them."""
    attack = {"adversary": adversary, "guard": False}
    cluster = {**SMALL, "byzantine_fraction": 0.2, **attack}
    data = simulate(configured(12, 5, **cluster, trials=32, drain_s=5))
    runs = oracle_runs(6, byzantine=10, rate_tps=5, duration_s=12, drain_s=5, **attack)
    theirs = [at for r in runs for at in r.excluded_s.values()]
    assert len(theirs) == 60
    excluded = data["excluded_byzantine"].values
    assert (excluded[:, -1] == 10).all()
    ends = (data["time_s"] + data["length_s"]).values
    ours = np.concatenate(
        [np.repeat(ends, np.diff(row, prepend=0)) for row in excluded]  # at the window's end
    )
    # A window's end is half a window later than the moment, on average.
    error = math.hypot(np.std(ours) / math.sqrt(len(ours)), np.std(theirs) / math.sqrt(60))
    assert abs(np.mean(ours) - np.mean(theirs)) < SIGMAS * error + 0.5
    for level in (0.05, 0.25, 0.75, 0.95):
        one, other = (np.quantile(each, level) - np.mean(each) for each in (ours, theirs))
        assert abs(one - other) < 1  # a window


@pytest.mark.parametrize("dead", [15, 16, 17, 20])
def test_oracle_halts(dead):
    """The guard of 50 nodes fails once 17 of them are dead: 33 is not more than 0.67 x 50."""
    kill = {"at_s": 10, "do": "kill_random_nodes", "count": dead, "restart": False}
    data = simulate(configured(30, 20, **SMALL, timeline=[kill], trials=32))
    run_ = cluster_oracle.Cluster(
        1, rate_tps=20, duration_s=30, timeline=[(10, "kill", dead, False)]
    )
    halted = any(not holds for node, _, holds in run_.guard_changes if run_.running[node])
    assert halted == (dead >= 17)
    after = data["guard"].isel(window=slice(15, None))
    assert bool((after == 0).all()) == halted
    assert bool((after == 1).all()) == (not halted)
    assert int(data["lost"].max()) == int(data["doubled"].max()) == 0


def test_oracle_time_to_notice():
    """After a cut in halves the guard fails as soon as the peers across are benched, and holds
    again once they answer after the cut: in every trial, to a window."""
    cut = {"at_s": 10, "do": "create_partition", "shares": [0.5, 0.5]}
    timeline = [cut, {"at_s": 20, "do": "heal_partition"}]
    data = simulate(configured(60, 20, **SMALL, timeline=timeline, trials=32))
    events = [(10, "partition", [25, 25]), (20, "heal")]
    runs = [
        cluster_oracle.Cluster(seed, rate_tps=20, duration_s=60, timeline=events)
        for seed in range(4)
    ]
    start, guard = data["time_s"].values, data["guard"].values
    failed = start[np.argmax(guard == 0, axis=1)]
    healed = start[np.argmax((guard == 1) & (start > 20), axis=1)]
    for found, holds in ((failed, False), (healed, True)):
        changes = [[at for _, at, is_ in r.guard_changes if is_ == holds] for r in runs]
        theirs = np.array([np.median(each) for each in changes])
        assert np.ptp(theirs) < 1
        assert (abs(found - theirs.mean()) <= 1).all()


# The agents engine


@pytest.mark.parametrize("fraction", [0.05, 0.1])
def test_rounds_are_those_of_the_agents_engine(fraction):
    cluster = {"nodes": 1000, "byzantine_fraction": fraction, **PLAIN}
    data = simulate(configured(120, 1, **cluster, trials=32))
    first = data["rounds"].values[(data["weight"].values > 0) & (data["outcome"].values >= 0)]
    p = point(QrAvalanche(), RandomVoting(), n=1000, byzantine_fraction=fraction, initial_accept=1)
    out = run([p], 8)[0]
    polls = out["polls"] / p.honest  # mean polls of a node, undecided ones included
    mean, error = first.mean(), first.std() / math.sqrt(first.size)
    assert abs(mean - polls.mean()) < SIGMAS * math.hypot(error, polls.std() / math.sqrt(8))


@pytest.mark.parametrize("ones", [21, 24])
def test_disputed_vertices_are_those_of_the_agents_engine(ones):
    """Which colours honest nodes decide in the end, from starts whose outcome is open."""
    trials, quick = 3000, {"protocol": {"k": 10, "alpha": 7, "beta": 4}}
    cluster = {"nodes": 50, "byzantine_fraction": 0.1, "adversary": "random_voting"}
    made = ScaleTestCluster(configured(1, 1, **cluster, **quick, **PLAIN, trials=1))
    honest = made.run.cluster.nodes - made.byzantine
    peers = votes.Peers(*map(jnp.int32, (ones, honest - ones, made.byzantine, 0)))

    @jax.jit
    @jax.vmap
    def decided(number):
        key = jnp.uint32(7), number
        coin = vertex_coin(key, jnp.uint32(0))
        return votes.disputed(made.shape, made.now, key, peers, jnp.int32(ones), coin).decided

    found = np.asarray(decided(jnp.arange(trials, dtype=jnp.uint32)))
    rule = made.now.rule
    p = point(rule, RandomVoting(), n=50, byzantine_fraction=0.1, initial_accept=ones / honest)
    out = run([p], trials)[0]
    for colour in range(2):
        rates = found[:, colour].mean(), (out[f"decided_{colour}"] > 0).mean()
        error = math.sqrt(sum(rate * (1 - rate) for rate in rates) / trials)
        assert abs(rates[0] - rates[1]) < SIGMAS * error
        assert 0.01 < min(rates) < 0.99


# Resources, by hand


@pytest.mark.parametrize(
    ("cluster", "rate_tps", "cpu", "mbps", "memory"),
    [
        # 4 k / interval x 5 us + 200 us a vertex; 2 k / interval x 60 B + payload;
        # 128 MB + 180 s of payloads + 180 s x 256 B
        ({"nodes": 1000}, 100, 15 + 2, 7.2 + 0.8, 128 + 18 + 4.608),
        ({"nodes": 100}, 50, 30 + 1, 14.4 + 0.4, 128 + 9 + 2.304),
        ({"nodes": 1000, "payload_bytes": 100_000}, 20, 15 + 0.4, 7.2 + 16, 128 + 128 + 0.9216),
    ],
    ids=["1000 nodes", "100 nodes", "large payload"],
)
def test_resources_by_hand(cluster, rate_tps, cpu, mbps, memory):
    data = simulate(configured(600, rate_tps, **cluster, window_s=10, trials=2))
    last = data.isel(window=data["time_s"].values < 600).isel(window=-1)
    assert np.allclose(last["cpu_percent"], cpu, rtol=1e-5)
    assert np.allclose(last["network_mbps"], mbps, rtol=1e-5)
    assert np.allclose(last["memory_mb"], memory, rtol=1e-4)


# Conservation: nothing lost, nothing finalised twice, and no two decisions but across a cut

COUNTS = st.integers(0, 12)
EVENTS = st.one_of(
    st.fixed_dictionaries(
        {"do": st.just("kill_random_nodes"), "count": COUNTS, "restart": st.booleans()}
    ),
    st.fixed_dictionaries({"do": st.just("spawn_nodes"), "count": COUNTS}),
    st.fixed_dictionaries(
        {
            "do": st.just("create_partition"),
            "shares": st.sampled_from([[0.5, 0.5], [0.8, 0.2], [0.4, 0.4, 0.2]]),
        }
    ),
    st.fixed_dictionaries({"do": st.just("heal_partition")}),
    st.fixed_dictionaries({"do": st.just("stop")}),
    st.fixed_dictionaries({"do": st.just("start")}),
    st.fixed_dictionaries(
        {"do": st.just("set_packet_loss"), "loss": st.sampled_from([0, 0.01, 0.05, 0.2])}
    ),
    st.fixed_dictionaries(
        {
            "do": st.just("inject_latency_spike"),
            "extra_ms": st.sampled_from([50, 500]),
            "duration_s": st.sampled_from([3, 10]),
        }
    ),
    st.fixed_dictionaries({"do": st.just("remove_byzantine_nodes")}),
    st.fixed_dictionaries(
        {
            "do": st.just("set_workload"),
            "kind": st.just("burst"),
            "rate_tps": st.just(50),
            "burst_tps": st.just(6000),
            "burst_s": st.just(5),
        }
    ),
)


ROSTER = (RandomVoting(), CoordinatedCollusion(), AlwaysAccept())


@example([(0, {"do": "create_partition", "shares": [0.5, 0.5]})], 0.2, "random_voting", False, 2)
@example([(0, {"do": "create_partition", "shares": [0.5, 0.5]})], 0.2, "random_voting", True, 2)
@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    events=st.lists(st.tuples(st.integers(0, 39), EVENTS), max_size=8),
    fraction=st.sampled_from([0.0, 0.2, 0.34]),
    adversary=st.sampled_from(["random_voting", "coordinated_collusion", "always_accept"]),
    guard=st.booleans(),
    seed=st.integers(0, 99),
)
def test_conservation(events, fraction, adversary, guard, seed):
    timeline = [{"at_s": at, **event} for at, event in events]
    cluster = {
        "nodes": 40,
        "byzantine_fraction": fraction,
        "adversary": adversary,
        "guard": guard,
        "double_spend_share": 0.1,
    }
    run_ = parse_run(configured(40, 80, **cluster, timeline=timeline, trials=2, seed=seed))
    data = simulate(run_, roster=ROSTER)
    assert int(data["lost"].max()) == int(data["doubled"].max()) == 0
    # The same by counting, at every window.
    issued = data["issued"].cumsum("window")
    ended = sum(
        data[name].cumsum("window") for name in ("finalised", "rejected", "given_up", "dropped")
    )
    assert (issued == ended + data["in_flight"]).all()
    assert (data["in_flight"] >= data["waiting"]).all()
    assert (data["waiting"] >= 0).all()
    # A cut that no guard watches is the one way to two decisions, as the test of two sides shows.
    cut = any(event["do"] == "create_partition" for _, event in events)
    assert int(data["divergent"].max()) == 0 or (cut and not guard)
    numbers = [name for name, v in data.items() if v.dims == ("trial", "window")]
    assert all(np.isfinite(data[name]).all() for name in numbers)


# The reputation test


def scores_until(p, vertices, peers, seed):
    """Whether and after how many answers peers that disagree with probability p are excluded."""
    steps = np.where(np.random.default_rng(seed).random((peers, vertices)) < p, DISAGREE, AGREE)
    over = steps.cumsum(axis=1) >= EXCLUDE
    return over.any(axis=1), over.argmax(axis=1) + 1


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_detection_takes_what_wald_says(share):
    """Nodes that vote at random on a share of the vertices: mean delay log(A) / drift and more."""
    cluster = {"nodes": 200, "byzantine_fraction": 0.2, "misbehaving_share": share, "guard": False}
    data = simulate(configured(60, 50, **cluster, trials=8, benching=False))
    excluded = data["excluded_byzantine"].values
    assert (excluded[:, -1] == 40).all()
    ends = (data["time_s"] + data["length_s"]).values
    at = np.concatenate([np.repeat(ends, np.diff(row, prepend=0)) for row in excluded])
    _, needed = scores_until(share / 2, 3000, 40_000, 1)
    wald = EXCLUDE / (share / 2 * DISAGREE + (1 - share / 2) * AGREE)
    assert wald < needed.mean() < wald + DISAGREE / (share / 2 * DISAGREE + AGREE)
    # Vertices come 50 a second and are judged in the window after that of their issue.
    error = at.std() / math.sqrt(at.size)
    judged = needed.mean() / 50 + 1
    assert judged - SIGMAS * error < at.mean() < judged + 1 + SIGMAS * error


def test_honest_nodes_are_excluded_less_often_than_the_bound():
    """At the nominal 1 % of disagreement a lifetime's chance of exclusion is below 1e-4 (Ville)."""
    nodes, vertices = 20_000, 4000
    cluster = ScaleTestCluster(configured(nodes=nodes, trials=1))
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), cluster.state)
    told = jnp.full(nodes, vertices, jnp.int32)

    def never(vertex):
        return jnp.float32(0), jnp.float32(1)

    @jax.jit
    def judged(key):
        return defence.evidence(cluster.now, state, key, told, jnp.float32(0.01), never)

    count, drift = 0, vertices * (0.01 * DISAGREE + 0.99 * AGREE)
    for number in range(5):
        score, excluded = judged((jnp.uint32(number), jnp.uint32(7)))
        out = int(excluded.sum())
        count += out
        # Scores drift as the likelihood ratio does; those of the excluded stand still.
        error = math.sqrt(vertices * 0.01 * 0.99 / nodes) * (DISAGREE - AGREE)
        still = out / nodes * (abs(drift) + EXCLUDE + DISAGREE)
        assert abs(float(score.mean()) - drift) < SIGMAS * error + still
    assert count <= stats.poisson.ppf(1 - 1e-6, 1e-4 * 5 * nodes)


def test_no_honest_node_is_excluded_among_double_spends():
    cluster = {
        "nodes": 200,
        "byzantine_fraction": 0.2,
        "adversary": "coordinated_collusion",
        "double_spend_share": 0.1,
    }
    data = simulate(configured(300, 50, **cluster, window_s=5, trials=8))
    assert int(data["excluded_byzantine"].min("trial")[-1]) == 40
    assert int(data["excluded_honest"].max()) == 0
    assert int(data["divergent"].max()) == 0


@pytest.mark.parametrize("reputation", [True, False])
def test_a_double_vote_excludes_at_once(reputation):
    """Nodes that answer truthfully but sign two votes on one vertex in a hundred."""
    cluster = {
        **SMALL,
        "byzantine_fraction": 0.2,
        "misbehaving_share": 0.0,
        "double_votes": 0.01,
        "reputation": reputation,
    }
    data = simulate(configured(30, 20, **cluster, trials=32))
    excluded = data["excluded_byzantine"].values
    assert int(data["excluded_honest"].max()) == 0
    if not reputation:
        assert excluded.max() == 0
        return
    # What a window gathers, 20 vertices, is judged in the next one.
    caught = 1 - 0.99 ** (20 * np.maximum(np.arange(30), 0))
    error = np.sqrt(caught * (1 - caught) / (10 * 32))
    assert (np.abs(excluded[:, :30].mean(axis=0) / 10 - caught) <= SIGMAS * error + 1e-9).all()


def test_one_of_several_adversaries_is_itself():
    """Runs that share a program give the same bits as alone."""
    run_ = parse_run(configured(8, 20, **SMALL, byzantine_fraction=0.2, trials=32))
    assert_identical(simulate(run_, roster=ROSTER), simulate(run_))


# Independence of how a run is cut up

BUSY = configured(
    50,
    80,
    nodes=60,
    byzantine_fraction=0.2,
    double_spend_share=0.1,
    timeline=[
        {"at_s": 7, "do": "kill_random_nodes", "count": 5},
        {"at_s": 20, "do": "create_partition", "shares": [0.8, 0.2]},
        {"at_s": 30, "do": "heal_partition"},
    ],
    window_s=5,
    trials=4,
)


def assert_identical(first, second):
    for name in first.variables:
        np.testing.assert_array_equal(first[name].values, second[name].values, strict=True)


def test_window_batching(monkeypatch):
    whole = simulate(BUSY)
    monkeypatch.setattr(window, "SEGMENT", 3)
    monkeypatch.setattr(scale_test_cluster, "SEGMENT", 3)
    assert_identical(simulate(BUSY), whole)


def test_longer_windows_show_the_same():
    """In steady state the figures do not depend on the length of the windows."""
    found = []
    for window_s in (1, 10, 30):
        cluster = {"nodes": 200, "byzantine_fraction": 0.1, "profile": "lan"}
        data = simulate(configured(600, 100, **cluster, window_s=window_s))
        steady = data.isel(window=(data["time_s"].values > 60) & (data["time_s"].values < 600))
        latency, weights = sampled(steady)
        cpu = float(steady["cpu_percent"].weighted(steady["length_s"]).mean())
        found.append((weighted_quantile(latency, weights, 0.5), latency.std(), latency.size, cpu))
        assert totals(data)["finalised"] == totals(data)["issued"]
    for median, deviation, size, cpu in found[1:]:
        error = (
            SIGMAS
            * 1.25
            * math.hypot(deviation / math.sqrt(size), found[0][1] / math.sqrt(found[0][2]))
        )
        assert abs(median - found[0][0]) < error
        assert cpu == pytest.approx(found[0][3], rel=1e-4)


# The imperative front


def test_front():
    cluster = ScaleTestCluster(configured(60, 50, **SMALL, trials=32))
    assert (cluster.running == 0).all()
    cluster.start()
    cluster.advance(12)
    assert cluster.is_healthy().all()
    assert (cluster.running == 50).all()
    cluster.kill_random_nodes(count=20, restart=False)
    cluster.advance(5)
    assert (cluster.running == 30).all()
    assert not cluster.is_healthy().any()
    cluster.spawn_nodes(20)
    cluster.advance(15)
    assert cluster.is_healthy().all()
    data = cluster.results()
    assert data.sizes["trial"] == 32
    assert float((data["length_s"]).sum()) == 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cluster": {"nodes": 1}}, "cluster.nodes is 1"),
        ({"cluster": {"profile": "moon"}}, "allowed: local, lan, wan, degraded"),
        ({"cluster": {"speed": 1}}, "cluster.speed is no parameter"),
        ({"cluster": {"adversary": "nobody"}}, "cluster.adversary is 'nobody'"),
        ({"cluster": {"parents": "none"}}, "allowed: linear, few, wide, random"),
        ({"workload": {"kind": "constant"}}, "workload.rate_tps is None"),
        ({"workload": {"kind": "flood"}}, "allowed: constant, ramp, burst, chaos, sine, at_once"),
        ({"timeline": [{"at_s": 1, "do": "explode"}]}, "timeline.do is 'explode'"),
        ({"timeline": [{"at_s": 99, "do": "stop"}]}, "timeline.at_s is 99"),
        (
            {"timeline": [{"at_s": 1, "do": "kill_random_nodes", "many": 2}]},
            "allowed: count, restart",
        ),
        ({"timeline": [{"at_s": 1, "do": "kill_random_nodes", "count": "x"}]}, "count is 'x'"),
        ({"timeline": [{"at_s": 1, "do": "set_packet_loss", "loss": "x"}]}, "loss is 'x'"),
        ({"cluster": {"adversary": None}}, "cluster.adversary is None; allowed: always_accept"),
        ({"cluster": {"adversary": 1}}, "cluster.adversary is 1; allowed: always_accept"),
        ({"cluster": {"adversary": [[1]]}}, "cluster.adversary is"),
        ({"cluster": {"profile": [1]}}, "allowed: local, lan, wan, degraded"),
        ({"cluster": {"protocol": {"k": "abc"}}}, "cluster.protocol.k is 'abc'; allowed: a whole"),
        ({"cluster": {"protocol": {"k": 30.5}}}, "cluster.protocol.k is 30.5; allowed: a whole"),
        ({"cluster": {"protocol": {"max_rounds": 1e3}}}, "max_rounds is 1000.0; allowed: a whole"),
        ({"cluster": {"protocol": 0}}, "cluster.protocol is 0; allowed: a mapping with k"),
        ({"workload": {"kind": [1]}}, "allowed: constant, ramp, burst, chaos, sine, at_once"),
        ({"workload": 5}, "workload is 5; allowed: a mapping with kind"),
        ({"timeline": "abc"}, "timeline is 'abc'; allowed: a list"),
        ({"timeline": 0}, "timeline is 0; allowed: a list"),
        ({"timeline": [{"at_s": True, "do": "stop"}]}, "timeline.at_s is True"),
        ({"timeline": [{"at_s": 1, "do": [1]}]}, "allowed: start, stop, "),
        (
            {"timeline": [{"at_s": 1, "do": "kill_random_nodes", "count": 2, "restart": 5}]},
            "restart is 5; allowed: true or false",
        ),
        (
            {"timeline": [{"at_s": 1, "do": "create_partition", "shares": "ab"}]},
            "shares is 'ab'; allowed: 2 to 4 shares",
        ),
        (
            {"timeline": [{"at_s": 1, "do": "set_protocol", "beta": "x"}]},
            "set_protocol.beta is 'x'; allowed: a whole number, 1 to 127",
        ),
        ({"trials": 0}, "trials is 0"),
        ({"window_s": 0.5}, "window_s is 0.5"),
    ],
)
def test_wrong_configurations(change, message):
    config = configured(60, 10, nodes=20)
    config = config | {k: v for k, v in change.items() if k != "cluster"}
    config["cluster"] = config["cluster"] | change.get("cluster", {})
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        simulate(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("segments", [2, 5, 12])
def test_a_run_that_is_killed_goes_on(segments, tmp_path, monkeypatch):
    """Stopped in the middle, the same call gives the same bits, and leaves no files."""
    whole = simulate(BUSY)
    monkeypatch.setattr(window, "SEGMENT", 3)
    monkeypatch.setattr(scale_test_cluster, "SEGMENT", 3)
    monkeypatch.setattr(campaign, "SAVE_EVERY_S", 0.0)
    step, steps = ScaleTestCluster.step, []

    def killed(self, end_ms):
        steps.append(end_ms)
        if len(steps) > segments:
            raise KeyboardInterrupt
        step(self, end_ms)

    with monkeypatch.context() as patched:
        patched.setattr(ScaleTestCluster, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            simulate(BUSY, tmp_path / "run")
    assert len(list((tmp_path / "run").glob("windows-*.npz"))) == segments
    with pytest.raises(StoreError, match="belongs to another scenario"):
        simulate(BUSY | {"seed": 1}, tmp_path / "run")
    assert_identical(simulate(BUSY, tmp_path / "run"), whole)
    checkpoint.remove_checkpoint(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "SAVE_EVERY_S", 0.0)
    simulate(BUSY, tmp_path)
    cut = {"windows-000000.npz": "is damaged", "state.npz": "has no vecsim checksum at its end"}
    for name, told in cut.items():
        file = tmp_path / name
        before = file.read_bytes()
        turned = before[:500] + bytes([before[500] ^ 1]) + before[501:]
        for broken, line in ((before[:-100], told), (b"", told), (turned, "is damaged")):
            file.write_bytes(broken)
            with pytest.raises(StoreError, match=line):
                simulate(BUSY, tmp_path)
            assert file.read_bytes() == broken
        file.write_bytes(before)


def test_devices():
    """One CPU device or two, three trials or four: the same bits."""
    cluster = ScaleTestCluster(BUSY)
    assert cluster.mesh.size == 2
    whole = simulate(BUSY)
    assert_identical(simulate(BUSY | {"trials": 3}), whole.isel(trial=slice(3)))  # on one device


# What faults do to vertices in flight


def test_the_larger_side_of_a_cut_goes_on_undisturbed():
    cut = {"at_s": 10, "do": "create_partition", "shares": [0.8, 0.2]}
    data = simulate(configured(40, 50, **SMALL, timeline=[cut], trials=32))
    later = data.isel(window=slice(15, 39))
    assert int(later["timed_out"].sum()) == 0
    assert (later["progressing"] == 40).all()
    assert (later["finalised"].mean("window") > 0.95 * 40).all()  # of the 50, 40 are issued there


def test_a_halt_ages_what_waits():
    """The clock of a vertex that is issued again runs on while the guard fails."""
    timeline = [
        {"at_s": 10, "do": "kill_random_nodes", "count": 20, "restart": False},
        {"at_s": 40, "do": "spawn_nodes", "count": 20},
    ]
    data = simulate(configured(60, 50, **SMALL, timeline=timeline, trials=32))
    assert int(data["guard"].isel(window=20).max()) == 0
    assert float(data["latency_ms"].max()) > 25_000
    assert int(data["in_flight"].isel(window=-1).max()) == 0


def test_a_cut_does_not_reopen_a_guard():
    timeline = [
        {"at_s": 5, "do": "kill_random_nodes", "count": 20, "restart": False},
        {"at_s": 15, "do": "create_partition", "shares": [0.5, 0.5]},
        {"at_s": 25, "do": "create_partition", "shares": [0.5, 0.5]},
    ]
    data = simulate(configured(30, 20, **SMALL, timeline=timeline, trials=32))
    assert (data["guard"].isel(window=slice(8, None)) == 0).all()


def test_stop_stops_those_that_restart_too():
    cluster = ScaleTestCluster(configured(60, 10, **SMALL, trials=32))
    cluster.start()
    cluster.advance(2)
    cluster.kill_random_nodes(5)
    cluster.stop()
    cluster.advance(20)
    assert (cluster.running == 0).all()


@pytest.mark.parametrize(
    ("guard", "shares"), [(False, [0.5, 0.5]), (True, [0.5, 0.5]), (False, [])]
)
def test_two_sides_that_both_finalise_diverge(guard, shares):
    """Of two vertices that exclude each other each half of a cluster finalises one, unless the
    guard keeps both from finalising; without a cut nobody diverges either."""
    cut = [{"at_s": 10, "do": "create_partition", "shares": shares}] if shares else []
    cluster = SMALL | {"guard": guard, "double_spend_share": 0.5}
    data = simulate(configured(40, 50, **cluster, timeline=cut, trials=16))
    before = data["divergent"].where(data["time_s"] < 10).max()
    after = data["divergent"].isel(window=-1)
    assert before == 0
    assert ((after > 0) == (not guard and bool(shares))).all()
    assert (data["lost"] == 0).all()
