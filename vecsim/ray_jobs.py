"""Jobs of a multirun in workers of Ray: the launcher, the cluster, and how a lost job shows."""

import contextlib
import importlib
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from vecsim import device, places
from vecsim.errors import ConfigError, JobKilled, first_line

# Environment variables that Ray's workers get from the driver: names, or how they begin.
_PASSED = "HYDRA_", "JAX_", "TF_CPP_", "VECSIM_", "XLA_", "PYTHONPATH", "XDG_CACHE_HOME"
_OBJECTS_BYTES = 2**27  # for what jobs hand back, a few lines; Ray takes 30 % of memory by default
_ANSWER_S = 20  # seconds in which a cluster answers


def on_ray(hydra: Any) -> bool:
    """Whether the jobs run in workers of Ray. hydra: Hydra's own settings."""
    return str(hydra.launcher._target_).endswith(".RayLauncher")


def require_installed(hydra: Any) -> None:
    """ConfigError unless Hydra's launcher for Ray is installed. hydra: Hydra's own settings."""
    if hydra.launcher._target_ not in Plugins.instance().class_name_to_class:
        raise ConfigError('hydra/launcher=ray is not installed: pip install "vecsim[ray]"')


def is_lost(error: BaseException) -> bool:
    """Whether Ray raised an error because a job is lost; else it is what a job raised."""
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).mro()}
    return "ray.RayError" in names and "ray.RayTaskError" not in names


@contextlib.contextmanager
def connected(hydra: Any) -> Iterator[None]:
    """Ray for the jobs of a multirun, at the end of which what still runs of them is ended.

    Their processes begin in the folder of the driver, not in that where Ray was started, and with
    its variables; each takes the cores that Ray counts for it. hydra: Hydra's own settings.
    ConfigError where Ray refuses its arguments, JobKilled where no cluster answers.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # else lines that jobs have in common are dropped
    asked: Any = OmegaConf.to_container(hydra.launcher.ray, resolve=True)
    init, cores = asked["init"], asked["remote"].get("num_cpus") or 1
    passed = {name: text for name, text in os.environ.items() if name.startswith(_PASSED)}
    passed |= {device.SHARE: str(max(1, int(cores))), places.WORKING_FOLDER: os.getcwd()}
    about = init.get("runtime_env") or {}
    about["env_vars"] = passed | about.get("env_vars", {})
    init["runtime_env"] = {"worker_process_setup_hook": "vecsim.places.enter_folder", **about}
    ray = _begun(init)
    # Until all of its threads have ended Ray prints what is wrong with nodes on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            if cores > max(node["Resources"].get("CPU", 0) for node in ray.nodes()):
                setting = "hydra.launcher.ray.remote.num_cpus"
                told = f"no node has {cores} cores ({setting}); jobs wait for one"
                print(f"vecsim: {told}", file=sys.stderr, flush=True)
            yield
        finally:
            ray.shutdown()


def _begun(init: dict[str, Any]) -> Any:
    """The module `ray`, connected to a cluster, or to a Ray that begins here. init: arguments of
    its function of that name."""
    address = init.get("address") or os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":  # only with a token may others make it run anything
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
        init = {"object_store_memory": _OBJECTS_BYTES, "include_dashboard": False, **init}
    ray = importlib.import_module("ray")
    host, _, port = address.rpartition(":")
    try:
        if port.isdigit() and "/" not in host:  # Ray would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
        ray.init(**init | {"address": address})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"hydra.launcher.ray.init: {first_line(error)}") from None
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:
        told = f"no Ray at {address} ({first_line(error)})"
        raise JobKilled(f"hydra.launcher.ray.init.address: {told}") from None
    return ray
