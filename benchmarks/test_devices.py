"""The same bits on an accelerator as on the CPU: `pytest -n 0 benchmarks/test_devices.py`."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

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
from vecsim.engines import population
from vecsim.engines.population import stepping
from vecsim.errors import ConfigError
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.studies import decisions

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
    monkeypatch.setattr(stepping, "all_devices", lambda: mesh)
    monkeypatch.setattr(jax, "default_backend", lambda: devices[0].platform)
    return run()


@pytest.fixture
def both(monkeypatch):
    """both(run): what run() gives on the CPU, and on the first accelerator."""
    if jax.default_backend() == "cpu":
        pytest.skip("there is no accelerator")
    accelerator = jax.devices()
    return lambda run: [on(d, monkeypatch, run) for d in (jax.devices("cpu"), accelerator)]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", RULES)
def test_agents(both, name, setting):
    served = list(points(RULES[name], *SETTINGS[setting]))
    work = [(point, "agents", np.arange(TRIALS)) for point in served]
    pairs = [(point, "agents") for point in served]
    cpu, other = both(lambda: decisions.Engines(pairs, 7, 2**30, TRIALS).run(work))
    assert_same(cpu, other)


@pytest.mark.parametrize("name", ["slush", "snowflake", "two_alphas", "snowball"])
def test_population(both, name):
    """Its draws are made of floating-point numbers, so this is not bound to be so."""
    networks = Network(), Network(groups=(0.5, 0.5), active=(1.0, 0.5), cut=5)
    served = [p for each in networks for p in points(RULES[name], "lockstep", 10_000, each)]
    served = [p for p in served if population.supports(p) is None]
    cpu, other = both(lambda: population.run([(p, np.arange(TRIALS)) for p in served], 7))
    assert_same(cpu, other)


def assert_same(cpu, other):
    assert cpu.keys() == other.keys()
    for name in cpu:
        assert np.array_equal(cpu[name], other[name], equal_nan=True), name
