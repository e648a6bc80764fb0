"""Presets of live networks: what each of them sets, and that it can be overridden."""

from pathlib import Path

import pytest

import vecsim
from vecsim.errors import ConfigError
from vecsim.protocols.ecash import Ecash
from vecsim.protocols.fpc import Fpc
from vecsim.protocols.snowflake import Snowflake
from vecsim.stakes.equal import Equal
from vecsim.stakes.zipf import Zipf

CONF = Path(__file__).parent.parent / "conf"


def test_there_is_a_case_for_every_preset():
    assert {path.stem for path in (CONF / "preset").glob("*.yaml")} == {
        *("avalanche", "flare", "ecash", "iota_fpc")
    }


@pytest.mark.parametrize(("name", "nodes"), [("avalanche", 662), ("flare", 178)])
def test_validators_are_drawn_by_stake(name, nodes):
    point = vecsim.point(f"preset={name}")
    rule = point.protocol
    assert isinstance(rule, Snowflake)
    assert (rule.k, rule.alpha_preference, rule.alpha_confidence, rule.beta) == (20, 15, 15, 20)
    assert (point.n, point.schedule, point.size) == (nodes, "async", 2**20)
    assert not point.network.exclude_self
    assert not point.network.replacement


def test_ecash():
    point = vecsim.point("preset=ecash")
    assert isinstance(point.protocol, Ecash)
    assert point.stake == Equal()
    assert (point.protocol.finalization_score, point.schedule) == (128, "async")
    assert point.initial_accept == 1


def test_iota_fpc():
    point = vecsim.point("preset=iota_fpc", "n=200")
    assert isinstance(point.protocol, Fpc)
    assert isinstance(point.stake, Zipf)
    assert (point.protocol.k, point.stake.exponent, point.schedule) == (21, 1.0, "lockstep")
    assert (point.n, point.network.replacement) == (200, True)


def test_what_a_preset_sets_can_be_overridden():
    point = vecsim.point("preset=avalanche", "stake=sui_2025", "schedule=lockstep", "protocol.k=28")
    assert (point.n, point.schedule, point.protocol.k) == (106, "lockstep", 28)
    none = vecsim.point("preset=ecash", "~preset")
    assert isinstance(none.protocol, Snowflake)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("preset=bitcoin",), "allowed: avalanche, ecash, flare, iota_fpc"),
        (("preset=null",), r"preset is null; allowed: an option of the group, preset=NAME, or ~p"),
        (("preset=avalanche", "n=500"), "n is 500; allowed: 662, as many nodes as the stake has"),
    ],
)
def test_what_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        vecsim.point(*words)
