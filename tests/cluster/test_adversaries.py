"""Adversaries in the cluster: played as they are defined, or refused by name."""

from typing import ClassVar

import cluster_oracle
import jax.numpy as jnp
import numpy as np
import pytest
from command import call
from scipy import stats

from vecsim.cluster import simulate
from vecsim.cluster.config import parse_run, playable
from vecsim.errors import ConfigError
from vecsim.types import Adversary

UNDEFENDED = {"benching": False, "reputation": False, "guard": False}


class TwoGroups(Adversary):
    """Tells two groups apart."""

    mixes: ClassVar = ((1.0, 0.0), (0.0, 1.0))
    groups: ClassVar[int] = 2

    def answer(self, view, memory):
        return jnp.array([[0, 0], [1, 1]]), memory


class TwoNumbers(TwoGroups):
    """Keeps two numbers."""

    groups: ClassVar[int] = 1
    memories: ClassVar[int] = 2


class OneCoin(Adversary):
    """All answer alike, by a coin of each round."""

    mixes: ClassVar = ((0.0, 1.0), (1.0, 0.0))

    def answer(self, view, memory):
        coin = (view.round_coin < 0.5).astype(jnp.int32)
        return jnp.broadcast_to(coin, (1, 2)), memory


def configured(adversary, **cluster):
    workload = {"kind": "constant", "rate_tps": 1}
    cluster = {"nodes": 50, "adversary": adversary, "byzantine_fraction": 0.1} | cluster
    return {"duration_s": 60, "window_s": 1, "workload": workload, "cluster": cluster}


def test_groups_are_refused():
    told = r"^cluster.adversary is '{}'; allowed: one that does not tell groups"
    with pytest.raises(ConfigError, match=told.format("safety_split")):
        parse_run(configured("safety_split"))
    with pytest.raises(ConfigError, match=told.format(__name__)):
        playable(TwoGroups(), disputed=False)


def test_memories_of_several_numbers_are_refused():
    with pytest.raises(ConfigError, match="allowed: one that keeps one number"):
        playable(TwoNumbers(), disputed=False)


def test_pooled_answers_are_refused_where_vertices_have_rivals():
    told = "^cluster.adversary is 'balance_pooled'; allowed: one that pools no answers, or double_"
    with pytest.raises(ConfigError, match=told):
        parse_run(configured("balance_pooled", double_spend_share=0.1))
    parse_run(configured("balance_pooled"))


def test_campaigns_refuse_them_too(tmp_path):
    """Before a store is made."""
    arguments = "defence=on", "adversary=safety_split", f"output={tmp_path}/a"
    result = call(*arguments)
    assert result.code == 2
    assert result.err == (
        "vecsim: campaign.cluster.adversary is 'safety_split'; allowed: one that does not tell "
        "groups of honest nodes apart\n"
    )
    assert not (tmp_path / "a").exists()


def test_a_coin_of_each_round_is_thrown_in_each_round():
    """Polls of a vertex against the oracle; with one coin for all of them they are 22 or 100."""
    cluster = {"poll_interval_ms": 4.0, "byzantine_fraction": 0.06, **UNDEFENDED}
    run = parse_run(configured("silent", **cluster) | {"trials": 32})
    data = simulate(run._replace(cluster=run.cluster._replace(adversary=OneCoin())))
    ran = data["weight"].values > 0
    rounds = data["rounds"].values[ran & (data["outcome"].values == 1)]
    options = {"byzantine": 3, "adversary": "one_coin", **UNDEFENDED}
    runs = [
        cluster_oracle.Cluster(seed, rate_tps=20, duration_s=30, parents="none", **options)
        for seed in range(2)
    ]
    ended = [v.rounds for each in runs for v in each.vertices if v.state == "finalised"]
    assert stats.ks_2samp(rounds, ended).pvalue > 1e-6
    assert 22 < np.mean(ended) < 100


@pytest.mark.parametrize("adversary", ["stall", "non_answer"])
def test_who_answers_nobody_is_benched(adversary):
    """On undisputed vertices these are silent (stall: while honest nodes make a quorum alone)."""
    data = simulate(
        configured(adversary, reputation=False, byzantine_fraction=0.16) | {"trials": 8}
    )
    np.testing.assert_allclose(data["benched"].values[:, 30:55], 0.16, atol=1e-6)


def test_who_spoils_quorums_answers_and_is_not_benched():
    """Past a fifth, stall votes against every quorum."""
    data = simulate(configured("stall", reputation=False, byzantine_fraction=0.3) | {"trials": 8})
    assert float(data["benched"].max()) < 1e-6
