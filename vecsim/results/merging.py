"""Shards of a study, made into one store with the same bits as if it had not been divided."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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

    StoreError, one line, where a shard is missing, unfinished, damaged, a link or of another study.
    Interrupted, it goes on where it was.
    """
    output = Path(output)
    with one_line(output):
        shards = _shards(output)
        parts = [_Parts.of(output, name, shards) for name in _stores(output, shards)]
        return [each.merged() for each in parts]


def _shards(output: Path) -> list[Shard]:
    """All that there should be, by those that are there."""
    folder = output / SHARDS
    _require_no_link(folder)
    counts = set()
    for each in folder.glob("*-of-*"):
        named = re.fullmatch(r"(\d{1,7})-of-(\d{1,7})", each.name)
        shard = Shard(*map(int, named.groups())) if named else Shard()
        if each.name != Path(shard.folder).name or not shard.is_part:
            raise StoreError(f"{each} is no shard of a study; delete it")
        counts.add(shard.of)
    if not counts:
        allowed = "the output of commands with shard=i/N"
        raise StoreError(f"{output} holds no {SHARDS}; allowed: {allowed}")
    if len(counts) > 1:
        different = " and ".join(map(str, sorted(counts)))
        raise StoreError(f"{folder} holds parts of {different}; delete those of all but one")
    [of] = counts
    return [Shard(number, of) for number in range(of)]


def _stores(output: Path, shards: list[Shard]) -> list[str]:
    """The names of the study's stores: those that are there, and those that these name."""
    there = [output / shard.folder / name for shard in shards for name in STORES]
    there = [path for path in there if path.is_dir()]
    if not there:
        raise StoreError(f"{output / shards[0].folder} holds no store; its command has not begun")
    for path in there:
        _require_no_link(path.parent)
        _require_no_link(path)
    told = json.loads(read_metadata(there[0])[0].get("stores", "[]"))
    return [name for name in STORES if name in told or any(name == path.name for path in there)]


def _require_no_link(path: Path) -> None:
    if path.is_symlink():
        raise StoreError(f"{path} is a link; allowed: a folder")


class _Parts(NamedTuple):
    """The parts of one store, all of them there and complete.

    whole: what each is a part of. chunks, attrs: of each shard, its chunks and its attributes.
    """

    path: Path
    whole: Contents
    chunks: list[Chunks]
    attrs: list[dict[str, Any]]

    @classmethod
    def of(cls, output: Path, name: str, shards: list[Shard]) -> "_Parts":
        """The parts of the store of that name; StoreError where they are not all complete."""
        missing = [each for each in shards if not (output / each.folder / name).is_dir()]
        _require_none(output, missing, f"whose commands have not begun {name}")
        paths = [output / shard.folder / name for shard in shards]
        first = Contents.of(paths[0])
        for path in paths[1:]:
            contents.require_same(path, Contents.of(path), first)
        parts = [Chunks(path, first.layout) for path in paths]
        owners = _owners(first, len(shards))
        lacking = {number for index, number in owners if index not in parts[number].marks}
        _require_none(output, [shards[each] for each in sorted(lacking)], "which are not complete")
        return cls(output / name, first, parts, [read_metadata(path)[0] for path in paths])

    def merged(self) -> Path:
        """Fill the store; returns its path."""
        with self._created() as store:
            for index, number in _owners(self.whole, len(self.chunks)):
                if not store.done[index]:
                    part = self.chunks[number]
                    store.write(index, part.values(index, part.read(index)))
            store.finish({})
        return self.path

    def _created(self) -> Store:
        """The store that is filled, with the provenance of every shard; it may be there in part."""
        path, whole = self.path, self.whole
        if path.is_dir() and any(path.iterdir()):
            contents.require_same(path, Contents.of(path), whole)
        skipped = ("config", "complete", "vecsim_format", "workers", "stores", "kind", "options")
        told = [{k: v for k, v in each.items() if k not in skipped} for each in self.attrs]
        workers = [worker for each in self.attrs for worker in _workers(each)]
        left_out = ("config", "complete", "stores")
        about = {k: v for k, v in self.attrs[0].items() if k not in left_out}
        about |= {"command": _undivided(about["command"]), "workers": workers, "shards": told}
        store = Store.open_or_create(path, whole.layout, whole.config, about, whole.points)
        there = store.attributes()
        if "shards" not in there and not store.done.all():  # another command has begun it
            store.record({"workers": [*_workers(there), *workers], "shards": told})
        return store


def _workers(attrs: Mapping[str, Any]) -> list[dict[str, Any]]:
    return json.loads(attrs.get("workers", "[]"))


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


def _undivided(command: str) -> str:
    """The command without its shard."""
    words = [word for word in shlex.split(command) if not word.lstrip("+").startswith("shard=")]
    return shlex.join(words)
