"""What Python has of the command line: points, studies, components as objects."""

from pathlib import Path

import pytest

import vecsim
from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.echo import Echo
from vecsim.engines.exact import solve
from vecsim.errors import ConfigError
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.slush import Slush
from vecsim.protocols.snowflake import Snowflake

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
