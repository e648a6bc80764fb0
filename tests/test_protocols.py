"""The rule of every protocol, poll by poll, against recorded traces and the oracle's nodes."""

import csv
import gzip
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from helpers import point, run

from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.polls import counted
from vecsim.protocols.qr_avalanche import SCALE, QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.types import Counts, Quorum, decided, preference

DATA = Path(__file__).parent / "data"
SNOW = {"snowflake": Snowflake, "snowball": Snowball}


@jax.jit
def start(rule, colours):
    return rule.start(colours)


@jax.jit
def poll(rule, cells, ones, zeros):
    """One poll of every undecided cell, by the answers of each colour; decided cells stay."""
    own = preference(cells)
    counts = Counts(jnp.where(own == 1, ones, zeros), ones + zeros)
    seen = counts if rule.counts else counted(rule.quorums, counts)
    return jnp.where(decided(cells), cells, rule.step(cells, seen))


def fields(rule, cells):
    """Preference, colour of the last quorum, counter and margin, as the docstrings say."""
    cells = np.asarray(cells).astype(int)
    if isinstance(rule, Snowflake):
        return cells & 1, cells & 1, cells >> 3, np.zeros_like(cells)
    limit = rule.beta + (rule.decide_when == "gt")
    width = int(limit).bit_length()
    counter = (cells >> 4) & (2**width - 1)
    return cells & 1, (cells & 1) ^ ((cells >> 3) & 1), counter, cells >> (4 + width)


# What avalanchego did


def snow_traces():
    """{(protocol, k, alphas, beta): {name of column: [trace, step] array}}"""
    with gzip.open(DATA / "snow_traces.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    traces = {}
    for row in rows:
        traces.setdefault((row["proto"], row["set"], row["trace"]), []).append(row)
    grouped = {}
    for polls in traces.values():
        polls.sort(key=lambda row: int(row["step"]))
        first = polls[0]
        rule = (first["proto"], *(int(first[c]) for c in list(first)[4:8]), len(polls))
        grouped.setdefault(rule, []).append(polls)
    names = [name for name in rows[0] if name not in ("proto", "set")]
    return {
        rule: {n: np.array([[int(r[n] or 0) for r in polls] for polls in many]) for n in names}
        for rule, many in grouped.items()
    }


def test_every_recorded_poll_of_avalanchego():
    checked = 0
    for (name, k, low, high, beta, steps), columns in snow_traces().items():
        rule = SNOW[name](k, low, high, beta, max_rounds=2 * steps)
        cells = start(rule, columns["init"][:, 0].astype(np.uint32))
        for step in range(steps):
            assert (columns["step"][:, step] == step).all()
            ones = columns["ones"][:, step].astype(np.uint32)
            cells = poll(rule, cells, ones, np.uint32(k) - ones)
            own, last, counter, margin = fields(rule, cells)
            over = np.asarray(decided(cells))
            assert np.array_equal(over, columns["finalized"][:, step] == 1)
            assert np.array_equal(own, columns["preference"][:, step])
            assert np.array_equal(last, columns["snowflake_pref"][:, step])
            assert np.array_equal(counter, columns["confidence"][:, step])
            if name == "snowball":
                strength = columns["strength1"][:, step] - columns["strength0"][:, step]
                strength = np.where(own == 1, strength, -strength)
                # A decision against the stronger colour leaves the margin without a meaning.
                assert np.array_equal(margin[~over], strength[~over])
            assert (np.asarray(cells) < rule.cell_limit()).all()
            checked += len(ones)
    assert checked == 19200


# The published variants

SWITCHES = list(itertools.product((True, False), ("ge", "gt"), (1, 0)))


def random_polls(rng, nodes, steps, k, loss):
    """Answers of each colour, with drifting odds, so that runs and changes both occur."""
    odds = np.clip(0.5 + rng.normal(0, 0.3, (nodes, 1)) + rng.normal(0, 0.25, (1, steps)), 0, 1)
    ones = rng.binomial(k, odds)
    zeros = rng.binomial(k - ones, 1 - loss)
    return ones.astype(np.uint32), zeros.astype(np.uint32)


def follow(rule, config, seed, *, nodes=120, steps=70, loss=0.1):
    """Cells and the oracle's nodes after each of some random polls."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 2, nodes).astype(np.uint32)
    ones, zeros = random_polls(rng, nodes, steps, config["k"], loss)
    cells = start(rule, colours)
    theirs = [oracle.make_node(config, int(colour)) for colour in colours]
    for step in range(steps):
        cells = poll(rule, cells, ones[:, step], zeros[:, step])
        for i, node in enumerate(theirs):
            if node.decision == -1:
                node.poll(int(ones[i, step]), int(zeros[i, step]))
        assert (np.asarray(cells) < rule.cell_limit()).all()
        assert not (np.asarray(cells) & 4).any()
        yield np.asarray(cells), theirs


def assert_same(cells, nodes):
    own = [node.preference for node in nodes]
    decision = [node.decision for node in nodes]
    over = np.asarray(decided(cells))
    assert np.array_equal(np.asarray(preference(cells)), own)
    assert np.array_equal(np.where(over, own, -1), decision)
    return over


@pytest.mark.parametrize(("reset", "when", "after"), SWITCHES)
@pytest.mark.parametrize("name", SNOW)
def test_variants(name, reset, when, after):
    switches = {"reset_on_failure": reset, "decide_when": when, "count_after_flip": after}
    decisions = set()
    cases = itertools.product(((6, 6), (6, 8)), (1, 2, 4, 7, 20))
    for seed, ((low, high), beta) in enumerate(cases):
        config = {"name": name, "k": 10, "alpha_preference": low, "alpha_confidence": high}
        config |= {"beta": beta, "max_rounds": 200, **switches}
        rule = SNOW[name](10, low, high, beta, 200, **switches)
        for cells, nodes in follow(rule, config, seed):
            over = assert_same(cells, nodes)
            _, last, counter, margin = fields(rule, cells)
            assert np.array_equal(counter, [node.counter for node in nodes])
            if name == "snowball":
                assert np.array_equal(last, [node.last for node in nodes])
                by = np.array([n.strength[n.stronger] - n.strength[1 - n.stronger] for n in nodes])
                assert np.array_equal(margin[~over], by[~over])
        decisions |= {node.decision for node in nodes}
    assert decisions == {-1, 0, 1}


def test_slush():
    config = {"name": "slush", "k": 10, "alpha": 7, "m": 70}
    for cells, nodes in follow(Slush(10, 7, 70), config, 0):
        assert not assert_same(cells, nodes).any()


@pytest.mark.parametrize("initial", [0.0, 0.5, 0.94])
@pytest.mark.parametrize("threshold", [0.95, 0.8])
def test_qr_avalanche(threshold, initial):
    # Exact confidences from the decimal rule; the cell's may be off by less than 1e-5.
    decided_nodes = 0
    for seed, (k, alpha, beta) in enumerate([(30, 24, 20), (10, 7, 3), (5, 3, 1), (100, 80, 10)]):
        config = {"k": k, "alpha": alpha, "beta": beta, "max_rounds": 100}
        config |= {"confidence_threshold": threshold, "initial_confidence": initial}
        rule = QrAvalanche(**config)
        # Mostly agreement, so that confidence comes near the threshold.
        rng = np.random.default_rng(seed)
        nodes, steps = 150, 100
        colours = rng.integers(0, 2, nodes).astype(np.uint32)
        odds = np.where(rng.random((nodes, steps)) < 0.02, 0.1, 0.9 + 0.1 * rng.random((nodes, 1)))
        ones = rng.binomial(k, np.where(colours[:, None] == 1, odds, 1 - odds)).astype(np.uint32)
        zeros = rng.binomial(k - ones, 0.95).astype(np.uint32)
        ones[rng.random((nodes, steps)) < 0.02] = 0
        zeros[rng.random((nodes, steps)) < 0.02] = 0
        cells = start(rule, colours)
        theirs = [oracle.make_node({"name": "qr_avalanche", **config}, int(c)) for c in colours]
        unclear = np.zeros(nodes, bool)
        for step in range(steps):
            cells = poll(rule, cells, ones[:, step], zeros[:, step])
            for i, node in enumerate(theirs):
                node.poll(int(ones[i, step]), int(zeros[i, step]))
            now = np.asarray(cells)
            exact = np.array([node.confidence for node in theirs])
            unclear |= np.abs(exact - threshold) < 1e-5
            sure = ~unclear
            assert np.abs((now >> 10) / SCALE - exact)[sure].max() < 1e-5
            assert np.array_equal((now & 1)[sure], np.array([n.preference for n in theirs])[sure])
            decision = np.array([n.decision for n in theirs])
            assert np.array_equal((((now >> 1) & 1) == 1)[sure], (decision != -1)[sure])
            streak = np.minimum([n.streak for n in theirs], beta)
            assert np.array_equal(((now >> 3) & 127)[sure], streak[sure])
            assert not (now & 4).any()
        assert unclear.mean() < 0.1
        decided_nodes += int(((now >> 1) & 1).sum())
    assert decided_nodes > 50


def test_confidence_settles_at_the_share_that_agrees():
    """With 20 % rejecting, near 0.8: never 0.95, and 20 quorums in a row hardly ever come."""
    rule, nodes = QrAvalanche(max_rounds=100), 20_000
    ones = np.random.default_rng(5).binomial(30, 0.8, (100, nodes)).astype(np.uint32)
    cells = start(rule, np.ones(nodes, np.uint32))
    for drawn in ones:
        cells = poll(rule, cells, drawn, 30 - drawn)
    confidence = (np.asarray(cells) >> 10) / SCALE
    assert not decided(cells).any()
    # An average with weights 0.1 x 0.9^i of shares of 30 answers; the start is long forgotten.
    spread = np.sqrt(0.8 * 0.2 / 30 * 0.1 / 1.9)
    assert abs(confidence.mean() - 0.8) < 5 * spread / np.sqrt(nodes)
    assert abs(confidence.std() / spread - 1) < 5 / np.sqrt(2 * nodes)
    assert confidence.max() < 0.8 + 6 * spread < 0.95


def test_confidence_of_long_runs_does_not_drift():
    """Fixed point against exact arithmetic, over runs of equal polls of every kind."""
    rule = QrAvalanche(k=30, alpha=24, beta=127, confidence_threshold=1.0)
    answered, positive = (v.ravel().astype(np.uint32) for v in np.indices((31, 31)))
    keep = (positive <= answered) & (answered - positive < 24)
    answered, positive = answered[keep], positive[keep]
    cells = start(rule, np.ones(len(answered), np.uint32))
    exact = np.full(len(answered), 0.5)
    for _ in range(300):
        cells = poll(rule, cells, positive, answered - positive)
        moved = 0.9 * exact + 0.1 * positive / np.maximum(answered, 1)
        exact = np.where(answered == 0, exact, moved)
        still = ~np.asarray(decided(cells))
        assert np.abs((np.asarray(cells) >> 10) / SCALE - exact)[still].max() < 5e-6


# Counters


@pytest.mark.parametrize("when", ["ge", "gt"])
@pytest.mark.parametrize("beta", [255, 256, 257, 65_535, 65_536, 100_000])
@pytest.mark.parametrize("name", SNOW)
def test_long_runs_never_wrap(name, beta, when):
    """Agreement without end decides after exactly as many polls as it should."""
    limit = beta + (when == "gt")
    longest = {"snowflake": 2**20 - 1, "snowball": 4 * limit}[name]
    if name == "snowball" and limit > 16_000:
        longest = 2 * (2 ** (28 - limit.bit_length()) - 2)
    rule = SNOW[name](20, 15, 15, beta, longest, decide_when=when)
    assert rule.cell_limit() <= 2**32

    @jax.jit
    def ahead(cell, against, count):
        def body(_, cell):
            seen = Quorum(~against, against, jnp.bool_(True))
            return jnp.where(decided(cell), cell, rule.step(cell, seen))

        return jax.lax.fori_loop(0, count, body, cell)

    no, yes = jnp.bool_(False), jnp.bool_(True)
    before = ahead(jnp.uint32(1), no, limit - 1)
    assert fields(rule, before)[2] == limit - 1
    assert not decided(before)
    after = ahead(before, no, 1)
    assert decided(after)
    assert int(after) < rule.cell_limit()
    # A run for the other colour that starts at the last moment is as long.
    turned = ahead(before, yes, 1)
    own, last, counter, margin = fields(rule, turned)
    assert (last, counter) == (0, 1)
    if name == "snowball":
        assert (own, margin) == (1, min(limit - 1, longest // 2 + 1) - 1)


def test_margin_stops_growing_only_when_it_cannot_be_lost():
    config = {"k": 20, "alpha_preference": 15, "alpha_confidence": 15, "beta": 2000}
    rule = Snowball(**config, max_rounds=100)
    for wins in (0, 1, 49, 50, 51, 52, 99):
        cell = start(rule, jnp.uint32(1))
        node = oracle.make_node({"name": "snowball", **config}, 1)
        for step in range(100):
            ones = 20 if step < wins else 0
            cell = poll(rule, cell, jnp.uint32(ones), jnp.uint32(20 - ones))
            node.poll(ones, 20 - ones)
            assert int(preference(cell)) == node.preference
            assert cell < rule.cell_limit()


CELLS = [
    (Snowflake(10, 7, 7, 6, 60), 37, (8, 16, 32)),
    (Snowflake(10, 6, 8, 31, 60), 150, (16, 32)),
    (Snowflake(10, 7, 7, 3, 60, reset_on_failure=False), 150, (8, 16)),
    (Snowball(10, 7, 7, 5, 60), 37, (16, 32)),
]


@pytest.mark.parametrize(("rule", "n", "widths"), CELLS, ids=str)
def test_cells_of_8_16_and_32_bits_give_the_same_trials(rule, n, widths):
    p = point(rule, BalanceInformed(), n=n, byzantine_fraction=0.1, initial_accept=0.55)
    first, *others = (run([p], 60, change={"bits": bits})[0] for bits in widths)
    assert len(set(first["flips"])) > 10
    for other in others:
        for name, values in first.items():
            assert np.array_equal(values, other[name], equal_nan=True), name


def test_outcomes_do_not_depend_on_the_sweep_that_a_point_is_in():
    """A larger k, beta and n beside it change shapes, but no bit of the results."""
    small = point(Snowflake(9, 7, 7, 6, 80), RandomVoting(), n=40, byzantine_fraction=0.25)
    beside = [
        point(Snowflake(17, 12, 12, 40, 300), RandomVoting(), n=40, byzantine_fraction=0.05),
        point(Snowflake(20, 14, 14, 7, 90), BalanceInformed(), n=40, byzantine_fraction=0.1),
    ]
    alone = run([small], 80)[0]
    together = run([beside[0], small, beside[1]], 80)[1]
    for name, values in alone.items():
        assert np.array_equal(values, together[name], equal_nan=True), name
    rule = QrAvalanche(9, 7, 6)
    small = point(rule, RandomVoting(), n=40, byzantine_fraction=0.1)
    wider = point(QrAvalanche(20, 14, 6), RandomVoting(), n=40, byzantine_fraction=0.05)
    alone, together = run([small], 80)[0], run([wider, small], 80)[1]
    for name, values in alone.items():
        assert np.array_equal(values, together[name], equal_nan=True), name
