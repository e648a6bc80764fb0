"""Shards of a study, made into one store with the same bits as if it had not been divided."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vecsim.results import contents
from vecsim.results.chunks import Chunks
from vecsim.results.contents import Contents
from vecsim.results.disk import read_metadata
from vecsim.results.files import StoreError, one_line
from vecsim.results.layout import Index
from vecsim.results.shards import SHARDS, Shard, chain_of
from vecsim.results.store import STORES, Store

_NAMED = 5  # shards that a message names


def merge_shards(output: str | Path) -> list[Path]:
    """Make one store of the shards in a folder of results, for each of the study's stores; returns
    their paths. The shards stay where they are.

    StoreError, one line, where a shard is missing, unfinished, damaged or of another study.
    Interrupted, it goes on where it was.
    """
    output = Path(output)
    with one_line(output):
        shards = _shards(output)
        folder = output / shards[0].folder
        names = [name for name in STORES if (folder / name).is_dir()]
        if not names:
            raise StoreError(f"{folder} holds no store; its command has not begun")
        return [_merged(output, name, shards) for name in names]


def _shards(output: Path) -> list[Shard]:
    """All that there should be, by those that are there."""
    named = (re.fullmatch(r"\d+-of-(\d+)", each.name) for each in (output / SHARDS).glob("*"))
    counts = sorted({int(match[1]) for match in named if match})
    if not counts:
        allowed = "the output of commands with shard=i/N"
        raise StoreError(f"{output} holds no {SHARDS}; allowed: {allowed}")
    if len(counts) > 1:
        different = " and ".join(map(str, counts))
        raise StoreError(
            f"{output / SHARDS} holds parts of {different}; delete those of all but one"
        )
    return [Shard(number, counts[0]) for number in range(counts[0])]


def _merged(output: Path, name: str, shards: list[Shard]) -> Path:
    missing = [each for each in shards if not (output / each.folder / name).is_dir()]
    _require_none(output, missing, "whose commands have not begun")
    paths = [output / shard.folder / name for shard in shards]
    first = Contents.of(paths[0])
    for path in paths[1:]:
        contents.require_same(path, Contents.of(path), first)
    parts = [Chunks(path, first.layout) for path in paths]
    owner = _owners(first, len(shards))
    lacking = {number for index, number in owner if index not in parts[number].marks}
    _require_none(output, [shards[each] for each in sorted(lacking)], "which are not complete")
    attrs = [read_metadata(path)[0] for path in paths]
    with _created(output / name, first, attrs) as store:
        for index, number in _owners(first, len(shards)):
            if not store.done[index]:
                store.write(index, parts[number].values(index, parts[number].read(index)))
        store.finish({})
    return output / name


def _owners(contents: Contents, of: int) -> Iterator[tuple[Index, int]]:
    """Every chunk, and the number of the shard that it is in."""
    layout, precise = contents.layout, contents.config.get("precision") is not None
    for index in np.ndindex(layout.grid):
        yield index, chain_of(layout, precise, index) % of


def _require_none(output: Path, shards: list[Shard], why: str) -> None:
    """StoreError, which names them, where there are any of these."""
    if shards:
        more = f" and {len(shards) - _NAMED} more" if len(shards) > _NAMED else ""
        named = ", ".join(map(str, shards[:_NAMED])) + more
        raise StoreError(f"{output} lacks shards {named}, {why}; the same commands go on")


def _created(path: Path, whole: Contents, attrs: list[dict[str, Any]]) -> Store:
    """The store that is filled, with the provenance of every shard; it may be there in part."""
    if path.is_dir() and any(path.iterdir()):
        contents.require_same(path, Contents.of(path), whole)
    skipped = ("config", "complete", "vecsim_format", "workers", "shards", "kind", "options")
    told = [{key: v for key, v in each.items() if key not in skipped} for each in attrs]
    workers = [worker for each in attrs for worker in json.loads(each.get("workers", "[]"))]
    about = {k: v for k, v in attrs[0].items() if k not in ("config", "complete")}
    about |= {"command": _undivided(attrs[0]["command"]), "workers": workers, "shards": told}
    return Store.open_or_create(path, whole.layout, whole.config, about, whole.points)


def _undivided(command: str) -> str:
    """The command without its shard."""
    words = [word for word in shlex.split(command) if not word.startswith("shard=")]
    return shlex.join(words)
