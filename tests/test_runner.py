"""Running studies: the same bits however a run is cut up, stopped, resumed or spread out."""

import json
import signal
import time
from subprocess import DEVNULL

import numpy as np
import pytest
import yaml
from command import assert_same, call, check_experiment, files, process, refused, start
from stores import chunks

import vecsim
from vecsim import places, report
from vecsim.results.estimate import Precision, enough
from vecsim.studies import decisions, runner

STUDY = ("n=60", "trials=24", "sweep.adversary=[sybil,random_voting]", "sweep.protocol.beta=[5,9]")
MIXED = ("byzantine_fraction=0.2", "protocol=qr_avalanche")
PRECISE = "precision={target:finalised,half_width:0.2,min_trials:8}"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    return vecsim.run(*STUDY, *MIXED, output=output), output / "data.zarr"


@pytest.mark.parametrize("nodes", [60 * 2, 60 * 16])
def test_batches(whole, nodes, folder, monkeypatch):
    monkeypatch.setattr(decisions, "BATCH_NODES", nodes)
    assert_same(vecsim.run(*STUDY, *MIXED, output="here"), whole[0])
    assert chunks(folder / "here/data.zarr") == chunks(whole[1])


@pytest.mark.parametrize(("nodes", "count"), [(1, 96), (60 * 10, 12), (60 * 24 * 2, 2)])
def test_chunks(whole, nodes, count, folder, monkeypatch):
    monkeypatch.setattr(decisions, "CHUNK_NODES", nodes)
    assert_same(vecsim.run(*STUDY, *MIXED, output="here"), whole[0])
    assert len(list((folder / "here/data.zarr/vecsim/marks").iterdir())) == count


def test_devices_and_memory(whole, folder):
    for cores in (1, 2):
        options = f"engine.cores={cores}", "engine.memory_mb=1", f"output=c{cores}"
        result = process(*STUDY, *MIXED, *options, cwd=folder)
        assert (result.code, result.err) == (0, "")
        assert f"engine agents, {cores} x cpu (cpu)" in result.out
        assert chunks(folder / f"c{cores}/data.zarr") == chunks(whole[1])


def test_memory_is_bounded(folder):
    """Of the whole process: a sweep eight times as large takes a quarter of what all its nodes at
    once would take, or less, and less than the budget."""
    # The kernel's own maximum: that of getrusage starts from the parent's.
    code = (
        "import atexit, pathlib;"
        "status = pathlib.Path('/proc/self/status').read_text;"
        "atexit.register(lambda: print('peak', status().split('VmHWM:')[1].split()[0]))"
    )

    def peak_mb(points):
        fractions = f"sweep.byzantine_fraction={{start: 0, stop: 0.2, num: {points}}}"
        options = "engine.cores=2", f"output=p{points}"  # a device each
        result = process("trials=1024", fractions, *options, cwd=folder, code=code)
        assert (result.code, result.err) == (0, "")
        return int(result.out.split("peak")[1]) / 1024

    small, large = peak_mb(20), peak_mb(160)
    node_bytes, mb = 4, 2**20  # a cell and its random word; peaks vary by some 100 MB as they are
    assert large < small + (160 - 20) * 1024 * 1000 * node_bytes / mb / 4
    assert large < 1024  # engine.memory_mb


def test_killed(whole, folder, monkeypatch):
    """kill -9 in the middle of a sweep, then the same command."""
    nodes = 60 * 2
    marks = folder / "here/data.zarr/vecsim/marks"
    code = f"import vecsim.studies.decisions as r; r.CHUNK_NODES = {nodes}"
    command = start(
        *STUDY, *MIXED, "output=here", cwd=folder, code=code, stdout=DEVNULL, stderr=DEVNULL
    )
    while len(list(marks.iterdir()) if marks.exists() else ()) < 3:
        assert command.poll() is None
        time.sleep(0.002)
    command.send_signal(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    before = vecsim.open("here/data.zarr")
    assert before.attrs["complete"] == 0
    assert 0 < before.decided_1.notnull().sum() < before.decided_1.size
    monkeypatch.setattr(decisions, "CHUNK_NODES", nodes)
    result = call(*STUDY, *MIXED, "output=here")
    assert result.code == 0
    assert "of 48 chunks are there already" in result.out
    assert_same(vecsim.open("here/data.zarr"), whole[0])
    vecsim.run(*STUDY, *MIXED, output="again")
    assert chunks(folder / "here/data.zarr") == chunks(folder / "again/data.zarr")


def test_trials_are_a_prefix():
    rest = "n=50", "sweep.byzantine_fraction=[0,0.2]"
    long = vecsim.run("trials=40", *rest)
    short = vecsim.run("trials=20", *rest)
    assert_same(long.isel(trial=slice(20)), short)


@pytest.mark.parametrize("schedule", ["lockstep", "async"])
def test_order_and_neighbours_do_not_matter(schedule):
    """A point's trials are the same in whatever sweep it stands."""
    rest = "n=30", "trials=6", "protocol=slush", "protocol.k=9", "protocol.alpha=7"
    rest = *rest, f"schedule={schedule}"
    data = vecsim.run(*rest, "sweep.byzantine_fraction=[0.3,0,0.1]")
    for fraction in (0.1, 0.3):
        alone = vecsim.run(*rest, f"byzantine_fraction={fraction}")
        mine = data.sel(byzantine_fraction=fraction, drop=True)
        assert_same(mine, alone)


def test_sequential_stopping():
    options = "n=60", "trials=64", "protocol=qr_avalanche", "adversary=random_voting"
    sweep = "initial_accept=1.0", "sweep.byzantine_fraction=[0,0.1,0.2]"
    data = vecsim.run(*options, *sweep, PRECISE)
    full = vecsim.run(*options, *sweep)
    rate = data.vecsim.rate("finalised")
    precision = Precision("finalised", 0.2, 8, 64)
    for point in range(3):
        run = data.decided_1[point].notnull().values
        events = (full.undecided[point].values == 0).cumsum()
        looks = np.arange(8, 65, 8)
        stop = looks[np.argmax([enough(events[look - 1], look, precision) for look in looks])]
        assert run.sum() == rate.trials[point] == stop
        assert run[:stop].all()
        for name in data:
            np.testing.assert_array_equal(data[name][point, :stop], full[name][point, :stop])
            assert data[name][point, stop:].isnull().all()
    assert len(set(rate.trials.values.tolist())) > 1


def test_damage_is_refused(folder):
    arguments = "n=50", "trials=4", "output=here"
    assert call(*arguments).code == 0
    store = folder / "here/data.zarr"
    chunk = next(file for file in (store / "rounds/c").rglob("*") if file.is_file())
    metadata = store / "rounds/zarr.json"
    for file, change, text in (
        (chunk, chunk.read_bytes()[:-5], "rounds, chunk 0, differs from its checksum"),
        (chunk, None, "rounds, chunk 0, is missing"),
        (metadata, None, "rounds/zarr.json"),
        (metadata, b"{}", "rounds/zarr.json"),
        (store / "zarr.json", b"{", "zarr.json"),
    ):
        intact = file.read_bytes()
        file.write_bytes(change) if change is not None else file.unlink()
        before = files(folder)
        result = call(*arguments)
        line = refused(result._replace(out=""))
        assert (
            line.startswith("here/data.zarr is damaged: ") or "/here/data.zarr is damaged" in line
        )
        assert text in line
        assert files(folder) == before
        file.write_bytes(intact)
    assert call(*arguments).code == 0


@pytest.mark.parametrize(
    "launcher", [(), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")], ids=["basic", "joblib"]
)
def test_multirun(launcher, folder):
    rest = "n=50", "trials=6", "protocol=slush", "protocol.alpha=20"
    result = call("-m", *rest, "protocol.k=20,24,28", *launcher)
    assert (result.code, result.err) == (0, "")
    joined = vecsim.collect("results/multirun/study")
    assert joined.sizes == {"k": 3, "trial": 6}
    assert joined.k.values.tolist() == [20, 24, 28]
    for k in (20, 28):
        alone = vecsim.run(*rest, f"protocol.k={k}")
        assert_same(joined.sel(k=k, drop=True), alone)
    assert len(list(folder.glob("results/multirun/study/*/data.zarr"))) == 3
    commands = [job["command"] for job in yaml.safe_load(joined.attrs["jobs"])]
    assert sorted(commands) == [f"vecsim {' '.join(rest)} protocol.k={k}" for k in (20, 24, 28)]


def test_protocols_of_a_multirun_are_one_dimension(folder):
    """By the names of the options, all of them filled; the attributes hold what each one resolves
    to, with what its class says where the option's file is silent."""
    options = ["snowflake", "snowflake_2018", "avalanche_mainnet", "frosty"]
    result = call("-m", f"protocol={','.join(options)}", "n=100", "trials=2")
    assert (result.code, result.err) == (0, "")
    joined = vecsim.collect("results/multirun/study")
    assert joined.sizes == {"protocol": 4, "trial": 2}
    assert sorted(joined.protocol.values) == sorted(options)
    assert joined.protocol.dtype.kind == "U"
    assert joined.decided_1.notnull().all()
    joined.vecsim.rate("finalised").value.plot()  # over names
    alone = vecsim.run("protocol=frosty", "n=100", "trials=2")
    assert_same(joined.sel(protocol="frosty").reset_coords(drop=True), alone)
    protocol = json.loads(alone.attrs["config"])["protocol"]
    assert protocol["k"] == 80
    assert protocol.keys() >= {"max_rounds", "reset_on_failure", "decide_when", "count_after_flip"}


def test_names_of_a_sweep_are_text(folder):
    data = vecsim.run("sweep.protocol=[snowflake,frosty]", "n=100", "trials=2")
    assert data.protocol.dtype.kind == "U"
    data.vecsim.rate("finalised").value.plot()


PROTOCOL = '''
from vecsim.protocols.slush import Slush

class Stubborn(Slush):
    """Nobody changes its mind."""

    def step(self, cell, poll):
        return cell
'''
ADVERSARY = '''
from typing import ClassVar
from vecsim.adversaries.shared import everybody
from vecsim.errors import require
from vecsim.types import Adversary

class Biased(Adversary):
    """Answers 1 three times in four."""

    mixes: ClassVar = ((0.75, 0.25),)
    shade: int = 1

    def __check_init__(self):
        require(self.shade < 9, "adversary.shade", self.shade, "less than 9")

    def answer(self, view, memory):
        return everybody(0), memory
'''


def test_components_from_outside(folder, monkeypatch):
    (folder / "theirs").mkdir()
    (folder / "theirs" / "rules.py").write_text(PROTOCOL)
    (folder / "theirs" / "foes.py").write_text(ADVERSARY)
    for group, name in (("protocol", "rules.Stubborn"), ("adversary", "foes.Biased")):
        (folder / "mine" / group).mkdir(parents=True)
        option = folder / "mine" / group / f"{name.split('.')[1].lower()}.yaml"
        option.write_text(f"_target_: theirs.{name}\n")
    monkeypatch.syspath_prepend(folder)
    rest = "n=40", "trials=5", "byzantine_fraction=0.1", "protocol.k=9", "protocol.alpha=6"
    mine = "--config-dir=mine", "protocol=stubborn", "packages=theirs", *rest
    assert call(*mine, "sweep.adversary=[biased,echo]", "output=here").code == 0
    data = vecsim.open("here/data.zarr")
    assert (data.final_ones == 18).all()
    assert (data.flips == 0).all()
    assert "allowed: less than 9" in refused(call(*mine, "adversary=biased", "adversary.shade=9"))
    assert call("hydra.searchpath=[file://mine]", *mine[1:], "output=there").code == 0


def single(name: str) -> bool:
    """Whether the experiment's trials are single decisions, and nothing else."""
    study = yaml.safe_load((places.root("conf") / "experiment" / f"{name}.yaml").read_text())
    estimated = any("override /estimator" in option for option in study.get("defaults", []))
    return "defence" not in study and not estimated


EXPERIMENTS = sorted(file.stem for file in (places.root("conf") / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if single(name)])
def test_experiment(name, folder):
    """Every experiment with 16 trials at the ends of what it sweeps, and its figure."""
    study = yaml.safe_load((places.root("conf") / "experiment" / f"{name}.yaml").read_text())
    swept = study["sweep"]
    held = "stake" in json.dumps(study)  # of a network, whose number of nodes it says
    smaller = [*reduced(swept), *["n=120"] * ("n" not in swept and not held)]
    smaller += ["polling.max_ms=1000"] * (study.get("schedule") == "timed")
    check_experiment(name, "trials=16", "precision=null", *smaller, folder=folder)


ZIPS = ("holders", "attack", "networks", "ways")  # of parameters that move together


def reduced(sweep: dict, prefix: str = "sweep."):
    """The first and the last value of numbers; words are left as they are."""
    for key, values in sweep.items():
        if isinstance(values, dict) and "start" in values:
            yield f"{prefix}{key}=[{values['start']},{values['stop']}]"
        elif isinstance(values, dict) and key in ZIPS:
            ends = {name: [each[0], each[-1]] for name, each in values.items()}
            ends = {name: each for name, each in ends.items() if each != [None, None]}
            yield f"{prefix}{key}={json.dumps(ends)}".replace('"', "")
        elif isinstance(values, dict):
            yield from reduced(values, f"{prefix}{key}.")
        elif key == "n":
            yield f"{prefix}{key}=[120,150]"
        elif not isinstance(values[0], str):
            yield f"{prefix}{key}=[{values[0]},{values[-1]}]"


COUNTED = ("engine.name=population", "n=300", "trials=96", "sweep.byzantine_fraction=[0,0.1]")


def test_population_engine(monkeypatch):
    """The same trials whatever the chunks; nothing of the agents engine's in the same store."""
    whole = vecsim.run(*COUNTED, output="whole")
    monkeypatch.setattr(decisions, "CHUNK_NODES", 300 * 10)
    assert_same(vecsim.run(*COUNTED, output="chunks"), whole)
    assert json.loads(whole.attrs["config"])["engine"] == "population"
    result = call("engine.name=agents", *COUNTED[1:], "output=whole")
    assert result.code == 2
    assert "belongs to another config: engine is" in result.err


TIMED = ("schedule=timed", "n=40", "trials=24", "sweep.byzantine_fraction=[0,0.1]")


def test_simulated_time_in_chunks(folder, monkeypatch):
    """The same trials whatever the chunks, which are smaller than those of trials in rounds."""
    whole = vecsim.run(*TIMED, output="whole")
    monkeypatch.setattr(decisions, "CHUNK_NODES", decisions.TIMED_NODES * 40 * 10)
    assert_same(vecsim.run(*TIMED, output="chunks"), whole)
    assert len(list((folder / "chunks/data.zarr/vecsim/marks").iterdir())) == 2 * 3


def test_a_trillion_nodes():
    data = vecsim.run("n=1000000000000", "trials=8")
    nodes = data["decided_0"] + data["decided_1"] + data["undecided"]
    assert (nodes == 1e12).all()
    assert float(data["polls"].min()) > 1e13
    assert float(data.vecsim.rate("disagreement")["value"]) == 0


@pytest.mark.parametrize(
    ("overrides", "engine"),
    [
        (["n=1000"], "agents"),
        (["n=20000"], "population"),
        (["n=19999"], "agents"),
        (["n=100000", "engine.name=agents"], "agents"),
        (["n=1000", "engine.name=population"], "population"),
        (["n=100000", "protocol=snowball"], "agents"),
        (["n=100000", "protocol=qr_avalanche"], "agents"),
        (["n=60000", "schedule=async"], "asynchronous"),
        (["n=1000", "network=small_world", "network.degree=40"], "graph"),
    ],
)
def test_the_engine_is_chosen_and_told(overrides, engine, monkeypatch):
    monkeypatch.setattr(runner, "run_study", lambda *_: None)
    monkeypatch.setattr(report, "show_studies", lambda *_, **__: None)
    result = call(*overrides, "trials=4")
    assert f"engine {engine}, " in result.out
