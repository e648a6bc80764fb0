"""Configuration files from outside: what they may do, and what is refused before it happens."""

import textwrap

import command
import pytest

from vecsim import trust
from vecsim.errors import ConfigError

SLUSH = """
    _target_: {target}
    k: 5
    alpha: 4
"""
COMPONENT = """
    import pathlib
    from vecsim.protocols.slush import Slush

    pathlib.Path("imported").touch()

    class Mine(Slush):
        pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a folder of configuration in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def put(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip())


def run(*words):
    return command.call("--config-dir", "conf", *words, "n=30", "trials=2")


def test_own_components_come_from_packages_that_the_command_names(folder):
    put(folder, "marked_package.py", COMPONENT)
    put(folder, "conf/protocol/mine.yaml", SLUSH.format(target="marked_package.Mine"))
    message = command.refused(run("protocol=mine"))
    assert message == (
        "protocol._target_ is 'marked_package.Mine'; allowed: a class of vecsim, "
        "or packages=marked_package on the command line"
    )
    assert not (folder / "imported").exists()  # refused before anything of it ran
    done = run("protocol=mine", "packages=marked_package")
    assert (done.code, done.err) == (0, "")
    assert (folder / "imported").exists()


def test_files_do_not_name_packages(folder):
    put(folder, "conf/experiment/own.yaml", "# @package _global_\npackages: [os]\n")
    message = command.refused(run("experiment=own"))
    assert message == "packages is set by a file; allowed: packages=... on the command line"


@pytest.mark.parametrize("given", ["1", "[1]", "{a: 1}", "['a.b']"])
def test_packages_are_names(folder, given):
    message = command.refused(command.call(f"packages={given}", "n=10", "trials=2"))
    assert message.startswith("packages is ")
    assert message.endswith("; allowed: names of packages, such as packages=[mypackage]")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("experiment/own.yaml", "# @package _global_\nhydra: {callbacks: {c: {_target_: m.C}}}\n"),
        ("experiment/own.yaml", "# @package hydra.callbacks\nc: {_target_: m.C}\n"),
        ("experiment/own.yaml", "defaults:\n  - override /hydra/job_logging: own\n"),
        ("experiment/own.yaml", "defaults:\n  - /network@hydra.callbacks: complete\n"),
        ("experiment/own.yaml", "# @package _global_\nhydra.sweep.dir: elsewhere\n"),
        ("hydra/launcher/own.yaml", "_target_: m.Launcher\n"),
    ],
)
def test_files_do_not_configure_hydra(folder, name, text):
    put(folder, f"conf/{name}", text)
    for words in (["experiment=own"], ["-m", "experiment=own"], []):
        message = command.refused(run(*words))
        assert (
            message == f"conf/{name} configures Hydra; allowed: hydra.KEY=... on the command line"
        )


def test_the_environment_is_not_read(folder, monkeypatch):
    monkeypatch.setenv("VECSIM_TEST_WORD", "something private")
    text = "# @package _global_\nseed: 1\nadversary: {note: '${oc.env:VECSIM_TEST_WORD}'}\n"
    put(folder, "conf/experiment/own.yaml", text)
    message = command.refused(run("experiment=own"))
    assert message.startswith("adversary.note is '${oc.env:VECSIM_TEST_WORD}'; allowed: ")
    assert "something private" not in message
    assert not (folder / "results").exists()


@pytest.mark.parametrize("output", ["/tmp/elsewhere", "../elsewhere", ".", "a/../.."])
def test_files_do_not_choose_an_output_elsewhere(folder, output):
    put(folder, "conf/experiment/own.yaml", f"# @package _global_\noutput: {output}\n")
    message = command.refused(run("experiment=own"))
    assert message.startswith(f"output is '{output}'; allowed: a folder inside the working folder")


def test_an_output_inside_the_working_folder_is_a_files_to_choose(folder):
    put(folder, "conf/experiment/own.yaml", "# @package _global_\noutput: studies/one\n")
    assert run("experiment=own").code == 0
    assert (folder / "studies" / "one" / "data.zarr").is_dir()


@pytest.mark.parametrize(
    "words",
    [
        ["--config-path", "conf"],
        ["--config-name", "other"],
        ["--experimental-rerun", "config.pickle"],
    ],
)
def test_options_of_hydra_that_replace_the_configuration(words):
    message = command.refused(command.call(*words))
    assert message.startswith(f"{words[0]} is {words[1]!r}; allowed: ")


def test_only_known_functions_in_interpolations():
    config = {"n": "${share:0.75,${k}}", "k": "${protocol.k}", "x": {"y": ["${oc.decode:1}"]}}
    with pytest.raises(ConfigError, match=r"^x\.y is '\$\{oc\.decode:1\}'; allowed: values"):
        trust.check(config, [])
