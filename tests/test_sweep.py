"""From a configuration to labelled points."""

from contextlib import contextmanager

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from vecsim import build, overrides, plan, sweep
from vecsim.errors import ConfigError
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowflake import Snowflake


@contextmanager
def composing(*words):
    """The configuration of some overrides, and how to compose it with other options."""
    made = []

    def composed(choices):
        made.append(choices)
        options = [f"{group}={option}" for group, option in choices.items()]
        return compose("config", [*overrides.told(words), *options])

    with initialize_config_dir(str(build.root("conf")), version_base="1.3"):
        plan.prepare()
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
    made = study("sweep.adversary=[sybil,echo]", "sweep.protocol.k=[20,22]", "n=80")
    alone = study("adversary=echo", "protocol.k=22", "n=80")
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
    with composing("sweep.protocol=[slush,snowflake,snowball]", "sweep.adversary=[echo,flip]") as c:
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
    with composing("sweep.protocol=[slush,snowflake]", "sweep.adversary=[echo,flip]") as c:
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
        sweep.digest([study(*overrides)])
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
    assert sweep.digest([study("engine.cores=1", "figure=false", "output=x")]) in digests


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
