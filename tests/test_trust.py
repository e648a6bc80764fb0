"""Configuration files from outside: what they may do, and what is refused before it happens."""

import textwrap

import command
import pytest
from omegaconf import OmegaConf

import vecsim
from vecsim.errors import ConfigError
from vecsim.model import trust

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
    chosen = ["hydra/launcher=own"] if name.startswith("hydra") else ["experiment=own"]
    for words in (chosen, ["-m", *chosen]):
        _refused_as_configuring_hydra(run(*words), name)


def _refused_as_configuring_hydra(result, name):
    message = command.refused(result)
    assert message.endswith(
        f"conf/{name} configures Hydra; allowed: hydra.KEY=... on the command line"
    )


MARKS = "import pathlib\npathlib.Path('imported').touch()\n"  # what a callback's module does
CALLBACK = """
    # @package _global_
    hydra: {callbacks: {c: {_target_: marked_callback.C}}}
"""


def test_files_behind_links_and_relative_paths_do_not_configure_hydra(folder):
    put(folder, "marked_callback.py", MARKS)
    put(folder, "elsewhere/own.yaml", CALLBACK)
    (folder / "conf").mkdir()
    (folder / "conf" / "experiment").symlink_to(folder / "elsewhere")
    _refused_as_configuring_hydra(run("experiment=own"), "experiment/own.yaml")
    put(folder, "other/experiment/own.yaml", "defaults: [../../elsewhere/own]\n")
    words = "--config-dir", "other", "experiment=own", "n=30"
    assert "configures Hydra; allowed: " in command.refused(command.call(*words))
    assert not (folder / "imported").exists()


@pytest.mark.parametrize("tag", ["{x: !!python/object/apply:pathlib.PosixPath [y]}", "!own 1"])
def test_tags_hide_nothing(folder, tag):
    put(folder, "marked_callback.py", MARKS)
    put(folder, "conf/experiment/own.yaml", textwrap.dedent(CALLBACK) + f"adversary: {tag}\n")
    command.refused(run("experiment=own"))
    assert not (folder / "imported").exists()
    put(folder, "conf/experiment/own.yaml", f"# @package _global_\nadversary: {tag}\n")
    command.refused(run("experiment=own"))


def test_deeply_nested_files_and_bad_dates_are_refused(folder):
    put(folder, "conf/experiment/own.yaml", f"# @package _global_\nn: {'[' * 20_000}\n")
    command.refused(run("experiment=own"))
    put(folder, "conf/experiment/own.yaml", "# @package _global_\nadversary: 2020-13-45\n")
    command.refused(run("experiment=own"))


def test_files_beside_the_one_that_is_used_do_not_matter(folder):
    put(folder, "conf/experiment/other.yaml", CALLBACK)
    put(folder, "conf/experiment/own.yaml", "# @package _global_\nseed: 1\n")
    assert run("experiment=own").code == 0


def test_a_process_that_goes_on_keeps_its_resolvers(folder, monkeypatch):
    """A notebook may use Hydra and OmegaConf for something else."""
    monkeypatch.setenv("VECSIM_TEST_WORD", "a word")
    vecsim.run(n=30, trials=2)
    made = OmegaConf.create({"word": "${oc.env:VECSIM_TEST_WORD}"})
    assert made.word == "a word"


def test_the_environment_is_not_read(folder, monkeypatch):
    monkeypatch.setenv("VECSIM_TEST_WORD", "something private")
    text = "# @package _global_\nseed: 1\nadversary: {note: '${oc.env:VECSIM_TEST_WORD}'}\n"
    put(folder, "conf/experiment/own.yaml", text)
    message = command.refused(run("experiment=own"))
    assert message.startswith("adversary.note is '${oc.env:VECSIM_TEST_WORD}'; allowed: ")
    assert "something private" not in message
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    "text",
    [
        "w: env\nadversary: {note: '${oc.${w}:VECSIM_TEST_WORD}'}",
        "w: oc.env\nseed: '${${w}:VECSIM_TEST_WORD}'",
        "seed: '${oc.decode:${oc.env:VECSIM_TEST_WORD}}'",
    ],
)
def test_the_environment_is_not_read_by_another_name(folder, monkeypatch, text):
    monkeypatch.setenv("VECSIM_TEST_WORD", "something private")
    put(folder, "conf/experiment/own.yaml", f"# @package _global_\n{text}\n")
    result = run("experiment=own")
    command.refused(result)
    assert "something private" not in result.err


def test_a_scenario_does_not_read_the_environment(folder, monkeypatch):
    monkeypatch.setenv("VECSIM_TEST_WORD", "something private")
    text = """
        # @package _global_
        defaults: [/scenario/ci_smoke_test, _self_]
        scenario:
          name: env
          about: ${oc.${scenario.name}:VECSIM_TEST_WORD}
    """
    put(folder, "mine.yaml", text)
    result = command.call("scenario=mine.yaml", "output=here")
    command.refused(result)
    assert "something private" not in result.err
    assert not (folder / "here").exists()


def test_an_output_by_way_of_another_key(folder):
    text = "# @package _global_\nwhere: /tmp/elsewhere\noutput: ${where}\n"
    put(folder, "conf/experiment/own.yaml", text)
    message = command.refused(run("experiment=own"))
    assert message.startswith("output is '/tmp/elsewhere'; allowed: ")


@pytest.mark.parametrize("output", ["/tmp/elsewhere", "../elsewhere", ".", "a/../.."])
def test_files_do_not_choose_an_output_elsewhere(folder, output):
    put(folder, "conf/experiment/own.yaml", f"# @package _global_\noutput: {output}\n")
    message = command.refused(run("experiment=own"))
    assert message.startswith(f"output is '{output}'; allowed: a folder inside the working folder")


def test_a_file_may_choose_an_output_inside_the_working_folder(folder):
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
def test_options_of_hydra_that_replace_the_configuration_are_refused(words):
    message = command.refused(command.call(*words))
    assert message.startswith(f"{words[0]} is {words[1]!r}; allowed: ")


def test_only_known_functions_in_interpolations():
    config = {"n": "${share:0.75,${k}}", "k": "${protocol.k}", "x": {"y": ["${oc.decode:1}"]}}
    with pytest.raises(ConfigError, match=r"^x\.y is '\$\{oc\.decode:1\}'; allowed: values"):
        trust.check_trusted(config, [])
