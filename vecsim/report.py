"""What people see: progress, the result table, files."""

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr

from vecsim import build
from vecsim.sweep import Study

LOG_EVERY = 10.0  # seconds between lines where there is no terminal
MOST_ROWS = 40
MOST_COLUMNS = 6


class Bar:
    """A progress bar on a terminal."""

    def __init__(self):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(
            TextColumn("{task.fields[points]} points"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %  {task.fields[rate]}"),
            TimeRemainingColumn(),
            transient=True,
        )

    def start(self, points: int, trials: int, done: int) -> None:
        self.run, self.began = 0, time.monotonic()
        self.task = self.progress.add_task("", total=trials, points=points, rate="compiling")
        self.progress.start()

    def advance(self, trials: int, skipped: int, fresh: bool) -> None:
        self.run += trials if fresh else 0
        rate = self.run / max(time.monotonic() - self.began, 1e-9)
        self.progress.update(self.task, advance=trials + skipped, rate=f"{rate:,.0f} trials/s")

    def finish(self) -> None:
        self.progress.stop()


class Lines:
    """A line now and then, for logs."""

    def start(self, points: int, trials: int, done: int) -> None:
        self.total, self.passed, self.run = trials, 0, 0
        self.began = self.told = time.monotonic()
        print(f"{points} points, up to {trials:,} trials, {done} chunks done before", flush=True)

    def advance(self, trials: int, skipped: int, fresh: bool) -> None:
        self.passed += trials + skipped
        self.run += trials if fresh else 0
        now = time.monotonic()
        if now - self.told < LOG_EVERY:
            return
        self.told, spent = now, now - self.began
        left = spent * (self.total - self.passed) / max(self.passed, 1)
        share, rate = self.passed / self.total, self.run / spent
        print(f"{share:4.0%}, {rate:,.0f} trials/s, about {left:.0f} s left", flush=True)

    def finish(self) -> None:
        pass


def reporter():
    return Bar() if sys.stdout.isatty() else Lines()


def show(study: Study, output: Path, netcdf: bool, figure: bool) -> None:
    """Save the summary, draw the figures, print the table and where everything is."""
    from vecsim import store

    data = store.open(output / "data.zarr")
    summary = data.vecsim.summary()
    summary.attrs |= {key: data.attrs[key] for key in ("config", "versions") if key in data.attrs}
    store.to_netcdf(summary, output / "summary.nc")
    print_table(summary, [d.name for d in study.dimensions])
    print(f"dataset  {output / 'data.zarr'}")
    print(f"summary  {output / 'summary.nc'}")
    if netcdf:
        store.to_netcdf(data, output / "data.nc")
        print(f"netcdf   {output / 'data.nc'}")
    script = build.root("figures") / f"{study.name}.py"
    if figure and script.exists():
        for path in _draw(script, data, output):
            print(f"figure   {path}")


def _draw(script: Path, data: xr.Dataset, output: Path) -> list[Path]:
    """Run the study's figure script: its draw(data, folder) gives the files it wrote."""
    spec = importlib.util.spec_from_file_location(f"figures.{script.stem}", script)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module.draw(data, output)


def print_table(summary: xr.Dataset, dims: list[str]) -> None:
    """The rate of trials that finalised, the rounds it took, and disagreement.

    A long last dimension runs across, at a few of its values; other rows are points.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    points = int(np.prod([summary.sizes[dim] for dim in dims]))
    across = points > MOST_ROWS and len(dims) > 0
    table = Table(caption="95 % intervals in brackets; rounds are medians over trials")
    rows = dims[:-1] if across else dims
    for dim in rows:
        table.add_column(dim)
    if across:
        last = summary[dims[-1]].values
        picks = np.unique(np.linspace(0, len(last) - 1, min(MOST_COLUMNS, len(last))).astype(int))
        table.title = f"finalised, at {dims[-1]}"
        for pick in picks:
            table.add_column(f"{_label(last[pick])}", justify="right")
    else:
        for name in ("finalised", "disagreement", "stalled", "rounds", "trials"):
            table.add_column(name, justify="right")
    shape = [summary.sizes[dim] for dim in rows]
    indices = list(np.ndindex(*shape))
    for index in indices[:MOST_ROWS]:
        at = dict(zip(rows, index, strict=True))
        labels = [_label(summary[dim].values[i]) for dim, i in at.items()]
        if across:
            cells = [_rate(summary.isel(at | {dims[-1]: pick}), "finalised") for pick in picks]
        else:
            cells = _cells(summary.isel(at))
        table.add_row(*labels, *cells)
    console.print(table)
    if len(indices) > MOST_ROWS:
        print(f"({len(indices) - MOST_ROWS} more rows in the summary)")


def _cells(point: xr.Dataset) -> list[str]:
    rates = [_rate(point, name) for name in ("finalised", "disagreement", "stalled")]
    return [*rates, _interval(point, "last_decision_median", "{:.4g}"), f"{int(point.trials)}"]


def _rate(point: xr.Dataset, name: str) -> str:
    return _interval(point, name, "{:.3f}")


def _interval(point: xr.Dataset, name: str, form: str) -> str:
    value, low, high = (float(point[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if not np.isfinite(value):
        return "-"
    return f"{form.format(value)} [{form.format(low)}, {form.format(high)}]"


def _label(value) -> str:
    return str(value) if isinstance(value, str) else f"{value:g}"
