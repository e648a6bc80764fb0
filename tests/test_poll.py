"""Thresholds and draws against the distributions that they stand for, and against the oracle."""

import itertools
import math
import random
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from helpers import SIGMAS, assembler_of, assert_distribution, point, pool_of
from scipy import stats

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
from vecsim.engines.agents.lockstep import class_rows
from vecsim.engines.agents.prepare import Item, items
from vecsim.engines.trial import Tally, answers, view
from vecsim.model import poll_law as pools
from vecsim.model.poll_draw import PollKind, boundary, draw, thresholds
from vecsim.protocols.qr_avalanche import QrAvalanche

SPLIT_KIND = PollKind(counts=False, silent=False, quorums=2, wide=False, k=0)
KINDS = {
    "quorum": SPLIT_KIND._replace(quorums=1),
    "two quorums": SPLIT_KIND,
    "wide quorum": SPLIT_KIND._replace(quorums=1, wide=True),
    "wide, two quorums": SPLIT_KIND._replace(wide=True),
}
COUNTS = PollKind(counts=True, silent=False, quorums=1, wide=False, k=0)
COUNTS_SILENT = COUNTS._replace(silent=True)


# How likely a draw makes each result: the draw is evaluated on both sides of every threshold, and
# a result counts for all words up to the next place where it was evaluated.


def split(values):
    return (values >> np.uint64(32)).astype(np.uint32), values.astype(np.uint32)


def places(marks, bits):
    """Where to evaluate a draw, as sorted uint64, and how many words each one stands for.

    There is always the same number of them, lest every table compile the draw again.
    """
    end = 2**bits
    extra = np.random.default_rng(0).integers(0, end, 50, dtype=np.uint64, endpoint=False)
    marks = {int(mark) + step for mark in marks for step in (-1, 0, 1)}
    at = sorted({0, end - 2, end - 1, *map(int, extra), *(m for m in marks if 0 <= m < end)})
    at += [end] * (-len(at) % 1024)
    lengths = [b - a for a, b in zip(at, [*at[1:], end], strict=True)]
    return np.array([min(mark, end - 1) for mark in at], np.uint64), lengths


compiled_draw = jax.jit(draw, static_argnums=0)


def law_of_quorums(kind, rows, own, group=0):
    """{(agree, against, confident): words that give it out of 2^bits}."""
    bits = 64 if kind.wide else 32
    marks = rows.reshape(-1, kind.words).astype(object)
    at, lengths = places((sum(w << 32 * i for i, w in enumerate(m[::-1])) for m in marks), bits)
    words = split(at) if kind.wide else (at.astype(np.uint32),)
    full = np.full(len(at), own, np.uint32)
    poll = compiled_draw(kind, rows, full, np.full(len(at), bool(group)), words, np.uint32(0))
    law = Counter()
    columns = (np.broadcast_to(np.asarray(column), len(at)).tolist() for column in poll)
    for result, length in zip(zip(*columns, strict=True), lengths, strict=True):
        law[result] += length
    return law


def law_of_counts(kind, rows, own, group=0, k=None):
    """[k + 1, k + 1]: probability of each (ones, zeros)."""
    k = k or kind.k
    at, lengths = places(np.unique(np.asarray(rows)), 32)
    share = np.array(lengths, float) / 2**32
    word = at.astype(np.uint32)

    def evaluate(first, second):
        full = np.full(first.shape, own, np.uint32)
        which = np.full(first.shape, bool(group))
        poll = compiled_draw(kind, rows, full, which, (first, second), np.uint32(k))
        counts = poll.positive, poll.answered
        positive, answered = (np.broadcast_to(v, first.shape).astype(int) for v in counts)
        negative = answered - positive
        return (positive, negative) if own else (negative, positive)

    law = np.zeros((k + 1, k + 1))
    if not kind.silent:
        np.add.at(law, evaluate(word, word), share)
        return law
    answered = sum(evaluate(word, word))
    weight = np.bincount(answered, share, minlength=k + 1)
    example = np.zeros(k + 1, np.uint32)
    example[answered] = word
    ones, zeros = evaluate(np.repeat(example, len(word)), np.tile(word, k + 1))
    happens = np.repeat(weight, len(word)) > 0
    assert np.array_equal((ones + zeros)[happens], np.repeat(np.arange(k + 1), len(word))[happens])
    np.add.at(law, (ones[happens], zeros[happens]), np.outer(weight, share).ravel()[happens])
    return law


POOLS = [
    pool_of(29, 0, 7),
    pool_of(29, 11, 7, 0.5, 0.5),
    pool_of(29, 11, 8, 0.25, 0.25, 0.125),
    pool_of(29, 11, 7, 0.0, 0.0, 0.0, True),
    pool_of(29, 0, 8, replacement=True),
    pool_of(99, 0, 20),
    pool_of(99, 0, 21),
    pool_of(60, 39, 20, 0.5, 0.5, 0.01),
]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_quorums_are_drawn_as_often_as_they_should(pool, name):
    k = pool.k
    kind = KINDS[name]._replace(k=k)
    low, high = k // 2 + 1, (k * 4 // 5 if kind.quorums == 2 else k // 2 + 1)
    table = thresholds(pool, kind, (low, high))
    assert table.shape == (pool.honest + 1, 2, kind.columns, kind.words)
    joint = pools.ones_and_answered(pool)
    answered, ones = np.indices((k + 1, k + 1))
    unit = 2.0 ** (64 if kind.wide else 32)
    for c in (0, 1, pool.honest // 3, pool.honest // 2, pool.honest - 1, pool.honest):
        for own in (0, 1):
            positive = ones if own else answered - ones
            negative = answered - positive
            law = law_of_quorums(kind, table[c][None], own)
            for agree, against, confident in [
                *((True, False, v) for v in (False, True)),
                *((False, True, v) for v in (False, True)),
            ]:
                reached = positive if agree else negative
                inside = (reached >= high) if confident else ((reached >= low) & (reached < high))
                exact = joint[c][inside & (answered >= reached)].sum()
                given = law[agree, against, confident] / unit
                assert abs(given - exact) <= 3 / unit + 1e-13 * max(exact, min(given, 1 - given))
                if exact in (0.0, 1.0):
                    assert given == exact
            both = sum(v for (agree, against, _), v in law.items() if agree and against)
            assert both <= 2.0**-50 * unit + (0 if kind.wide else 1)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_levels_are_drawn_as_often_as_they_should(pool, wide):
    """Of four quorums, two of which are the same: no poll reaches the first alone."""
    k, low = pool.k, pool.k // 2 + 1
    quorums = (low, low, max(low, k - 1), k)
    kind = SPLIT_KIND._replace(quorums=4, wide=wide, k=k)
    table = thresholds(pool, kind, quorums)
    assert table.shape == (pool.honest + 1, 2, 8, kind.words)
    joint = pools.ones_and_answered(pool)
    answered, ones = np.indices((k + 1, k + 1))
    unit = 2.0 ** (64 if wide else 32)
    for c, own in itertools.product((0, pool.honest // 2, pool.honest), (0, 1)):
        law = law_of_quorums(kind, table[c][None], own)
        for colour in (0, 1):
            given = ones if colour else answered - ones
            levels = np.sum([given >= each for each in quorums], axis=0)
            for level in range(1, 5):
                exact = joint[c][(levels == level) & (answered >= given)].sum()
                drawn = law[own == colour, own != colour, level] / unit
                assert abs(drawn - exact) <= 3 / unit + 1e-13 * max(exact, min(drawn, 1 - drawn))
        none = {level for agree, against, level in law if not (agree or against)}
        assert none <= {0}


def test_a_rare_quorum_is_met_by_wide_draws_only():
    # 18 of 99 peers hold a colour; 16 of 20 answers for it have a probability of about 1e-13.
    pool, alpha = pool_of(99, 0, 20), 16
    exact = stats.hypergeom.sf(alpha - 1, 99, 18, 20)
    assert 1e-15 < exact < 1e-12
    wide, narrow = (KINDS[name]._replace(k=20) for name in ("wide quorum", "quorum"))
    for own, c in ((0, 18), (1, 18), (0, 81), (1, 81)):
        key = (own == (c == 18), own != (c == 18), True)
        law = law_of_quorums(wide, thresholds(pool, wide, (alpha, alpha))[c][None], own)
        assert math.isclose(law[key] / 2**64, exact, rel_tol=1e-4)
        law = law_of_quorums(narrow, thresholds(pool, narrow, (alpha, alpha))[c][None], own)
        assert law[key] == 0


@pytest.mark.parametrize("wide", [False, True])
def test_boundaries(wide):
    bits = 64 if wide else 32

    def value(below, above):
        words = [int(word) for word in boundary([below], [above], wide)[0]]
        return sum(word << 32 * i for i, word in enumerate(words[::-1]))

    assert value(0.0, 1.0) == 0
    assert value(1.0, 0.0) == 2**bits - 1
    assert value(0.5, 0.5) == 2 ** (bits - 1)
    assert value(0.25, 0.75) == 2 ** (bits - 2)
    assert value(0.75, 0.25) == 3 * 2 ** (bits - 2)
    for power in range(2, bits):
        tiny = 2.0**-power
        assert value(tiny, 1 - tiny) == 2 ** (bits - power)
        assert value(1 - tiny, tiny) == 2**bits - 2 ** (bits - power)


@pytest.mark.parametrize("name", KINDS)
def test_never_and_always_are_exact(name):
    """On an extreme word too."""
    kind = KINDS[name]._replace(k=4)
    ends = np.array([0, 1, 2**31, 2**32 - 2, 2**32 - 1], np.uint32)
    words = tuple(w.ravel() for w in np.meshgrid(ends, ends))
    words = words if kind.wide else words[:1]
    for c, colour in ((0, 0), (9, 1)):
        rows = jnp.asarray(thresholds(pool_of(9, 0, 4), kind, (3, 4))[c][None])
        for own in (0, 1):
            full = np.full(len(words[0]), own, np.uint32)
            poll = draw(kind, rows, full, full > 1, words, np.uint32(4))
            assert np.all(np.asarray(poll.agree) == (own == colour))
            assert np.all(np.asarray(poll.against) == (own != colour))
            assert np.all(poll.confident)
        silence = pool_of(0, 9, 4, 0.0, 0.0)
        rows = jnp.asarray(thresholds(silence, kind, (3, 4))[0][None])
        poll = draw(kind, rows, full, full > 1, words, np.uint32(4))
        assert not np.any(poll.agree)
        assert not np.any(poll.against)


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("widest", [0, 5], ids=["alone", "beside a larger k"])
def test_counts_are_drawn_as_often_as_they_should(pool, widest):
    kind = (COUNTS_SILENT if pool.silent else COUNTS)._replace(k=pool.k + widest)
    table = thresholds(pool, kind, (pool.k, pool.k))
    assert table.shape == (pool.honest + 1, 1, kind.columns, 1)
    joint = pools.ones_and_answered(pool)
    for c in (0, 1, pool.honest // 2, pool.honest):
        rows = np.repeat(table[c][None], 2, axis=1)
        for own in (0, 1):
            law = law_of_counts(kind, rows, own, k=pool.k)
            for answered in range(pool.k + 1):
                for ones in range(answered + 1):
                    exact, given = joint[c, answered, ones], law[ones, answered - ones]
                    assert abs(given - exact) <= 4 * 2.0**-32
                    assert given == 0 or exact > 0


@pytest.mark.parametrize("pool", [pool for pool in POOLS if not pool.silent], ids=str)
def test_wide_counts_are_drawn_as_often_as_they_should(pool):
    """To 64 bits: single polls that are rare events."""
    kind = COUNTS._replace(k=pool.k, wide=True)
    table = thresholds(pool, kind, (pool.k, pool.k))
    assert table.shape == (pool.honest + 1, 1, kind.columns, 2)
    joint = pools.ones_and_answered(pool)
    for c in (0, 1, pool.honest // 2, pool.honest):
        rows = np.repeat(table[c][None], 2, axis=1)
        numbers = [(int(high) << 32) + int(low) for high, low in table[c][0]]
        at, lengths = places(numbers, 64)
        for own in (0, 1):
            full = np.full(len(at), own, np.uint32)
            poll = compiled_draw(kind, rows, full, full > 1, split(at), np.uint32(pool.k))
            positive = np.asarray(poll.positive, int)
            ones = positive if own else pool.k - positive
            given = Counter()
            for count, length in zip(ones.tolist(), lengths, strict=True):
                given[count] += length
            for count in range(pool.k + 1):
                exact = joint[c, pool.k, count]
                assert abs(given[count] / 2.0**64 - exact) <= 4 * 2.0**-64 + 1e-13 * exact


def test_compiled_draws_are_the_eager_ones():
    words = tuple(np.random.default_rng(5).integers(0, 2**32, (2, 20_000), dtype=np.uint32))
    own = (words[0] & np.uint32(1)).astype(np.uint32)
    group = (words[1] & np.uint32(1)) == 1
    pool = pool_of(29, 11, 8, 0.25, 0.25, 0.125)
    for kind in (*KINDS.values(), COUNTS_SILENT, COUNTS, COUNTS._replace(wide=True)):
        kind = kind._replace(k=8)
        tables = thresholds(pool, kind, (5, 7))
        rows = jnp.asarray(
            np.stack([np.broadcast_to(tables[i], (2, *tables[i].shape[1:])) for i in (9, 20)])
        )
        eager = draw(kind, rows, own, group, words, np.uint32(8))
        compiled = jax.jit(draw, static_argnums=0)(kind, rows, own, group, words, np.uint32(8))
        for one, other in zip(eager, compiled, strict=True):
            assert np.array_equal(one, other)


# Every adversary, to every class of querier, against peers that are drawn one by one

K, ALPHA = 8, 6
ADVERSARIES = {
    "random_voting": (RandomVoting, {}),
    "always_reject": (AlwaysReject, {}),
    "always_accept": (AlwaysAccept, {}),
    "silent": (Silent, {}),
    "echo": (Echo, {}),
    "flip": (Flip, {}),
    "coordinated_collusion": (CoordinatedCollusion, {"reject_share": 0.3}),
    "sybil": (Sybil, {"admission": 0.4, "reject_share": 0.3}),
    "balance_informed": (BalanceInformed, {}),
    "balance_pooled": (BalancePooled, {"lag": 0}),
    "balance_pooled, late": (BalancePooled, {"lag": 1}),
    "non_answer": (NonAnswer, {}),
    "stall": (Stall, {}),
    "safety_split": (SafetySplit, {"target": 1}),
    "safety_split, 0": (SafetySplit, {"target": 0}),
    "release": (Release, {"release_round": 50}),
}
# honest, byzantine, ones at the start, a round ago and now, rounds completed, colours decided
STATES = {
    "contested": (21, 9, 8, 9, 12, 3, (0, 0)),
    "nearly won": (27, 3, 15, 24, 25, 50, (0, 2)),
    "all at 0": (20, 10, 0, 0, 0, 49, (1, 0)),
    "all at 1": (20, 10, 20, 20, 20, 51, (0, 0)),
    "tie": (20, 10, 10, 9, 10, 4, (0, 0)),
}
POLLS = 600


def engine_laws(name, state, network):
    """{(group, colour): [ones, zeros] probabilities} by the engine's own functions."""
    honest, byzantine, start_ones, before, ones, rounds, decided = state
    class_, fields = ADVERSARIES[name]
    fields = {{"admission": "admission_rate"}.get(key, key): v for key, v in fields.items()}
    n = honest + byzantine
    p = point(
        QrAvalanche(k=K, alpha=ALPHA, beta=3),
        class_(**fields),
        n=n,
        byzantine_fraction=byzantine / n,
        initial_accept=start_ones / honest,
        **network,
    )
    assert (p.honest, p.start_ones) == (honest, start_ones)
    weighted = []  # (probability, admitted, what is shared by the whole trial or round)
    admitted = {byzantine: 1.0}
    if name == "sybil":
        law = stats.binom.pmf(np.arange(byzantine + 1), byzantine, 0.4)
        admitted = dict(enumerate(law.tolist()))
    undisputed = start_ones in (0, honest)
    coins = {0.0: 0.3, 0.99: 0.7} if undisputed and "reject_share" in fields else {0.5: 1.0}
    for number, p_number in admitted.items():
        (given,) = (i for i in items(p._replace(adversary=Echo()), 0, np.arange(1), np.arange(1)))
        item = Item(p, given.key, given.trials, given.place, (number,))
        assembler = assembler_of([p], 1, 0)
        trials, tables, _ = jax.tree.map(jnp.asarray, next(assembler.batches([item])))
        trial = jax.tree.map(lambda leaf: leaf[0], trials)
        tally = Tally(np.int32(ones), np.int32(sum(decided)), np.int32(decided[1]))
        at = before if fields.get("lag") else ones
        seen = view(trial, tables, tally, np.int32(rounds), np.int32(at))
        p_pooled = int(tables.pooled[trial.pooled_offset + at]) / 2**32 if class_.pools else 1.0
        for coin, p_coin in coins.items():
            for pushed, p_pushed in ((1, p_pooled), (0, 1 - p_pooled)):
                if not p_pushed:
                    continue
                shown = seen._replace(
                    trial_coin=jnp.float32(coin), pooled_minority=jnp.int32(pushed)
                )
                mixes, _ = answers(trial, shown, jnp.asarray([pushed], jnp.int32))
                rows = class_rows(trial, tables, mixes, jnp.int32(ones))
                weighted.append((p_number * p_coin * p_pushed, rows, assembler.shape.kind))
    laws = {}
    for group in (0, 1):
        for colour in (0, 1):
            if ones if colour else honest - ones:
                laws[group, colour] = sum(
                    weight * law_of_counts(kind, rows, colour, group)
                    for weight, rows, kind in weighted
                )
    return laws


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("sampling", ["without_replacement", "with_replacement"])
@pytest.mark.parametrize("name", ADVERSARIES)
def test_votes_are_those_of_peers_drawn_one_by_one(name, sampling, loss):
    rng = random.Random(f"{name} {sampling} {loss}")
    chosen, fields = name.split(",")[0], ADVERSARIES[name][1]
    for i, (which, state) in enumerate(STATES.items()):
        if chosen == "sybil" and not which.startswith(("contested", "all")):
            continue
        honest, byzantine, start_ones, before, ones, rounds, decided = state
        network = {"sampling": sampling, "loss": loss, "exclude_self": i % 2 == 0}
        for (group, colour), law in engine_laws(name, state, network).items():
            if group and chosen != "safety_split":
                continue
            observed = np.zeros((K + 1, K + 1))
            for _ in range(POLLS):
                cell = oracle.poll_counts(
                    {"name": "qr_avalanche", "k": K, "alpha": ALPHA, "beta": 3},
                    {"name": chosen, **fields},
                    honest_ones=ones,
                    honest_zeros=honest - ones,
                    byzantine=byzantine,
                    colour=colour,
                    group=group,
                    start_ones=start_ones,
                    rounds_completed=rounds,
                    previous_ones=before if chosen == "balance_pooled" else None,
                    target_decided=decided[fields.get("target", 1)] > 0,
                    rng=rng,
                    **network,
                )
                observed[cell] += 1
            assert_distribution(observed, law)


def test_admission_is_binomial_and_fixed_per_trial():
    p = point(
        QrAvalanche(k=K, alpha=ALPHA),
        Sybil(admission_rate=0.3),
        n=40,
        byzantine_fraction=0.5,
    )
    trials = np.arange(20_000)
    counts = np.zeros(21)
    of_trial = np.full(len(trials), -1)
    for item in items(p, 3, trials, trials):
        counts[item.admitted] += len(item.trials)
        of_trial[item.trials] = item.admitted
        assert np.array_equal(item.trials, item.place)
    assert_distribution(counts, stats.binom.pmf(np.arange(21), 20, 0.3))
    for item in items(p, 3, trials[500:600], trials[:100]):
        assert (of_trial[item.trials] == item.admitted).all()


def test_admission_of_many_identities():
    p = point(QrAvalanche(), Sybil(), n=10_000, byzantine_fraction=0.4)
    trials = np.arange(2000)
    admitted = np.repeat(
        *np.transpose([(item.admitted, len(item.trials)) for item in items(p, 0, trials, trials)])
    )
    assert abs(admitted.mean() - 400) < SIGMAS * math.sqrt(360 / len(trials))
    assert abs(admitted.var() / 360 - 1) < SIGMAS * math.sqrt(2 / len(trials))


def test_shared_coins_are_uniform():
    p = point(QrAvalanche(k=K, alpha=ALPHA), CoordinatedCollusion(), n=20, byzantine_fraction=0.2)
    count = 20_000
    assembler = assembler_of([p], count, 0)
    listed = items(p, 0, np.arange(count), np.arange(count))
    trials, tables, _ = jax.tree.map(jnp.asarray, next(assembler.batches(listed)))

    def coins(trial, round_):
        tally = Tally(trial.start_ones, jnp.int32(0), jnp.int32(0))
        seen = view(trial, tables, tally, round_, trial.start_ones)
        return seen.trial_coin, seen.round_coin

    first = jax.vmap(coins, (0, None))(trials, jnp.int32(0))
    later = jax.vmap(coins, (0, None))(trials, jnp.int32(7))
    assert np.array_equal(first[0], later[0])
    for values in (*first, later[1]):
        assert values.min() >= 0
        assert values.max() < 1
        assert stats.kstest(np.asarray(values, float), "uniform").pvalue > 1e-6
    correlation = np.corrcoef(np.stack([*first, later[1]]))
    assert np.abs(correlation - np.eye(3)).max() < SIGMAS / math.sqrt(count)
