"""Options of the command line: those of Hydra, and --version."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vecsim.errors import ConfigError, require
from vecsim.model import trust

# Options of which one may be given at most, and those that take a value.
MODES = ("--run -r", "--multirun -m", "--help -h", "--shell-completion -sc")
WITH_VALUES = ("--config-dir -cd", "--package -p", "--config-path -cp", "--config-name -cn")
# Options of Hydra that would replace vecsim's configuration, unpickle a file, or describe Hydra.
REFUSED = ("config_path", "config_name", "experimental_rerun", "hydra_help", "info")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # argparse also prints its usage
        raise ConfigError(f"{message}; --help shows what there is")


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, with the words as `overrides` and the configuration folders as `folders`.

    ConfigError, one line, for an option that does not exist, is one of REFUSED, or goes with
    another that is missing, and for a folder that does not exist.
    """
    parser = _Parser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    for names in MODES:
        mode.add_argument(*names.split(), action="store_true")
    for name in ("--version", "--resolve"):
        parser.add_argument(name, action="store_true")
    for names in WITH_VALUES:
        parser.add_argument(*names.split())
    parser.add_argument("--experimental-rerun")
    parser.add_argument("--hydra-help", action="store_const", const="set")
    parser.add_argument("--info", "-i", nargs="?", const="set")
    given = parser.parse_intermixed_args(list(arguments))
    allowed = "--config-dir FOLDER, beside vecsim's own configuration; --help; --cfg"
    for name in REFUSED:
        value = getattr(given, name)
        require(value is None, f"--{name.replace('_', '-')}", value, allowed)
    require(not given.package or given.cfg, "--package", given.package, "with --cfg")
    if given.resolve and not (given.cfg or given.help):
        raise ConfigError("--resolve is set; allowed: with --cfg or --help")
    named = [] if given.config_dir is None else [Path(given.config_dir)]
    given.folders = [trust.require_folder("--config-dir", folder) for folder in named]
    return given
