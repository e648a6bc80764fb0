"""Where vecsim's own files are (configuration and figure scripts), and what it needs to run."""

import contextlib
import os
from pathlib import Path

WORKING_FOLDER = "VECSIM_FOLDER"  # environment variable: where a worker of Ray works
PACKAGE = Path(__file__).resolve().parent  # the folder `vecsim`


def root(name: str) -> Path:
    """The folder `conf` or `figures`: inside the installed package, or beside it in a checkout."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def environment() -> None:
    """Set the environment variables that Hydra and JAX read when they are imported."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach vecsim, which prints one line
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA warns of its own compile cache


def require_working_folder() -> None:
    """ConfigError unless there is a working folder."""
    from vecsim.errors import ConfigError

    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError("the working folder is deleted; allowed: one that exists") from None


def enter_folder() -> None:
    """Go to the folder that WORKING_FOLDER names; a worker of Ray begins with it."""
    with contextlib.suppress(OSError):  # the job tells that it is not there
        os.chdir(os.environ[WORKING_FOLDER])
