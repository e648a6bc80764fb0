"""What made the results: versions, commit, device, command."""

import datetime
import importlib.metadata
import platform
import shlex
import subprocess
from typing import Any

from vecsim import device, places


def provenance(command: list[str]) -> dict[str, Any]:
    """Versions, commit, device and command, as attributes of a dataset. command: its words."""
    packages = ("vecsim", "jax", "jaxlib", "numpy", "scipy", "xarray", "zarr", "equinox")
    return {
        "command": shlex.join(command),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "commit": _commit(),
        "device": device.device_names(),
        "key_implementation": "threefry2x32-20, one block per node (or pair of nodes) and round",
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str:
    """The commit of the checkout, with a plus sign if files differ; empty when installed."""
    folder = places.PACKAGE.parent
    if not (folder / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
