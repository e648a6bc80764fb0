"""Distributions of polls against exact rational arithmetic and against SciPy."""

import itertools
from fractions import Fraction
from functools import cache
from math import comb, factorial

import numpy as np
import pytest
from helpers import binomial_fraction, pool_of
from scipy import stats

from vecsim.model import poll_law as pools
from vecsim.model.poll_law import Pool

# The exact law of one poll, from the definition: draw kinds of peers, then coins, then losses.


@cache
def exact_law(ones, zeros, pool):
    """{(ones, answered): probability} as fractions, from so many honest peers of each colour."""
    ((byzantine, *mix),) = pool.kinds
    kinds = (ones, zeros, byzantine)
    total, k = sum(kinds), pool.k
    accept, reject, loss = (Fraction(p) for p in (*mix, pool.loss))
    law = {}
    for drawn in itertools.product(*(range(k + 1) for _ in kinds)):
        if sum(drawn) != k:
            continue
        if pool.replacement:
            p = Fraction(factorial(k))
            for kind, count in zip(kinds, drawn, strict=True):
                p *= Fraction(kind, total) ** count / factorial(count)
        else:
            ways = comb(kinds[0], drawn[0]) * comb(kinds[1], drawn[1]) * comb(kinds[2], drawn[2])
            p = Fraction(ways, comb(total, k))
        if not p:
            continue
        for said_one, said_zero in itertools.product(range(drawn[2] + 1), repeat=2):
            mute = drawn[2] - said_one - said_zero
            if mute < 0:
                continue
            coins = (
                Fraction(factorial(drawn[2]))
                / (factorial(said_one) * factorial(said_zero) * factorial(mute))
                * accept**said_one
                * reject**said_zero
                * (1 - accept - reject) ** mute
            )
            if not coins:
                continue
            got_one = binomial_fraction(drawn[0] + said_one, 1 - loss)
            got_zero = binomial_fraction(drawn[1] + said_zero, 1 - loss)
            for (i, a), (j, b) in itertools.product(enumerate(got_one), enumerate(got_zero)):
                if a and b:
                    law[i, i + j] = law.get((i, i + j), 0) + p * coins * a * b
    assert sum(law.values()) == 1
    return law


def exact_tables(pool):
    """The same for every number c of honest ones: [c, ones], and [c, answered, ones]."""
    joint = np.full((pool.honest + 1, pool.k + 1, pool.k + 1), Fraction(0))
    for c in range(pool.honest + 1):
        for (i, j), p in exact_law(c, pool.honest - c, pool).items():
            joint[c, j, i] += p
    return joint.sum(axis=1), joint


def assert_close(given, exact, relative=1e-12):
    """Relative accuracy everywhere, exactly 0 where the exact value is 0."""
    given = np.asarray(given)
    assert given.shape == np.shape(exact)
    for value, fraction in zip(given.ravel(), np.ravel(exact), strict=True):
        if fraction == 0:
            assert value == 0
        else:
            assert abs(Fraction(float(value)) / fraction - 1) < relative, (value, float(fraction))


MIXES = [(0.0, 0.0), (0.5, 0.5), (0.25, 0.75), (0.125, 0.5), (0.0, 0.25), (1.0, 0.0), (0.0, 1.0)]
CASES = [
    pool_of(honest, byzantine, k, *mix, loss, replacement)
    for honest, byzantine, k in ((7, 0, 3), (5, 3, 4), (2, 4, 5), (6, 1, 7), (1, 1, 1))
    for mix in (MIXES if byzantine else MIXES[:1])
    for loss in (0.0, 0.25, 1.0)
    for replacement in (False, True)
]


@pytest.mark.parametrize("pool", CASES, ids=lambda pool: "-".join(map(str, pool)))
def test_small_pools_exactly(pool):
    ones, joint = exact_tables(pool)
    assert_close(pools.ones(pool), ones)
    assert_close(pools.ones_and_answered(pool), joint)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_large_pools_against_scipy(replacement, loss):
    h, f, k = 700, 250, 80
    # Byzantine nodes answer 1, so that there are c + f peers for 1.
    pool = pool_of(h, f, k, 1.0, 0.0, loss, replacement)
    given = pools.ones(pool)
    count = np.arange(k + 1)
    for c in (0, 1, 37, 350, 699, 700):
        holders = c + f
        if replacement:
            expected = stats.binom.pmf(count, k, holders / (h + f) * (1 - loss))
        else:
            drawn = stats.hypergeom.pmf(count, h + f, holders, k)
            arrives = stats.binom.pmf(count[:, None], count[None, :], 1 - loss)
            expected = arrives @ drawn
        # SciPy's own tails are good to about 1e-10.
        assert np.allclose(given[c], expected, rtol=1e-8, atol=1e-290)
        if not (loss or replacement or c == 0):
            assert given[c].min() < 1e-12


def exact_hypergeometric(total, holders, k):
    everything = comb(total, k)
    return [
        Fraction(comb(holders, x) * comb(total - holders, k - x), everything) for x in range(k + 1)
    ]


@pytest.mark.parametrize(
    ("n", "k", "least"),
    [
        (100, 99, 0.02),
        (100, 20, 1e-18),
        (121, 80, 1e-18),
        (401, 390, 1e-18),
        (400, 200, 1e-100),
        (1000, 80, 1e-100),
        (10_000, 100, 1e-100),
    ],
)
def test_tails_without_replacement_keep_their_relative_accuracy(n, k, least):
    given = pools.ones(pool_of(n, 0, k))
    smallest = 1.0
    for c in (0, 1, k, n // 10, n // 2, n - k // 4, n - 1, n):
        exact = exact_hypergeometric(n, c, k)
        assert_close(given[c], exact)
        smallest = min(smallest, *(float(p) for p in exact if p))
        for alpha in (k // 2 + 1, 3 * k // 4 + 1, k):
            assert_close(given[c, alpha:].sum(), sum(exact[alpha:]))
    assert smallest < least


@pytest.mark.parametrize(("n", "k"), [(50, 20), (1000, 80)])
def test_tails_with_replacement_keep_their_relative_accuracy(n, k):
    given = pools.ones(pool_of(n, 0, k, replacement=True))
    for c in (0, 1, n // 10, n // 2, n - 1, n):
        exact = binomial_fraction(k, Fraction(c, n))
        assert_close(given[c], exact)


def test_tails_with_coins_and_loss_keep_their_relative_accuracy():
    pool = pool_of(9, 6, 8, 0.0009765625, 0.5, 0.0009765625)
    ones, _ = exact_tables(pool)
    assert min(p for p in ones.ravel() if p) < 1e-18
    assert_close(pools.ones(pool), ones)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("loss", [0.0, 0.25])
def test_byzantine_nodes_of_a_fixed_colour_count_as_honest_ones(replacement, loss):
    for accept in (0.0, 1.0):
        pool = pool_of(12, 5, 6, accept, 1 - accept, loss, replacement)
        merged, extra = pool.merged()
        assert (merged.kinds, merged.honest, extra) == (((0, 0.0, 0.0),), 17, 5 * accept)
        assert merged.silent == (loss > 0)
        both = (pools.ones, pools.ones_and_answered)
        for law in both:
            direct, through = law(pool), law(merged)[extra : extra + 13]
            assert np.allclose(direct, through, rtol=1e-13, atol=0)
    for mix in ((0.5, 0.5), (0.0, 0.0), (0.0, 0.5)):
        other = pool_of(12, 5, 6, *mix)
        assert other.merged() == (other, 0)


def test_silent_says_whether_an_answer_may_be_missing():
    assert not pool_of(5, 2, 3, 0.5, 0.5).silent
    assert not pool_of(5, 0, 3).silent
    assert pool_of(5, 2, 3, 0.5, 0.25).silent
    assert pool_of(5, 0, 3, loss=0.1).silent


@pytest.mark.parametrize("replacement", [False, True])
def test_laws_are_mirrored_and_marginal(replacement):
    """Colours are treated alike, and one function is the marginal of the other."""
    for loss in (0.0, 0.1):
        pool = pool_of(30, 9, 7, 0.3, 0.6, loss, replacement)
        joint = pools.ones_and_answered(pool)
        assert np.allclose(joint.sum(axis=(1, 2)), 1, rtol=1e-13)
        assert np.allclose(joint.sum(axis=1), pools.ones(pool), rtol=1e-12, atol=0)
        swapped = pools.ones_and_answered(pool_of(30, 9, 7, 0.6, 0.3, loss, replacement))[::-1]
        for answered in range(8):
            mirrored = swapped[:, answered, : answered + 1][:, ::-1]
            assert np.allclose(joint[:, answered, : answered + 1], mirrored, rtol=1e-12, atol=0)


# The minority that an adversary's pooled polls show


def exact_minority_one(honest, samples, k, replacement, c):
    if replacement:
        single = binomial_fraction(k, Fraction(c, honest))
    else:
        single = exact_hypergeometric(honest, c, k)
    total = [Fraction(1)]
    for _ in range(samples):
        new = [Fraction(0)] * (len(total) + k)
        for (i, a), (j, b) in itertools.product(enumerate(total), enumerate(single)):
            new[i + j] += a * b
        total = new
    return float(sum(p for ones, p in enumerate(total) if 2 * ones < samples * k))


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize(("honest", "samples", "k"), [(8, 1, 3), (9, 2, 5), (6, 3, 4), (20, 7, 10)])
def test_pooled_minority_exactly(honest, samples, k, replacement):
    given = pools.pooled_minority_one(honest, samples, k, replacement)
    exact = [exact_minority_one(honest, samples, k, replacement, c) for c in range(honest + 1)]
    assert np.allclose(given, exact, rtol=0, atol=1e-14)


def test_pooled_minority_of_many_nodes():
    # A sum of 6,000 answers with replacement is binomial.
    honest, samples, k = 700, 300, 20
    given = pools.pooled_minority_one(honest, samples, k, replacement=True)
    ones = np.arange(honest + 1)
    expected = stats.binom.cdf((samples * k - 1) // 2, samples * k, ones / honest)
    assert np.allclose(given, expected, rtol=0, atol=1e-11)
    assert not pools.pooled_minority_one(honest, 0, k, replacement=True).any()


# Byzantine nodes of several kinds

SEVERAL = [(2, 1.0, 0.0), (1, 0.0, 1.0), (2, 0.0, 0.0), (2, 0.25, 0.5)]


def every_subset(ones, zeros, pool):
    """[answered, ones]: every peer has a name, every set (or sequence) of peers is looked at."""
    loss = pool.loss
    answers = [(1.0, 0.0)] * ones + [(0.0, 1.0)] * zeros
    answers += [(one, zero) for nodes, one, zero in pool.kinds for _ in range(nodes)]
    answers = [(one * (1 - loss), zero * (1 - loss)) for one, zero in answers]
    draw = itertools.product if pool.replacement else itertools.combinations
    sets = list(draw(answers, repeat=pool.k) if pool.replacement else draw(answers, pool.k))
    total = np.zeros((pool.k + 1, pool.k + 1))
    for peers in sets:
        law = np.ones((1, 1))
        for one, zero in peers:
            grown = np.zeros((len(law) + 1, len(law) + 1))
            grown[:-1, :-1] = (1 - one - zero) * law
            grown[1:, 1:] += one * law
            grown[1:, :-1] += zero * law
            law = grown
        total += law / len(sets)
    return total


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("kinds", [SEVERAL, SEVERAL[2:], SEVERAL[:2], [(0, 1.0, 0.0), SEVERAL[3]]])
def test_several_kinds_by_enumeration(kinds, loss, replacement):
    honest, k = 3, 3
    pool = Pool(honest, k, tuple(kinds), loss, replacement)
    merged, more = pool.merged()
    assert merged.peers == pool.peers
    assert pool.silent == (loss > 0 or any(a + b < 1 and nodes for nodes, a, b in kinds))
    for c in range(honest + 1):
        exact = every_subset(c, honest - c, pool)
        for each, holders in ((pool, c), (merged, c + more)):
            assert np.allclose(pools.ones(each, [holders])[0], exact.sum(axis=0), atol=1e-14)
            joint = pools.ones_and_answered(each, [holders])[0]
            assert np.allclose(joint, exact, atol=1e-14)
            swapped = pools.ones(each.swapped(), [each.honest - holders])[0]
            zeros = [np.trace(exact, -i) for i in range(k + 1)]
            assert np.allclose(swapped, zeros, atol=1e-14)
