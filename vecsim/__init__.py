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
    from vecsim.types import Adversary, Protocol

    Folders = str | Path | Sequence[str | Path] | None

__all__ = ["check", "collect", "compare", "open", "point", "run", "scenario", "study"]


def check(component: Protocol | Adversary | Network) -> None:
    """Raise ConfigError, one line, unless a component keeps what its interface promises.

    Done by itself before a study of one's own components is computed (vecsim's own are checked by
    its tests).
    """
    from vecsim.model.checks.component import check

    check(component)


def open(path: str | Path) -> xr.Dataset:
    """Load a study, finished or not (missing trials are NaN), or a NetCDF file of vecsim's."""
    from vecsim.results import store

    return store.open(path)


def collect(
    source: str | Path | Sequence[str | Path],
    store: str | None = None,
    missing: str = "refuse",
    multirun: str | None = None,
) -> xr.Dataset:
    """Join the finished studies in the job folders of a multirun into one dataset.

    source: the folder of the multirun, or several folders or stores. store: "data" or "defended",
    where jobs have both. missing: "allow" leaves out jobs that were refused, stopped or never
    began, with a warning that names them, which else are refused. multirun: which one, where there
    are several in the folder (the names are told), or "all". What differs between the jobs becomes
    a dimension; what moves together with it, a coordinate.
    """
    from vecsim.results import jobs

    return jobs.collect(source, store, missing, multirun)


def compare(a: xr.Dataset, b: xr.Dataset, level: float = 0.95) -> xr.Dataset:
    """Two studies of one kind, with the same swept points, side by side: b compared with a.

    Of single decisions and campaigns: of each rate the difference, b minus a, by Newcombe's hybrid
    of Clopper-Pearson ends, and of each mean by Welch's t (restricted to the lesser of the limits
    where trials are censored; times that may not come within a campaign are left out). Of
    thresholds the difference, of rare events the ratio, b over a, by variance estimates recovered
    from the two intervals. Of each NAME there are NAME, NAME_low, NAME_high, and the estimates
    themselves, NAME_a, NAME_b, over the swept dimensions; the attribute `interval` says which.

    Where points, seed and other coordinates of both are the same (other code, or more trials),
    trials of the same number share their random words: the attribute `paired` is then 1, and the
    intervals are of the differences trial by trial; thresholds and rare events are refused.
    level: of the intervals, 0 to 1. ValueError, one line, where the two cannot be compared.
    """
    from vecsim.results.compare import side_by_side

    return side_by_side(a, b, level)


def point(*overrides: str, config_dir: Folders = None, **parameters: Any) -> Point:
    """The point of single decisions that the same words of the command line describe.

    It is what `vecsim.engines.exact` and `vecsim.engines.limit` take. overrides, parameters,
    config_dir: as of `vecsim.run`, those that say what a point is: n, byzantine_fraction,
    initial_accept, schedule, protocol, adversary, network (and experiment, packages).
    ConfigError, one line, for any other, where they describe several points, or campaigns.
    """
    from vecsim import notebook

    return notebook.point(overrides, parameters, config_dir)


def run(
    *overrides: str,
    output: str | Path | None = None,
    config_dir: Folders = None,
    **parameters: Any,
) -> xr.Dataset:
    """Compute a study, or go on with it, and return its dataset.

    overrides: as on the command line, `"protocol=snowball", "sweep.n=[100,1000]"`.
    parameters: the same as keywords, `protocol="snowball", n=100, protocol__k=10`,
    `sweep={"n": [100, 1000]}`; two underscores stand for the dot. protocol, adversary and network
    may be objects, `protocol=Snowball(k=10)`, which stand for their class and their parameters:
    the results are those of the same component by name. A class of one's own needs no `packages`
    then, and may be of a script or a notebook.
    output: folder of the results; default results/<name>-<hash of the parameters>.
    config_dir: folder of configuration beside vecsim's own, or a list of them, as `--config-dir`.
    Figures and a NetCDF file are made where `figure=True`, `theory=True` or `netcdf=True` is given.
    """
    from vecsim import notebook

    return notebook.run(overrides, parameters, output, config_dir)


def study(
    *overrides: str,
    output: str | Path | None = None,
    config_dir: Folders = None,
    **parameters: Any,
) -> Command:
    """What a command computes, as one object: checked at once, computed by `run()`.

    Arguments as of `vecsim.run`. It has `points`, `output` (the folder), `data` (the first
    dataset), `defended` (with defence=[off,on] that of the campaigns, else None), `summary()`, and
    `run()`, which returns the object itself. ConfigError, one line, where words have no meaning.
    """
    from vecsim import notebook

    return notebook.Command(overrides, parameters, output, config_dir)


def __dir__() -> list[str]:
    return __all__
