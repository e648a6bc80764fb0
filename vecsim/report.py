"""What people see: what runs, progress, the result table, files."""

import contextlib
import importlib.util
import io
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import xarray as xr

from vecsim import build, counts
from vecsim.sweep import Planned, Study

LOG_EVERY = 10.0  # seconds between lines where there is no terminal
DRAW_EVERY = 0.1


class Pace:
    """How far a run has come and how fast it goes; the first chunk, which compiles, aside."""

    def __init__(self, points: int, trials: int):
        self.points, self.trials, self.total = points, trials, points * trials
        self.passed = self.run = self.fresh = 0
        self.began = time.monotonic()
        self.compiled = False

    def advance(self, run: int, skipped: int) -> None:
        self.passed += run + skipped
        if run and not self.compiled:
            self.compiled, self.began = True, time.monotonic()
        elif run:
            self.run += run
            self.fresh += run + skipped

    def __str__(self) -> str:
        points = f"{self.passed // self.trials:,} of {self.points:,} points"
        spent = time.monotonic() - self.began
        if not self.fresh:
            return f"{points}, compiling"
        minutes, seconds = divmod(round(spent * (self.total - self.passed) / self.fresh), 60)
        clock = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
        return f"{points}, {self.run / spent:,.0f} trials/s, {clock} left"


class Bar:
    """A progress bar on a terminal."""

    def __init__(self):
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:3.0f} %  {task.description}"),
        )
        self.progress = Progress(*columns, transient=True, refresh_per_second=1 / DRAW_EVERY)

    def start(self, points: int, trials: int, done: int, chunks: int, taken: int) -> None:
        self.pace = Pace(points, trials)
        _tell_taken(taken, self.pace.total)
        self.task = self.progress.add_task(str(self.pace), total=self.pace.total)
        self.progress.start()

    def advance(self, run: int, skipped: int) -> None:
        self.pace.advance(run, skipped)
        self.progress.update(self.task, completed=self.pace.passed, description=str(self.pace))

    def finish(self) -> None:
        self.progress.stop()


class Lines:
    """A line now and then, for logs."""

    def start(self, points: int, trials: int, done: int, chunks: int, taken: int) -> None:
        self.pace, self.told = Pace(points, trials), time.monotonic()
        if done:
            print(f"{done} of {chunks} chunks are there already", flush=True)
        _tell_taken(taken, self.pace.total)

    def advance(self, run: int, skipped: int) -> None:
        self.pace.advance(run, skipped)
        if time.monotonic() - self.told >= LOG_EVERY and self.pace.passed < self.pace.total:
            self.told = time.monotonic()
            print(f"{self.pace.passed / self.pace.total:4.0%}, {self.pace}", flush=True)

    def finish(self) -> None:
        pass


def _tell_taken(taken: int, total: int) -> None:
    if taken:
        print(f"{taken:,} of {total:,} trials are there already", flush=True)


def reporter() -> Bar | Lines:
    return Bar() if sys.stdout.isatty() else Lines()


def announce(study: Study, device: str) -> None:
    """The first line: what runs, and on what."""
    points = f"{len(study.points):,} points of" if len(study.points) > 1 else "1 point of"
    most = "up to " if study.precision else ""
    engine = f"engine {', '.join(sorted(set(study.engines)))}"
    what = [f"{study.name}: {points} {most}{study.trials:,} trials", counts.range_of(study.points)]
    print(", ".join(filter(None, [*what, engine, device])), flush=True)
    if rounded := counts.rounded(study.points):
        print(f"vecsim: {rounded}", flush=True)


def show(
    studies: Mapping[str, Study], output: Path, whole: bool, figure: bool, theory: bool
) -> None:
    """Save the summaries, draw the figures, print the tables and where everything is.

    studies: by the name of their store. whole: save the data as one NetCDF file too.
    """
    from vecsim import front, netcdf, store, table

    opened = {}
    for name, study in studies.items():
        stem = name.removesuffix(".zarr")
        data = opened[stem] = store.open(output / name)
        summary = data.vecsim.summary()
        kept = {key: data.attrs[key] for key in ("config", "versions") if key in data.attrs}
        summary.attrs |= kept
        summarised = "summary" if stem == "data" else f"{stem}_summary"
        netcdf.save(summary, output / f"{summarised}.nc")
        to_csv(summary, output / f"{summarised}.csv")
        dims = [dimension.name for dimension in study.dimensions]
        if isinstance(study.points[0], Planned):
            table.show_outcomes(summary, dims)
        elif study.estimator["name"] == "splitting":
            table.show_rare(summary, dims)
        elif study.estimator["name"] == "threshold":
            table.show_thresholds(summary, dims)
        elif study.estimator["name"] == "design":
            front.show(data)
        else:
            table.show(summary, dims, {point.protocol.decides for point in study.points})
        print(f"dataset  {output / name}")
        print(f"summary  {output / summarised}.nc and .csv")
        if whole:
            netcdf.save(data, output / f"{stem}.nc")
            print(f"netcdf   {output / stem}.nc")
    study = next(iter(studies.values()))
    script = build.root("figures") / f"{study.name}.py"
    if figure and script.exists():
        for path in _figures(study, script, opened, output, theory):
            print(f"figure   {path}")


def to_csv(summary: xr.Dataset, path: Path) -> None:
    """Save a summary as a table of one row per point; replaces `path` whole."""
    rows = summary if summary.sizes else summary.expand_dims("point")
    part = Path(f"{path}.part")
    rows.to_dataframe().to_csv(part, index=bool(summary.sizes), float_format="%.6g")
    part.replace(path)


def _figures(
    study: Study, script: Path, opened: Mapping[str, xr.Dataset], output: Path, theory: bool
) -> list[Path]:
    """The study's figures, drawn where they are older than the data or the code."""
    listed = output / "figures.txt"
    marks = [output / f"{stem}.zarr" / "vecsim" / "marks" for stem in opened]
    code = [script, *Path(__file__).parent.glob("*.py"), *marks]
    if listed.exists() and listed.stat().st_mtime > max(file.stat().st_mtime for file in code):
        paths = [output / name for name in listed.read_text().splitlines()]
        if all(path.exists() for path in paths):
            return paths
    if theory and not isinstance(study.points[0], Planned):
        from vecsim.theory import lines

        opened["data"].attrs["theory"] = json.dumps(lines(study))
    paths = _draw(script, opened, output)
    listed.write_text("".join(f"{path.relative_to(output)}\n" for path in paths))
    return paths


def _draw(script: Path, opened: Mapping[str, xr.Dataset], output: Path) -> list[Path]:
    """Run the study's figure script: its draw(data, folder) gives the files it wrote; where there
    is a second dataset, draw(data, folder, defended)."""
    spec = importlib.util.spec_from_file_location(f"figures.{script.stem}", script)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    data, *others = opened.values()
    return module.draw(data, output, *others)


@contextlib.contextmanager
def wrapped() -> Iterator[None]:
    """Print long lines of `name: options` over several, within the width of the terminal."""
    width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 100))
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            yield
    finally:
        groups, parameters, rest = text.getvalue().partition("\nParameters")
        for line in groups.splitlines():
            name, colon, options = line.partition(": ")
            if colon and name.isidentifier():
                line = f"{name + ':':13}{options}"
                line = textwrap.fill(line, width, subsequent_indent=" " * 13)
            print(line)
        print(parameters + rest, end="")
