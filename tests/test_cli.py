"""The command line: what it refuses, how it stops, what it shows."""

import contextlib
import importlib.metadata
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from command import Result, assert_same, call, files, process, refused, start

import vecsim
from vecsim import progress
from vecsim.errors import ConfigError
from vecsim.studies import decisions, overrides, runner

BAD = {
    # keys and options
    "foo=1": "foo is no parameter; allowed: .*byzantine_fraction",
    "+foo=1": "foo is no parameter; allowed: n, ",
    "protocol.kk=3": "protocol.kk is no parameter of Snowflake; allowed: k, alpha_preference",
    "network.foo=1": "network.foo is no parameter of Network; allowed: sampling, ",
    "adversary.foo=1": "adversary.foo is no parameter of RandomVoting; allowed: none",
    "engine.foo=1": "engine.foo is no parameter; allowed: name, memory_mb, cores",
    "n.x=1": "n.x is no parameter",
    "protocol=snowbal": "protocol/snowbal.*allowed: .*snowball, ",
    "adversary=evil": "adversary/evil.*allowed: .*always_reject, ",
    "experiment=nope": "experiment/nope.*allowed: .*byzantine_sweep",
    "engine=gpu": "engine/gpu.*allowed: auto",
    "~protocol": r"protocol is \{\}; allowed: an option of the group",
    "protocol=null": "protocol is null; allowed: an option of the group",
    "~n": "n is None; allowed: a whole number",
    "~trials": "trials is None; allowed: a whole number",
    "protocol._target_=os.path.join": "allowed: a class of vecsim, or packages=os on the command",
    "protocol._target_=os.path.join packages=os": "allowed: a class that extends Protocol",
    "protocol._target_=vecsim.network.Network": "allowed: a class that extends Protocol",
    "protocol._target_=no.such.Class packages=no": "a class that extends Protocol .No module",
    "n=100 n=200": "n is set twice",
    "protocol=slush protocol=snowball": "protocol is set twice",
    # protocols
    "protocol.k=400": "alpha_preference is 15; allowed: .* 201 to 400",
    "protocol.k=401": "1 to 400 peers",
    "protocol=slush protocol.k=1 protocol.alpha=1 n=2 protocol.m=300000000": "less than 268435456",
    "n=15": "protocol.k is 20; allowed: at most n - 1 = 14 peers",
    "protocol.k=0": "protocol.k is 0; allowed: 1 to 400 peers",
    "protocol.k=2.5": "protocol.k is 2.5; allowed: a whole number",
    "protocol.k=many": "protocol.k is 'many'; allowed: a whole number",
    "protocol.alpha_preference=10": "alpha_preference is 10; allowed: .* 11 to 20",
    "protocol.alpha_confidence=21": "alpha_confidence is 21; allowed: alpha_preference to k, 15",
    "protocol.alpha_confidence=14": "alpha_confidence is 14; allowed: alpha_preference to k, 15",
    "protocol=slush protocol.alpha=21": "protocol.alpha is 21; allowed: .* 11 to 20",
    "protocol.beta=0": "protocol.beta is 0; allowed: 1 to ",
    "protocol.max_rounds=0": "protocol.max_rounds is 0; allowed: 1 to ",
    "protocol.decide_when=eq": "decide_when is 'eq'; allowed: ge or gt",
    # numbers of a trial
    "byzantine_fraction=1.5": "byzantine_fraction is 1.5; allowed: 0 to 1",
    "byzantine_fraction=-0.1": "byzantine_fraction is -0.1; allowed: 0 to 1",
    "byzantine_fraction=nan": "byzantine_fraction is nan; allowed: a number",
    f"n=1{'0' * 400}": "n is 1000",  # more than a float can hold
    "byzantine_fraction=1.0": "an honest node left",
    "initial_accept=2": "initial_accept is 2.0; allowed: 0 to 1",
    "seed=-1": "seed is -1; allowed: a whole number, 0 to 4294967295",
    "seed=4294967296": "seed is 4294967296; allowed: a whole number, 0 to 4294967295",
    "seed=x": "seed is 'x'; allowed: a whole number, 0 to 4294967295",
    "trials=0": "trials is 0; allowed: a whole number, 1 to ",
    "trials=1.5": "trials is 1.5; allowed: a whole number, 1 to ",
    "n=0": "n is 0; allowed: 1 to ",
    "n=abc": "n is 'abc'; allowed: a whole number",
    "n=1e13": "n is 10000000000000; allowed: 1 to 1000000000000",
    "n=1e7 schedule=async": "n is 10000000; allowed: at most 65535 under schedule=async",
    "n=1e7 protocol=qr_avalanche": "n is 10000000; allowed: 1 to 2000000 .*confidence",
    "engine.name=population schedule=async": "engine.name is .population.; allowed: auto or agents",
    "engine.name=fast": "engine.name is .fast.; allowed: auto, agents, population",
    "defence=maybe": "defence is .maybe.; allowed: off, on, or",
    "defence=on campaign.speed=1": "speed is no parameter; allowed: ",
    "defence=on campaign.cluster.nodes=1": "campaign.cluster.nodes is 1; allowed: a whole number",
    "defence=on campaign.outcomes.x={metric:speed}": "campaign.outcomes.x.metric is .speed.; ",
    "defence=on sweep.protocol=[slush,snowflake]": "sweep is .protocol.; allowed: what the camp",
    "n=inf": "n is inf; allowed: a whole number",
    "n=[1,2]": r"allowed: a whole number \(for several, sweep.n=",
    "schedule=sync": "schedule is 'sync'; allowed: lockstep, async, timed",
    "schedule=1": "schedule is 1; allowed: lockstep, async, timed",
    # networks
    "network=groups network.groups=[0.5,0.6]": "groups is .* allowed: .*add up to 1",
    "network=groups network.active=[0.5]": "active is .* allowed: none, or 2 values of 0 to 1",
    "network=groups network.cut=-1": "cut is -1; allowed: 0 to 2147483647 rounds",
    "network=groups network.groups=[0.999,0.001] n=100": "groups is .* allowed: shares of at least",
    "network=groups network.start=[1,0] sweep.initial_accept=[0,1]": (
        "initial_accept has no effect; allowed: network.start, which sets it"
    ),
    "network=groups byzantine_fraction=0.1 protocol=slush protocol.k=120 protocol.alpha=90 n=200": (
        "k=120: too large where answers are left to chance"
    ),
    "network=groups schedule=async": "schedule is 'async'; allowed: lockstep with groups",
    "network=groups protocol=qr_avalanche": "groups is .* allowed: none .protocol=QrAva",
    "network=groups engine.name=agents": "engine.name is 'agents'; allowed: auto or population",
    "network.sampling=both": "sampling is 'both'; allowed: without_replacement or with_replacement",
    "network.loss=2": "network.loss is 2.0; allowed: 0 to 1",
    "network.topology=torus": "topology is 'torus'; allowed: complete, random_regular, small_world",
    "network.exclude_self=maybe": "network.exclude_self is 'maybe'; allowed: true or false",
    "network=small_world network.degree=31": "network.degree is 31; allowed: an even number",
    "network=random_regular n=45 network.degree=31": "allowed: such that n x degree is even",
    "network=random_regular network.degree=10": "protocol.k is 20; allowed: at most 10 peers",
    "network=random_regular n=50": "network.degree is 100; allowed: less than n = 50",
    "network=small_world schedule=async": "schedule is 'async'; allowed: lockstep with ",
    "network=random_regular adversary=sybil": "adversary is 'Sybil'; allowed: no sybil",
    # adversaries
    "adversary=balance_pooled adversary.lag=3": "adversary.lag is 3; allowed: 0 or 1",
    "adversary=sybil n=30 byzantine_fraction=0.4": "k is 20; allowed: at most 17 peers",
    "adversary=balance_pooled n=25 byzantine_fraction=0.4": "k is 20; allowed: at most 15",
    # sweeps
    "sweep.foo=[1,2]": "sweep.foo is no parameter of a trial; allowed: n, ",
    "sweep.seed=[1,2]": "sweep.seed is no parameter of a trial; allowed: n, ",
    "sweep.protocol.kk=[1,2]": "protocol.kk is no parameter of Snowflake; allowed: k, ",
    "sweep.protocol=[snowbal]": "protocol/snowbal.*allowed: .*snowball",
    "sweep.protocol=[slush] sweep.protocol.alpha=[9]": (
        r"alpha is 9; allowed: .* 11 to 20 \(at protocol=slush, protocol.alpha=9\)"
    ),
    "sweep=5": "sweep is 5; allowed: parameters and values",
    "sweep.n=5": "sweep.n is 5; allowed: a list of different numbers",
    "sweep.n=[]": r"sweep.n is \[\]; allowed: a list of different numbers",
    "sweep.n=[100,100]": "allowed: a list of different numbers",
    "sweep.n=[[1,2]]": r"n is \[1, 2\]; allowed: a whole number .* \(at n=\[1, 2\]\)",
    "sweep.n={a:[1,2]}": "sweep is 'n'; allowed: for a zip, a name that is no parameter's",
    "sweep.n={start:2,stop:1,step:1}": "allowed: .* start <= stop",
    "sweep.n={start:1,stop:5,step:0}": "allowed: .* step > 0",
    "sweep.n={start:1,stop:5}": "allowed: {start, stop, step} or",
    "sweep.n={start:1,stop:5,num:1}": "allowed: .* num >= 2",
    "sweep.n={start:0,stop:5,num:3,log:true}": "allowed: {start, stop, step} or",
    "sweep.n={start:1,stop:inf,step:1}": "allowed: {start, stop, step} or",
    "sweep.n={start:1,stop:9,step:1e-300}": "allowed: at most 1000000 values",
    "sweep.byzantine_fraction=[0.1,1.1]": "byzantine_fraction is 1.1; allowed: 0 to 1",
    "n=100 sweep.n=[100,200]": "n is both set and swept; allowed: n=... with ~sweep.n, or",
    # precision
    "precision=5": "precision is 5; allowed: null, or target, half_width",
    "precision.half_width=0.1": "precision.target is None; allowed: finalised, ",
    "precision={target:speed,half_width:0.1,min_trials:9}": "target is 'speed'; allowed: finalised",
    "precision={target:stalled,half_width:0.9,min_trials:9}": "half_width is 0.9; allowed: between",
    "precision={target:stalled,half_width:0.1}": "min_trials is None; allowed: a whole number",
    "precision={target:stalled,half_width:0.1,min_trials:9} trials=5": (
        "trials is 5; allowed: precision.min_trials, 9, to 1000000000"
    ),
    # engine and output
    "engine.name=quantum": "engine.name is 'quantum'; allowed: auto",
    "engine.memory_mb=0": "engine.memory_mb is 0; allowed: a whole number, 1 to ",
    "engine.cores=two": "engine.cores is 'two'; allowed: a whole number, 1 to ",
    "output=5": "output is 5; allowed: a folder, or null",
    "netcdf=1": "netcdf is 1; allowed: true or false",
    # syntax
    "n=[1": "n=\\[1: ",
    "n": "missing EQUAL",
    "=5": "must be a string",
    "sweep.n=1,2": r"sweep.n=1,2 is several values; allowed: sweep.n=\[1,2\] .*, or -m",
    "sweep.n=range(1,9)": r"sweep.n=range\(1,9\) makes jobs; allowed: sweep.n={start: 0, stop: 1, ",
    "n=20 network.exclude_self=false protocol.k=21": "k is 21; allowed: at most n = 20 peers",
    "sweep.n=[30,20] network.exclude_self=false protocol.k=25 protocol.alpha_confidence=25": (
        "alpha_preference is 15; allowed: .*13 to 25|k is 25; .*at n=20"
    ),
    "network.groups=3": "network.groups is 3; allowed: a list of numbers",
    "precision.target=[a]": "precision.target is .*; allowed: finalised, ",
    "n=1,2": "n=1,2 is several values; allowed: sweep.n=.*-m",
    "n=${foo}": "'foo' not found",
    "--foo": "unrecognized arguments: --foo; --help",
    "--config-dir=nowhere": "--config-dir is 'nowhere'; allowed: a folder that exists",
}

COLUMNS = ["finalised", "disagreement", "stalled", "rounds", "trials"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line(arguments, folder, monkeypatch):
    monkeypatch.setattr(runner, "run_study", None)
    line = refused(call(*arguments.split()))
    assert re.search(BAD[arguments], line)
    assert not list(folder.iterdir())


def test_malformed_file(folder):
    (folder / "mine" / "experiment").mkdir(parents=True)
    (folder / "mine" / "experiment" / "bad.yaml").write_text("n: [1, 2\ntrials: }")
    before = files(folder)
    line = refused(call("--config-dir=mine", "experiment=bad"))
    assert "bad.yaml" in line
    assert files(folder) == before


def test_store_in_the_way(folder):
    foreign, other = folder / "foreign" / "data.zarr", folder / "other"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("precious")
    (folder / "file").write_text("precious")
    small = "n=50", "trials=4"
    assert call(*small, f"output={other}").code == 0
    chunk = next((other / "data.zarr" / "decided_1" / "c").rglob("*"))
    before = files(folder)
    assert "not a vecsim store; choose another output" in refused_later(*small, "output=foreign")
    assert refused(call(*small, "output=file")) == "output is 'file'; allowed: a folder, not a file"
    assert "seed is 0 there, 1 here" in refused_later(*small, "seed=1", f"output={other}")
    assert "trials is 3, " in refused_later("n=50", "trials=3", f"output={other}")
    assert files(folder) == before
    chunk.write_bytes(chunk.read_bytes()[:-9])
    before = files(folder)
    line = refused_later(*small, f"output={other}")
    assert "is damaged: decided_1, chunk 0, differs from its checksum" in line
    assert files(folder) == before


def refused_later(*arguments: str) -> str:
    """Refused by the store, after the line that says what runs."""
    result = call(*arguments)
    assert result.out.count("\n") == 1
    return refused(result._replace(out=""))


def test_bad_input_in_a_process(folder):
    line = refused(process("protocol=slush", "protocol.alpha=9", cwd=folder))
    assert line == "protocol.alpha is 9; allowed: more than k/2 and at most k, 11 to 20"
    assert not list(folder.iterdir())


def test_bad_job_of_a_multirun(folder):
    result = call("-m", "n=50", "trials=0,4,-1")
    allowed = "allowed: a whole number, 1 to 1000000000"
    assert result.code == 2
    assert result.err.splitlines() == [
        f"vecsim: job 0 (n=50, trials=0): trials is 0; {allowed}",
        f"vecsim: job 2 (n=50, trials=-1): trials is -1; {allowed}",
    ]
    assert len(list(folder.glob("results/multirun/study/*/data.zarr"))) == 1


def test_result(folder):
    result = call("protocol=snowball", "n=60", "trials=8", "sweep.byzantine_fraction=[0,0.1]")
    assert (result.code, result.err) == (0, "")
    lines = without_progress(result.out)
    there = f"engine agents, {len(jax.devices())} x cpu (cpu)"
    assert lines[0] == f"study: 2 points of 8 trials, 0 to 6 of 60 nodes Byzantine, {there}"
    assert lines[1].split() == ["byzantine_"]
    assert lines[2].split() == ["fraction", *COLUMNS]
    assert re.fullmatch(r"0\.1 +\S+ \[\S+ \S+\] +.* 8", lines[5])
    [output] = folder.glob("results/study-*")
    assert {file.name for file in output.iterdir()} == {"data.zarr", "summary.nc", "summary.csv"}
    assert f"dataset  {output.relative_to(folder) / 'data.zarr'}" in lines
    table = (output / "summary.csv").read_text().splitlines()
    assert len(table) == 3
    assert table[0].startswith("byzantine_fraction,byzantine_nodes,finalised,finalised_low,")
    again = call("protocol=snowball", "n=60", "trials=8", "sweep.byzantine_fraction=[0,0.1]")
    said = ["complete, nothing to compute"]
    assert without_progress(again.out) == [lines[0], *said, *lines[1:]]


def without_progress(out: str) -> list[str]:
    """What a run prints, without the lines that come when it takes a while."""
    return [line for line in out.splitlines() if not re.match(r" *\d+%, ", line)]


def test_slush_shows_unanimity():
    out = call("protocol=slush", "n=60", "trials=8").out
    assert without_progress(out)[1].split() == ["unanimous", "rounds", "trials"]


def test_help_lists_options(monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    result = call("--help")
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= 90
    for text in (
        "experiment:  byzantine_sweep, ",
        "random_voting",
        "snowflake_2018",
        "-sc install",
    ):
        assert text in result.out
    assert "byzantine_fraction: 0.0" in result.out
    config = call("--cfg", "job", "protocol=slush")
    assert "_target_: vecsim.protocols.slush.Slush" in config.out
    assert config.code == 0


def test_shell_completion(monkeypatch):
    script = call("-sc", "install=bash").out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert "complete " in script
    monkeypatch.setenv("COMP_LINE", "vecsim protocol=snowb")
    assert call("-sc", "query=bash").out.split() == ["protocol=snowball", "protocol=snowball_2018"]


def test_interrupt(folder, monkeypatch):
    """Ctrl-C: exit code 130, and the same command goes on."""
    monkeypatch.setattr(decisions, "CHUNK_NODES", 50 * 4)
    arguments = "n=50", "trials=12", "output=here"
    monkeypatch.setattr(progress, "reporter", lambda: Interrupting(2))
    result = call(*arguments)
    assert result.code == 130
    assert result.err == "vecsim: stopped; the same command goes on from here\n"
    assert vecsim.open(folder / "here/data.zarr").decided_1.notnull().sum() == 8
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(decisions, "CHUNK_NODES", 50 * 4)
    result = call(*arguments)
    assert result.code == 0
    assert "2 of 3 chunks are there already" in result.out
    whole = vecsim.run("n=50", "trials=12", output=folder / "whole")
    assert_same(vecsim.open(folder / "here/data.zarr"), whole)


class Interrupting(progress.Lines):
    def __init__(self, chunks: int):
        super().__init__()
        self.chunks = chunks

    def advance(self, run: int, skipped: int) -> None:
        self.chunks -= 1
        if self.chunks == 0:
            raise KeyboardInterrupt


def test_bar_on_a_terminal(folder):
    """A real SIGINT while the bar is drawn: it is taken away and the cursor is back, and no chunk
    is begun after it."""
    master, slave = pty.openpty()
    arguments = "n=100", "trials=400000", "output=here"  # more than can be done meanwhile
    code = "import vecsim.studies.decisions as r; r.CHUNK_NODES = 100 * 8"
    environment = {"COLUMNS": "100", "TERM": "xterm-256color"}
    command = start(*arguments, cwd=folder, code=code, env=environment, stdout=slave, stderr=slave)
    os.close(slave)
    drawn = ""
    while not re.search(r"trials/s, \d:\d\d:\d\d left", drawn):
        drawn += os.read(master, 4096).decode()
    command.send_signal(signal.SIGSTOP)
    os.waitpid(command.pid, os.WUNTRACED)
    marks = folder / "here/data.zarr/vecsim/marks"
    before = len([*marks.iterdir()])
    command.send_signal(signal.SIGINT)
    command.send_signal(signal.SIGCONT)
    drawn += rest(master)
    os.close(master)
    assert command.wait(60) == 130
    assert len([*marks.iterdir()]) <= before + 1
    assert drawn.startswith("study: 1 point of 400,000 trials, engine agents, ")
    clock = r"\d:\d\d:\d\d"
    assert re.search(rf"\d %  0 of 1 points, {clock}, [\d,]+ trials/s, {clock} left", drawn)
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")  # the cursor is shown
    assert drawn.rstrip().endswith("vecsim: stopped; the same command goes on from here")


def rest(terminal: int) -> str:
    """What is still to come from a pseudo-terminal until the other end is closed."""
    text = b""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 4096):
            text += part
    return text.decode()


def test_run_from_a_notebook(folder):
    data = vecsim.run("protocol=slush", "n=50", "trials=6", "sweep.initial_accept=[0.5,1]")
    assert dict(data.sizes) == {"initial_accept": 2, "trial": 6}
    [path] = folder.glob("results/study-*/data.zarr")
    assert_same(vecsim.open(path), data)
    assert vecsim.open(path).attrs["command"].startswith("vecsim.run ")
    with pytest.raises(ConfigError, match="n is 0; allowed"):
        vecsim.run("n=0")
    with pytest.raises(ConfigError, match="foo is no parameter"):
        vecsim.run("foo=0")
    with pytest.raises(ConfigError, match=r"an argument is .*; allowed: text such as 'n=100'"):
        vecsim.run({"n": 100})
    with pytest.raises(ConfigError, match=r"protocol.k is 0; allowed: 1 to 400"):
        vecsim.run(protocol={"k": 0})


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"n": 100, "protocol__k": 10, "protocol.beta": 3}, "n=100 protocol.k=10 protocol.beta=3"),
        ({"protocol": {"k": 10}, "theory": True}, "protocol.k=10 theory=true"),
        ({"sweep": {"n": np.array([10, 20])}, "output": None}, "sweep.n=[10, 20]|output=null"),
        ({"sweep__loss": {"start": 0.0, "stop": 1e-3}}, "sweep.loss={start: 0.0, stop: 0.001}"),
        (
            {"output": "a b", "defence": "on", "seed": np.int64(3)},
            "output='a b'|defence='on'|seed=3",
        ),
        (
            {"network": "groups", "network__groups": (0.5, 0.5)},
            "network=groups|network.groups=[0.5, 0.5]",
        ),
    ],
)
def test_keywords(keywords, words):
    parts = words.split("|") if "|" in words or "{" in words else words.split(" ")
    assert overrides.from_python((), keywords) == parts


def test_a_command_is_recorded_as_given(folder):
    words = "n=40", "trials=2", "engine.cores=null", "protocol.beta=3", "sweep.initial_accept=[1,0]"
    assert call(*words, "output=here").code == 0
    recorded = vecsim.open(folder / "here/data.zarr").attrs["command"]
    assert shlex.split(recorded) == ["vecsim", *words, "output=here"]


def test_version_and_names():
    assert call("--version").out == f"vecsim {importlib.metadata.version('vecsim')}\n"
    assert {"open", "run", "collect"} <= set(dir(vecsim)) <= set(vecsim.__all__)


def test_importing_is_quick(folder):
    """Nothing but Python's own modules is imported before it is used."""
    code = """
import sys
before = set(sys.modules)
import vecsim
added = {name.partition(".")[0] for name in set(sys.modules) - before}
assert added <= sys.stdlib_module_names | {"vecsim"}, added
try:
    vecsim.open("nothing.zarr")
except Exception as error:
    assert "does not exist" in str(error)
else:
    raise AssertionError
assert "xarray" in sys.modules
assert "jax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


def test_package_is_the_command(folder):
    """`python -m vecsim` and the console script are the same."""
    entry, lines = Path(sys.executable).parent / "vecsim", set()
    for command in ([sys.executable, "-m", "vecsim"], [str(entry)]):
        done = subprocess.run(
            [*command, "trials=0"], capture_output=True, text=True, check=False, cwd=folder
        )
        lines.add(refused(Result(done.returncode, done.stdout, done.stderr)))
    assert len(lines) == 1


SMALL = "protocol=slush", "protocol.k=5", "protocol.alpha=4", "trials=2"


def test_files_beside_the_store_are_made_where_python_asks(folder):
    """A copy as NetCDF, figures, and theory in them; a notebook that does not ask gets none."""
    data = vecsim.run(*SMALL, "n=20", output="plain")
    assert {path.name for path in Path("plain").iterdir()} == {"data.zarr"}
    vecsim.run(*SMALL, "n=20", output="plain", netcdf=True)
    assert vecsim.open("plain/data.nc").identical(data)
    study = "experiment=scale_sweep", "trials=2", "sweep.n=[100,200]", "sweep.protocol=[snowflake]"
    vecsim.run(*study, output="figures")
    assert not [*Path("figures").glob("*.png")]
    vecsim.run(*study, output="figures", figure=True, theory=False)
    bare = {path.name: path.read_bytes() for path in Path("figures").glob("*.png")}
    assert bare
    vecsim.run(*study, output="figures", theory=True)
    assert any(Path("figures", name).read_bytes() != drawn for name, drawn in bare.items())


def test_shares_that_are_no_nodes_are_told(folder):
    lines = call(*SMALL, "n=20", "initial_accept=0.01").out.splitlines()
    assert lines[1] == "vecsim: initial_accept 0.01 is 0 of 20 honest nodes"
    mixed = "adversary=mixture", "adversary.of={always_reject: 0.5, silent: 0.5}"
    lines = call(*SMALL, *mixed, "n=20", "byzantine_fraction=0.05").out.splitlines()
    assert lines[1] == "vecsim: of 1 Byzantine nodes none is of the kind silent"
    scenario = "scenario=harness_creates_cluster", "output=here"
    lines = call(*scenario, "scenario.cluster.byzantine_fraction=0.04").out.splitlines()
    assert "  byzantine_fraction 0.04 is 0 of 10 nodes" in lines
    line = refused(call(*scenario, "scenario.cluster.adversary=flip"))
    assert line.startswith("scenario.cluster.adversary has no effect, for no node is Byzantine; ")


def test_a_precision_that_is_not_reached_is_told(folder):
    target = "protocol=snowflake", "n=30", "byzantine_fraction=0.3", "adversary=balance_informed"
    wanted = "precision.target=stalled", "precision.min_trials=4", "precision.max_trials=8"
    out = call(*target, *wanted, "precision.half_width=0.02").out
    [line] = [line for line in out.splitlines() if "max_trials" in line]
    summary = vecsim.open(next(folder.glob("results/*/summary.nc")))
    half = float(summary.stalled_high - summary.stalled_low) / 2
    assert line.startswith("vecsim: the point ran precision.max_trials = 8 trials; stalled is ")
    assert f" known to {half:.2g} or better, not to precision.half_width = 0.02" in line
    out = call(*target, *wanted, "precision.half_width=0.49").out
    assert "max_trials" not in out


@pytest.mark.parametrize("words", [("n=50",), ("experiment=scale_sweep", "figure=false")])
def test_theory_that_is_drawn_nowhere_is_refused(words):
    line = refused(call(*words, "theory=true"))
    assert line.startswith("theory is True; allowed: with figure=true and experiment=byzantine_")


def test_a_folder_that_is_gone_is_told_to_python(folder, monkeypatch):
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the working folder is deleted"):
        vecsim.run(*SMALL, "n=20")
