"""The command line: configure JAX, compose, run, save, show."""

import os
import sys
from pathlib import Path

STOPPED = 130


def main() -> None:
    """`vecsim` and `python -m vecsim`. Exit codes: 0 done, 2 bad input, 130 interrupted."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach us, to be told in one line
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA finds fault with its own compile cache
    # A swept parameter need not be in the configuration before: no plus sign asked for.
    sys.argv[1:] = [f"++{text}" if text.startswith("sweep.") else text for text in sys.argv[1:]]
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from vecsim import build
    from vecsim.disk import StoreError
    from vecsim.errors import ConfigError

    register_resolvers()
    command = hydra.main(
        version_base="1.3", config_path=str(build.root("conf")), config_name="config"
    )(_job)
    try:
        command()
    except (ConfigError, StoreError) as error:
        _fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, HydraException) else error
        _fail(build.one_line(cause))
    except KeyboardInterrupt:
        print("vecsim: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(STOPPED)


def _fail(message: str) -> None:
    print(f"vecsim: {message}", file=sys.stderr)
    sys.exit(2)


def register_resolvers() -> None:
    """Functions for use in configurations: ${share:0.75,20} is 75 % of 20, rounded up."""
    from math import ceil

    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver(
        "share", lambda share, total: ceil(round(share * total, 9)), replace=True
    )


def _job(config) -> None:
    from hydra.core.hydra_config import HydraConfig

    hydra_config = HydraConfig.get()
    multirun = hydra_config.mode.name == "MULTIRUN"
    if multirun and "VECSIM_GPUS" in os.environ:
        # Jobs of a multirun on one machine would all take the first GPU.
        gpus = os.environ["VECSIM_GPUS"].split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[hydra_config.job.num % len(gpus)]
    name = hydra_config.runtime.choices.get("experiment") or "study"
    folder = Path("results", "multirun", name) if multirun else Path("results")
    execute(config, list(hydra_config.overrides.task), name, folder)


def execute(config, overrides: list[str], name: str, folder: Path) -> Path:
    """Run what `config` describes; returns the folder of dataset, summary and figures."""
    from hydra import compose

    from vecsim import device, report, runner, sweep
    from vecsim.errors import require, whole
    from vecsim.provenance import provenance

    memory, cores = config.engine.memory_mb, config.engine.cores
    allowed = ("auto", "agents")
    require(config.engine.name in allowed, "engine.name", config.engine.name, " or ".join(allowed))
    whole("engine.memory_mb", memory, 1, 2**20)
    whole("engine.cores", cores if cores is not None else 1, 1, 4096)
    device.configure(cores)

    def composed(choices):
        return compose("config", [*overrides, *(f"{group}={name}" for group, name in choices.items())])

    given = [text.partition("=")[0].strip("+") for text in overrides]
    study = sweep.study(name, composed, given)
    output = Path(config.output or folder / f"{name}-{sweep.digest(study)}")
    runner.run(study, output / "data.zarr", provenance(), report.reporter(), memory * 2**20)
    report.show(study, output, netcdf=config.netcdf, figure=config.figure)
    return output
