"""Options of the command line: those of Hydra, and --version."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vecsim.errors import ConfigError
from vecsim.model import trust

# Options of Hydra that would replace vecsim's configuration, unpickle a file, or describe Hydra.
REFUSED = ("config_path", "config_name", "experimental_rerun", "hydra_help", "info")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # argparse also prints its usage
        raise ConfigError(f"{message}; --help shows what there is")


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, with the words as `overrides` and the configuration folders as `folders`."""
    parser = _Parser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--run", "-r", action="store_true")
    mode.add_argument("--multirun", "-m", action="store_true")
    mode.add_argument("--help", "-h", action="store_true")
    mode.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    mode.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--experimental-rerun")
    parser.add_argument("--hydra-help", action="store_const", const="set")
    parser.add_argument("--info", "-i", nargs="?", const="set")
    given = parser.parse_intermixed_args(list(arguments))
    for name in REFUSED:
        if (value := getattr(given, name)) is not None:
            allowed = "--config-dir FOLDER, beside vecsim's own configuration; --help; --cfg"
            raise ConfigError(f"--{name.replace('_', '-')} is {value!r}; allowed: {allowed}")
    if given.package and not given.cfg:
        raise ConfigError(f"--package is {given.package!r}; allowed: with --cfg")
    if given.resolve and not (given.cfg or given.help):
        raise ConfigError("--resolve is set; allowed: with --cfg or --help")
    given.folders = [] if given.config_dir is None else [Path(given.config_dir)]
    for folder in given.folders:
        trust.require_folder("--config-dir", folder)
    return given
