"""The main job as it is run, and what it promises: compilations, stopping, resumption."""

import json
import re
import shlex
import signal
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL

import made
import numpy as np
import pytest
from command import assert_same, call, start
from helpers import compilations
from hypothesis import HealthCheck, settings
from hypothesis import given as drawn
from hypothesis import strategies as st
from scipy import optimize, stats

import vecsim
from vecsim.results.estimate import Precision
from vecsim.studies import decisions
from vecsim.studies.dimensions import Dimension
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_main_job_compiles_once_per_protocol():
    """All attacks, starts and fractions, stopped on their precision; its tables and figures."""
    least = "precision.half_width=0.4", "precision.min_trials=4", "trials=8"
    job = "experiment=byzantine_sweep", "defence=off", "n=90", *least, "output=here", "netcdf=true"
    with compilations() as compiled:
        result = call(*job)
    assert (result.code, result.err) == (0, "")
    assert len(compiled) == 3
    data = vecsim.open("here/data.zarr")
    sizes = {"protocol": 3, "adversary": 5, "initial_accept": 2, "byzantine_fraction": 41}
    assert dict(data.sizes) == sizes | {"trial": 8}
    run = data["decided_1"].notnull()
    assert (run.sum("trial") >= 4).all()
    assert not run.all()
    outcomes = data["decided_0"] + data["decided_1"] + data["undecided"]
    honest = 90 - (90 * data["byzantine_fraction"]).round()
    assert (outcomes == honest).where(run, True).all()
    shown = {line.split()[1] for line in result.out.splitlines() if line.startswith("figure ")}
    names = "byzantine_sweep_protocols", "byzantine_sweep_rounds"
    kinds = "pdf", "svg", "png"
    assert shown == {str(Path("here", f"{name}.{kind}")) for name in names for kind in kinds}
    assert all(Path(file).stat().st_size > 0 for file in shown)
    saved = vecsim.open("here/data.nc")
    assert saved.sizes == data.sizes
    for name in data:
        np.testing.assert_array_equal(saved[name], data[name])
    about = data.attrs
    assert about["command"] == shlex.join(["vecsim", *job])
    assert {"vecsim", "jax", "numpy", "xarray", "zarr"} <= set(json.loads(about["versions"]))
    assert "threefry" in about["key_implementation"]
    assert "cpu" in about["device"]
    assert re.fullmatch(r"([0-9a-f]{40}\+?)?", about["commit"])


def test_killed_while_it_stops_on_its_precision(folder):
    """kill -9 in the middle of a sweep whose points stop when they are known well enough."""
    study = "n=60", "trials=96", "protocol=qr_avalanche", "initial_accept=1.0"
    study += ("sweep.adversary=[sybil,random_voting]", "sweep.protocol.beta=[5,9,20]")
    study += ("sweep.byzantine_fraction=[0.05,0.1,0.2]",)
    study += ("precision={target:finalised,half_width:0.1,min_trials:8}",)
    marks = folder / "here/data.zarr/vecsim/marks"
    code = "import vecsim.studies.decisions as r; r.CHUNK_NODES = 60 * 8"
    with start(
        *study, "output=here", cwd=folder, code=code, stdout=DEVNULL, stderr=DEVNULL
    ) as command:
        while len(list(marks.iterdir()) if marks.exists() else ()) < 20:
            assert command.poll() is None
            time.sleep(0.002)
        command.send_signal(signal.SIGKILL)
    before = vecsim.open("here/data.zarr")
    assert before.attrs["complete"] == 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decisions, "CHUNK_NODES", 60 * 8)
        resumed = call(*study, "output=here")
        assert resumed.code == 0
        assert "chunks are there already" in resumed.out
        whole = vecsim.run(*study, output="whole")
    after = vecsim.open("here/data.zarr")
    assert_same(after, whole)
    trials = after["decided_1"].notnull().sum("trial")
    assert before["decided_1"].notnull().sum() < trials.sum()
    assert len(np.unique(trials)) > 2


@st.composite
def configurations(draw):
    """Overrides of a valid configuration: presets with their parameters, networks, sweeps."""

    def of(*values):
        return draw(st.sampled_from(values))

    k = draw(st.integers(2, 8))
    alpha = draw(st.integers(k // 2 + 1, k))
    protocol = of("slush", "snowflake", "snowball", "qr_avalanche")
    given = [f"protocol={protocol}", f"protocol.k={k}"]
    if protocol in ("snowflake", "snowball"):
        low = draw(st.integers(k // 2 + 1, alpha))
        given += [f"protocol.alpha_preference={low}", f"protocol.alpha_confidence={alpha}"]
        given += [f"protocol.reset_on_failure={of('true', 'false')}"]
        given += [f"protocol.decide_when={of('ge', 'gt')}"]
    else:
        given += [f"protocol.alpha={alpha}"]
    if protocol != "slush":
        given += [f"protocol.beta={of(1, 4)}", "protocol.max_rounds=40"]
    attack = of("random_voting", "sybil", "echo", "balance_informed", "safety_split", "stall")
    given += [f"adversary={attack}", f"schedule={of('lockstep', 'async')}"]
    given += of([], ["network.loss=0.1"], ["network.sampling=with_replacement"])
    graph = "network=random_regular", "network.degree=10"
    given += of([], [], [*graph, "schedule=lockstep", "adversary=random_voting"])
    starts = of("0.5", "1.0", "0.3")
    swept = of("sweep.byzantine_fraction=[0,0.2]", "sweep.initial_accept=[0,0.5,1]")
    some = "byzantine_fraction=0.2" if "initial" in swept else f"initial_accept={starts}"
    given += [swept, some]
    return list({text.partition("=")[0]: text for text in given}.values())


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@drawn(configurations())
def test_valid_configurations(given):
    """Never a crash or a complaint, and the honest nodes add up."""
    with tempfile.TemporaryDirectory() as output:
        result = call(*given, "n=30", "trials=6", "figure=false", f"output={output}/here")
        assert (result.code, result.err) == (0, "")
        data = vecsim.open(f"{output}/here/data.zarr")
    counted = data["decided_0"] + data["decided_1"] + data["undecided"]
    set_ = json.loads(data.attrs["config"])["byzantine_fraction"]
    fraction = data.coords.get("byzantine_fraction", set_)
    assert (counted == 30 - np.round(30 * np.asarray(fraction, float))[..., None]).all()
    for name in ("rounds", "final_ones", "flips", "polls", "admitted"):
        assert data[name].notnull().all()
    rates = [data.vecsim.rate(name)["value"] for name in ("finalised", "disagreement", "stalled")]
    assert all(((rate >= 0) & (rate <= 1)).all() for rate in rates)


STUDIES = 1500  # made-up ones, points of one
SLOWER = 3.0  # times as long as others take trials that stall


class Made(Work):
    """The work of a study whose points are all alike: 85 % of the trials finalise, 5 % disagree,
    10 % stall and take longer."""

    variables = decisions.DECISION_VARIABLES

    def __init__(self, study: Study):
        super().__init__(study)
        random = np.random.default_rng(8)
        shape = len(study.points), study.trials
        self.kind = random.choice(3, shape, p=[0.85, 0.05, 0.1])
        self.time = random.exponential(size=shape) * np.where(self.kind == 2, SLOWER, 1)

    def chunks(self):
        return len(self.study.points), self.study.block

    def compute(self, numbers, trials):
        kind, time = (each[np.ix_(numbers, trials)] for each in (self.kind, self.time))
        zero = np.zeros(kind.shape, np.int32)
        values = {variable.name: zero for variable in self.variables}
        values |= {"decided_1": np.where(kind == 2, 0, 50), "decided_0": np.where(kind == 1, 9, 0)}
        return values | {"undecided": np.where(kind == 2, 50, 0), "first_decision": time}

    def events(self, values):
        return decisions.Decisions.events(self, values)


@pytest.mark.parametrize(
    ("block", "most", "half_width"), [(64, 512, 0.06), (50, 200, 0.07), (250, 1000, 0.03)]
)
def test_coverage_after_stopping(block, most, half_width):
    """Intervals of 1,500 studies that stopped on their precision, through runner and accessor: the
    rate that they stopped on, another one, a mean and a median."""
    precision = Precision("finalised", half_width, block, most)
    studies = list(range(STUDIES))
    config = {"precision": {"target": "finalised"}}
    study = Study(
        "made", [Dimension("study", "study", studies)], [made.Number(i) for i in studies], most,
        block, precision, 0, config, ["made"] * STUDIES,
    )  # fmt: skip
    made.run(study, Path("made.zarr"), work=Made)
    data = vecsim.open("made.zarr").vecsim
    trials = data.rate("finalised")["trials"]
    assert len(np.unique(trials)) > 1
    median = optimize.brentq(
        lambda t: 0.9 * -np.expm1(-t) + 0.1 * -np.expm1(-t / SLOWER) - 0.5, 0, 9
    )
    tables = [
        (data.rate("finalised"), 0.85),
        (data.rate("disagreement"), 0.05),
        (data.mean("first_decision"), 0.9 + 0.1 * SLOWER),
        (data.quantile("first_decision", 0.5), median),
    ]
    for table, truth in tables:
        covered = int(((table["low"] <= truth) & (truth <= table["high"])).sum())
        assert covered >= stats.binom.ppf(1e-3, STUDIES, 0.95)
