"""vecsim: vectorised Monte Carlo analysis of sampling-based consensus.

>>> import vecsim
>>> data = vecsim.run("protocol=snowball", "n=500", "trials=100")  # doctest: +SKIP
>>> data.vecsim.rate("finalised")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vecsim import scenario

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

    from vecsim.model.point import Point
    from vecsim.network import Network
    from vecsim.notebook import Command
    from vecsim.stakes.stake import Stake
    from vecsim.types import Adversary, Protocol

    Paths = str | Path | Sequence[str | Path]
    Folders = Paths | None

__all__ = ["check", "collect", "compare", "merge", "open", "point", "run", "scenario", "study"]


def check(component: Protocol | Adversary | Network | Stake) -> None:
    """Raise ConfigError, one line, unless a component keeps what its interface promises.

    A component of your own is checked automatically before a study with it is computed; vecsim's
    own are checked by its tests.
    """
    from vecsim.model.checks.component import check

    check(component)


def open(path: str | Path) -> xr.Dataset:
    """Load a study, finished or not (missing trials are NaN), or one of vecsim's NetCDF files."""
    from vecsim.results import store

    return store.open(path)


def collect(
    source: Paths, store: str | None = None, missing: str = "refuse", multirun: str | None = None
) -> xr.Dataset:
    """Join the finished studies in the job folders of a multirun into one dataset.

    source: the folder of the multirun, or several folders or stores. store: "data" or "defended",
    where jobs have both. missing: with "allow", jobs that were refused, stopped or never began are
    left out, and a warning names them; with "refuse" they are an error. multirun: the name of one,
    where the folder has several (the error lists them), or "all". A parameter that differs between
    the jobs becomes a dimension; those that vary together with it become coordinates.
    """
    from vecsim.results import jobs

    return jobs.collect(source, store, missing, multirun)


def merge(output: str | Path) -> xr.Dataset:
    """Make one store of the shards of a study, and return its dataset, as `vecsim merge` does.

    output: the folder of the results, in which commands with `shard=i/N` have put their stores. The
    bits are those of the same command without `shard`; which, run then, draws the figures. With
    defence=[off,on] the dataset is that of the single decisions. StoreError, one line, where a
    shard is missing, unfinished, damaged or of another study.
    """
    from vecsim.results import merging

    return open(merging.merge_shards(output)[0])


def compare(a: xr.Dataset, b: xr.Dataset, level: float = 0.95) -> xr.Dataset:
    """Compare two studies of one kind with the same swept points: b with a.

    Single decisions and campaigns: the difference b minus a of each rate, with Newcombe's hybrid
    of Clopper-Pearson limits, and of each mean, with Welch's t (means are restricted to the lower
    of the two limits where trials are censored; times that may not occur within a campaign are
    left out). Thresholds: the difference. Rare events: the ratio b over a. Both take their interval
    from variance estimates recovered from the two intervals. Each NAME comes as NAME, NAME_low and
    NAME_high, with the two estimates NAME_a and NAME_b, over the swept dimensions; its attribute
    `interval` names the method.

    Where both studies have the same points, seed and other coordinates (before and after a change
    of code, or with more trials), trials of the same number share their random words: the attribute
    `paired` is then 1, and the intervals are those of the differences trial by trial; thresholds
    and rare events are then refused. level: of the intervals, 0 to 1. ValueError, one line, where
    the two cannot be compared.
    """
    from vecsim.results.compare import side_by_side

    return side_by_side(a, b, level)


def point(*overrides: str, config_dir: Folders = None, **parameters: Any) -> Point:
    """The point of single decisions that these overrides describe.

    `vecsim.engines.exact` and `vecsim.engines.limit` take such points. overrides, parameters,
    config_dir: as in `vecsim.run`, but only those that define a point: n, byzantine_fraction,
    initial_accept, schedule, protocol, adversary, network, stake, latency, polling (and preset,
    experiment, packages).
    ConfigError, one line, for any other, and where they describe several points or campaigns.
    """
    return _notebook().point(overrides, parameters, config_dir)


def run(
    *overrides: str, output: str | Path | None = None, config_dir: Folders = None, **parameters: Any
) -> xr.Dataset:
    """Compute a study, or resume it, and return its dataset.

    overrides: as on the command line, `"protocol=snowball", "sweep.n=[100,1000]"`.
    parameters: the same as keywords, `protocol="snowball", n=100, protocol__k=10`,
    `sweep={"n": [100, 1000]}`; two underscores stand for the dot. protocol, adversary, network
    and stake may be objects, `protocol=Snowball(k=10)`, which stand for their class and parameters:
    the results are those of the same component given by name. A class of your own then needs no
    `packages`, and may be defined in a script or a notebook.
    output: folder of the results; default results/<name>-<hash of the parameters>.
    config_dir: a folder of configuration, or a list of them, besides vecsim's own (`--config-dir`).
    Figures and a NetCDF file are made only with `figure=True`, `theory=True` or `netcdf=True`.
    """
    return _notebook().run(overrides, parameters, output, config_dir)


def study(
    *overrides: str, output: str | Path | None = None, config_dir: Folders = None, **parameters: Any
) -> Command:
    """What a command computes, as one object: checked at once, computed by `run()`.

    Arguments as in `vecsim.run`. The object has `points`, `output` (the folder), `data` (the first
    dataset), `defended` (with defence=[off,on] the dataset of the campaigns, else None),
    `summary()` and `run()`, which returns the object itself. ConfigError, one line, where the
    configuration is invalid.
    """
    return _notebook().Command(overrides, parameters, output, config_dir)


def _notebook():
    """The module behind `point`, `run` and `study`, imported when it is needed."""
    from vecsim.places import environment

    environment()  # before Hydra and JAX are imported
    from vecsim import notebook

    return notebook


def __dir__() -> list[str]:
    return __all__
