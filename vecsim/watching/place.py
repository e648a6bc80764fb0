"""Where `watch` shows what runs: a file for node_exporter, or an address of loopback."""

import importlib.util
import ipaddress
import re
from pathlib import Path
from typing import Any, NamedTuple

from vecsim.errors import ConfigError, require

_ALLOWED = (
    "null, FILE.prom, or ADDRESS:PORT with an address of this machine's loopback "
    "(127.0.0.0/8, localhost, [::1]) and a port, 1 to 65535"
)
_ADDRESS = re.compile(r"(\[[^][%]*\]|[^][:/]*):([0-9]{1,5})")
_PACKAGE = "prometheus_client"


class Address(NamedTuple):
    """A port of loopback. host: a number, as `127.0.0.1` or `::1`. said: as the user wrote it."""

    host: str
    port: int
    said: str


WatchPlace = Path | Address


def read_place(value: Any) -> WatchPlace | None:
    """Where `watch` says; ConfigError where that is neither a file's name nor of loopback, or where
    the package that is needed is not installed."""
    if value is None:
        return None
    require(isinstance(value, str), "watch", value, _ALLOWED)
    found = _address(value) or (Path(value) if value.endswith(".prom") else None)
    require(found is not None, "watch", value, _ALLOWED)
    installed = importlib.util.find_spec(_PACKAGE) is not None
    require(installed, "watch", value, "null without prometheus-client, which vecsim[watch] brings")
    return found


def _address(text: str) -> Address | None:
    parts = _ADDRESS.fullmatch(text)
    if not parts:
        return None
    named, port = parts[1], int(parts[2])
    host = "127.0.0.1" if named == "localhost" else named.strip("[]")
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        raise _refusal(text) from None
    bracketed = named.startswith("[")
    # An address of version 4 within one of version 6 would be another socket than it looks.
    good = number.is_loopback and bracketed == (number.version == 6) and 1 <= port <= 65535
    if not good or getattr(number, "ipv4_mapped", None):
        raise _refusal(text)
    return Address(str(number), port, text)


def _refusal(text: str) -> ConfigError:
    return ConfigError(f"watch is {text!r}; allowed: {_ALLOWED}")
