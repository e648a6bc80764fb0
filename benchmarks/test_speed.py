"""Speed of the agents engine beside what it is compared with, in one process.

A node-round is one honest node's poll and update. k = 30, alpha = 27, 10 % random voters, a
contested start: nobody decides, so that every round does the same work.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vecsim.adversaries.random_voting import RandomVoting
from vecsim.engines.agents.prepare import Assembler, agents_shape, items
from vecsim.engines.choose import PROGRAMS
from vecsim.engines.trial import all_devices, batch
from vecsim.model.point import Point
from vecsim.model.random import threefry
from vecsim.network import Network
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.studies.decisions import ACCELERATOR_NODES, BATCH_NODES, batch_size

SIZES = (1_000, 10_000, 100_000)
ROUNDS, K, ALPHA = 100, 30, 27
RULES = {
    "snowflake": Snowflake(K, ALPHA, ALPHA, 20, ROUNDS),
    "snowball": Snowball(K, ALPHA, ALPHA, 20, ROUNDS),
    "qr_avalanche": QrAvalanche(K, ALPHA, 20, max_rounds=ROUNDS),
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", RULES)
def test_agents(record, name, n):
    point = Point(n, 0.1, 0.5, "lockstep", RULES[name], RandomVoting(), Network())
    mesh = all_devices()
    shape = agents_shape([point], 0)
    size = batch_size([point], 0, 2**30, 2**30)
    assembler = Assembler(shape, [point], size, 0)
    work = items(point, 0, np.arange(size), np.arange(size))
    trials, tables, _ = next(iter(assembler.batches(work)))
    trials, tables = jax.device_put((trials, tables))
    step = partial(batch, PROGRAMS[shape.engine], shape, mesh, trials, tables)
    polls = int(np.sum(jax.device_get(step()).polls, dtype=np.int64))
    record(name, n, polls, lambda: jax.block_until_ready(step()))


@pytest.mark.parametrize("n", SIZES)
def test_bits(record, n):
    """One random word per node and round, made and summed in one fused loop, on one device."""
    cells = BATCH_NODES if jax.default_backend() == "cpu" else ACCELERATOR_NODES
    size = max(1, cells // n)
    keys = jnp.arange(size, dtype=jnp.uint32)[:, None]
    nodes = jnp.arange(n // 2, dtype=jnp.uint32)[None]

    @jax.jit
    def run(keys):
        def body(state):
            step, total = state
            high, low = threefry(keys, keys, nodes, step.astype(jnp.uint32))
            return step + 1, total + (high ^ low).sum(axis=1, dtype=jnp.uint32)

        zero = jnp.zeros(size, jnp.uint32)
        return lax.while_loop(lambda state: state[0] < ROUNDS, body, (jnp.int32(0), zero))

    record("bits", n, size * n * ROUNDS, lambda: jax.block_until_ready(run(keys)))


@pytest.mark.parametrize("n", SIZES)
def test_numpy_uniform(record, n):
    """Snowflake in plain NumPy: one SFC64 uniform per node and round, inverse CDF."""
    rounds = max(3, 300_000 // n)
    generator = np.random.Generator(np.random.SFC64(1))

    def run():
        preference, counter = np.zeros(n, bool), np.zeros(n, np.int32)
        for _ in range(rounds):
            uniform = generator.random(n)
            zero, one = uniform < 0.05, uniform >= 0.95
            quorum = zero | one
            same = one == preference
            counter = np.where(quorum, np.where(same, counter + 1, 1), 0)
            preference = np.where(quorum, one, preference)
            preference.sum()

    record("numpy uniform", n, n * rounds, run)


@pytest.mark.parametrize("n", SIZES)
def test_numpy_indices(record, n):
    """The same, drawing k peers' indices for every node (with replacement, the quick way)."""
    generator = np.random.Generator(np.random.SFC64(1))

    def run():
        preference, counter = np.zeros(n, bool), np.zeros(n, np.int32)
        ones = preference[generator.integers(0, n, (n, K))].sum(axis=1)
        zero, one = K - ones >= ALPHA, ones >= ALPHA
        quorum = zero | one
        counter = np.where(quorum, np.where(one == preference, counter + 1, 1), 0)
        preference = np.where(quorum, one, preference)

    record("numpy indices", n, n, run)
