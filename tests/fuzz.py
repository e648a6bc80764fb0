"""Command lines at random: keys and options of `conf`, with values that are good, bad or worse.

`commands(seed, number)` gives the same list for the same seed. `planned` says what a command would
compute, without computing it, or how it is refused.
"""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from vecsim import notebook, places, plan
from vecsim.composing import refusals, session
from vecsim.errors import ConfigError

GROUPS = ("protocol", "adversary", "network", "engine", "campaign", "estimator", "experiment")
WRONG = (
    *("null", "abc", "'a b'", "-1", "0", "1", "1.5", "1e3", "1e400", "nan", "inf", "true", "[]"),
    *("[1]", "[[1]]", "[a,b]", "{}", "{a: 1}", "{start: 1}", "1000000000000000000000", "''"),
)
SWEEPS = (
    "[{}]",
    "[{}, {}]",
    "{{start: {}, stop: {}, step: {}}}",
    "{{start: {}, stop: {}, num: 3}}",
    "{}",
)


def options(group: str) -> list[str]:
    """The names of a group's options."""
    return sorted(file.stem for file in (places.root("conf") / group).glob("*.yaml"))


def keys() -> dict[str, Any]:
    """Every key of the configuration and of the groups' options, with a value that it has."""
    conf = places.root("conf")
    found = _leaves("", _read(conf / "config.yaml"))
    for group in GROUPS[:-1]:
        for option in options(group):
            text = (conf / group / f"{option}.yaml").read_text(encoding="utf-8")
            whole = text.startswith("# @package _global_")
            found |= _leaves("" if whole else group, yaml.safe_load(text) or {})
    return {key: value for key, value in found.items() if "_target_" not in key}


def _read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _leaves(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        key = f"{prefix}.{name}".lstrip(".")
        if name in ("defaults", "hydra"):
            continue
        found |= _leaves(key, value) if isinstance(value, dict) and value else {key: value}
    return found


class Grammar:
    """Draws overrides of studies."""

    def __init__(self, seed: int):
        self.draw = random.Random(seed)
        self.keys = keys()
        self.names = sorted(self.keys)

    def near(self, value: Any) -> str:
        """A value of the kind that a key has, mostly a good one."""
        draw = self.draw
        if isinstance(value, bool):
            return draw.choice(["true", "false"])
        if isinstance(value, int):
            return str(draw.choice([value, value + 1, max(0, value - 1), 2 * value, 1]))
        if isinstance(value, float):
            return str(draw.choice([value, value / 2, 0.0, 0.3, 1.0]))
        return "null" if value is None else str(value).replace("'", '"')

    def value(self, key: str) -> str:
        good = self.draw.random() < 0.6
        return self.near(self.keys.get(key)) if good else self.draw.choice(WRONG)

    def key(self) -> str:
        key = self.draw.choice(self.names)
        if self.draw.random() < 0.06:
            key += self.draw.choice(["x", ".x", ".0", "-"])
        return key

    def option(self) -> str:
        group = self.draw.choice(GROUPS)
        names = options(group)
        wrong = ["nope", "null", f"[{names[0]},{names[-1]}]", "1000", "{a: 1}"]
        chosen = self.draw.choice(names if self.draw.random() < 0.85 else wrong)
        return f"{group}={chosen}"

    def sweep(self) -> str:
        if self.draw.random() < 0.2:
            group = self.draw.choice(GROUPS[:3])
            return f"sweep.{group}=[{', '.join(self.draw.sample(options(group), 2))}]"
        key = self.key()
        form = self.draw.choice(SWEEPS)
        values = [self.value(key) for _ in range(form.count("{}"))]
        if self.draw.random() < 0.15:
            other = self.key()
            pair = self.value(key), self.value(other)
            return f"sweep.both={{{key}: [{pair[0]}, 1], {other}: [{pair[1]}, 2]}}"
        return f"sweep.{key}={form.format(*values)}"

    def word(self) -> str:
        kind = self.draw.random()
        if kind < 0.25:
            return self.option()
        if kind < 0.45:
            return self.sweep()
        if kind < 0.5:
            return f"~{self.draw.choice([*self.names, *GROUPS, 'sweep'])}"
        if kind < 0.55:
            return f"defence={self.draw.choice(['on', 'off', '[off,on]', 'maybe', 'null'])}"
        key = self.key()
        return f"{key}={self.value(key)}"


def commands(seed: int, number: int) -> list[list[str]]:
    """Lists of overrides, of one to four words each."""
    grammar = Grammar(seed)
    return [
        [grammar.word() for _ in range(grammar.draw.choice([1, 1, 2, 2, 3, 4]))]
        for _ in range(number)
    ]


def composing():
    """Where Hydra finds the configuration."""
    return session()


def planned(words: Sequence[str]) -> str:
    """How the command is refused; empty where it could be computed. Within `composing`."""
    try:
        with refusals():
            plan.plan(notebook.composed(words))
    except ConfigError as error:
        return str(error)
    return ""


def told_well(words: Sequence[str], refusal: str) -> bool:
    """Whether a refusal is one line that names something that was set, and says what is allowed."""
    parts = {part for word in words for part in re.findall(r"[A-Za-z_]\w*", word)}
    return (
        "\n" not in refusal
        and "allowed: " in refusal
        and any(
            re.search(rf"\b{part}\b", refusal)
            for part in parts
            if part != "sweep" or "sweep is" in refusal
        )
    )


if __name__ == "__main__":
    import sys

    for words in commands(int(sys.argv[1]), int(sys.argv[2])):
        try:
            with composing():
                found = planned(words)
            kind = "good" if not found else "told" if told_well(words, found) else "POOR"
        except Exception as error:
            kind, found = "CRASH", f"{type(error).__name__}: {error}"
        print(kind, words, found, sep="\t", flush=True)
