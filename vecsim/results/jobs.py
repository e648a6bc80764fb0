"""The jobs of a multirun on disk: which there should be, what became of each, their stores joined.

The driver writes the list of jobs, `jobs-<hash>.json`, before the first of them begins; each job
keeps a record of its own in `jobs/`, under a hash of its overrides.
"""

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from vecsim.errors import GOES_ON
from vecsim.results import join as joining
from vecsim.results import store as stores
from vecsim.results.files import StoreError, json_digest, one_line, write

ALL = "all"  # as `multirun`: every store in the folder, whether a job's or not


class _Found(NamedTuple):
    """A store to be joined.

    job: overrides of the job that wanted it. options: the groups' options as this job named them;
    the store has those of the job that computed it, perhaps under other names.
    """

    path: Path
    job: str = ""
    options: Mapping[str, str] | None = None


def write_list(folder: Path, command: str, jobs: Sequence[Sequence[str]]) -> None:
    """Record which jobs a multirun will have in this folder: the overrides of each."""
    listed = sorted({tuple(job) for job in jobs})
    path = folder / f"jobs-{json_digest(listed)[:8]}.json"
    _write(path, {"command": command, "jobs": listed})


def write_record(folder: Path, overrides: Sequence[str], **about: Any) -> None:
    """Record what became of a job.

    about: `state` (begun, done, refused or failed), `told` (why), `output` (where its results
    are), `options` (the name of each option it chose, by group).
    """
    _write(_record(folder, overrides), {"overrides": list(overrides), **about})


def read_record(folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """What `write_record` recorded, empty where the job never began; StoreError where it is
    damaged."""
    path = _record(folder, overrides)
    return _read(path) if path.exists() else {}


def collect(
    source: str | Path | Sequence[str | Path],
    store: str | None = None,
    missing: str = "refuse",
    multirun: str | None = None,
) -> xr.Dataset:
    """Join the finished studies of a multirun: see `vecsim.collect`.

    StoreError, one line, where a job has no complete store (and missing='refuse'), where it is not
    clear which stores are meant, or where they do not fit; ValueError for another `missing`.
    """
    several = [source] if isinstance(source, (str, Path)) else list(source)
    if missing not in ("refuse", "allow"):
        raise ValueError(f"missing is {missing!r}; allowed: refuse, allow")
    found: dict[str, _Found] = {}
    wrong = []
    for folder in map(Path, several):
        with one_line(folder):
            there, bad = _of(folder, store, multirun)
        wrong += bad
        for each in there:
            inside = each.path.is_relative_to(folder) and each.path != folder and len(several) == 1
            label = str(each.path.relative_to(folder) if inside else each.path)
            found[f"{label} ({each.job})" if label in found else label] = each
    name = ", ".join(map(str, several))
    jobs: dict[str, xr.Dataset] = {}
    for label in sorted(found, key=_natural):
        try:
            data = stores.open(found[label].path)
            if not data.attrs.get("complete"):
                raise StoreError(f"{label} is unfinished: {GOES_ON}")
            if found[label].options is not None:
                data.attrs["options"] = json.dumps(found[label].options)
            jobs[label] = data
        except StoreError as error:
            wrong.append(str(error))
    if not jobs and not wrong:
        raise StoreError(f"{name}: no store (*.zarr) here")
    if not jobs or (wrong and missing == "refuse"):
        hint = "; missing='allow' leaves them out" if jobs else ""
        raise StoreError(f"{name}: {'; '.join(wrong)}{hint}")
    try:
        joined = joining.join(jobs)
    except ValueError as error:
        raise StoreError(f"{name}: {error}") from error
    if wrong:
        joined.attrs["left_out"] = json.dumps(wrong)
        warnings.warn(f"{name}, left out: {'; '.join(wrong)}", stacklevel=3)
    return joined


def _of(folder: Path, store: str | None, multirun: str | None) -> tuple[list[_Found], list[str]]:
    """Stores to be joined in a folder, and what is wrong with jobs that have none."""
    if folder.suffix == ".zarr":
        return [_Found(folder)], []
    if not folder.is_dir():
        raise StoreError(f"{folder} is not a directory")
    outputs, wrong = _outputs(folder, multirun)
    stems = {name: [each.path.stem for each in several] for name, several in outputs.items()}
    kinds = sorted(set(chain(*stems.values())))
    if store is None and len(kinds) > 1:
        allowed = " or ".join(f"store={kind!r}" for kind in kinds)
        raise StoreError(f"{folder} holds {', '.join(kinds)}; allowed: {allowed}")
    if store is not None and kinds and store not in kinds:
        raise StoreError(f"store is {store!r}; allowed: {', '.join(kinds)}")
    chosen = store or next(iter(kinds), "")
    wrong += [f"{name} holds no store" for name in stems if chosen not in stems[name]]
    return [each for each in chain(*outputs.values()) if each.path.stem == chosen], wrong


def _outputs(folder: Path, multirun: str | None) -> tuple[dict[str, list[_Found]], list[str]]:
    """The stores of each job, and what became of jobs that have none."""
    listed = {path.stem.removeprefix("jobs-"): _read(path) for path in folder.glob("jobs-*.json")}
    outputs = {
        str(each.relative_to(folder)): [_Found(path) for path in sorted(_stores(each))]
        for each in sorted(folder.iterdir(), key=lambda path: _natural(str(path)))
        if each.is_dir() and not each.name.startswith(".") and each.name != "jobs"
    }
    if multirun == ALL or (not listed and multirun is None):
        return outputs, []
    names = "; ".join(f"{key} ({about['command']})" for key, about in sorted(listed.items()))
    if multirun is None and len(listed) > 1:
        allowed = f"multirun='{min(listed)}', or multirun='{ALL}' to join them"
        raise StoreError(f"{folder} holds {len(listed)} multiruns: {names}; allowed: {allowed}")
    if multirun is not None and multirun not in listed:
        raise StoreError(f"multirun is {multirun!r}; allowed: {names or 'none'}, or {ALL}")
    wanted: dict[str, list[_Found]] = {}
    known, wrong = set(), []
    for words in listed[multirun or next(iter(listed))]["jobs"]:
        job, about = ", ".join(words), read_record(folder, words)
        output = folder / about.get("output", "")
        found = sorted(_stores(output)) if "output" in about else []
        if about.get("state") in ("refused", "failed"):
            wrong.append(f"job {job} was {about['state']}: {about.get('told', '')}")
        elif found:
            wanted[f"job {job}"] = [_Found(path, job, about.get("options")) for path in found]
            known.add(output.resolve())
        elif "output" in about:
            wrong.append(f"job {job} wrote to {output}, where no store is")
        else:
            wrong.append(f"job {job} {'was stopped' if about else 'never began'}")
    others = [each for each in outputs if outputs[each] and (folder / each).resolve() not in known]
    if others and multirun is None and not wrong:
        allowed = f"multirun='{min(listed)}' without, multirun='{ALL}' with them"
        raise StoreError(f"{folder}: {', '.join(others)} of no job in the list; allowed: {allowed}")
    return wanted, wrong


def _stores(folder: Path) -> Iterator[Path]:
    """Stores at or below a folder; what is hidden is left out."""
    if folder.suffix == ".zarr" and folder.is_dir():
        yield folder
    elif folder.is_dir():
        for path in folder.iterdir():
            if path.is_dir() and not path.name.startswith("."):
                yield from _stores(path)


def _natural(text: str) -> list:
    """A key to sort by, with the numbers in it as numbers: job 2 comes before job 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def _record(folder: Path, overrides: Sequence[str]) -> Path:
    return folder / "jobs" / f"{json_digest(list(overrides))[:8]}.json"


def _write(path: Path, about: Mapping[str, Any]) -> None:
    """Whole or not at all; jobs of other multiruns may write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    write(path, json.dumps(about, indent=2).encode(), part)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise StoreError(f"{path} is damaged; delete it") from None
