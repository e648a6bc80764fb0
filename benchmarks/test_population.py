"""Speed of the population engine, and of its draws beside others in the same process.

Whole trials of Snowflake 20/15/15/20 from an even start, without Byzantine nodes, until all nodes
have decided; and one round's 42 binomial draws, in blocks of trials, for a contested network.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vecsim.adversaries.random_voting import RandomVoting
from vecsim.engines import population
from vecsim.engines.population.binomial import Names, binomial
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.snowflake import Snowflake

SIZES = (10**4, 10**6, 10**9)
TRIALS, BLOCK, DRAWS, ROUNDS = 1024, 32, 42, 50
SHARE = 0.3  # of the nodes of a cell that go on to the next


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("byzantine_fraction", [0.0, 0.1])
def test_trials(benchmark, n, byzantine_fraction):
    """With Byzantine nodes, answers are coins: some probabilities are sums over two numbers."""
    point = Point(
        n, byzantine_fraction, 0.5, "lockstep", Snowflake(20, 15, 15, 20), RandomVoting(), Network()
    )
    work = [(point, np.arange(TRIALS))]
    out = benchmark.pedantic(lambda: population.run(work, 0), rounds=5, warmup_rounds=1)
    seconds = benchmark.stats.stats.min
    benchmark.extra_info["trials_per_second"] = TRIALS / seconds
    benchmark.extra_info["trial_rounds_per_second"] = out["rounds"].sum() / seconds


def per_draw(benchmark, run):
    benchmark.pedantic(run, rounds=5, warmup_rounds=1)
    draws = BLOCK * DRAWS * ROUNDS
    benchmark.extra_info["ns_per_draw"] = benchmark.stats.stats.min / draws * 1e9


def repeated(draw):
    """A compiled loop of rounds, each of which draws from all cells anew."""

    @jax.jit
    def run(counts):
        def body(round_, total):
            return total + draw(round_, counts)

        return lax.fori_loop(0, ROUNDS, body, jnp.zeros_like(counts))

    return run


def counts_of(n):
    """Different ones, for NumPy keeps what it has worked out for the last."""
    return n // DRAWS - np.arange(BLOCK * DRAWS, dtype=float).reshape(BLOCK, DRAWS) % 100


@pytest.mark.parametrize("n", SIZES)
def test_draws(benchmark, n):
    def draw(round_, counts):
        key = jnp.arange(BLOCK, dtype=jnp.uint32)[:, None], jnp.uint32(1)
        second = round_.astype(jnp.uint32) * jnp.uint32(2)
        names = Names(key, jnp.arange(DRAWS, dtype=jnp.uint32), (second, second + jnp.uint32(1)))
        p = jnp.full_like(counts, SHARE)
        return binomial(names, counts, p, 1 - p)

    with jax.enable_x64(True):
        run, counts = repeated(draw), counts_of(n)
        per_draw(benchmark, lambda: jax.block_until_ready(run(counts)))


@pytest.mark.parametrize("n", SIZES)
def test_draws_of_jax(benchmark, n):
    def draw(round_, counts):
        return jax.random.binomial(jax.random.fold_in(jax.random.key(0), round_), counts, SHARE)

    with jax.enable_x64(True):
        run, counts = repeated(draw), counts_of(n)
        per_draw(benchmark, lambda: jax.block_until_ready(run(counts)))


@pytest.mark.parametrize("n", SIZES)
def test_draws_of_numpy(benchmark, n):
    generator, counts = np.random.default_rng(0), counts_of(n).astype(np.int64)

    def run():
        for _ in range(ROUNDS):
            generator.binomial(counts, SHARE)

    per_draw(benchmark, run)


@pytest.mark.parametrize("n", SIZES)
def test_multinomials_of_numpy(benchmark, n):
    """The same cells, each shared out over three results: two draws each."""
    generator, counts = np.random.default_rng(0), counts_of(n).astype(np.int64)

    def run():
        for _ in range(ROUNDS):
            generator.multinomial(counts, [SHARE, 0.1, 0.6])

    per_draw(benchmark, run)
