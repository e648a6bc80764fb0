"""What holds for every trial of every point, and what results must not depend on."""

import jax
import numpy as np
import pytest
from helpers import assert_same_distribution, mesh_of, point, run
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vecsim.adversaries.always_accept import AlwaysAccept
from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.balance_pooled import BalancePooled
from vecsim.adversaries.coordinated_collusion import CoordinatedCollusion
from vecsim.adversaries.echo import Echo
from vecsim.adversaries.flip import Flip
from vecsim.adversaries.non_answer import NonAnswer
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.release import Release
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.silent import Silent
from vecsim.adversaries.stall import Stall
from vecsim.adversaries.sybil import Sybil
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake

ADVERSARIES = st.sampled_from(
    [
        RandomVoting(),
        AlwaysReject(),
        AlwaysAccept(),
        Silent(),
        Echo(),
        Flip(),
        CoordinatedCollusion(0.5),
        Sybil(0.5),
        BalanceInformed(),
        BalancePooled(0),
        BalancePooled(1),
        NonAnswer(),
        Stall(),
        SafetySplit(0),
        SafetySplit(1),
        Release(5),
    ]
)
SIZES = st.sampled_from([9, 26])  # few, since each is another program
TRIALS = 24


@st.composite
def protocols(draw, largest):
    k = draw(st.integers(1, largest))
    alpha = draw(st.integers(k // 2 + 1, k))
    kind = draw(st.sampled_from(["slush", "snowflake", "snowball", "qr_avalanche"]))
    rounds = draw(st.integers(1, 40))
    if kind == "slush":
        return Slush(k, alpha, rounds)
    beta = draw(st.sampled_from([1, 2, 6, 12]))
    if kind == "qr_avalanche":
        threshold = draw(st.sampled_from([0.0, 0.6, 0.95]))
        return QrAvalanche(k, alpha, beta, threshold, max_rounds=rounds)
    return {"snowflake": Snowflake, "snowball": Snowball}[kind](k, alpha, alpha, beta, rounds)


@st.composite
def points(draw, schedules=("lockstep", "async")):
    n = draw(SIZES)
    # No more peers than the honest nodes, whom pooled polls draw from.
    fraction = draw(st.sampled_from([0.0, 0.1, 0.3, 0.5]))
    honest = n - round(fraction * n)
    return point(
        draw(protocols(min(8, honest - 1))),
        draw(ADVERSARIES),
        n=n,
        byzantine_fraction=fraction,
        initial_accept=draw(st.sampled_from([0.0, 0.4, 0.5, 0.9, 1.0])),
        schedule=draw(st.sampled_from(schedules)),
        sampling=draw(st.sampled_from(["without_replacement", "with_replacement"])),
        exclude_self=draw(st.booleans()),
        loss=draw(st.sampled_from([0.0, 0.0, 0.2, 1.0])),
    )


@settings(max_examples=22)
@given(points())
def test_outcomes_are_consistent(p):
    (out,) = run([p], TRIALS, size=TRIALS)
    honest, limit = p.honest, p.protocol.max_rounds
    decided = out["decided_0"] + out["decided_1"]
    assert (decided + out["undecided"] == honest).all()
    assert (np.stack([out["decided_0"], out["decided_1"], out["undecided"]]) >= 0).all()
    assert (out["final_ones"] >= out["decided_1"]).all()
    assert (honest - out["final_ones"] >= out["decided_0"]).all()
    assert (out["rounds"] >= 0).all()
    assert (out["rounds"] <= limit).all()

    first, median, last = (out[f"{name}_decision"] for name in ("first", "median", "last"))
    assert np.array_equal(np.isnan(first), decided == 0)
    assert np.array_equal(np.isnan(median), 2 * decided < honest)
    assert np.array_equal(np.isnan(last), out["undecided"] > 0)
    assert not (first > median).any()
    assert not (median > last).any()
    assert not (first > out["rounds"]).any()
    assert (last == out["rounds"])[~np.isnan(last)].all()
    if p.protocol.decides:
        assert (out["rounds"] == limit)[np.isnan(last)].all()
        beta = getattr(p.protocol, "beta", 0)
        earliest = beta if p.schedule == "lockstep" else beta / p.n
        assert not (first < earliest - 1e-9).any()
    else:
        assert not decided.any()
    assert not (out["unanimity"] > out["rounds"]).any()
    unanimous_now = np.isin(out["final_ones"], (0, honest))
    assert not np.isnan(out["unanimity"][unanimous_now]).any()
    if p.start_ones in (0, honest):
        assert (out["unanimity"] == 0).all()

    polls, flips = out["polls"], out["flips"]
    assert (flips >= np.abs(out["final_ones"] - p.start_ones)).all()
    assert (flips <= polls).all()
    assert ((flips - out["final_ones"] + p.start_ones) % 2 == 0).all()
    if p.schedule == "async":
        assert np.array_equal(polls, np.round(out["rounds"] * p.n))
    else:
        assert (polls <= out["rounds"] * honest).all()
        assert (polls >= out["rounds"]).all()
        assert (polls >= out["undecided"] * out["rounds"]).all()
    assert (out["admitted"] >= 0).all()
    assert (out["admitted"] <= p.byzantine).all()
    if p.adversary.admission == 1:
        assert (out["admitted"] == p.byzantine).all()
    if p.network.loss == 1:
        assert not flips.any()
        assert not decided.any()


@settings(max_examples=3)
@given(points())
@example(point(Snowflake(5, 4, 4, 4), Sybil(0.5), n=26, byzantine_fraction=0.3))
@example(point(Snowball(5, 3, 4, 7), SafetySplit(), n=26, byzantine_fraction=0.3, schedule="async"))
def test_bits_do_not_depend_on_batches_devices_or_company(p):
    (whole,) = run([p], TRIALS, size=TRIALS)
    one, two = mesh_of(1), mesh_of(2)
    assert (one.size, two.size) == (1, 2)
    others = [
        run([p], TRIALS, size=TRIALS, mesh=one)[0],
        run([p], TRIALS, size=10, mesh=two)[0],
        run([p._replace(initial_accept=0.3), p], TRIALS, size=TRIALS)[1],
    ]
    later = run([p], 7, first=11, size=10)[0]
    for name, values in whole.items():
        for other in others:
            assert np.array_equal(values, other[name], equal_nan=True), name
        assert np.array_equal(values[11:18], later[name], equal_nan=True), name


@settings(max_examples=6)
@given(
    st.sampled_from([Snowflake, Snowball]),
    st.integers(1, 8),
    st.integers(1, 12),
    st.sampled_from(["ge", "gt"]),
    st.sampled_from([0.0, 1.0]),
    SIZES,
    st.booleans(),
)
def test_validity(class_, k, beta, when, colour, n, exclude_self):
    """A unanimous start without Byzantine nodes decides that colour in exactly beta rounds."""
    rule = class_(k, k // 2 + 1, k, beta, 60, decide_when=when)
    p = point(rule, Echo(), n=n, initial_accept=colour, exclude_self=exclude_self)
    (out,) = run([p], TRIALS, size=TRIALS)
    rounds = beta + (when == "gt")
    for name in ("rounds", "first_decision", "median_decision", "last_decision"):
        assert (out[name] == rounds).all()
    assert (out["decided_1" if colour else "decided_0"] == n).all()
    assert not out["flips"].any()
    assert (out["polls"] == n * rounds).all()


@pytest.mark.parametrize("schedule", ["lockstep", "async"])
def test_agreement_without_faults_at_safe_parameters(schedule):
    rules = [Snowflake(max_rounds=500), Snowball(max_rounds=500), QrAvalanche(20, 15, 20)]
    points = [
        point(rule, Echo(), n=100, initial_accept=share, schedule=schedule)
        for rule in rules
        for share in (0.5, 0.6, 0.95)
    ]
    for p, out in zip(points, run(points, 100), strict=True):
        assert not ((out["decided_0"] > 0) & (out["decided_1"] > 0)).any()
        if not isinstance(p.protocol, QrAvalanche):
            assert not out["undecided"].any()
        if p.initial_accept == 0.95:
            assert (out["decided_1"] == 100).all()


MIRRORED = [
    (RandomVoting(), RandomVoting()),
    (AlwaysReject(), AlwaysAccept()),
    (Echo(), Echo()),
    (Flip(), Flip()),
    (Silent(), Silent()),
    (Stall(), Stall()),
]


@pytest.mark.parametrize("schedule", ["lockstep", "async"])
@pytest.mark.parametrize(
    "rule",
    [
        Snowflake(6, 4, 5, 5, 30),
        Snowball(7, 4, 4, 3, 30),
        QrAvalanche(7, 5, 4, 0.75, max_rounds=30),
        Slush(7, 5, 20),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_colours_are_alike(rule, schedule):
    """The same with the colours exchanged: start, adversary and outcome."""
    sides = [], []
    for pair in MIRRORED:
        for side, adversary, share in zip(sides, pair, (0.4, 0.6), strict=True):
            p = point(
                rule,
                adversary,
                n=26,
                byzantine_fraction=0.2,
                initial_accept=share,
                loss=0.1,
                schedule=schedule,
            )
            side.append(p)
    ours, theirs = run(sides[0], 1500, seed=1), run(sides[1], 1500, seed=2)
    for p, one, other in zip(sides[0], ours, theirs, strict=True):
        assert_same_distribution(one["decided_0"], other["decided_1"])
        assert_same_distribution(one["decided_1"], other["decided_0"])
        assert_same_distribution(p.honest - one["final_ones"], other["final_ones"])
        for name in ("rounds", "first_decision", "last_decision", "flips", "polls", "unanimity"):
            assert_same_distribution(one[name], other[name])


def test_there_are_two_devices():
    assert len(jax.devices()) == 2
