"""Whose colour won: the starts that every engine records, and what is made of them."""

import numpy as np
import pytest
from command import call, refused
from helpers import point, run

import vecsim
from vecsim.adversaries.always_accept import AlwaysAccept
from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.engines import population
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowball import Snowball
from vecsim.results import outcomes

TURNED = dict(n=5, byzantine_fraction=0.6, initial_accept=1.0)
SNOWBALL = Snowball(4, 3, 3, 5)


def shares(p, out):
    values = out | {"decides": np.array(p.protocol.decides)}
    assert (values["start_ones"] == p.start_ones).all()
    return {name: outcomes.event(values, name).mean() for name in outcomes.RATES}


@pytest.mark.parametrize("changed", [{}, {"schedule": "async"}], ids=["agents", "async"])
def test_a_majority_of_byzantine_nodes_turns_all(changed):
    """3 of 5 nodes reject: both honest nodes finalise 0 though they started at 1."""
    p = point(SNOWBALL, AlwaysReject(), **TURNED, **changed)
    found = shares(p, run([p], 40)[0])
    assert (found["finalised"], found["majority_kept"], found["majority_lost"]) == (1, 0, 1)


def test_the_same_by_counts():
    p = point(SNOWBALL, AlwaysReject(), **TURNED)
    found = shares(p, population.run([(p, np.arange(40))], 0))
    assert (found["finalised"], found["majority_kept"], found["majority_lost"]) == (1, 0, 1)


def test_on_a_graph():
    p = point(SNOWBALL, AlwaysReject(), n=10, byzantine_fraction=0.8, initial_accept=1.0,
              topology="random_regular", degree=8)  # fmt: skip
    found = shares(p, run([p], 40)[0])
    assert (found["finalised"], found["majority_kept"], found["majority_lost"]) == (1, 0, 1)


def test_undisputed_vertices_keep_their_colour():
    p = point(QrAvalanche(), AlwaysAccept(), n=1000, initial_accept=1.0)
    found = shares(p, population.run([(p, np.arange(20))], 0))
    assert found["majority_kept"] == found["finalised"] == 1


def test_slush_counts_what_all_prefer_at_the_end():
    p = point(Slush(4, 3, 60), AlwaysAccept(), n=20, initial_accept=0.6)
    (out,) = run([p], 200)
    found = shares(p, out)
    assert 0 < found["majority_lost"] < 0.5 < found["majority_kept"] < 1
    assert found["majority_kept"] == (out["final_ones"] == 20).mean()


def test_a_study_of_whose_colour_wins(tmp_path):
    """Even starts do not count: their rate is missing, and no precision can be asked of it."""
    precision = "precision={target: majority_kept, half_width: 0.1, min_trials: 50}"
    study = "n=20", "protocol.k=10", "protocol.alpha_preference=6", "protocol.alpha_confidence=6"
    even = call(*study, "sweep.initial_accept=[0.5,0.6]", precision, f"output={tmp_path}/a")
    assert "finalised, disagreement, stalled, unanimous, as half of 20" in refused(even)
    assert not (tmp_path / "a").exists()
    data = vecsim.run(*study, "sweep.initial_accept=[0.5,0.6]", "trials=50", output=tmp_path / "b")
    rate = data.vecsim.rate("majority_kept")
    assert rate.trials.values.tolist() == [0, 50]
    assert np.isnan(rate.value[0])
    assert (rate.low[0], rate.high[0]) == (0, 1)
    result = call(*study, "sweep.initial_accept=[0.5,0.6]", "trials=50", f"output={tmp_path}/b")
    rows = [line.split() for line in result.out.splitlines() if line.startswith("0.")]
    assert rows[0][4] == "-"  # after the start, finalised and its interval
    assert rows[1][4] != "-"
