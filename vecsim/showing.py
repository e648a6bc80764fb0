"""What is printed about the configuration: help, the configuration itself, shell completion."""

import shutil
import textwrap
from collections.abc import Sequence
from string import Template
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.completion_plugin import CompletionPlugin
from omegaconf import Container, DictConfig, OmegaConf

from vecsim import composing
from vecsim.errors import require


def usage(words: Sequence[str], resolve: bool) -> None:
    """Print the help; lists of options are as wide as the terminal, from 60 to 100 columns."""
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 100))
    loader = GlobalHydra.instance().config_loader()
    listed = [group for group in loader.list_groups("") if group != "hydra"]
    rows = [f"{each + ':':13}{', '.join(loader.get_group_options(each))}" for each in listed]
    groups = [textwrap.fill(row, width, subsequent_indent=" " * 13) for row in rows]
    config = composing.compose(words)
    template = Template(config.hydra.help.template)
    text = OmegaConf.to_yaml(_part(config, "job"), resolve=resolve)
    print(template.substitute(APP_CONFIG_GROUPS="\n".join(groups), CONFIG=text))


def configuration(words: Sequence[str], kind: str, package: str | None, resolve: bool) -> None:
    """Print the configuration that words describe.

    kind: job, hydra or all. package: the part that is printed, as a dotted key. resolve: with
    interpolations replaced by their values.
    """
    config = composing.compose(words)
    HydraConfig.instance().set_config(config)
    shown: Any = _part(config, kind)
    if package not in (None, "_global_"):
        shown = OmegaConf.select(shown, package)
        require(shown is not None, "--package", package, "a part of the configuration")
        print(f"# @package {package}")
    nested = isinstance(shown, Container)
    print(OmegaConf.to_yaml(shown, resolve=resolve).removesuffix("\n") if nested else shown)


def _part(config: DictConfig, kind: str) -> DictConfig:
    keys = [str(key) for key in config if kind == "all" or (key == "hydra") == (kind == "hydra")]
    return OmegaConf.masked_copy(config, keys)


def completion(words: Sequence[str]) -> None:
    """Print what a shell completes, or install or uninstall its completion."""
    found: Any = Plugins.instance().discover(CompletionPlugin)
    plugins = {each.provides(): each(GlobalHydra.instance().config_loader()) for each in found}
    task, _, shell = " ".join(words).partition("=")
    allowed = f"install=, uninstall= or query= {', '.join(sorted(plugins))}"
    good = task in ("install", "uninstall", "query") and shell in plugins
    require(good, "--shell-completion", " ".join(words), allowed)
    if task == "query":
        plugins[shell].query(config_name="config")
    else:
        getattr(plugins[shell], task)()
