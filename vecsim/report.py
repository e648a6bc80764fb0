"""What people see: what runs, the result table, files."""

import contextlib
import json
import runpy
import shlex
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

from vecsim import places
from vecsim.plan import Plan
from vecsim.results import disk, files, kinds, netcdf, store
from vecsim.results.shards import Shard
from vecsim.studies import counts
from vecsim.studies.sweep import Study

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a formula begins in a spreadsheet


def announce(study: Study, computed_by: str, shard: Shard) -> None:
    """Print the first line of a run: what runs, and on what; then what rounding does to shares.

    computed_by: devices or workers, in words.
    """
    points = f"{len(study.points):,} points of" if len(study.points) > 1 else "1 point of"
    most = "up to " if study.precision else ""
    engine = f"engine {', '.join(sorted(set(study.engines)))}"
    if "places" in study.engines:
        engine += " (which draws every place of a poll, and takes longer)"
    what = [f"{study.name}: {points} {most}{study.trials:,} trials", counts.range_of(study.points)]
    part = f"shard {shard}" if shard.of > 1 else ""
    print(", ".join(filter(None, [*what, part, engine, computed_by])), flush=True)
    single = () if study.kind == "campaigns" else (counts.started, counts.missing)
    for told in (each(study.points) for each in (counts.rounded, *single)):
        if told:
            print(f"vecsim: {told}", flush=True)


def show_studies(planned: Plan, whole: bool, figure: bool, theory: bool) -> None:
    """Save the summaries, print the tables, all paths and what workers cost; of a shard, say where
    it is. whole, figure, theory: other files, by `save_files`."""
    output, divided = planned.output, planned.shard.of > 1
    price, workers = (planned.engine[key] for key in ("price_per_core_hour", "workers"))
    for name in planned.studies:
        path = planned.folder / name
        if divided:
            print(f"shard    {path}")
        else:
            _show_summary(path)
        if price is not None or workers is not None:
            print(f"cost     {cost_line(disk.read_metadata(path)[0], price)}")
    if divided:
        print(f"when all {planned.shard.of} are there: vecsim merge {shlex.quote(str(output))}")
        return
    for kind, path in save_files(planned.studies, output, whole, figure, theory):
        print(f"{kind:8} {path}")


def _show_summary(path: Path) -> None:
    """Save the summary of the store at `path` beside it, and print its table."""
    data, stem = store.open(path), path.stem
    summary = data.vecsim.summary()
    summary.attrs |= {k: data.attrs[k] for k in ("config", "versions") if k in data.attrs}
    summarised = path.with_name("summary" if stem == "data" else f"{stem}_summary")
    netcdf.save_netcdf(summary, Path(f"{summarised}.nc"))
    to_csv(summary, Path(f"{summarised}.csv"))
    kinds.kind_of(data).show(data, summary)
    print(f"dataset  {path}")
    print(f"summary  {summarised}.nc and .csv")


def cost_line(attrs: Mapping[str, Any], price: float | None) -> str:
    """What the trials of a study cost: core-hours by host.

    attrs: of its dataset. price: of a core-hour, in any currency.
    """
    hours: dict[str, float] = defaultdict(float)
    for stage in (*json.loads(attrs.get("extends", "[]")), attrs):
        for each in json.loads(stage.get("workers", "[]")):
            hours[each["host"]] += each["core_s"] / 3600
    where = ", ".join(f"{each:.3g} on {host}" for host, each in hours.items())
    total = sum(hours.values())
    paid = "" if price is None else f"; {total * price:.3g} at {price:g} per core-hour"
    return f"{total:.3g} core-hours of CPU time{f' ({where})' if where else ''}{paid}"


def save_files(
    studies: Mapping[str, Study], output: Path, whole: bool, figure: bool, theory: bool
) -> list[tuple[str, Path]]:
    """Save the files that are wanted besides the stores; return each with its kind.

    studies: by the name of their store. whole: the data as a NetCDF file as well. figure: the
    experiment's figures. theory: the figures have lines of theory.
    """
    opened = {name.removesuffix(".zarr"): store.open(output / name) for name in studies}
    saved = []
    for stem, data in opened.items() if whole else ():
        netcdf.save_netcdf(data, path := output / f"{stem}.nc")
        saved.append(("netcdf", path))
    study = next(iter(studies.values()))
    script = places.root("figures") / f"{study.name}.py"
    if figure and script.exists():
        saved += [("figure", path) for path in figures(study, script, opened, output, theory)]
    return saved


def to_csv(summary: xr.Dataset, path: Path) -> None:
    """Save a summary as a CSV table with one row per point; replaces `path`."""
    rows = summary if summary.sizes else summary.expand_dims("point")
    table = rows.to_dataframe().reset_index(drop=not summary.sizes)
    for name in table.select_dtypes(exclude=["number", "bool"]):
        table[name] = table[name].map(_harmless)
    table = table.rename(columns=_harmless)
    with files.one_line(path):
        files.write(path, table.to_csv(None, index=False, float_format="%.6g").encode())


def _harmless(value: Any) -> Any:
    """The value, with a quote before text that a spreadsheet would take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def figures(
    study: Study, script: Path, opened: Mapping[str, xr.Dataset], output: Path, theory: bool
) -> list[Path]:
    """The study's figures, drawn anew where something that they are made from has changed.

    The script's draw(data, folder) returns the files that it wrote; where there is a second
    dataset it is called as draw(data, folder, defended).
    """
    listed, made_from = output / "figures.json", _made_from(script, opened, output, theory)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none, or damaged
        there = json.loads(listed.read_bytes())
        paths = [output / name for name in there["figures"]]
        if there["made_from"] == made_from and all(path.exists() for path in paths):
            return paths
    if theory:
        from vecsim.studies.theory import lines

        opened["data"].attrs["theory"] = json.dumps(lines(study))
    draw = runpy.run_path(str(script), run_name=f"figures.{script.stem}")["draw"]
    data, *others = opened.values()
    paths = draw(data, output, *others)
    names = [str(path.relative_to(output)) for path in paths]
    files.write(listed, json.dumps({"made_from": made_from, "figures": names}, indent=2).encode())
    return paths


def _made_from(script: Path, opened: Mapping[str, xr.Dataset], output: Path, theory: bool) -> str:
    """A hash of everything that decides what the figures show: data, attributes, code, options."""
    marks = (output / f"{stem}.zarr" / "vecsim" / "marks" for stem in opened)
    done = sorted(file for folder in marks for file in folder.iterdir())
    code = [script, *sorted(places.PACKAGE.rglob("*.py"))]
    told = [theory, version("matplotlib"), [data.attrs for data in opened.values()]]
    read = [(file.name, files.file_digest(file.read_bytes())) for file in (*done, *code)]
    return files.json_digest([told, read])
