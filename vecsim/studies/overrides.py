"""Overrides: the words of the command line and the arguments of `vecsim.run`, and what they set."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vecsim import places
from vecsim.errors import ConfigError

# In `sweep`, how Hydra is told of keys of the command line: apart from those of files.
BY_HAND, DOT, ALL = "-", "-", "_-"
SWEPT = re.compile(r"(\+{0,2})sweep(?:\.([^=]*))?=(.*)", re.DOTALL)
TOLD = re.compile(rf"\+\+sweep\.([\w{re.escape(DOT)}]+){re.escape(BY_HAND)}=(.*)", re.DOTALL)
NAME = rf"[\w{re.escape(DOT)}]"
CODED = re.compile(rf"(?:\+\+)?sweep\.({NAME}+){re.escape(BY_HAND)}(?!{NAME})")
WORD = re.compile(r"[A-Za-z_][\w./-]*")
SPECIAL = ("true", "false", "yes", "no", "on", "off", "null", "nan", "inf")


class Override(NamedTuple):
    """What one word sets, or with `~` takes away. key: of the configuration. text: of the value."""

    key: str
    text: str
    sign: str


def parse(word: str) -> Override:
    name, _, text = word.partition("=")
    key = name.lstrip("+~")
    return Override(key.rpartition("@")[2], text, name[: len(name) - len(key)])


def told(words: Iterable[str]) -> list[str]:
    """The words as Hydra is told them.

    What is swept by hand gets a key of its own beside those of files: Hydra would merge a range
    into the one that is there, and takes no parameter of a group beside a list of its options.
    """
    return [SWEPT.sub(_told, word) if SWEPT.fullmatch(word) else word for word in words]


def _told(found: re.Match) -> str:
    _, key, text = found.groups()
    return f"++sweep.{ALL if key is None else key.replace('.', DOT) + BY_HAND}={text}"


def given(words: Iterable[str]) -> list[str]:
    """The words as they were given: the inverse of `told`."""
    return [TOLD.sub(_given, word) for word in words]


def _given(found: re.Match) -> str:
    key, text = found.groups()
    return f"sweep={text}" if key + BY_HAND == ALL else f"sweep.{key.replace(DOT, '.')}={text}"


def readable(message: str) -> str:
    """A message of Hydra's, with the words as they were given."""
    message = message.replace(f"sweep.{ALL}", "sweep")
    return CODED.sub(lambda found: f"sweep.{found.group(1).replace(DOT, '.')}", message)


def check(words: Sequence[str]) -> None:
    """Raise ConfigError where a key is set twice, or a group to a list of options."""

    overrides = [parse(word) for word in words if "=" in word]
    keys = [each.key for each in overrides if each.sign != "~"]
    for key, text, sign in overrides:
        if sign != "~" and keys.count(key) > 1:
            raise ConfigError(f"{key} is set twice; allowed: {key}=... once")
        if not key or not (places.root("conf") / key).is_dir() or sign == "~":
            continue
        if text.startswith("["):
            raise ConfigError(several(key, text))
        section = key == "experiment" and text.startswith("{")
        if section or text in ("", "null") or not re.match(r"[A-Za-z_'\"{$]", text):
            named = f"an option of the group, {key}=NAME"
            named += ", or ~experiment for none" if key == "experiment" else ""
            raise ConfigError(f"{key} is {text or 'nothing'}; allowed: {named}")


def several(group: str, options: str) -> str:
    """Why a group has no list of options, and what to set instead."""
    from vecsim.model import build

    jobs = f"{group}={options.strip('[]')} with -m (one job for each)"
    swept = f"sweep.{group}={options} (one dataset), or " if group in build.GROUPS else ""
    mixed = ", adversary=mixture (of several kinds)" if group == "adversary" else ""
    return f"{group} is {options}; allowed: one option{mixed}; {swept}{jobs}"


def from_python(words: Sequence[Any], keywords: Mapping[str, Any]) -> list[str]:
    """The overrides of `vecsim.run(*words, **keywords)`."""
    for word in words:
        if not isinstance(word, str):
            example = "text such as 'n=100', or keywords, n=100 (of a dict: **{...})"
            raise ConfigError(f"an argument is {word!r}; allowed: {example}")
    made = list(words)
    for name, value in keywords.items():
        key = name.replace("__", ".")
        if isinstance(value, Mapping) and "." not in key:  # of a section
            made += [f"{key}.{each}={_text(key, part)}" for each, part in value.items()]
        else:
            made.append(f"{key}={_text(key, value)}")
    return made


def _text(key: str, value: Any) -> str:
    """A value in Hydra's grammar."""
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
        pairs = (f"{name}: {_text(key, part)}" for name, part in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(_text(key, part) for part in value)}]"
    raise ConfigError(
        f"{key} is {value!r}; allowed: a number, text, true, a list or a dict of them"
    )
