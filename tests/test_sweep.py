"""From a configuration to labelled points."""

import re
from contextlib import contextmanager

import numpy as np
import pytest
from omegaconf import OmegaConf, open_dict

from vecsim.composing import compose, session
from vecsim.engines.agents.holdings import holdings_of
from vecsim.errors import ConfigError
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowflake import Snowflake
from vecsim.results.layout import labels
from vecsim.studies import counts, sweep
from vecsim.studies.dimensions import listed


@contextmanager
def composing(*words):
    """The configuration of some overrides, and how to compose it with other options."""
    made = []

    def composed(choices):
        made.append(choices)
        options = [f"{group}={option}" for group, option in choices.items()]
        return compose([*words, *options], whole=False)

    with session():
        yield composed({}), composed, made


def study(*words, change=None):
    with composing(*words) as (config, composed, _):
        if change:
            with open_dict(config):
                change(config)
        return sweep.studies("study", config, composed)[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[300, 100, 200]", [300, 100, 200]),
        ("{start: 100, stop: 300, step: 100}", [100, 200, 300]),
        ("{start: 100, stop: 299, step: 100}", [100, 200]),
        ("{start: 100, stop: 100, step: 5}", [100]),
        ("{start: 100, stop: 300, num: 3}", [100, 200, 300]),
        ("{start: 100, stop: 10000, num: 3, log: true}", [100, 1000, 10000]),
    ],
)
def test_whole_numbers(given, expected):
    [dimension] = study(f"sweep.n={given}").dimensions
    assert dimension == ("n", "n", expected, ())
    assert all(type(value) is int for value in dimension.values)


def test_fractions_are_round_and_reach_their_end():
    [dimension] = study("sweep.byzantine_fraction={start: 0, stop: 0.4, step: 0.01}").dimensions
    assert dimension.values == [i / 100 for i in range(41)]


def test_whole_ends_of_a_share():
    [dimension] = study("sweep.initial_accept={start: 0, stop: 1, num: 5}").dimensions
    assert dimension.values == [0, 0.25, 0.5, 0.75, 1]


def test_points_are_the_product_and_the_last_dimension_is_the_fastest():
    made = study(
        "sweep.protocol=[slush,snowflake]", "sweep.n=[50,60]", "sweep.network.loss=[0,0.5]"
    )
    assert [d.name for d in made.dimensions] == ["protocol", "n", "loss"]
    assert [type(point.protocol) for point in made.points] == [Slush] * 4 + [Snowflake] * 4
    assert [point.n for point in made.points] == [50, 50, 60, 60] * 2
    assert [point.network.loss for point in made.points] == [0, 0.5] * 4
    assert len({point.hash() for point in made.points}) == 8


def test_a_point_is_what_it_would_be_alone():
    some = "n=80", "byzantine_fraction=0.1"
    made = study("sweep.adversary=[sybil,echo]", "sweep.protocol.k=[20,22]", *some)
    alone = study("adversary=echo", "protocol.k=22", *some)
    assert made.points[3] == alone.points[0]
    assert made.points[3].hash() == alone.points[0].hash()


def test_the_sweep_of_an_experiment_is_replaced():
    made = study("experiment=byzantine_sweep", "sweep.byzantine_fraction=[0,0.1]")
    assert made.dimensions[-1].values == [0, 0.1]
    made = study("experiment=liveness_attack", "sweep.n={start: 100, stop: 300, num: 3}")
    assert [d.values for d in made.dimensions if d.name == "n"] == [[100, 200, 300]]


def test_interpolated_parameters_follow_the_sweep():
    made = study(
        "experiment=parameter_grid", "sweep.protocol.k=[5,80]", "sweep.alpha_share=[0.55,0.9]"
    )
    assert [d.name for d in made.dimensions] == ["alpha_share", "k", "beta"]
    for point in made.points:
        rule = point.protocol
        assert rule.alpha_preference == rule.alpha_confidence
    assert [point.protocol.alpha_preference for point in made.points[::3]] == [3, 44, 5, 72]


def test_options_are_composed_once_each():
    swept = "sweep.protocol=[slush,snowflake,snowball]", "sweep.adversary=[echo,flip]"
    with composing(*swept, "byzantine_fraction=0.1") as c:
        config, composed, made = c
        assert len(sweep.studies("study", config, composed)[0].points) == 6
    assert made == [
        {},
        *({"protocol": p} for p in ("slush", "snowflake", "snowball")),
        {"adversary": "echo"},
        {"adversary": "flip"},
    ]


def test_options_that_set_more_than_their_section():
    """Such options are composed in every combination."""
    swept = "sweep.protocol=[slush,snowflake]", "sweep.adversary=[echo,flip]"
    with composing(*swept, "byzantine_fraction=0.1") as c:
        config, composed, _ = c

        def meddling(choices):
            result = composed(choices)
            if choices.get("protocol") == "slush":
                result.n = 500 if choices.get("adversary") != "flip" else 600
            return result

        points = sweep.studies("study", config, meddling)[0].points
    assert [point.n for point in points] == [500, 600, 1000, 1000]


def test_what_changes_the_results_changes_the_digest():
    digests = {
        sweep.study_digest([study(*overrides)])
        for overrides in (
            (),
            ("seed=1",),
            ("trials=7",),
            ("n=500",),
            ("protocol.beta=9",),
            ("schedule=async",),
            ("network.loss=0.1",),
            ("adversary=echo",),
            ("sweep.n=[1000]",),
            ("precision={target: stalled, half_width: 0.1, min_trials: 50}",),
        )
    }
    assert len(digests) == 10
    assert sweep.study_digest([study("engine.cores=1", "figure=false", "output=x")]) in digests


def test_precision():
    made = study("precision={target: stalled, half_width: 0.1, min_trials: 50}", "trials=400")
    assert (made.trials, made.block) == (400, 50)
    assert made.precision == ("stalled", 0.1, 50, 400)
    assert study("trials=400").block == 400


def test_one_dimension_for_each_name():
    def twice(config):
        config.sweep = {"protocol": {"k": [20, 30]}, "network": {"k": [1]}}

    with pytest.raises(ConfigError, match=r"sweep is \['k', 'k'\]; allowed: each parameter once"):
        study(change=twice)


def test_no_more_points_than_can_be_kept():
    with pytest.raises(ConfigError, match="1002001 points"):
        study(
            "sweep.n={start: 1000, stop: 2000, step: 1}",
            "sweep.initial_accept={start: 0, stop: 1, num: 1001}",
        )


def test_zipped_parameters_are_one_dimension():
    made = study(
        "sweep.quorum={protocol.k: [20, 40, 40], protocol.alpha_preference: [15, 25, 28], "
        "protocol.alpha_confidence: [15, 30, 30]}",
        "sweep.n=[100,200]",
    )
    assert [(d.name, len(d.values)) for d in made.dimensions] == [("quorum", 3), ("n", 2)]
    rules = [point.protocol for point in made.points[::2]]
    assert [rule.k for rule in rules] == [20, 40, 40]
    assert [rule.alpha_preference for rule in rules] == [15, 25, 28]
    assert [rule.alpha_confidence for rule in rules] == [15, 30, 30]
    assert made.dimensions[0].values == ["20, 15, 15", "40, 25, 30", "40, 28, 30"]
    assert made.beside["k"] == (("quorum",), [20, 40, 40], {})
    [alone] = study(*("protocol.k=40", "n=200", *QUORUM)).points
    assert made.points[-1] == alone


QUORUM = "protocol.alpha_preference=28", "protocol.alpha_confidence=30"


def test_options_and_numbers_zipped():
    made = study("sweep.system={protocol: [slush, snowflake], n: [100, 200]}")
    assert [type(point.protocol) for point in made.points] == [Slush, Snowflake]
    assert [point.n for point in made.points] == [100, 200]


HOLDERS = "{stake: [zipf, flare_2026, zipf], stake.exponent: [0.5, null, 1.5], n: [90, 178, 90]}"


@pytest.mark.parametrize("more", [(), ("+most=90", "protocol.max_rounds=${most}")])
def test_parameters_of_some_options_zipped(more):
    """Null: the parameter is what it is anyway, and is no part of the label."""
    made = study(f"sweep.holders={HOLDERS}", *more)
    assert made.dimensions[0].values == ["zipf, 0.5, 90", "flare_2026, 178", "zipf, 1.5, 90"]
    stakes = [point.stake for point in made.points]
    assert [vars(stake).get("exponent") for stake in stakes] == [0.5, None, 1.5]
    assert made.points[2] == study("stake=zipf", "stake.exponent=1.5", "n=90", *more).points[0]
    first, none, last = made.beside["exponent"].values
    assert (first, last) == (0.5, 1.5)
    assert none != none
    made = study("sweep.run={protocol.beta: [9, null, 8], n: [50, 60, 70]}", *more)
    assert [point.protocol.beta for point in made.points] == [9, 20, 8]


def test_how_concentrated_stakes_are():
    made = study(f"sweep.holders={HOLDERS}", "sweep.protocol.beta=[5,9]")
    dims, values, about = made.beside["effective_nodes"]
    assert (dims, about["units"]) == (("holders",), "nodes")
    assert values == [point.stake.effective(point.n) for point in made.points[::2]]
    made = study("sweep.stake=[equal,zipf]", "sweep.n=[50,60]")
    assert made.beside["effective_nodes"][0] == ("stake", "n")
    assert made.beside["effective_nodes"][1][:2] == [50, 60]
    for words in (["stake=zipf", "sweep.protocol.beta=[5,9]"], ["sweep.n=[50,60]"]):
        assert "effective_nodes" not in study(*words).beside


def test_lists_are_swept():
    made = study("network=groups", "sweep.network.groups=[[0.5,0.5],[0.8,0.2]]")
    assert [point.network.groups for point in made.points] == [(0.5, 0.5), (0.8, 0.2)]
    [dimension] = made.dimensions
    assert labels(dimension.values) == ["[0.5, 0.5]", "[0.8, 0.2]"]


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("sweep.a={n: [100, 200], initial_accept: [0.5]}", "allowed: .*equally many"),
        ("sweep.a={n: [100, 100], initial_accept: [1, 1]}", "no two rows the same"),
        ("sweep.a={n: [100, 200]} sweep.n=[50]", "n is swept twice; allowed: once"),
        ("sweep.a={protocol: [slush, null], n: [50, 60]}", "numbers and null"),
        ("sweep.a={n: [null, null], protocol.k: [30, 40]}", "numbers and null"),
        ("sweep.protocol.k=[20,null]", "allowed: a list of different numbers or words"),
        ("sweep.a={protocl.k: [20]}", "sweep.protocl.k is no parameter of a trial"),
        ("sweep.protocol={n: [100]}", "protocol.n is no parameter of Snowflake"),
    ],
)
def test_zips_that_have_no_meaning(words, refusal):
    with pytest.raises(ConfigError, match=refusal):
        study(*re.split(r" (?=sweep)", words))


def test_mixtures_are_swept():
    """Each is a mixture by itself, none a change of the one before."""
    mixed = "adversary=mixture", "n=80", "byzantine_fraction=0.2"
    mixes = ["{always_reject: 0.5, silent: 0.5}", "{echo: {share: 0.9}, flip: 0.1}"]
    made = study(*mixed, f"sweep.adversary.of=[{', '.join(mixes)}]")
    for point, mix in zip(made.points, mixes, strict=True):
        assert point.hash() == study(*mixed, f"adversary.of={mix}").points[0].hash()
    [dimension] = made.dimensions
    assert labels(dimension.values)[0] == '{"always_reject": 0.5, "silent": 0.5}'


def test_options_with_their_parameters():
    """On top of an experiment's list of options, too."""
    made = study("sweep.protocol=[snowflake,snowball]", "sweep.protocol.beta=[10,20]")
    assert [(d.name, len(d.values)) for d in made.dimensions] == [("protocol", 2), ("beta", 2)]
    assert [point.protocol.beta for point in made.points] == [10, 20, 10, 20]
    made = study("experiment=scale_sweep", "sweep.n=[100]", "sweep.protocol.beta=[10,20]")
    assert [d.name for d in made.dimensions] == ["protocol", "n", "beta"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{start: 1e-13, stop: 1e-11, num: 3, log: true}", [1e-13, 1e-12, 1e-11]),
        ("{start: 0, stop: 1, num: 4, log: false}", [0, 0.333333333333, 0.666666666667, 1]),
        ("{start: 0, stop: 0.1, num: 4}", [0, 0.0333333333333, 0.0666666666667, 0.1]),
        ("{start: 0, stop: 3e-14, step: 1e-14}", [0, 1e-14, 2e-14, 3e-14]),
    ],
)
def test_ranges_have_twelve_digits(given, expected):
    assert listed("sweep.loss", OmegaConf.to_container(OmegaConf.create(given))) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"start": 1, "stop": 10, "num": 8, "log": True},
        {"start": 0.3, "stop": 0.30000000000000004, "num": 2},
    ],
)
def test_values_that_rounding_makes_the_same(given):
    with pytest.raises(ConfigError, match="allowed: values that differ when rounded"):
        listed("sweep.n", given)


def test_shares_are_exact():
    given = "alpha_share=0.5500000001", "protocol.k=20", "~sweep"
    [point] = study("experiment=parameter_grid", *given).points
    assert point.protocol.alpha_preference == 12


def test_counts_of_byzantine_nodes():
    small = "n=10", "protocol.k=5", "protocol.alpha_preference=3", "protocol.alpha_confidence=3"
    made = study("sweep.byzantine_fraction=[0.05,0.15,0.25,0.3]", *small)
    about = {"long_name": "Byzantine nodes", "units": "nodes"}
    assert made.beside == {"byzantine_nodes": (("byzantine_fraction",), [0, 2, 2, 3], about)}
    assert counts.range_of(made.points) == "0 to 3 of 10 nodes Byzantine"
    text = "byzantine_fraction 0.15 and 0.25 are each 2 of 10 nodes, and 1 more such"
    assert counts.rounded(made.points) == text
    made = study("sweep.byzantine_fraction=[0,0.1]", "sweep.n=[100,200]")
    assert made.beside["byzantine_nodes"][:2] == (("byzantine_fraction", "n"), [0, 0, 10, 20])
    assert counts.rounded(made.points) == ""


def test_the_stake_that_is_byzantine():
    """What came about where that is the same in every trial, and what was asked for elsewhere."""
    owners = "stake=avalanche_owners_2026", "stake.byzantine=largest"
    [point] = study(*owners, "byzantine_fraction=0.16").points
    held = holdings_of(point, (np.arange(3, dtype=np.uint32), np.zeros(3, np.uint32)))
    shares = 1 - held.honest_units / point.size
    assert len(set(shares)) == 1
    told = f"2 of 504 nodes Byzantine with {shares[0]:.4g} of the stake"
    assert counts.range_of([point]) == told
    several = study(*owners, "sweep.byzantine_fraction=[0.01,0.16]")
    told = f"0 to 2 of 504 nodes Byzantine with 0 to {shares[0]:.4g} of the stake"
    assert counts.range_of(several.points) == told
    zipf = "stake=zipf", "stake.exponent=0", "n=10", "stake.units=1000"
    smallest = study(*zipf, "stake.byzantine=smallest", "byzantine_fraction=0.28", "protocol=ecash")
    assert counts.range_of(smallest.points) == "3 of 10 nodes Byzantine with 0.3 of the stake"
    drawn = study("stake=avalanche_2026", "byzantine_fraction=0.16")
    told = "0.16 of the stake Byzantine, or in each trial what comes nearest"
    assert counts.range_of(drawn.points) == told


@pytest.mark.parametrize(
    ("estimator", "engine"), [("estimator=threshold", "places"), ("trials=10", "population")]
)
def test_the_engine_of_a_threshold_serves_its_fractions(estimator, engine):
    """Without Byzantine nodes, as the point itself stands, no answer would be a coin."""
    words = ["stake=zipf", "stake.exponent=0", "adversary=random_voting", "n=30000", estimator]
    assert study(*words).engines == [engine]
