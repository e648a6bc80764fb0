"""A round of weighted stake beside one of equal stake, in one process, in turn."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from vecsim.adversaries.random_voting import RandomVoting
from vecsim.engines.agents.prepare import Assembler, agents_shape, items
from vecsim.engines.choose import PROGRAMS
from vecsim.engines.trial import all_devices, batch
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.snowflake import Snowflake
from vecsim.stakes.equal import Equal
from vecsim.stakes.stake import Stake
from vecsim.stakes.zipf import Zipf
from vecsim.studies.decisions import batch_size

MOST = 1.5  # times what a round of equal stake takes
TURNS = 25  # of each, of which the quickest counts: other work on the machine only slows


def batch_of(n: int, stake: Stake) -> tuple[Callable[[], Any], int]:
    """What computes a batch of trials without a decision, and its polls."""
    rule = Snowflake(20, 15, 20, 200, 50)  # a counter that is never full: all rounds are alike
    point = Point(n, 0.0, 0.5, "lockstep", rule, RandomVoting(), Network(exclude_self=False), stake)
    shape, size = agents_shape([point], 0), batch_size([point], 0, 2**30, 2**30)
    assembler = Assembler(shape, [point], size, 0)
    work = items(point, 0, np.arange(size), np.arange(size))
    trials, tables, _ = next(iter(assembler.batches(work)))
    given = jax.device_put((trials, tables))

    def compute() -> Any:
        return jax.block_until_ready(batch(PROGRAMS[shape.engine], shape, all_devices(), *given))

    outcome, _ = compute()  # compiles
    return compute, int(np.sum(jax.device_get(outcome.polls), dtype=np.int64))


@pytest.mark.parametrize("n", [10_000, 100_000])
def test_a_round_of_weighted_stake(n):
    parts = [batch_of(n, stake) for stake in (Equal(), Zipf(exponent=0.9))]
    taken: list[list[float]] = [[], []]
    for _ in range(TURNS):
        for (compute, _), times in zip(parts, taken, strict=True):
            begun = time.perf_counter()
            compute()
            times.append(time.perf_counter() - begun)
    rounds = [min(times) / polls for times, (_, polls) in zip(taken, parts, strict=True)]
    print(f"n = {n}: {rounds[1] / rounds[0]:.2f} times as long")
    assert rounds[1] <= MOST * rounds[0]
