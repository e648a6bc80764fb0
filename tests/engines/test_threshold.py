"""Thresholds: against exact crossings, the same whatever the batches, and what is refused."""

import signal
import time
from subprocess import DEVNULL

import numpy as np
import pytest
from command import assert_same, call, check_experiment, refused, start
from helpers import compilations
from scipy import special, stats

import vecsim
from vecsim import places
from vecsim.studies import decisions, threshold

FEW_ROUNDS = "estimator=threshold", "protocol.max_rounds=60"
SMALL = *FEW_ROUNDS, "n=60"
INFORMED = *SMALL, "adversary=balance_informed"
BETAS = list(range(8, 24))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Results go where no other test finds them."""
    monkeypatch.chdir(tmp_path)


def never_decides(success: float, beta: int, rounds: int) -> float:
    """P(no run of so many successes), by the counter's distribution."""
    counter = np.eye(beta)[0]
    for _ in range(rounds):
        counter = np.concatenate([[(1 - success) * counter.sum()], success * counter[:-1]])
    return counter.sum()


def crossed(n: int, beta: int, level: float) -> float:
    """The exact fraction at which trials stall, straight between the logits of whole nodes.

    Each honest node polls 20 of n - 1 others, of whom those that are honest accept, and decides
    after beta polls with 15 that do, in 100 rounds; that 15 reject is out of the question.
    """

    def stalled(nodes: int) -> float:
        success = stats.hypergeom.sf(14, n - 1, n - nodes - 1, 20)
        return -np.expm1((n - nodes) * np.log1p(-never_decides(success, beta, 100)))

    low, high = 0, n // 4
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if stalled(middle) < level else (low, middle)
    below, above = (special.logit(stalled(nodes)) - special.logit(level) for nodes in (low, high))
    return (low + below / (below - above)) / n


@pytest.mark.parametrize(("level", "trials"), [(0.5, 300), (0.05, 1000)])
def test_exact_crossings(level, trials):
    """Undisputed vertices and nodes that reject: each node is a chain of its own."""
    data = vecsim.run(
        *("estimator=threshold", f"estimator.level={level}", "estimator.high=0.25", "n=400"),
        *("adversary=always_reject", "initial_accept=1.0", "protocol.max_rounds=100"),
        *(f"trials={trials}", f"sweep.protocol.beta={BETAS}"),
    )
    found = data.vecsim.threshold()
    truth = np.array([crossed(400, beta, level) for beta in BETAS])
    inside = ((found.low <= truth) & (truth <= found.high)).sum()
    assert inside >= stats.binom.ppf(stats.norm.sf(5), len(BETAS), 0.95)
    assert (found.high - found.low < 0.2 * truth).all()  # sharp: to a tenth of the crossing
    judged = found.fit.values[found.fit.notnull()]  # the steepest curves leave nothing to judge
    assert len(judged) > len(BETAS) / 2
    assert judged.min() > 2 * stats.norm.sf(5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    sweep = "sweep.adversary=[balance_informed,sybil]", "sweep.protocol.beta=[5,8]"
    return vecsim.run(*SMALL, *sweep, "trials=200", output=folder), sweep


def test_trials_are_those_of_plain_studies(whole):
    """Trial i at a fraction is trial i of the point with that fraction."""
    data = whole[0].sel(adversary="balance_informed", beta=8)
    for fraction in np.unique(data.byzantine_fraction)[3:6]:
        plain = vecsim.run(*INFORMED[1:], "protocol.beta=8", f"byzantine_fraction={fraction}")
        there = np.flatnonzero(data.byzantine_fraction == fraction)
        assert len(there) > 3
        np.testing.assert_array_equal(data.event[there], plain.undecided[there] > 0)


def test_batches_do_not_matter(whole, monkeypatch):
    data, sweep = whole
    monkeypatch.setattr(threshold, "BATCH", 6)
    monkeypatch.setattr(decisions, "BATCH_NODES", 200)
    assert_same(vecsim.run(*SMALL, *sweep, "trials=200", output="batches"), data)


@pytest.mark.parametrize(
    "options",
    [
        (
            "adversary=silent",
            "protocol=qr_avalanche",
            "initial_accept=1.0",
        ),  # without Byzantine nodes all answer
        ("adversary=balance_pooled", "engine.name=population"),
        ("adversary=balance_informed", "schedule=async", "protocol=snowball"),
        ("adversary=balance_informed", "network=random_regular", "network.degree=30"),
    ],
    ids=["silent", "population", "async", "graph"],
)
def test_every_engine_and_one_program_for_all_fractions(options, tmp_path):
    with compilations() as compiled:
        data = vecsim.run(*SMALL, *options, "trials=100", output=tmp_path)
    fractions = np.unique(data.byzantine_fraction)
    assert len(fractions) > 8
    np.testing.assert_allclose(fractions * 60, np.round(fractions * 60))
    found = data.vecsim.threshold()
    assert found.low < found.value < found.high
    assert len(compiled) <= (2 if "adversary=silent" in options else 1)


def test_killed(tmp_path):
    """kill -9 after a point, then the same command."""
    study = *INFORMED, "sweep.protocol.beta=[5,6,7,8,9,10]", "trials=2000"
    marks = tmp_path / "here/data.zarr/vecsim/marks"
    command = start(*study, "output=here", cwd=tmp_path, stdout=DEVNULL, stderr=DEVNULL)
    while len(list(marks.iterdir()) if marks.exists() else ()) < 2:
        assert command.poll() is None
        time.sleep(0.002)
    command.send_signal(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    before = vecsim.open("here/data.zarr").event.notnull().all("trial").sum()
    assert 2 <= before < 6
    result = call(*study, "output=here")
    assert result.code == 0
    assert "of 6 chunks are there already" in result.out
    assert_same(vecsim.open("here/data.zarr"), vecsim.run(*study, output="again"))


def test_a_study_of_thresholds(tmp_path):
    study = *FEW_ROUNDS, "trials=150", "sweep.n=[60,120]", "estimator.event=disagreement"
    result = call(*study, "adversary=safety_split", "protocol.beta=3", f"output={tmp_path}/a")
    assert (result.code, result.err) == (0, "")
    data = vecsim.open(tmp_path / "a" / "data.zarr")
    assert data.event.attrs["crossed"] == 0.01
    assert "1 % disagreement at\n" in result.out.replace(" " * 5, "")
    summary = (tmp_path / "a" / "summary.csv").read_text()
    assert summary.startswith("n,threshold,threshold_low,threshold_high,slope,fit,trials\n60,")


@pytest.mark.parametrize(
    ("low", "high", "accept", "told"), [(0.0, 0.05, 1.0, "above"), (0.4, 0.6, 0.5, "below")]
)
def test_thresholds_out_of_the_range_are_told(low, high, accept, told, tmp_path):
    limits = f"estimator.low={low}", f"estimator.high={high}", f"initial_accept={accept}"
    result = call(*INFORMED, *limits, "trials=200", f"output={tmp_path}/a")
    assert (result.code, result.err) == (0, "")
    assert f" {told} " in result.out
    found = vecsim.open(tmp_path / "a" / "data.zarr").vecsim.threshold()
    assert np.isinf(found.value)
    # All trials are alike, so that nothing inside the range is a crossing.
    assert (found.low, found.high) == ((high, np.inf) if told == "above" else (-np.inf, low))
    assert (found.attrs["searched_low"], found.attrs["searched_high"]) == (low, high)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("estimator.event=unanimous",), "stalled, disagreement"),
        (("estimator.event=[stalled]",), "stalled, disagreement"),
        (("estimator.level=1.5",), "between 0 and 1"),
        (("estimator.low=-0.1",), "0 to 1"),
        (("estimator.low=0.5",), "above low, 0.5"),
        (("estimator.low=0.1", "estimator.high=0.101"), "another node of 60"),
        (("estimator.high=1.0",), "estimator.high: byzantine_fraction is 1.0"),
        (("estimator.high=0.8", "adversary=balance_pooled"), "estimator.high: protocol.k is 20"),
        (
            ("stake=zipf", "stake.exponent=2", "stake.byzantine=largest", "estimator.high=0.2"),
            "estimator.high is 0.2; allowed: above 0.307, up to which no node is Byzantine",
        ),
        (("trials=8",), "16 to"),
        (("protocol=slush",), "decides nothing"),
        (("byzantine_fraction=0.1",), "byzantine_fraction is 0.1; allowed: estimator.low"),
        (("sweep.byzantine_fraction=[0,0.1]",), "byzantine_fraction is 'swept'"),
        (("precision={target: stalled, half_width: 0.1, min_trials: 5}",), "null"),
        (("estimator.size=3",), "size"),
        (("estimator.name=best",), "plain, splitting, threshold"),
    ],
)
def test_bad_settings_are_told(overrides, told, tmp_path):
    changed = {override.partition("=")[0] for override in overrides}
    changed |= {"protocol.max_rounds"} if "protocol" in changed else set()
    kept = [each for each in INFORMED if each.partition("=")[0] not in changed]
    assert told in refused(call(*kept, *overrides, f"output={tmp_path}/none"))


def test_no_option_is_lost():
    """The levels that the configuration names are those of the code."""
    text = (places.root("conf") / "estimator" / "threshold.yaml").read_text()
    for event, level in threshold.LEVELS.items():
        assert f"{level} of {event}" in text


# Of an experiment: the event is a reference to a key of its own, which is swept.
EITHER = """# @package _global_
defaults:
  - override /estimator: threshold

aim: stalled
top: 0.5
estimator: {event: "${aim}", high: "${top}"}
sweep:
  attack:
    adversary: [balance_informed, safety_split]
    protocol.beta: [5, 3]
    aim: [stalled, disagreement]
    top: [0.5, TOP]
"""


def either(folder, top: float) -> tuple[str, ...]:
    """The words of a study of both events."""
    (folder / "mine/experiment").mkdir(parents=True)
    (folder / "mine/experiment/either.yaml").write_text(EITHER.replace("TOP", str(top)))
    return f"--config-dir={folder}/mine", "experiment=either", *SMALL[1:], "trials=150"


def test_events_that_differ_between_points(tmp_path):
    """Each point is what it is by itself, and so is its threshold."""
    result = call(*either(tmp_path, 0.5), f"output={tmp_path}/both")
    assert (result.code, result.err) == (0, "")
    both = vecsim.open(tmp_path / "both/data.zarr")
    assert both.event.attrs["outcome"] == "stalled or disagreement"
    found = both.vecsim.threshold()
    assert found.crossed.values.tolist() == [0.5, 0.01]
    for at, beta, event in ((0, 5, "stalled"), (1, 3, "disagreement")):
        adversary = both.adversary.values[at]
        alone = f"adversary={adversary}", f"protocol.beta={beta}", f"estimator.event={event}"
        data = vecsim.run(*SMALL, "trials=150", *alone, output=f"alone{at}")
        for name in ("event", "byzantine_fraction"):
            np.testing.assert_array_equal(both[name][at], data[name])
        threshold = data.vecsim.threshold()
        for name in ("value", "low", "high"):
            np.testing.assert_array_equal(found[name][at], threshold[name])
    result = call(*either(tmp_path / "again", 0.5), "seed=1", f"output={tmp_path}/other")
    assert result.code == 0
    other = vecsim.open(tmp_path / "other/data.zarr")
    other["crossed"] = other.crossed.where(other.crossed > 0.1, 0.02)
    with pytest.raises(ValueError, match=r"crossed is \[0.5, 0.01\] in a and \[0.5, 0.02\] in b"):
        vecsim.compare(both, other)
    head = (tmp_path / "both/summary.csv").read_text().splitlines()[0]
    assert head.startswith("attack,threshold,threshold_low,threshold_high,slope,fit,crossed,trials")


def test_one_range_for_all_points(tmp_path):
    line = refused(call(*either(tmp_path, 0.4)))
    assert "estimator.high is 0.4; allowed: the same at all points, 0.5" in line


def test_stake_sweep(tmp_path):
    """The experiment, on two of its networks."""
    holders = "{stake: [equal, zipf], stake.exponent: [null, 1], n: [60, 60]}"
    check_experiment("stake_sweep", "trials=16", f"sweep.holders={holders}", folder=tmp_path)
    [store] = tmp_path.glob("results/*/data.zarr")
    data = vecsim.open(store)
    assert data.effective_nodes.values[0] == 60 > data.effective_nodes.values[1]
    assert (data.crossed[-1] == 0.05).all()
