"""Where `watch` shows what runs: a file for node_exporter, or an address of loopback."""

import importlib.util
import ipaddress
import re
from pathlib import Path
from typing import Any, NamedTuple

from vecsim.errors import require

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
    require(_is_loopback(host, named.startswith("[")), "watch", text, _ALLOWED)
    require(1 <= port <= 65535, "watch", text, _ALLOWED)
    return Address(str(ipaddress.ip_address(host)), port, text)


def _is_loopback(host: str, bracketed: bool) -> bool:
    """Whether a host is a number of loopback, in brackets if and only if it is of version 6."""
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    # An address of version 4 within one of version 6 would be another socket than it looks.
    mapped = getattr(number, "ipv4_mapped", None)
    return number.is_loopback and bracketed == (number.version == 6) and not mapped
