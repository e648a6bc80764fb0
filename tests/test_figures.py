"""Figures: what is plotted, on small made-up studies."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from matplotlib.figure import Figure

from vecsim.engines.exact.votes import law_of_votes
from vecsim.errors import name_of
from vecsim.protocols.ecash import Ecash
from vecsim.results import plot
from vecsim.results.estimate import clopper_pearson, fit_log, fit_power, mean_interval

FIGURES = Path(__file__).parents[1] / "figures"
TRIALS = 40
FRACTIONS = [0.0, 0.1, 0.2, 0.3, 0.4]
CONFIG = {
    "n": 100,
    "byzantine_fraction": 0.1,
    "initial_accept": 1.0,
    "protocol": {"_target_": "vecsim.protocols.snowflake.Snowflake", "k": 20, "beta": 5},
    "adversary": {"_target_": "vecsim.adversaries.always_reject.AlwaysReject"},
}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"figures.{name}", FIGURES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def study(
    dims: dict, stalled: Any, last: Any = 30.0, disagreeing: Any = 0, limit=200
) -> xr.Dataset:
    """A study: in each point `stalled` and `disagreeing` trials, the others finalise after `last`
    rounds (broadcast over the dimensions; `last` also over trials)."""
    shape = tuple(map(len, dims.values()))
    number = np.arange(TRIALS)
    stalled, disagreeing = (
        np.broadcast_to(np.asarray(count), shape)[..., None] for count in (stalled, disagreeing)
    )
    last = np.broadcast_to(np.asarray(last, float), (*shape, TRIALS))
    undecided = np.where(number < stalled, 90.0, 0.0)
    zeros = np.where((number >= TRIALS - disagreeing), 40.0, 0.0)
    values = {
        "decided_0": zeros,
        "decided_1": 90 - undecided - zeros,
        "undecided": undecided,
        "rounds": np.where(undecided > 0, limit, last),
        "first_decision": np.where(undecided > 0, np.nan, last - 2),
        "median_decision": np.where(undecided > 0, np.nan, last - 1),
        "last_decision": np.where(undecided > 0, np.nan, last),
        "unanimity": np.where(undecided > 0, np.nan, 0.0),
        "start_ones": np.full((*shape, TRIALS), 45.0),
        "decides": np.ones((*shape, TRIALS)),
        "final_ones": np.full((*shape, TRIALS), 90.0),
        "flips": np.zeros((*shape, TRIALS)),
        "polls": np.full((*shape, TRIALS), 2000.0),
        "admitted": np.full((*shape, TRIALS), 10.0),
    }
    names = [*dims, "trial"]
    variables = {name: (names, value) for name, value in values.items()}
    about = {"kind": "decisions", "config": json.dumps(CONFIG), "complete": 1}
    return xr.Dataset(variables, dims, about)


def sweep(stalled: Any = 0, **options) -> xr.Dataset:
    dims = {
        "protocol": ["qr_avalanche", "snowball"],
        "adversary": ["random_voting", "always_reject"],
        "initial_accept": [1.0, 0.5],
        "byzantine_fraction": FRACTIONS,
    }
    return study(dims, stalled, **options)


@pytest.fixture
def saved(monkeypatch):
    """Figures that a script would write, and the parameters in their names; writes none."""
    found = []

    def save(figure, folder, name, at):
        found.append((name, at, figure))
        return [folder / f"{name}.png"]

    monkeypatch.setattr(plot, "save_figure", save)
    return found


HERE = Path()


def lines(axes) -> dict[str, np.ndarray]:
    """The plotted points of each labelled line, without gaps: (x, y) rows."""
    found = {}
    for line in axes.get_lines():
        points = np.column_stack([np.asarray(part, float) for part in line.get_data()])
        found[str(line.get_label())] = points[np.isfinite(points).all(-1)]
    return found


def shaded(axes) -> list[np.ndarray]:
    """Corners of the shaded intervals."""
    return [path.vertices for part in axes.collections for path in part.get_paths()]


def rate_bound(events: int, end: int) -> float:
    return float(clopper_pearson(events, TRIALS)[end])


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_rates_and_bounds_in_their_panels():
    stalled = np.zeros((2, 2, 2, 5), int)
    stalled[1, 1, 0] = [0, 10, 30, 40, 40]  # Snowball, always_reject, undisputed
    data = sweep(stalled)
    with plot.style():
        figure = script("byzantine_sweep").finalised(data, [])
    axes = np.array(figure.axes).reshape(2, 2)
    assert [panel.get_title() for panel in axes[0]] == ["QR-Avalanche", "Snowball"]
    drawn = lines(axes[0, 1])
    bound = rate_bound(0, 1)
    line = np.array([[0, 1], [0.1, 0.75], [0.2, 0.25], [0.3, bound]])
    np.testing.assert_allclose(drawn["always_reject"], line)
    np.testing.assert_allclose(drawn["always_reject: points"], line[:3])
    np.testing.assert_allclose(drawn["always_reject: bounds"], [[0.3, bound], [0.4, bound]])
    np.testing.assert_array_equal(lines(axes[1, 1])["always_reject"][:, 1], 1)
    assert not lines(axes[1, 1])["always_reject: bounds"].size
    corners = np.concatenate(shaded(axes[0, 1]))
    for events, x in ((40, 0.0), (30, 0.1), (10, 0.2), (0, 0.3)):
        heights = corners[np.isclose(corners[:, 0], x), 1]
        for end in (0, 1):
            assert np.isclose(heights, rate_bound(events, end)).any()


def test_zero_events_are_arrows_at_the_bound_for_every_marked_point():
    figure, axes = plot.panels(1, 1, 3, 2)
    x = np.array([0.3, 0.1, 0.2])  # unsorted, as a sweep may be
    look = plot.looks(["a"])["a"]
    plot.band(axes[0, 0], x, ([0.0, 0.4, 0.0], [0, 0.3, 0], [0.02, 0.5, 0.1]), look, "a", x > 0.15)
    drawn = lines(axes[0, 0])
    np.testing.assert_allclose(drawn["a"], [[0.1, 0.4], [0.2, 0.1]])
    np.testing.assert_allclose(drawn["a: points"], [[0.1, 0.4]])
    np.testing.assert_allclose(drawn["a: bounds"], [[0.2, 0.1], [0.3, 0.02]])
    arrow = next(line for line in figure.axes[0].get_lines() if line.get_label() == "a: bounds")
    assert arrow.get_marker() is plot.BOUND


def test_a_line_does_not_climb_to_the_bound_of_a_point_without_events():
    _, axes = plot.panels(1, 1, 3, 2)
    rates = ([0.0, 0.01, 0.0], [0, 0, 0], [0.2, 0.3, 0.2])
    plot.band(axes[0, 0], [1, 2, 3], rates, plot.looks(["a"])["a"], "a", [True, False, True])
    np.testing.assert_allclose(lines(axes[0, 0])["a"], [[2, 0.01]])
    np.testing.assert_allclose(lines(axes[0, 0])["a: bounds"], [[1, 0.2], [3, 0.2]])


def test_whose_colour_won_is_marked():
    """Crosses where trials finalise on the colour that fewer nodes started with."""
    data, lost = sweep(), np.zeros((2, 2, 2, 5))
    lost[0, 1, 0, 3:] = 1  # QR-Avalanche, always_reject, undisputed
    final = np.where(lost[..., None], 0.0, data["final_ones"])
    start = np.broadcast_to(np.array([90.0, 45.0])[:, None, None], data["final_ones"].shape)
    for name, values in {"final_ones": final, "start_ones": start, "decides": start > 0}.items():
        data[name] = data["final_ones"].copy(
            data=np.broadcast_to(values, final.shape).astype(float)
        )
    module = script("byzantine_sweep")
    with plot.style():
        both = module.finalised(data, [])
        main = module.limits(
            [module.undefended(plot.complete(data.isel(protocol=[0], initial_accept=[0]), ()))], []
        )
    for figure in (both, main):
        drawn = lines(figure.axes[0])
        np.testing.assert_allclose(drawn["always_reject: minority"], [[0.3, 1], [0.4, 1]])
        assert "random_voting: minority" not in drawn
        assert "some on the minority's colour" in texts(figure)
    assert "either colour" in main.axes[0].get_ylabel()


def test_censored_medians_are_not_drawn():
    stalled = np.array([0, 10, 19, 20, 40])
    last = np.arange(30, 30 + TRIALS)[::-1]
    with plot.style():
        figure = script("byzantine_sweep").rounds(sweep(stalled, last=last))
    drawn = lines(figure.axes[0])["random_voting"]
    # Of 40 trials with 20 stalled the 20th is still a number; with all stalled none is.
    np.testing.assert_array_equal(drawn[:, 0], FRACTIONS[:4])
    assert drawn[0, 1] == 49
    assert drawn[3, 1] == 49
    corners = shaded(figure.axes[0])[0]
    # The interval has no upper end there, which is not where trials were cut off: an arrow says so.
    assert corners[np.isclose(corners[:, 0], 0.3), 1].max() == 49
    arrows = lines(figure.axes[0])["random_voting: no upper end"]
    np.testing.assert_allclose(arrows[-1], [0.3, 49])
    assert "no upper end" in texts(figure)
    assert np.isfinite(corners).all()
    low, high = figure.axes[0].get_ylim()
    assert low < 49 < 200 < high


def test_nothing_decided_at_all_still_draws(saved):
    script("byzantine_sweep").draw(sweep(TRIALS), HERE)
    assert not lines(saved[1][2].axes[0])["random_voting"].size
    bounds = lines(saved[0][2].axes[0])["random_voting: bounds"]
    np.testing.assert_allclose(bounds[:, 1], rate_bound(0, 1))


def test_missing_trials_and_points_are_left_out():
    data = sweep()
    data = data.where((data["trial"] < 30) & (data["byzantine_fraction"] < 0.35))
    with plot.style():
        figure = script("byzantine_sweep").finalised(data, [])
    drawn = lines(figure.axes[0])
    np.testing.assert_array_equal(drawn["random_voting"][:, 0], FRACTIONS[:4])
    assert not drawn["random_voting: bounds"].size


@pytest.mark.parametrize("missing", ["protocol", "adversary", "initial_accept", "all", "scalar"])
def test_dimensions_that_were_not_swept(missing, saved):
    data = sweep()
    if missing == "all":
        data = study({"byzantine_fraction": FRACTIONS}, 0)
    elif missing == "scalar":
        data = data.sel(protocol="snowball", byzantine_fraction=0.2)
    else:
        data = data.isel({missing: 0}, drop=True)
    script("byzantine_sweep").draw(data, HERE)
    names, at, figures = zip(*saved, strict=True)
    assert names == ("byzantine_sweep_protocols", "byzantine_sweep_rounds")
    assert at == ({}, {})
    figure = figures[0]
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    named = {"protocol": ["Snowflake"], "all": ["Snowflake"], "scalar": ["Snowball"]}
    assert titles == named.get(missing, ["QR-Avalanche", "Snowball"])
    if missing in ("adversary", "all"):
        assert "always reject" in texts(figure)
    assert all(lines(panel) for panel in figure.axes)


def test_other_sweeps_give_a_figure_each(saved):
    dims = {"adversary": ["flip", "echo"], "byzantine_fraction": FRACTIONS, "n": [100, 200]}
    script("byzantine_sweep").draw(study(dims, 0), HERE)
    assert [at["n"] for _, at, _ in saved] == [100, 100, 200, 200]
    labels = [figure.axes[0].get_xlabel() for _, _, figure in saved]
    assert ["100" in label for label in labels] == [True, True, False, False]


def test_a_sweep_that_lost_its_label_is_refused():
    data = sweep().assign_attrs(config=json.dumps(CONFIG | {"sweep": {"protocol": ["a", "b"]}}))
    with pytest.raises(ValueError, match="drop=False"):
        script("byzantine_sweep").draw(data.isel(protocol=0, drop=True), HERE)


def test_theory_goes_to_its_panel():
    curve = {"protocol": "snowball", "adversary": "always_reject", "initial_accept": 1.0}
    curve |= {"byzantine_fraction": [0.0, 0.2, 0.4], "finalised": [1.0, 0.5, None]}
    module = script("byzantine_sweep")
    with plot.style():
        figure = module.finalised(sweep(), [curve, curve | {"protocol": "frosty"}])
    found = [lines(panel).get("always_reject: theory") for panel in figure.axes]
    np.testing.assert_array_equal(found[1], [[0.0, 1.0], [0.2, 0.5]])
    assert [part is None for part in found] == [True, False, True, True]
    assert "theory" in texts(figure)
    with plot.style():
        assert "theory" not in texts(module.finalised(sweep(), []))


def test_growth_is_fitted_to_means_that_are_known():
    n = np.array([100, 1000, 10_000, 100_000])
    rng = np.random.default_rng(3)
    last = (20 + 2 * np.log2(n))[:, None] + rng.integers(-2, 3, (4, TRIALS))
    data = study({"protocol": ["snowball"], "n": n}, [[0, 0, 0, 5]], last=last)
    curve = {"protocol": "snowball", "n": n.tolist(), "last_decision": [None, 40.0, 46.5, 53.0]}
    with plot.style():
        figure = script("scale_sweep").growth(data, [curve])
    drawn = lines(figure.axes[0])
    theory = np.column_stack([n[1:], [40.0, 46.5, 53.0]])
    np.testing.assert_array_equal(drawn["snowball: theory"], theory)
    mean = mean_interval(last[:3])
    fit = fit_log(n[:3], mean.value, mean.error)
    np.testing.assert_allclose(drawn["snowball: points"], np.column_stack([n[:3], mean.value]))
    ends = n[[0, 2]]
    np.testing.assert_allclose(
        drawn["snowball: fit"],
        np.column_stack([ends, fit.intercept + fit.slope * np.log2(ends)]),
    )
    assert drawn["snowball: cut off"][:, 0].tolist() == [100_000]
    low, high = fit.slope_interval
    assert any(f"{low:.2f} to {high:.2f}" in text for text in texts(figure))


def test_growth_without_spread_or_sizes_has_no_fit(saved):
    module = script("scale_sweep")
    module.draw(study({"n": [100, 1000]}, 0), HERE)
    module.draw(study({"protocol": ["slush"]}, TRIALS), HERE)
    even, stalled = (lines(figure.axes[0]) for _, _, figure in saved)
    np.testing.assert_array_equal(even["snowflake: points"], [[100, 30], [1000, 30]])
    np.testing.assert_array_equal(stalled["slush: cut off"], [[100, 200]])
    assert not any("fit" in label for label in [*even, *stalled])


def test_crossings():
    module = script("liveness_attack")
    x = np.array([0.0, 0.1, 0.2, 0.3])
    found = module.crossing(x, [0, 0.25, 0.75, 1], [0, 0, 0.5, 0.9], [0.1, 0.5, 0.9, 1])
    np.testing.assert_allclose(found, [0.15, 0.1, 0.2])
    np.testing.assert_allclose(module.crossing(x[::-1], *(np.array([1, 0.7, 0.3, 0]),) * 3), 0.15)
    assert not np.isfinite(module.crossing(x, [0, 0, 0.2, 0.4], *([0, 0, 0, 0],) * 2)).any()
    bumpy = module.crossing(x, [0.4, 0.6, 0.4, 0.6], [0.2, 0.3, 0.2, 0.5], [0.4, 0.9, 0.8, 1])
    np.testing.assert_allclose(bumpy.value, 0.15)
    assert bumpy.low < bumpy.value < bumpy.high


def test_thresholds_follow_the_rates(saved):
    sizes = [100, 400, 1600]
    stalled = np.array([[0, 0, 0, 20, 40], [0, 0, 20, 40, 40], [0, 20, 40, 40, 40]])
    dims = {"adversary": ["balance_pooled"], "n": sizes, "byzantine_fraction": FRACTIONS}
    data = study(dims, stalled[None])
    module = script("liveness_attack")
    table = data.vecsim.rate("stalled")
    with plot.style():
        figure = module.thresholds(table)
        rates = module.stalled(table, 200)
    container = figure.axes[0].containers[0]
    np.testing.assert_allclose(
        container.lines[0].get_xydata(), [[100, 0.3], [400, 0.2], [1600, 0.1]]
    )
    bars = np.array([bar[:, 1] for bar in container.lines[2][0].get_segments()])
    assert (bars[:, 0] < [0.3, 0.2, 0.1]).all()
    assert (bars[:, 1] > [0.3, 0.2, 0.1]).all()
    drawn = lines(figure.axes[0])
    np.testing.assert_array_equal(drawn["balance_pooled: published"], [[2000, 0.052]])
    law = drawn["balance_pooled: square root"]
    np.testing.assert_allclose(law[0, 1] / law[-1, 1], 4)
    bounds = lines(rates.axes[0])["400: bounds"]
    np.testing.assert_allclose(bounds[:, 1], rate_bound(0, 1))
    for part in (data, data.sel(byzantine_fraction=[0.0]), data.isel(n=0, byzantine_fraction=2)):
        module.draw(part, HERE)
    rate, threshold = "liveness_attack", "liveness_attack_threshold"
    assert [name for name, _, _ in saved] == [rate, threshold, rate, rate]


def placed(low: float, high: float) -> xr.Dataset:
    """A study of thresholds: of Snowball it is 2 / sqrt(n), Snowflake's is above the range."""
    sizes, adversaries = [100, 400, 1600], ["balance_pooled", "echo"]
    at = 2 / np.sqrt(sizes)
    x = at[:, None] + np.repeat(np.linspace(-0.02, 0.02, 5), 80)
    shape = (2, len(adversaries), *x.shape)
    event = np.zeros(shape)
    share = np.repeat([0.1, 0.3, 0.5, 0.7, 0.9], 80)
    event[0] = np.tile(np.arange(80), 5) < 80 * share
    dims = ("protocol", "adversary", "n", "trial")
    about = {"outcome": "stalled", "crossed": 0.5, "low": low, "high": high}
    variables = {
        "byzantine_fraction": (dims, np.broadcast_to(x, shape)),
        "event": (dims, event, about),
    }
    coords = {"protocol": ["snowball", "snowflake"], "adversary": adversaries, "n": sizes}
    return xr.Dataset(variables, coords, {"kind": "threshold", "config": json.dumps(CONFIG)})


def test_thresholds_with_their_law(saved):
    data = placed(0.0, 0.3)
    module, table = script("threshold"), data.vecsim.threshold()
    module.draw(data, HERE)
    (_, _, figure), *rest = saved
    assert not rest
    assert [panel.get_title() for panel in figure.axes] == ["Snowball", "Snowflake"]
    container = figure.axes[0].containers[0]
    row = table.sel(protocol="snowball", adversary="balance_pooled")
    np.testing.assert_allclose(container.lines[0].get_xydata(), np.stack([row.n, row.value], 1))
    np.testing.assert_allclose(row.value, 2 / np.sqrt(row.n), rtol=0.02)
    bars = [bar[:, 1] for bar in container.lines[2][0].get_segments()]
    np.testing.assert_allclose(bars, np.stack([row.low, row.high], 1))
    first, second = (lines(panel) for panel in figure.axes)
    np.testing.assert_array_equal(first["balance_pooled: published"], [[2000, 0.052]])
    assert "echo: published" not in first
    law = first["balance_pooled: square root"]
    np.testing.assert_allclose(law[0, 1] / law[-1, 1], 4)
    assert "echo: square root" not in first
    assert "echo: fit" in first
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    fit = fit_power(row.n, row.value, row.low, row.high)
    assert any(f"{fit.low:.2f}$ to ${fit.high:.2f}" in label for label in labels)
    assert fit.low < -0.5 < fit.high
    above = table.sel(protocol="snowflake", adversary="echo").low
    np.testing.assert_allclose(second["echo: above"], np.stack([above.n, above], 1))
    assert not figure.axes[1].containers[0].lines[0].get_xydata().size
    assert "published" in texts(figure)


def test_thresholds_without_several_sizes(saved):
    module = script("threshold")
    module.draw(placed(0.0, 0.3).isel(n=[0], protocol=[0]), HERE)
    module.draw(placed(0.0, 0.3).isel(n=1, protocol=1, adversary=1), HERE)
    labels = [text.get_text() for text in saved[0][2].axes[0].get_legend().get_texts()]
    assert labels == ["balance pooled", "echo"]
    assert "echo: above" in lines(saved[1][2].axes[0])


def rare(estimates, plain) -> xr.Dataset:
    """Studies of two protocols at three fractions: estimates [protocol, fraction], all replicas
    alike but for a tenth, or NaN; plain trials with the event, of 100 in each of 8 replicas."""
    wobble = np.linspace(0.9, 1.1, 8)
    values = np.asarray(estimates, float)[..., None, None] * wobble[:, None] * np.ones(3)
    dims = {"protocol": ["frosty", "avalanche_mainnet"], "byzantine_fraction": [0.1, 0.2, 0.3]}
    plain = np.broadcast_to(np.asarray(plain, float)[..., None], (2, 3, 8))
    variables = {
        "probability": ([*dims, "trial", "score"], values, {"event": "disagreement"}),
        "plain": ([*dims, "trial"], plain, {"of": 100}),
    }
    return xr.Dataset(variables, dims, {"kind": "splitting", "config": json.dumps(CONFIG)})


def test_safety_curves(saved):
    estimates = [[np.nan, 1e-15, 1e-4], [1e-9, 1e-2, 0.4]]
    data = rare(estimates, [[0, 0, 0], [0, 1, 40]])
    data.attrs["theory"] = json.dumps(
        [
            {"protocol": "frosty", "byzantine_fraction": [0.1, 0.2, 0.3], "probability": value}
            for value in ([None, 2e-15, 2e-4],)
        ]
    )
    script("safety_curve").draw(data, HERE)
    [(_, at, figure)] = saved
    assert at == {}
    [panel] = figure.axes
    drawn = lines(panel)
    np.testing.assert_allclose(drawn["frosty"], [[0.2, 1e-15], [0.3, 1e-4]])
    np.testing.assert_allclose(drawn["frosty: away"][:, 0], [0.1], atol=0.01)
    assert not drawn["avalanche_mainnet: away"].size
    np.testing.assert_allclose(drawn["frosty: exact"], [[0.2, 2e-15], [0.3, 2e-4]])
    mainnet = [[0.1, 1e-9], [0.2, 1e-2], [0.3, 0.4]]
    np.testing.assert_allclose(drawn["avalanche_mainnet"], mainnet)
    table = data.vecsim.probability()
    bars = {str(each.get_label()): each for each in panel.containers}
    np.testing.assert_allclose(bars["frosty: rough"].lines[0].get_xydata(), [[0.2, 1e-15]])
    known = bars["avalanche_mainnet: known"]
    np.testing.assert_allclose(known.lines[0].get_xydata(), mainnet)
    ends = [bar[:, 1] for bar in known.lines[2][0].get_segments()]
    row = table.sel(protocol="avalanche_mainnet")
    np.testing.assert_allclose(ends, np.stack([row.low, row.high], 1))
    plainly = bars["avalanche_mainnet: plain"].lines[0].get_xydata()
    np.testing.assert_allclose(plainly, [[0.2, 0.01], [0.3, 0.4]])
    assert not bars["frosty: plain"].lines[0].get_xydata().size
    low, high = panel.get_ylim()
    assert low < 1e-15 / 2 < 1 < high
    assert {"order of magnitude", "exact", "plain Monte Carlo"} <= set(texts(figure))


def test_a_probability_of_one_has_an_interval():
    """Replicas that are all alike say nothing of what they miss: plain trials do."""
    data = rare(np.ones((2, 3)), np.full((2, 3), 100))
    data["probability"][:] = 1.0
    table = data.vecsim.probability()
    assert (table["high"] == 1).all()
    np.testing.assert_allclose(table["low"], clopper_pearson(800, 800)[0])


def test_a_safety_curve_without_a_way_there(saved):
    script("safety_curve").draw(rare(np.full((2, 3), np.nan), np.zeros((2, 3))), HERE)
    [(_, _, figure)] = saved
    assert "exact" not in texts(figure)


def test_cells_of_the_grid():
    dims = {"alpha_share": [0.6, 0.8], "k": [10, 20], "beta": [5]}
    stalled = np.array([[0, 10], [40, 2]])[..., None]
    data = study(dims, stalled, last=25.0, disagreeing=np.array([[0, 3], [0, 0]])[..., None])
    with plot.style():
        figure = script("parameter_grid").maps(data)
    cells = [[text.get_text() for text in panel.texts] for panel in figure.axes[:3]]
    assert cells[0] == ["25", "25", ">200", "25"]
    assert cells[1] == [
        f"<{rate_bound(0, 1):.3f}",
        "0.25",
        f">{rate_bound(TRIALS, 0):.3f}",
        "0.050",
    ]
    assert cells[2] == [f"<{rate_bound(0, 1):.3f}", "0.075", *[f"<{rate_bound(0, 1):.3f}"] * 2]
    colours = [panel.collections[0].get_array() for panel in figure.axes[:3]]
    np.testing.assert_array_equal(colours[0].mask, [[False, False], [True, False]])
    np.testing.assert_allclose(colours[1], [[0, 0.25], [1, 0.05]])


def test_grid_without_its_dimensions(saved):
    module = script("parameter_grid")
    module.draw(study({"beta": [5, 10]}, 0), HERE)
    module.draw(study({"k": [5, 10]}, TRIALS), HERE)
    cells = [[text.get_text() for text in figure.axes[0].texts] for _, _, figure in saved]
    assert cells == [["30"], [">200", ">200"]]


def test_marks_keep_their_labels_apart():
    figure, axes = plot.panels(1, 1, 2.4, 2)
    panel = axes[0, 0]
    panel.set_xlim(0, 0.4)
    plot.marks(panel, {0.30: "30 %", 0.33: "33 %", 0.36: "36 %", 0.9: "outside"})
    figure.draw_without_rendering()
    boxes = sorted((text.get_window_extent() for text in panel.texts), key=lambda box: box.x0)
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_looks_differ_in_grey_and_stay():
    names = [f"attack_{i}" for i in range(12)]
    found = plot.looks(names)
    assert len({(str(look["linestyle"]), look["marker"]) for look in found.values()}) == 12
    assert len({tuple(map(str, look.values())) for look in found.values()}) == 12
    assert plot.looks(["b"], ["a", "b"])["b"] == plot.looks(["a", "b"])["b"]


def test_files_are_the_same_bytes_every_time(tmp_path):
    module, data = script("scale_sweep"), study({"n": [100, 1000], "alpha_share": [0.75]}, 0)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = (module.draw(data, folder) for folder in folders)
    stem = "scale_sweep_alpha_share_0.75"
    assert [path.name for path in first] == [f"{stem}.pdf", f"{stem}.svg", f"{stem}.png"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert b"<dc:date>" not in first[1].read_bytes()


def test_reading_results_needs_neither_jax_nor_pyplot():
    code = "import sys, vecsim.results.plot; print({'jax', 'matplotlib.pyplot'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def stakes() -> xr.Dataset:
    """A study of thresholds, 10 % in a network with equal holdings and 20 % in one that has not."""
    holders, attacks = ["equal, 400", "zipf, 400", "sui"], ["stall", "split"]
    share = np.repeat([0.1, 0.3, 0.5, 0.7, 0.9], 80)
    at = np.array([0.1, 0.2, 0.2])[:, None] + np.repeat(np.linspace(-0.02, 0.02, 5), 80)
    shape = (2, *at.shape)
    event = np.broadcast_to(np.tile(np.arange(80), 5) < 80 * share, shape)
    dims, about = ("attack", "holders", "trial"), {"outcome": "either", "low": 0.0, "high": 0.4}
    variables = {
        "byzantine_fraction": (dims, np.broadcast_to(at, shape)),
        "event": (dims, event.astype(float), about),
        "crossed": (dims, np.full(shape, 0.5)),
    }
    coords: dict[str, Any] = {"attack": attacks, "holders": holders}
    coords |= {"stake": ("holders", ["equal", "zipf", "sui_2025"])}
    coords |= {"effective_nodes": ("holders", [400.0, 100.0, 70.0]), "n": ("holders", [400] * 3)}
    coords |= {"adversary": ("attack", ["balance_informed", "safety_split"])}
    coords |= {"aim": ("attack", ["stalled", "disagreement"]), "rate": ("attack", [0.5, 0.5])}
    return xr.Dataset(variables, coords, {"kind": "threshold", "config": json.dumps(CONFIG)})


def test_thresholds_against_effective_nodes(saved):
    script("stake_sweep").draw(stakes(), HERE)
    [(_, _, figure)] = saved
    values = stakes().vecsim.threshold()["value"].sel(attack="stall").values.tolist()
    np.testing.assert_array_equal(np.round(values, 2), [0.1, 0.2, 0.2])
    first, second = figure.axes
    assert [panel.get_title() for panel in figure.axes] == ["balance informed", "safety split"]
    assert "50 % stall" in first.get_ylabel()
    assert "50 % disagree" in second.get_ylabel()
    points = {each.get_label(): each.lines[0].get_xydata()[0] for each in first.containers}
    for kind, *expected in zip(("equal", "zipf", "sui_2025"), (400, 100, 70), values, strict=True):
        np.testing.assert_allclose(points[kind], expected)
    root = lines(first)["square root"]  # through the equal network of 400 nodes
    np.testing.assert_allclose(root[:, 1] * np.sqrt(root[:, 0]), values[0] * 20)
    assert "square root" not in lines(second)
    assert {"equal", "Zipf, 1,000 nodes", "Sui 2025", "95 % interval"} <= {*texts(figure)}


@pytest.mark.parametrize("score", [20, 40])
def test_votes_of_ecash_beside_their_law(saved, score):
    dims = {"adversary": ["always_reject", "silent"], "byzantine_fraction": [0.0, 0.1]}
    data, rule = study(dims, 0), Ecash(finalization_score=score, stale_votes=99)
    config = {"n": 101, "protocol": {"_target_": name_of(Ecash), **rule.parameters()}}
    script("ecash").draw(data.assign_attrs(config=json.dumps(config)), HERE)
    [(_, _, figure)] = saved
    drawn = lines(figure.axes[1])
    whole = law_of_votes(rule, 1.0, colour=1).mean
    # A node asks 100 others, 10.1 of which are Byzantine.
    near = law_of_votes(rule, 1 - 0.101, colour=1).mean
    assert score < whole < near
    np.testing.assert_allclose(drawn["always_reject: independent"][:, 1], [whole, near])
    np.testing.assert_allclose(drawn["silent: independent"][:, 1], [whole, whole / (1 - 0.101)])


def test_a_law_of_votes_that_is_not_theirs_is_left_out(saved):
    dims = {"adversary": ["silent"], "byzantine_fraction": [0.0, 0.1]}
    lossy = {"protocol": {"_target_": name_of(Ecash)}, "network": {"loss": 0.1}}
    for config in (CONFIG, CONFIG | lossy, CONFIG | lossy | {"network": {}, "stake": {}}):
        script("ecash").draw(study(dims, 0).assign_attrs(config=json.dumps(config)), HERE)
    for _, _, figure in saved:
        assert not any("independent" in label for label in lines(figure.axes[1]))


def test_coalitions_of_the_same_nodes_are_one(saved):
    dims = {
        "adversary": ["balance_informed", "safety_split"],
        "holders": ["owners"],
        "byzantine": ["largest", "random"],
        "byzantine_fraction": [0.05, 0.1, 0.11, 0.2],
    }
    stalled = np.zeros((2, 1, 2, 4), int)
    stalled[0, 0] = [[0, 10, 20, 40], [0, 0, 20, 40]]
    data = study(dims, stalled, disagreeing=np.array([0, 0, 0, 5]))
    admitted = np.zeros((2, 1, 2, 4, TRIALS))
    admitted[:, :, 0] = np.array([0, 1, 1, 2])[:, None]
    admitted[:, :, 1] = np.array([4, 9, 10, 20])[:, None] + np.arange(TRIALS) % 2
    data["admitted"] = data["admitted"].copy(data=admitted)
    data["byzantine_stake"] = data["admitted"] / 100
    script("coalitions").draw(data, HERE)
    [(_, _, figure)] = saved
    nodes, stake = (lines(panel) for panel in figure.axes)
    name = "balance_informed, largest: points"
    np.testing.assert_allclose(nodes[name], [[1, 30 / 80], [2, 1]])
    np.testing.assert_allclose(stake[name], [[0.01, 30 / 80], [0.02, 1]])
    drawn = nodes["balance_informed, random"]
    np.testing.assert_allclose(drawn[-2:], [[10.5, 0.5], [20.5, 1]])
    np.testing.assert_allclose(nodes["safety_split, largest: points"], [[2, 5 / TRIALS]])
    corners = np.concatenate(shaded(figure.axes[0]))
    assert np.isclose(corners[:, 1], clopper_pearson(30, 80)[0]).any()


def test_latency_of_conditions(saved):
    one, more = "[[15, 20]]", "[[15, 20], [20, 13]]"
    dims = {"conditions": [one, more], "attack": ["a", "b", "c", "d"]}
    last = np.array([[20, 30, 40, 50], [13, 30, 40, 50]])[..., None]
    data = study(dims, 0, last=last, disagreeing=np.array([0, 0, 0, 8]))
    data = data.assign_coords(
        adversary=("attack", ["silent", "silent", "silent", "safety_split"]),
        byzantine_fraction=("attack", [0.0, 0.05, 0.0, 0.3]),
        initial_accept=("attack", [1.0, 1.0, 0.5, 0.5]),
    )
    module = script("conditions")
    module.draw(data, HERE)
    [(_, _, figure)] = saved
    axes = np.array(figure.axes).reshape(2, 3)
    np.testing.assert_allclose(lines(axes[1, 0])[more], [[0, 13], [0.05, 30]])
    np.testing.assert_allclose(lines(axes[0, 1])[f"{one}: points"], [[0, 39]])
    np.testing.assert_allclose(lines(axes[0, 2])[f"{one}: points"], [[0.3, 8 / TRIALS]])
    assert "(15, 20) (20, 13)" in texts(figure)
    np.testing.assert_allclose(lines(axes[1, 2])[one][:, 1], 1)


@pytest.mark.parametrize(("which", "share"), [(2, 0.2), (3, 0.6)])
def test_conditions_are_as_safe_as_the_one_pair(which, share):
    """Each run is no more likely than that of (15, 20), which is of the smallest such betas."""
    module = script("conditions")
    study = Path(__file__).parents[1] / "conf/experiment/conditions.yaml"
    swept = yaml.safe_load(study.read_text())["sweep"]["protocol.conditions"]
    assert swept[0] == module.ONE
    least = float(module.run_probability(module.ONE, share))
    for pair in swept[which][1:]:
        assert module.run_probability([pair], share) <= least
        shorter = [pair[0], pair[1] - 1]
        assert module.run_probability([shorter], share) > least
    assert module.run_probability([swept[1][1]], 0.2) <= least or share != 0.2


def timed(data: xr.Dataset, half: Any) -> xr.Dataset:
    """The study with times in ms, in which half have decided after `half` (broadcast, inf: never),
    95 % after twice and 99 % after three times that."""
    for times, name in enumerate(("node_p50_ms", "node_p95_ms", "node_p99_ms"), 1):
        value = np.broadcast_to(np.asarray(half, float)[..., None], data["rounds"].shape) * times
        value = np.where(np.isinf(value), np.nan, value)
        data[name] = data["rounds"].copy(data=value).assign_attrs(units="ms")
    return data.assign_attrs(config=json.dumps(CONFIG | {"polling": {"max_ms": 30000}}))


def test_times_to_finality_and_where_it_stops(saved):
    dims = {
        "networks": ["a", "b"],
        "latency": ["wan", "regions"],
        "adversary": ["silent", "always_reject"],
        "byzantine_fraction": [0.0, 0.1, 0.2],
    }
    half = np.full((2, 2, 2, 3), 500.0)
    half[1, 0, 1] = [1000, np.inf, np.inf]
    data = timed(study(dims, 0), half)
    data = data.assign_coords(protocol=("networks", ["ecash", "snowflake"]))
    script("time_to_finality").draw(data, HERE)
    [(_, _, figure)] = saved
    axes = np.array(figure.axes).reshape(2, 2)
    assert [panel.get_title() for panel in axes[0]] == ["eCash", "Snowflake"]
    drawn = lines(axes[1, 1])
    np.testing.assert_allclose(drawn["node_p99_ms, wan"], [[0, 3]])
    np.testing.assert_allclose(drawn["node_p95_ms, regions"][:, 1], 1)
    never = drawn["node_p50_ms, wan: never"]
    np.testing.assert_allclose(never[:, 0], [0.1, 0.2], atol=0.01)
    assert (never[:, 1] > 30).all()
    assert len(drawn["node_p50_ms, regions: never"]) == 0


@pytest.mark.parametrize("kind", [str, bool])
def test_each_part_of_polling_varies_alone(saved, kind):
    concurrent, k, timeout_ms = [1, 4, 4, 4, 1, 4], [20, 20, 40, 20, 20, 20], [2000] * 6
    timeout_ms[3] = 500
    half = 100.0 * np.arange(1, 7)[:, None] + [0, 50]
    data = timed(study({"ways": [*"abcdef"], "initial_accept": [1.0, 0.5]}, 0), half)
    early = [True] * 4 + [False] * 2
    ends = [kind(each) if kind is bool else kind(each).lower() for each in early]
    columns = {"concurrent": concurrent, "k": k, "timeout_ms": timeout_ms, "early_end": ends}
    columns["byzantine_fraction"] = [0.0] * 6
    data = data.assign_coords({name: ("ways", each) for name, each in columns.items()})
    script("polling").draw(data, HERE)
    [(_, _, figure)] = saved
    axes = np.array(figure.axes).reshape(2, 3)
    for row, later in zip(axes, (0, 0.1), strict=True):
        early, late = (lines(row[0])[f"{each}, 0"] for each in (True, False))
        np.testing.assert_allclose(early, [[1, 0.2 + later], [4, 0.4 + later]])
        np.testing.assert_allclose(late, [[1, 1 + later], [4, 1.2 + later]])
        np.testing.assert_allclose(lines(row[1])["True, 0"], [[20, 0.4 + later], [40, 0.6 + later]])
        found = lines(row[2])["True, 0"]
        np.testing.assert_allclose(found, [[500, 0.8 + later], [2000, 0.4 + later]])
    assert {"early end, 0 % dead", "waits for all, 0 % dead"} <= {*texts(figure)}
