"""From words to a configuration: what is swept by hand, jobs, and who else uses Hydra."""

import sys

import pytest
from command import call, refused
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from vecsim import composing
from vecsim.studies.dimensions import by_key

OWN = """# @package _global_
sweep:
  n: {start: 30, stop: 50, step: 10}
  protocol: {k: [5, 6]}
  initial_accept: [0.5, 1]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "own.yaml").write_text(OWN)
    return tmp_path


def swept(folder, *words):
    with composing.session([folder / "conf"]):
        config = composing.compose(["experiment=own", *words], whole=False)
    return by_key(OmegaConf.to_container(config.get("sweep")), {"protocol"}.__contains__)


FILED = {"n": {"start": 30, "stop": 50, "step": 10}, "protocol.k": [5, 6]}
FILED |= {"initial_accept": [0.5, 1]}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], FILED),
        (["sweep.n={start: 1, stop: 2, num: 2}"], FILED | {"n": {"start": 1, "stop": 2, "num": 2}}),
        (["sweep.protocol.k=[7]"], FILED | {"protocol.k": [7]}),
        (["sweep={protocol: {k: [7]}}"], FILED | {"protocol.k": [7]}),
        (["++sweep.n=[4]", "~sweep.protocol"], {"n": [4], "initial_accept": [0.5, 1]}),
        (["~sweep", "sweep.protocol=[slush]", "+sweep.protocol.k=[7]"], None),
    ],
)
def test_what_is_swept_by_hand_is_in_place_of_what_a_file_sweeps(folder, words, expected):
    if expected is None:
        expected = {"protocol": ["slush"], "protocol.k": [7]}
    assert swept(folder, *words) == expected


def test_jobs_are_every_combination():
    with composing.session():
        words = "protocol=slush,snowball", "sweep.n=[1, 2]", "n=range(1,3)", "~experiment"
        made, varied, shared = composing.jobs([*words, "hydra/launcher=basic"])
    assert shared == ["hydra/launcher=basic"]
    assert made == [
        [f"protocol={protocol}", "sweep.n=[1,2]", f"n={n}", "~experiment"]
        for protocol in ("slush", "snowball")
        for n in (1, 2)
    ]
    assert varied[0] == ["protocol=slush", "n=1"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-m", "protocol=slush,nope", "n=30"], "protocol/nope"),
        (["-m", "n=30", "hydra.verbose=true,false"], "hydra.verbose=true,false is several values"),
        (["-m", "n=30", "hydra.sweeper.max_batch_size=2"], "hydra.sweeper.max_batch_size=2 is not"),
        (
            ["n=30", "+hydra.callbacks.a._target_=m.C"],
            "+hydra.callbacks.a._target_=m.C is",
        ),
        (["-m", "--cfg", "job"], "argument --cfg/-c: not allowed with argument --multirun"),
        (["--resolve"], "--resolve is set; allowed: with --cfg"),
        (["--info"], "--info is 'set'; allowed: "),
        (["--cfg", "job", "--package", "nope"], "--package is 'nope'; allowed: "),
        (["-sc", "query=dos"], "--shell-completion is 'query=dos'; allowed: "),
    ],
)
def test_refusals(folder, words, told):
    assert told in refused(call(*words))
    assert not (folder / "results").exists()


def test_options_stand_anywhere_and_the_configuration_is_shown(folder):
    shown = call("n=30", "--cfg", "job", "-p", "sweep", "--config-dir=conf", "experiment=own")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("# @package sweep\n'n':\n  start: 30\n")
    assert call("--cfg", "job", "-p", "n", "n=31").out == "# @package n\n31\n"
    assert "job:\n    name: vecsim\n" in call("--cfg", "hydra").out


def test_folders_that_are_searched_are_those_of_every_job(folder):
    """And of what is composed for each option of a group."""
    (folder / "conf" / "protocol").mkdir()
    rule = "_target_: vecsim.protocols.slush.Slush\nk: 5\nalpha: 4\n"
    (folder / "conf" / "protocol" / "mine.yaml").write_text(rule)
    words = "hydra.searchpath=[conf]", "n=20", "trials=2", "sweep.protocol=[mine]"
    assert call(*words, "sweep.protocol.k=[5,6]").code == 0
    done = call("-m", *words, "seed=1,2")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("job ") == 2


def test_hydra_is_left_as_it_was(folder):
    """A notebook may use it for something else."""
    arguments, report = list(sys.argv), JobReturn.return_value
    begin = Plugins.instantiate_launcher
    small = "protocol=slush", "protocol.k=5", "protocol.alpha=4", "trials=2"
    assert call("-m", "n=30,40", *small).code == 0
    assert call("n=0").code == 2
    assert sys.argv == arguments
    assert (JobReturn.return_value, Plugins.instantiate_launcher) == (report, begin)
    (folder / "theirs.yaml").write_text("hydra: {job: {name: theirs}}\nword: ${oc.env:HOME}\n")
    with initialize_config_dir(str(folder), version_base="1.3"):
        assert list(compose("theirs")) == ["word"]
        word = compose("theirs", ["+experiment=byzantine_sweep"])
        assert word.experiment == "byzantine_sweep"  # for vecsim's folders are not searched
