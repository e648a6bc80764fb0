"""Threefry against two other implementations' numbers, and the keys that are made with it."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_distribution
from jax.extend.random import threefry_2x32
from scipy import stats

from vecsim.model import random
from vecsim.polls import below

WORDS = 200_000


def some_words(seed, count=WORDS):
    words = np.random.default_rng(seed).integers(0, 2**32, (4, count), dtype=np.uint32)
    edges = np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1], np.uint32)
    corners = np.array(list(itertools.product(edges, repeat=4)), np.uint32).T
    words[:, : corners.shape[1]] = corners
    return words


def known(*words):
    return [np.array([word], np.uint32) for word in words]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    # threefry2x32 with 20 rounds in kat_vectors of Random123.
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers_of_random123(counter, key, expected):
    assert np.array_equal(random.threefry(*known(*key), *known(*counter)), known(*expected))


def test_bits_are_those_of_jax():
    # JAX takes the words of a single key and the two halves of an array of counters.
    for seed in range(20):
        key0, key1, counter0, counter1 = some_words(seed, 5000)
        for which in (0, -1):
            key = np.array([key0[which], key1[which]])
            theirs = threefry_2x32(key, jnp.concatenate([counter0, counter1]))
            one = (np.full(1, key[0]), np.full(1, key[1]))
            ours = random.threefry(*one, counter0, counter1)
            assert np.array_equal(np.concatenate(ours), np.asarray(theirs))


def test_numpy_eager_and_compiled_give_the_same_bits():
    words = some_words(1)
    host = random.threefry(*words)
    on_device = [jnp.asarray(word) for word in words]
    assert all(word.dtype == np.uint32 for word in host)
    for function in (random.threefry, jax.jit(random.threefry)):
        assert all(
            np.array_equal(ours, theirs)
            for ours, theirs in zip(host, function(*on_device), strict=True)
        )


def test_arguments_broadcast():
    key0, key1, counter0, counter1 = some_words(2, 1500)
    table = random.threefry(key0[:, None], key1[:, None], counter0[:7], counter1[:7])
    for i in (0, 700, 1499):
        row = random.threefry(key0[i : i + 1], key1[i : i + 1], counter0[:7], counter1[:7])
        assert np.array_equal([words[i] for words in table], row)


def test_below_is_the_floor_of_the_product():
    word, _, _, other = some_words(3).astype(np.uint64)
    ends = [2**16 - 1, 2**16, 2**16 + 1, 2**31, 2**32 - 1]
    limits = np.concatenate(
        [np.arange(1, 200), ends, other[:300] % 2**16 + 1, np.maximum(other[300:600], 1)]
    )
    for limit in limits.astype(np.uint64):
        expected = (word * limit) >> np.uint64(32)
        given = below(word.astype(np.uint32), np.uint32(limit))
        assert given.dtype == np.uint32
        assert np.array_equal(given, expected)
    assert below(jnp.uint32(2**32 - 1), jnp.uint32(2**16)) == 2**16 - 1


def test_below_is_uniform():
    _, _, first, second = some_words(4)
    words, _ = random.threefry(*known(1, 2), first, second)
    for limit in (2, 3, 7, 100):
        seen = np.bincount(below(words, np.uint32(limit)), minlength=limit)
        assert_distribution(seen, np.full(limit, 1 / limit))


def test_every_seed_point_and_trial_has_its_own_key():
    seeds = [0, 1, 2, 2**31, 2**32 - 1]
    hashes = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1]
    trials = np.array([0, 1, 2, 999, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40], np.uint64)
    seen = set()
    for seed, hash_ in itertools.product(seeds, hashes):
        key = random.point_key(seed, hash_)
        high, low = random.trial_key(key, trials)
        seen |= {(int(h), int(w)) for h, w in zip(high, low, strict=True)}
        for i, trial in enumerate(trials):
            alone = random.trial_key(key, np.array([trial]))
            assert (alone[0][0], alone[1][0]) == (high[i], low[i])
    assert len(seen) == len(seeds) * len(hashes) * len(trials)


def test_neighbouring_keys_are_unrelated():
    # Bits of the first block of consecutive trials, of points, and of seeds are fair coins, and so
    # is whether a bit equals that of the neighbour.
    trials = random.trial_key(random.point_key(0, 1), np.arange(50_000))
    points = [random.point_key(0, i) for i in range(3000)]
    seeds = [random.point_key(i, 1) for i in range(3000)]
    for keys in (trials, np.array(points)[..., 0].T, np.array(seeds)[..., 0].T):
        word, _ = random.threefry(*keys, np.uint32(0), np.uint32(0))
        for values in (word, word[1:] ^ word[:-1]):
            ones = (values[:, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
            total = int(ones.sum())
            assert stats.binomtest(total, ones.size).pvalue > 1e-6
            assert min(stats.binomtest(int(c), len(values)).pvalue for c in ones.sum(0)) > 1e-6


def test_counters_of_purposes_and_rounds_never_meet():
    purposes = range(random.PURPOSES)
    rounds = np.array([0, 1, 2, 1000, 2**20, random.MAX_ROUNDS - 1], np.uint32)
    used = {int(c) for p in purposes for c in random.counter(rounds, p)}
    assert len(used) == len(rounds) * random.PURPOSES
    assert random.PLACE < random.PURPOSES


def test_split64():
    values = [0, 1, 2**32 - 1, 2**32, 2**64 - 1]
    high, low = random.split64(values)
    assert [int(h) * 2**32 + int(w) for h, w in zip(high, low, strict=True)] == values
