"""The same bits on an accelerator as on the CPU: `pytest -n 0 benchmarks/test_devices.py`."""

from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from vecsim import decisions
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
from vecsim.engines import blocks, population
from vecsim.errors import ConfigError
from vecsim.network import Network
from vecsim.point import Point
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake

TRIALS = 64
RULES = {
    "slush": Slush(10, 7, 40),
    "snowflake": Snowflake(20, 15, 15, 10, 60),
    "two_alphas": Snowflake(20, 13, 16, 10, 60),
    "snowball": Snowball(20, 15, 15, 10, 60),
    "qr_avalanche": QrAvalanche(20, 15, 10, max_rounds=60),
}
ADVERSARIES = (
    *(RandomVoting(), AlwaysReject(), AlwaysAccept(), CoordinatedCollusion(), Sybil(), Silent()),
    *(Echo(), Flip(), BalancePooled(), BalanceInformed(), NonAnswer(), Stall(), SafetySplit()),
    Release(),
)
SETTINGS = {
    "lockstep": ("lockstep", 1000, Network()),
    "with_replacement": ("lockstep", 1000, Network(sampling="with_replacement")),
    "loss": ("lockstep", 1000, Network(loss=0.1)),
    "async": ("async", 200, Network()),
    "graph": ("lockstep", 60, Network(topology="random_regular", degree=30)),
}


def points(rule, schedule, n, network):
    made = [Point(n, 0.15, 0.5, schedule, rule, each, network) for each in ADVERSARIES]
    for point in made:
        try:
            point.check()
        except ConfigError:  # these two do not go together
            continue
        yield point


def on(devices, monkeypatch, run):
    mesh = Mesh(devices[:1], ("trials",))
    monkeypatch.setattr(decisions, "all_devices", lambda: mesh)
    monkeypatch.setattr(population, "all_devices", lambda: mesh)
    return run()


@pytest.fixture
def both(monkeypatch):
    """both(run): what run() gives on the CPU, and on the first accelerator."""
    if jax.default_backend() == "cpu":
        pytest.skip("there is no accelerator")
    accelerator = jax.devices()
    return lambda run: [on(d, monkeypatch, run) for d in (jax.devices("cpu"), accelerator)]


def study(served, engine):
    """As much of a study as the engines look at."""
    from vecsim.sweep import Study

    engines = [engine] * len(served)
    return Study("bits", [], served, TRIALS, TRIALS, None, 7, {}, engines)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", RULES)
def test_same_bits(both, name, setting):
    served = list(points(RULES[name], *SETTINGS[setting]))
    if not served:
        return
    work = [(point, "agents", np.arange(TRIALS)) for point in served]
    cpu, other = both(lambda: decisions.Engines(study(served, "agents"), 2**30).run(work))
    assert cpu.keys() == other.keys()
    different = {n: float(np.mean(cpu[n] != other[n])) for n in cpu if not same(cpu[n], other[n])}
    assert not different


@pytest.mark.parametrize("name", ["slush", "snowflake", "two_alphas", "snowball"])
def test_population_same_distribution(both, name):
    """Draws there are made of floating-point numbers: how many trials differ is reported."""
    served = [p for p in points(RULES[name], "lockstep", 10_000, Network())]
    served = [p for p in served if blocks.supports(p) is None]
    work = [(point, np.arange(TRIALS)) for point in served]
    cpu, other = both(lambda: population.run(work, 7))
    for key in cpu:
        print(Path(__file__).stem, name, key, float(np.mean(cpu[key] != other[key])))
        assert same(cpu[key], other[key])


def same(a, b):
    return np.array_equal(a, b, equal_nan=True)
