"""Overrides: the words of the command line and the arguments of `vecsim.run`, and what they set."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vecsim import places
from vecsim.errors import ConfigError, require

# Text that Hydra reads as itself without quotes, unless it is one of the words of other types.
WORD = re.compile(r"[A-Za-z_][\w./-]*")
ANY = "[...]"  # stands for options of which only that they are several is known
SPECIAL = ("true", "false", "yes", "no", "on", "off", "null", "nan", "inf")


class Override(NamedTuple):
    """What one word sets, or with `~` takes away. key: of the configuration. text: of the value."""

    key: str
    text: str
    sign: str


def parse_word(word: str) -> Override:
    """What the word sets: `+protocol.k=5` the key protocol.k, with the sign + and the text 5."""
    name, _, text = word.partition("=")
    key = name.lstrip("+~")
    return Override(key.rpartition("@")[2], text, name[: len(name) - len(key)])


def check_words(words: Sequence[str]) -> None:
    """Raise ConfigError where a key is set twice, or a group to a list of options."""
    overrides = [parse_word(word) for word in words if "=" in word]
    keys = [each.key for each in overrides if each.sign != "~"]
    for key, text, sign in overrides:
        if sign != "~" and keys.count(key) > 1:
            raise ConfigError(f"{key} is set twice; allowed: {key}=... once")
        if key in ("", "scenario") or sign == "~" or not (places.root("conf") / key).is_dir():
            continue
        if text.startswith("["):
            raise ConfigError(several(key, text))
        optional = key in ("experiment", "preset")
        section = optional and text.startswith("{")
        if section or text in ("", "null") or not re.match(r"[A-Za-z_'\"{$]", text):
            named = f"an option of the group, {key}=NAME"
            named += f", or ~{key} for none" if optional else ""
            raise ConfigError(f"{key} is {text or 'nothing'}; allowed: {named}")


def several(group: str, options: str) -> str:
    """Why a group has no list of options, and what to set instead."""
    from vecsim.model import build

    names = [each.strip(" '\"") for each in options.strip("[]").split(",")]
    if options != ANY and not all(map(WORD.fullmatch, names)):
        own = " (numbers of one's own: stake=file)" if group == "stake" else ""
        return f"{group} is {options}; allowed: an option of the group, {group}=NAME{own}"
    jobs = f"{group}={options.strip('[]')} with -m (one job for each)"
    swept = f"sweep.{group}={options} (one dataset), or " if group in build.GROUPS else ""
    mixed = ", adversary=mixture (of several kinds)" if group == "adversary" else ""
    return f"{group} is {options}; allowed: one option{mixed}; {swept}{jobs}"


def from_python(words: Sequence[Any], keywords: Mapping[str, Any]) -> list[str]:
    """The overrides of `vecsim.run(*words, **keywords)`."""
    allowed = "text such as 'n=100', or keywords, n=100 (of a dict: **{...})"
    for word in words:
        require(isinstance(word, str), "an argument", word, allowed)
    made = list(words)
    for name, value in keywords.items():
        key = name.replace("__", ".")
        if isinstance(value, Mapping) and "." not in key:  # of a section
            made += [f"{key}.{each}={literal(key, part)}" for each, part in value.items()]
        else:
            made.append(f"{key}={literal(key, value)}")
    return made


def literal(key: str, value: Any) -> str:
    """A value in Hydra's grammar; ConfigError where it has none. key: whose value it is."""
    value = value.tolist() if hasattr(value, "tolist") else value  # of NumPy
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, Path)):
        text = str(value)
        if WORD.fullmatch(text) and text.lower() not in SPECIAL:
            return text
        return "'" + re.sub(r"(\\*)'", r"\1\1\\'", text) + "'"
    if isinstance(value, Mapping):
        pairs = (f"{name}: {literal(key, part)}" for name, part in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(literal(key, part) for part in value)}]"
    allowed = "a number, text, true, a list or a dict of them"
    raise ConfigError(f"{key} is {value!r}; allowed: {allowed}")
