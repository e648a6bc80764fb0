"""Design: laws of runs, screening, the beta that is found, the front, the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from command import assert_same, call, refused
from helpers import LEAST_P, SIGMAS, assert_mean, assert_rate, point, run, standard_error
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import vecsim
from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.coordinated_collusion import CoordinatedCollusion
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.safety_split import SafetySplit
from vecsim.adversaries.silent import Silent
from vecsim.engines import exact
from vecsim.protocols.snowball import Snowball
from vecsim.protocols.snowflake import Snowflake
from vecsim.results import pareto, plot
from vecsim.studies.design import designs
from vecsim.studies.design.designs import following
from vecsim.studies.design.quorum_runs import (
    attacked,
    completed,
    mean_polls,
    undisputed_runs,
)
from vecsim.studies.rare.splitting import Effort, split
from vecsim.studies.rare.walkers import Climbers
from vecsim.studies.theory import finalised_undisputed

FIVE = dict(n=5, byzantine_fraction=0.2, initial_accept=0.5)
SAMPLING = dict(sampling="with_replacement", exclude_self=False)


def five(beta):
    """A network small enough to solve, whose fed nodes are the 1-holders."""
    rule = Snowflake(10, 8, 8, beta, 60)
    return point(rule, SafetySplit(fed=0.4), **FIVE, **SAMPLING)


def test_a_run_of_quorums_as_a_matrix():
    for chance, length in ((0.3, 2), (0.9, 5), (1.0, 3), (0.0, 1)):
        moves = np.zeros((length + 1, length + 1))
        moves[:-1, 0] = 1 - chance
        moves[np.arange(length), np.arange(1, length + 1)] = chance
        moves[-1, -1] = 1
        powers = [np.linalg.matrix_power(moves, t)[0, -1] for t in range(40)]
        np.testing.assert_allclose(completed(chance, [length], 39)[0], powers, rtol=1e-12)
        if 0 < chance < 1:
            long = completed(chance, [length], 3000)[0]
            assert mean_polls(chance, length) == pytest.approx((1 - long).sum(), rel=1e-9)


LIVELY = [
    point(Snowflake(20, 14, 14, 8), AlwaysReject(), n=200, byzantine_fraction=0.1),
    point(Snowflake(20, 12, 15, 6), RandomVoting(), n=150, byzantine_fraction=0.2),
    point(Snowball(20, 14, 14, 8, decide_when="gt"), Silent(), n=120, byzantine_fraction=0.1),
    point(Snowflake(10, 9, 9, 3), AlwaysReject(), n=100, byzantine_fraction=0.1, loss=0.05),
    point(Snowflake(20, 14, 15, 5), CoordinatedCollusion(), n=100, byzantine_fraction=0.1),
]


@pytest.mark.parametrize("p", LIVELY, ids=lambda p: type(p.adversary).__name__)
def test_costs_of_plain_trials(p):
    """Messages and the share of trials done by the median and the 90 % round, by simulation."""
    trials = 4000
    found = undisputed_runs(p)
    length = p.protocol.run_length
    p = p._replace(initial_accept=1.0)
    [out] = run([p], trials, seed=3)
    assert_mean(2 * p.protocol.k * out["polls"] / p.honest, found.messages(length))
    alone = completed_by(found, length, 200)
    for quantile in (0.5, 0.9):
        t = int(found.rounds(length, quantile, 200))
        assert alone[t - 1] < quantile <= alone[t]
        assert_rate((out["last_decision"] >= 0) & (out["last_decision"] <= t), alone[t])


def completed_by(found, length, rounds):
    """P(all honest nodes have decided by each round)."""
    laws = [completed(chance, [length], rounds)[0] for chance in found.chances]
    return found.shares @ np.array(laws) ** found.nodes


@pytest.mark.parametrize("p", LIVELY[:3], ids=lambda p: type(p.adversary).__name__)
def test_theory_says_the_same(p):
    p = p._replace(initial_accept=1.0)
    found, rounds = undisputed_runs(p), p.protocol.max_rounds
    length = p.protocol.run_length
    expected = finalised_undisputed(p)
    assert completed_by(found, length, rounds)[-1] == pytest.approx(expected, rel=1e-9)


def test_nodes_that_are_turned_now_and_then():
    """Where quorums against a node come up, costs are near those of plain trials: within 5 %, for
    as many nodes as are turned on average are taken to be so all the time."""
    p = point(Snowflake(6, 4, 4, 6), AlwaysReject(), n=200, byzantine_fraction=0.2)
    p = p._replace(initial_accept=1.0)
    [out] = run([p], 2000, seed=4)
    polls = 12 * out["polls"] / p.honest
    assert SIGMAS * standard_error(polls) < 0.01 * polls.mean()
    assert undisputed_runs(p).messages(6) == pytest.approx(polls.mean(), rel=0.05)


def test_what_never_decides():
    p = point(Snowflake(20, 20, 20, 5), AlwaysReject(), n=100, byzantine_fraction=0.85)
    found = undisputed_runs(p)
    assert found.chances[0] == 0.0
    assert found.messages(5) == found.rounds(5, 0.5, 200) == np.inf


def test_screening_where_nothing_moves():
    """Quorums against a node are out of the question, so the first decision is as screened."""
    rule = Snowflake(20, 18, 18, 2, 10)
    p = point(rule, SafetySplit(), n=1000, byzantine_fraction=0.2, initial_accept=0.5625)
    [out] = run([p], 2000, seed=5)
    chance, both = (values[0] for values in attacked(p, [2]))
    assert 0.2 < chance < 0.8
    assert_rate(out["decided_1"] > 0, chance)
    # A second one is rare, and at most three times as likely as screened, see below.
    assert both < 0.01 * chance
    twice = ((out["decided_1"] > 0) & (out["decided_0"] > 0)).sum()
    assert twice < 0.01 * 2000
    assert twice <= stats.binom.isf(LEAST_P, 2000, 3 * both)


def split_in_two(k, alpha, beta, fed):
    rule, about = Snowflake(k, alpha, alpha, beta), dict(n=200, byzantine_fraction=0.12)
    return point(rule, SafetySplit(fed=fed), initial_accept=fed / 0.88, **about)


@pytest.mark.parametrize(("k", "alpha", "beta", "fed"), [(20, 15, 5, 0.45), (40, 30, 4, 0.48)])
def test_screening_and_plain_trials(k, alpha, beta, fed):
    """Within a factor of three of each other, as the search takes for granted; in the second case
    nodes turn so slowly that a third of the first decisions come too late for a second."""
    p = split_in_two(k, alpha, beta, fed)
    [out] = run([p], 40_000, seed=6)
    found = ((out["decided_0"] > 0) & (out["decided_1"] > 0)).mean()
    first, both = (values[0] for values in attacked(p, [beta]))
    assert found > 100 / 40_000
    assert 1 / 3 < found / both < 3
    assert (both < 0.75 * first) == (fed == 0.48)


@pytest.mark.parametrize(("beta", "fed"), [(6, 0.43), (7, 0.45)])
def test_screening_and_splitting(beta, fed):
    p = split_in_two(20, 15, beta, fed)
    climbers = Climbers(p, "disagreement", "agents", 2**28)
    found = split(climbers, 0, Effort(200, 0.2), 8, 1).estimates
    assert 1 / 3 < found.mean() / attacked(p, [beta])[1][0] < 3


CALM = "n=5", "byzantine_fraction=0.2", "estimator.fed=[0.4]", "network.exclude_self=false"
CALM += ("network.sampling=with_replacement",)


def test_the_smallest_beta_of_a_network_that_is_solved(tmp_path):
    """Disagreement of that beta, and of one less, from the exact chain."""
    safety = 0.08
    study = "experiment=design", *CALM, f"safety={safety}", "latency_rounds=60"
    study += ("sweep.protocol.k=[10]", "sweep.quorum=[0.8]", "trials=8", "estimator.walkers=300")
    study += ("protocol.max_rounds=60", f"output={tmp_path}/five", "figure=false")
    study += ("estimator.latency_quantile=0.01",)
    assert call(*study).code == 0
    found = vecsim.open(tmp_path / "five" / "data.zarr").vecsim.candidates().squeeze()
    assert found["state"].item() == "verified"
    beta = int(found["chosen_beta"])
    risks = {b: exact.solve(five(b)).disagreement for b in (beta - 1, beta)}
    assert risks[beta] < safety < risks[beta - 1]
    assert found["probability_low"] <= risks[beta] <= found["probability_high"] < safety


@pytest.mark.parametrize(
    ("upper", "slope", "beta", "wanted"),
    [
        ({10: 5e-10}, 1.0, 10, None),  # one less would be ten times as much
        ({10: 5e-12}, 1.0, 10, 8),
        ({10: 3e-9}, 1.0, 10, 11),
        ({10: 3e-8}, 0.5, 10, 13),
        ({10: 3e-9, 11: 5e-10}, 1.0, 11, None),
        ({10: 3e-9, 12: 5e-12}, 1.0, 12, 11),
        ({12: 5e-12, 10: 3e-9}, 1.0, 10, 11),
        ({11: 5e-11, 10: 2e-9}, 1.0, 10, None),
        ({10: np.nan}, 1.0, 10, 8),
        ({10: np.nan}, 9.0, 10, 9),
        ({1: 5e-12}, 1.0, 1, None),
        ({20: 1e-16, 10: 1e-8}, 3.0, 10, 12),  # 0.8 decades each, whatever screening says
    ],
)
def test_which_beta_is_next(upper, slope, beta, wanted):
    assert following(upper, 1e-9, slope, beta) == wanted


COSTS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=12)


@settings(deadline=None)
@given(COSTS)
def test_the_front_is_what_nothing_beats(costs):
    on = pareto.pareto(np.reshape(costs, (-1, 2)))
    for i, each in enumerate(costs):
        beaten = any(a <= each[0] and b <= each[1] and (a, b) != each for a, b in costs)
        assert on[i] != beaten
        assert beaten == any(pareto.before(other, each) for other in costs)


def made(states, messages, rounds, high, **dims):
    """A study of candidates along `quorum`, whose estimates are all `high` / 2."""
    shape, replicas = np.shape(states), 4
    axes = list(dims)

    def every(values, kind=float):
        values = np.broadcast_to(np.asarray(values, kind), shape)
        return [*axes, "trial"], np.repeat(values[..., None], replicas, -1)

    number = np.arange(1, 1 + np.prod(shape)).reshape(shape)
    variables = {name: every(20 + number) for name in pareto.CHOSEN[:3]}
    variables |= {"chosen_beta": every(number), "messages": every(messages)}
    variables |= {"rounds": every(rounds), "screened": every(1e-9)}
    variables |= {"target_safety": every(1e-9), "target_rounds": every(60.0)}
    state = np.vectorize(pareto.STATES.index)(states)
    variables["state"] = (*every(state), {"candidates": json.dumps(["quorum"])})
    tried = np.stack([every(number)[1], np.full((*shape, replicas), np.nan)], -1)
    variables["tried"] = [*axes, "trial", "attempt"], tried
    variables["fed"] = [*axes, "trial", "attempt"], np.where(np.isnan(tried), np.nan, 0.45)
    wobble = np.array([0.99, 1.0, 1.0, 1.01])
    estimates = np.broadcast_to(np.asarray(high, float) / 2, shape)[..., None] * wobble
    estimates = np.stack([estimates, np.full_like(estimates, np.nan)], -1)
    variables["probability"] = [*axes, "trial", "attempt", "score"], estimates[..., None]
    return xr.Dataset(variables, dims, {"kind": "design", "config": "{}"})


STATES = ["verified", "verified", "too slow", "verified", "not reached", "beaten"]
MESSAGES, ROUNDS = [2000, 3000, 1000, 3500, 500, 1900], [50, 30, 90, 40, 10, 55]
QUORUMS = [0.6, 0.7, 0.75, 0.8, 0.85, 0.9]


def test_the_front_of_a_study():
    data = made(STATES, MESSAGES, ROUNDS, 5e-10, quorum=QUORUMS)
    found = data.vecsim.candidates()
    assert found["front"].values.tolist() == [True, True, False, False, False, False]
    assert found["missed"].values.tolist() == [False] * 5 + [True]  # no verified one beats it
    assert np.isfinite(found["probability_high"].values[0])
    rows = data.vecsim.front()
    assert rows["messages"].values.tolist() == [2000, 3000]
    assert rows["quorum"].values.tolist() == [0.6, 0.7]
    two = made(
        [STATES, STATES[::-1]], [MESSAGES] * 2, [ROUNDS] * 2, 5e-10, n=[10, 20], quorum=QUORUMS
    )
    rows = two.vecsim.front()
    assert rows["n"].values.tolist() == [10, 10, 20]
    assert rows["messages"].values.tolist() == [2000, 3000, 500]


def test_what_the_figure_shows(monkeypatch):
    from importlib.util import module_from_spec, spec_from_file_location

    script = Path(__file__).parents[2] / "figures" / "design.py"
    spec = spec_from_file_location("figures.design", script)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    saved = []
    monkeypatch.setattr(
        plot, "save_figure", lambda figure, *about: saved.append((figure, about)) or []
    )
    data = made([STATES] * 2, [MESSAGES] * 2, [ROUNDS] * 2, 5e-10, n=[10, 20], quorum=QUORUMS)
    module.draw(data, Path())
    assert [about[-1] for _, about in saved] == [{"n": 10}, {"n": 20}]
    costs, chances = saved[0][0].axes
    drawn = {str(line.get_label()): np.array(line.get_xydata()) for line in costs.get_lines()}
    np.testing.assert_array_equal(drawn["front"], [[2000, 50], [3000, 30]])
    np.testing.assert_array_equal(drawn["beaten"], [[3500, 40]])
    assert sorted(map(tuple, drawn["screened"])) == [(500, 10), (1000, 90), (1900, 55)]
    assert (drawn["target"][:, 1] == 60).all()
    [bars] = chances.collections
    rows = data.isel(n=0).vecsim.front()
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends[:, 1], rows["probability_high"])
    np.testing.assert_allclose(ends[:, 0], rows["probability_low"])
    names = [text.get_text() for text in chances.get_yticklabels()]
    assert names == ["21/21/1", "22/22/2"]
    nothing = made(["too slow"], [100], [90], 1e-9, quorum=[0.7])
    module.draw(nothing, Path())
    assert len(saved) == 3


@given(st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_the_worst_share_to_feed_is_looked_for_both_ways(peak, first, missed):
    """Shares of which one is the worst, from any on; the first that misses the target will do."""
    seen = []

    def attempt(share):
        seen.append(share)
        value = 10.0 ** -(6 + abs(share - peak))
        if missed and share == peak:
            value = 1e-3
        return designs.Attempt(5, share, np.full((4, 2), value))

    assert designs.worst(attempt, first, 7, 1e-4).share == peak
    assert len(seen) == len(set(seen)) <= abs(first - peak) + 3
    if missed:
        assert seen[-1] == peak


SMALL = ("experiment=design", "n=60", "byzantine_fraction=0.15", "safety=1e-4", "trials=4")
SMALL += ("estimator.walkers=100", "latency_rounds=60", "sweep.protocol.k=[20]")
SMALL += ("estimator.fed=[0.4,0.45]",)


def test_a_study_and_how_it_goes_on(tmp_path, monkeypatch):
    fewer = "n=30", "byzantine_fraction=0.1", "sweep.protocol.k=[12]"
    kept = [each for each in SMALL if not each.startswith(("n=", "byzantine", "sweep"))]
    study = *kept, *fewer, "sweep.quorum=[0.75,0.99]", f"output={tmp_path}/a"
    result = call(*study)
    assert (result.code, result.err) == (0, "")
    data = vecsim.open(tmp_path / "a" / "data.zarr")
    assert dict(data.sizes) == {"k": 1, "quorum": 2, "trial": 4, "attempt": 3, "score": 2}
    rows = data.vecsim.front()
    assert rows.sizes["candidate"] > 0
    assert (rows["probability_high"] < 1e-4).all()
    assert (rows["rounds"] <= 60).all()
    best = pareto.quorum_name({name: rows[name].values for name in pareto.CHOSEN}, 0)
    assert f"k/alpha/beta = {best}, " in result.out
    assert (tmp_path / "a" / "design.png").stat().st_size > 0
    # Interrupted after one candidate, it goes on and ends with the same.
    again, calls, compute = (*study[:-1], f"output={tmp_path}/b"), [], designs.Designs.compute

    def interrupted(self, *given):
        calls.append(given)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return compute(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(designs.Designs, "compute", interrupted)
        assert call(*again).code == 130
    marks = list((tmp_path / "b" / "data.zarr" / "vecsim" / "marks").iterdir())
    assert len(marks) == 1
    assert call(*again).code == 0
    assert_same(vecsim.open(tmp_path / "b" / "data.zarr"), data)


def test_targets_are_swept_and_alphas_may_differ(tmp_path):
    replaced = "safety=", "trials=", "estimator.walkers="
    small = [each for each in SMALL if not each.startswith(replaced)]
    effort = "trials=8", "estimator.walkers=300"  # the field turns soon: replicas scatter
    study = *small, *effort, "sweep.quorum=[0.75]", "sweep.safety=[0.01,0.0001]"
    study += ("quorum_preference=0.6",)
    result = call(*study, f"output={tmp_path}/a", "figure=false")
    assert (result.code, result.err) == (0, "")
    data = vecsim.open(tmp_path / "a" / "data.zarr")
    found = data.vecsim.candidates().squeeze()
    np.testing.assert_array_equal(found["target_safety"], [0.01, 0.0001])
    assert found["chosen_beta"].values[0] < found["chosen_beta"].values[1]
    assert (found["chosen_alpha_preference"] == 12).all()
    assert (found["chosen_alpha_confidence"] == 15).all()
    assert "with safety=0.01" in result.out


def test_nothing_that_meets_the_targets_is_told(tmp_path):
    small = [each for each in SMALL if not each.startswith("latency_rounds=")]
    study = *small, "sweep.quorum=[0.75,0.99]", "latency_rounds=3", f"output={tmp_path}/a"
    result = call(*study)
    assert (result.code, result.err) == (0, "")
    assert "nothing that was tried is known to meet" in result.out
    assert "too slow" in result.out


def test_a_single_candidate(tmp_path):
    """Nothing is swept: the table, the front and the summary have one row, or none."""
    kept = [each for each in SMALL if not each.startswith(("latency_rounds=", "sweep."))]
    result = call(*kept, "~sweep", "latency_rounds=3", f"output={tmp_path}/a", "figure=false")
    assert (result.code, result.err) == (0, "")
    assert "of 1 candidates 1 are too slow" in result.out
    data = vecsim.open(tmp_path / "a" / "data.zarr")
    assert data.vecsim.front().sizes["candidate"] == 0
    assert data.vecsim.candidates()["state"] == "too slow"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("safety=0",), "safety is 0; allowed: above 0, below 1"),
        (("safety=1.5",), "above 0, below 1"),
        (("latency_rounds=0",), "latency_rounds is 0; allowed: a whole number"),
        (("sweep.protocol.k=[]",), "sweep.protocol.k is []"),
        (("sweep.quorum=[0.4]",), "protocol.alpha_preference is 8; allowed: more than k/2"),
        (("sweep.protocol.k=[60]",), "at most n - 1 = 59 peers"),
        (("sweep.protocol.beta=[5,6]",), "which finds it"),
        (("estimator.size=3",), "size"),
        (("estimator.walkers=5",), "10 to"),
        (("estimator.keep=1.5",), "estimator.keep is 1.5"),
        (("estimator.latency_quantile=1.0",), "estimator.latency_quantile is 1.0"),
        (("estimator.fed=[0.4,1.0]",), "estimator.fed is [0.4, 1.0]; allowed: shares above 0"),
        (("estimator.fed=[]",), "estimator.fed is []"),
        (("estimator.fed={start: 0.4}",), "{start, stop, step}"),
        (("estimator.most_beta=0",), "estimator.most_beta is 0"),
        (("trials=1",), "2 to"),
        (("adversary@estimator.latency_adversary=release",), "answers stay the same"),
        (("adversary@estimator.latency_adversary=nobody",), "nobody"),
        (("byzantine_fraction=0.0",), "above 0"),
        (("protocol.reset_on_failure=false",), "snowflake or snowball with reset_on_failure"),
        (("network=random_regular", "n=200"), "complete graphs"),
        (("precision={target: stalled, half_width: 0.1, min_trials: 2}",), "null"),
    ],
)
def test_bad_settings_are_told(overrides, told, tmp_path):
    changed = {override.partition("=")[0] for override in overrides}
    kept = [each for each in SMALL if each.partition("=")[0] not in changed]
    assert told in refused(call(*kept, *overrides, f"output={tmp_path}/none"))


@pytest.mark.parametrize("protocol", ["qr_avalanche", "slush"])
def test_protocols_without_such_a_beta_are_told(protocol, tmp_path):
    study = "estimator=design", "adversary=safety_split", "byzantine_fraction=0.1", "n=60"
    told = refused(call(*study, f"protocol={protocol}", f"output={tmp_path}/none"))
    assert "snowflake or snowball" in told


@pytest.mark.parametrize("words", [("protocol=ecash",), ("sweep.protocol=[snowflake,ecash]",)])
def test_the_experiment_refuses_protocols_without_what_it_refers_to(words, tmp_path):
    told = refused(call("experiment=design", *words, f"output={tmp_path}/none"))
    assert told == (
        "protocol is 'Ecash'; allowed: snowflake or snowball with reset_on_failure, whose nodes"
        " count quorums in a row, with estimator=design"
    )
