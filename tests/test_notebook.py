"""What Python has of the command line: points, studies, components as objects."""

import importlib
import json
import linecache
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from test_own import RULE, write_rule

import vecsim
from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.echo import Echo
from vecsim.adversaries.flip import Flip
from vecsim.adversaries.mixture import Mixture
from vecsim.adversaries.release import Release
from vecsim.adversaries.silent import Silent
from vecsim.engines.exact import solve
from vecsim.errors import ConfigError
from vecsim.model.point import Point
from vecsim.model.sources import sources
from vecsim.network import Network
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowflake import Snowflake
from vecsim.results.files import StoreError

SMALL = "protocol=slush", "protocol.k=5", "protocol.alpha=4", "n=20", "trials=4"
OWN = "_target_: vecsim.protocols.slush.Slush\nk: 7\nalpha: 5\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def conf(folder):
    """A folder of configuration with one protocol, `seven`."""
    (folder / "conf" / "protocol").mkdir(parents=True)
    (folder / "conf" / "protocol" / "seven.yaml").write_text(OWN)
    return folder / "conf"


# Points


def test_a_point_is_what_the_words_describe():
    words = "protocol=snowflake", "n=50", "network.loss=0.1"
    found = vecsim.point(
        *words, protocol__beta=7, adversary="balance_informed", byzantine_fraction=0.1
    )
    rule = Snowflake(beta=7)
    expected = Point(50, 0.1, 0.5, "lockstep", rule, BalanceInformed(), Network(loss=0.1))
    assert found == expected
    assert found.hash() == expected.hash()
    assert vecsim.point("sweep.n=[30]").n == 30
    assert vecsim.point("sweep.protocol=[slush]", protocol__k=16, n=30).protocol == Slush(k=16)
    assert vecsim.point(adversary="echo").adversary == Echo()  # without any Byzantine node
    assert vecsim.point("~sweep", experiment="byzantine_sweep", defence="off").n == 1000


def test_a_point_is_solved_exactly():
    """Of two nodes each polls the other and takes its colour: they swap, and never agree."""
    found = solve(vecsim.point("protocol=slush", n=2, protocol={"k": 1, "alpha": 1, "m": 3}))
    assert found.unfinished == pytest.approx(1)
    assert found.final_ones.tolist() == pytest.approx([0, 1, 0])


@pytest.mark.parametrize(
    ("words", "told"),
    {
        ("sweep.n=[30,40]",): "sweep is '2 of n'; allowed: one value of each",
        ("experiment=byzantine_sweep",): "defence is ['off', 'on']; allowed: off, for a point",
        ("defence=on",): "defence is 'on'; allowed: off, for a point of single decisions",
        ("trials=5",): "trials is no part of a point; allowed: n, byzantine_fraction,",
        ("engine.name=agents",): "engine.name is no part of a point; allowed: n,",
        ("sweep.trials=[5]",): "sweep.trials is no part of a point; allowed: n,",
        ("foo=0",): "foo is no parameter; allowed: ",
        ("n=0",): "n is 0; allowed: 1 to",
        ("scenario=ci_smoke_test",): "scenario is no part of a point; allowed: n,",
    }.items(),
)
def test_what_is_not_one_point(words, told):
    with pytest.raises(ConfigError) as refused:
        vecsim.point(*words)
    assert str(refused.value).startswith(told)
    assert not list(Path.cwd().iterdir())


# Folders of configuration


def test_a_folder_of_configuration(conf):
    assert vecsim.point("protocol=seven", config_dir=conf).protocol.k == 7
    assert vecsim.point("protocol=seven", config_dir=[str(conf)]).protocol.k == 7
    data = vecsim.run("protocol=seven", *SMALL[3:], config_dir=conf)
    assert data.attrs["command"].endswith(f"config_dir={conf}")
    same = vecsim.run("protocol=slush", "protocol.k=7", "protocol.alpha=5", *SMALL[3:])
    assert data.drop_attrs().identical(same.drop_attrs())
    for wrong, told in ((5, "a folder, or a list"), ("no", "a folder that exists")):
        with pytest.raises(ConfigError, match=f"config_dir is {wrong!r}; allowed: {told}"):
            vecsim.point(config_dir=wrong)


# Components as objects


@pytest.fixture
def alone(folder, monkeypatch):
    """A module with a protocol of one's own, and a folder of configuration that names it."""
    monkeypatch.syspath_prepend(folder)
    write_rule(folder)
    yield importlib.import_module("alone")
    del sys.modules["alone"]


def of_study(data):
    return data.drop_attrs(), json.loads(data.attrs["config"])


def test_objects_are_what_their_parameters_say(folder):
    objects = {"protocol": Snowflake(beta=7), "network": Network(loss=0.1)}
    kinds = {"one": (Release(3), 0.5), "echo": (Echo(), 0.5)}
    objects["adversary"] = Mixture.of(kinds)
    data, config = of_study(
        vecsim.run(*SMALL[4:], n=40, byzantine_fraction=0.1, output="objects", **objects)
    )
    words = "protocol=snowflake", "protocol.beta=7", "network.loss=0.1", "adversary=mixture"
    of = "adversary.of={release: {share: 0.5, release_round: 3}, echo: 0.5}"
    same, described = of_study(
        vecsim.run(*words, of, *SMALL[4:], n=40, byzantine_fraction=0.1, output="words")
    )
    assert data.identical(same)
    assert config.pop("kinds") == [{"one": 2, "echo": 2}]  # the names that each has
    assert described.pop("kinds") == [{"release": 2, "echo": 2}]
    assert config == described


def test_an_object_of_ones_own(alone, folder):
    """Its package is trusted, as if `packages` named it; the folder of the results is the same."""
    data = of_study(vecsim.run(*SMALL[3:], protocol=alone.Rule(k=7, alpha=5)))
    told = {"protocol__k": 7, "protocol__alpha": 5, "packages": "alone", "config_dir": "conf"}
    same = of_study(vecsim.run("protocol=alone", *SMALL[3:], **told))
    assert data[0].identical(same[0])
    assert data[1] == same[1]
    assert "alone.py" in data[1]["sources"]
    assert len(list(folder.glob("results/*"))) == 1
    with pytest.raises(ConfigError, match="packages=alone on the command line"):
        vecsim.run("protocol=alone", *SMALL[3:], config_dir="conf")


def test_an_object_is_swept_like_an_option():
    found = vecsim.point("n=30", protocol=Slush(k=7, alpha=5), sweep={"protocol.k": [6]})
    assert found.protocol == Slush(k=6, alpha=5)


def test_numbers_of_numpy_and_classes_within_a_function():
    class Mine(Slush):
        pass

    point = vecsim.point(n=np.int64(30), protocol=Mine(k=np.int32(7), alpha=5))
    assert type(point.protocol) is Mine
    assert vars(point.protocol) == vars(Mine(k=7, alpha=5))


SCRIPT = """
import vecsim
{rule}
if __name__ == "__main__":
    data = vecsim.run("n=20", "trials=4", protocol=Rule(k=7, alpha=5), output="{output}")
    print(int(data.flips.sum()))
"""


def test_a_class_of_a_script(folder):
    """The file is part of the study, which an edit makes another one."""
    path = os.pathsep.join([str(Path(vecsim.__file__).parent.parent), *sys.path])

    def run(gives, output):
        rule = RULE.format(line="", gives=gives)
        (folder / "script.py").write_text(SCRIPT.format(rule=rule, output=output))
        options = {"capture_output": True, "text": True, "check": False, "cwd": folder}
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run([sys.executable, "script.py"], env=environment, **options)

    turns = run("(cell & 1) ^ 1", "here")
    assert int(turns.stdout.splitlines()[-1]) > 0, turns.stderr
    config = json.loads(vecsim.open("here").attrs["config"])
    assert config["protocol"]["_target_"] == "__main__.Rule"
    assert list(config["sources"]) == ["script.py"]
    assert "script.py has changed since" in run("cell & 1 & 1", "here").stderr


def typed(cell, name, text, session):
    """A cell of a notebook: Python keeps its text, there is no file."""
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    exec(compile(text, name, "exec"), session)
    return session[cell]


def test_a_class_of_a_notebook(monkeypatch):
    """Its cells are part of the study, with what they use of other cells."""
    module = ModuleType("session")
    monkeypatch.setitem(sys.modules, "session", module)
    session = vars(module)
    typed("helped", "<cell 1>", "def helped(cell):\n    return (cell & 1) ^ TURNS\n", session)
    rule = RULE.format(line="TURNS = 1", gives="helped(cell)")
    first = typed("Rule", "<cell 2>", rule, session)
    assert vecsim.point(n=30, protocol=first(k=7, alpha=5)).protocol.k == 7
    hashes = [sources([first])]
    typed("TURNS", "<cell 3>", "TURNS = 0\n", session)
    hashes.append(sources([first]))
    typed("helped", "<cell 4>", "def helped(cell):\n    return cell & 1 & TURNS\n", session)
    hashes.append(sources([first]))
    assert [list(each) for each in hashes] == [["session.Rule"]] * 3
    assert len({each["session.Rule"] for each in hashes}) == 3


@pytest.mark.parametrize(
    ("keywords", "told"),
    {
        "protocol": (Echo(), r"protocol is Echo\(\); allowed: .* whose class extends Protocol$"),
        "adversary": (Echo, "adversary is <class .*; allowed: .* extends Adversary$"),
        "network": (object(), "network is <object .*; allowed: .* extends Network$"),
        "n": (Slush(), r"n is Slush.*; allowed: a number, text"),
        "sweep": ({"protocol": [Slush()]}, "sweep is Slush.*; allowed: a number"),
    }.items(),
)
def test_what_is_no_component(keywords, told):
    with pytest.raises(ConfigError, match=told[1]):
        vecsim.run(**{keywords: told[0]})


def test_an_object_is_used_as_it_is():
    with pytest.raises(ConfigError, match=r"protocol.k is 9; allowed: in the object, protocol=Slu"):
        vecsim.point(protocol=Slush(), protocol__k=9)
    with pytest.raises(ConfigError, match="protocol is set twice"):
        vecsim.point("protocol=snowball", protocol=Slush())
    assert isinstance(vecsim.point().protocol, Snowflake)  # nothing of an object is left


def test_kinds_of_a_mixture_by_their_class():
    of = "adversary.of={mine: {share: 0.5, _target_: %s}, silent: 0.5}"
    found = vecsim.point("adversary=mixture", of % "vecsim.adversaries.echo.Echo")
    expected = Mixture.of({"mine": (Echo(), 0.5), "silent": (Silent(), 0.5)})
    assert found.adversary == expected
    with pytest.raises(ConfigError, match=r"adversary.of.mine: adversary._target_ is 'os.system'"):
        vecsim.point("adversary=mixture", of % "os.system")


class Odd(Slush):
    """A class whose parameters no configuration can describe."""

    how: Any = None


def test_an_object_that_no_configuration_describes():
    with pytest.raises(ConfigError, match=r"protocol.how is <function .*; allowed: text, numbers"):
        vecsim.point(protocol=Odd(how=lambda: 1))


# Studies and scenarios


def test_one_object_for_one_command(folder):
    words = *SMALL[:3], *SMALL[4:], "sweep.n=[20,30]"
    study = vecsim.study(*words, netcdf=True)
    assert [point.n for point in study.points] == [20, 30]
    assert study.points[0] == vecsim.point(*SMALL[:3], n=20)
    assert not list(folder.iterdir())
    with pytest.raises(StoreError, match=r"data.zarr does not exist; allowed: after run\(\)"):
        study.data  # noqa: B018
    assert study.run() is study
    assert study.data.identical(vecsim.run(*words, netcdf=True))
    assert (study.output / "data.nc").exists()
    assert study.defended is None
    assert study.summary(0.9).identical(study.data.vecsim.summary(0.9))
    before = study.data
    assert study.run().data.identical(before)  # which was complete
    more = vecsim.study(*SMALL[:3], "trials=6", "sweep.n=[20,30]", output=study.output)
    with pytest.raises(StoreError, match="is of another study, or of less"):
        more.data  # noqa: B018
    assert more.run().data.sizes["trial"] == 6


def test_both_stores_of_one_command(folder):
    words = "defence=[off,on]", "n=30", "adversary=flip", "byzantine_fraction=0.1", "trials=4"
    campaign = {"trials": 2, "duration_s": 2, "drain_s": 2, "window_s": 2}
    study = vecsim.study(*words, campaign=campaign)
    assert study.points == [vecsim.point(*words[1:4])]
    study.run()
    assert study.data.attrs["kind"] == "decisions"
    assert study.defended.attrs["kind"] == "campaigns"
    assert study.defended.identical(vecsim.open(study.output / "defended.zarr"))
    # The same adversary as an object is the same study, of both kinds.
    again = vecsim.study(*words[:2], *words[3:], adversary=Flip(), campaign=campaign)
    assert again.output == study.output
    assert again.defended.identical(study.defended)


def test_what_is_no_study():
    with pytest.raises(ConfigError, match=r"scenario is no parameter of a study; allowed: vecsim"):
        vecsim.study("scenario=ci_smoke_test")
    with pytest.raises(ConfigError, match="n is 0; allowed"):
        vecsim.study(n=0)


def test_a_scenario_is_judged(folder, conf):
    """As its own cluster has ten nodes, its criterion is of ten."""
    judged = vecsim.scenario.run("harness_creates_cluster")
    assert judged.passed
    assert judged.data.sizes["trial"] == 8
    assert [each.measured for each in judged.verdicts] == [0, 10]
    assert judged.output == Path("results/scenario/harness_creates_cluster")
    assert [each["measured"] for each in judged.data.vecsim.verdicts()] == [0, 10]
    for changes in ({"cluster": {"nodes": 20}}, {"cluster__nodes": 20}):
        other = vecsim.scenario.run("harness_creates_cluster", output="other", trials=2, **changes)
        assert not other.passed
        assert [each.measured for each in other.verdicts] == [0, 20]
        assert other.output == Path("other/harness_creates_cluster")
        assert other.data.sizes["trial"] == 2
    (conf / "scenario").mkdir()
    (conf / "scenario" / "mine.yaml").write_text(MINE)
    assert vecsim.scenario.run("mine", config_dir=conf).verdicts[1].threshold == 10
    assert vecsim.scenario.run("conf/scenario/mine.yaml", name="yours").output.name == "yours"
    for keywords, told in (({"foo": 1}, "foo"), ({"trials": 0}, "scenario.trials|trials is 0")):
        with pytest.raises(ConfigError, match=told):
            vecsim.scenario.run("harness_creates_cluster", **keywords)
    with pytest.raises(ConfigError, match=r"scenario is .*; allowed: one at a time"):
        vecsim.scenario.run("harness_*")


MINE = """# @package _global_
# What mine shows.
defaults:
  - /scenario/harness_creates_cluster
  - _self_
scenario:
  name: mine
"""
