"""The command line, called in this process or in one of its own."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

import vecsim
from vecsim import cli, places


class Result(NamedTuple):
    code: int
    out: str
    err: str


def call(*arguments: str) -> Result:
    """The command in this process."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.main(arguments)
            except SystemExit as end:  # as --help ends
                code = int(end.code or 0)
    finally:
        sys.argv = before
    return Result(code, out.getvalue(), err.getvalue())


def outside() -> dict[str, str]:
    """The environment as it was before JAX was imported, or vecsim run, in this process."""
    return {name: text for name, text in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


def start(*arguments: str, cwd: Path, code: str = "pass", **options) -> subprocess.Popen:
    """The command in a process of its own; `code` runs before it does.

    It listens to Ctrl-C even where the tests run in the background of a shell, which ignores it.
    """
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    main = f"{listen}; import sys; {code}; from vecsim.cli import main; sys.exit(main())"
    environment = {**outside(), "PYTHONWARNINGS": "error"} | options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-c", main, *arguments], cwd=cwd, env=environment, text=True, **options
    )


def process(*arguments: str, cwd: Path, code: str = "pass", **options) -> Result:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(*arguments, cwd=cwd, code=code, **pipes, **options) as running:
        out, err = running.communicate(timeout=120)
    return Result(running.returncode, out, err)


def refused(result: Result) -> str:
    """The one line that a refusal prints."""
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("vecsim: ")
    assert result.err.count("\n") == 1
    assert result.err.endswith("\n")
    return result.err.removeprefix("vecsim: ").strip()


def files(folder: Path) -> dict[str, bytes]:
    found = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def values(data: xr.Dataset) -> dict[str, np.ndarray]:
    return {str(name): data[name].values for name in data.variables}


def assert_same(first: xr.Dataset, second: xr.Dataset) -> None:
    """The same values, bit for bit, and the same coordinates."""
    assert first.sizes == second.sizes
    assert list(first.variables) == list(second.variables)
    for name, array in values(first).items():
        np.testing.assert_array_equal(array, values(second)[name], strict=True)


def check_experiment(name: str, *overrides: str, folder: Path) -> None:
    """An experiment with these overrides, in an empty folder, with 16 trials; its figures."""
    result = call(f"experiment={name}", *overrides)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith(f"{name}: ")
    [output] = folder.glob("results/*")
    stores = list(output.glob("*.zarr"))
    assert {store.name for store in stores} >= {"data.zarr"}
    for store in stores:
        data = vecsim.open(store)
        assert data.sizes["trial"] == 16
        assert next(iter(data.data_vars.values())).notnull().all()
    figures = [line.split()[1] for line in lines if line.startswith("figure ")]
    assert bool(figures) == (places.root("figures") / f"{name}.py").exists()
    assert all(os.path.getsize(figure) > 0 for figure in figures)
