"""A run that can be killed: its records on disk, segment by segment, and the state after them.

A folder with one file per segment of windows and `state.npz`, which is written last, by rename,
and says how many segments there are. Numbers only, so that a foreign file can do no harm; every
file has its checksum (that of the zip format).
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vecsim.cluster import record
from vecsim.cluster.front import ScaleTestCluster
from vecsim.cluster.record import Record
from vecsim.files import StoreError, damaged
from vecsim.workload import Workload


class Checkpoint:
    """What is on disk of one run."""

    def __init__(self, folder: Path, cluster: ScaleTestCluster):
        self.folder, self.cluster = folder, cluster
        self.saved = 0  # segments on disk

    def load(self) -> int:
        """Put the cluster where the last save left it; returns how many actions had been done.

        StoreError if the files are damaged or belong to another run.
        """
        path, cluster = self.folder / "state.npz", self.cluster
        if not path.exists():
            return 0
        arrays = _read(path)
        about = json.loads(str(arrays["about"]))
        if about["run"] != _identity(cluster):
            raise StoreError(f"{path} belongs to another scenario; choose another output")
        cluster.state = _unpacked(cluster.state, arrays, "state")
        cluster.now = _unpacked(cluster.now, arrays, "now")
        cluster.draws.used = about["draws"]
        cluster.since_ms, cluster.settled_ms = about["since_ms"], about["settled_ms"]
        cluster.spikes = [(at, extra) for at, extra in about["spikes"]]
        cluster.workload = Workload(*about["workload"])
        self.saved = about["segments"]
        for number in range(self.saved):
            part = _read(self._segment(number))
            cluster.records.append(Record(**{name: part[name] for name in Record._fields}))
            cluster.starts += part["starts"].tolist()
            cluster.lengths += part["lengths"].tolist()
        return about["actions"]

    def save(self, actions: int) -> None:
        """Write what has happened since the last save."""
        cluster = self.cluster
        self.folder.mkdir(parents=True, exist_ok=True)
        sizes = np.cumsum([0, *(len(part.issued) for part in cluster.records)])
        for number in range(self.saved, len(cluster.records)):
            windows = slice(int(sizes[number]), int(sizes[number + 1]))
            times = {"starts": cluster.starts[windows], "lengths": cluster.lengths[windows]}
            _write(self._segment(number), cluster.records[number]._asdict() | times)
        self.saved = len(cluster.records)
        about = {
            "run": _identity(cluster),
            "segments": self.saved,
            "actions": actions,
            "draws": cluster.draws.used,
            "since_ms": cluster.since_ms,
            "settled_ms": cluster.settled_ms,
            "spikes": cluster.spikes,
            "workload": list(cluster.workload),
        }
        packed = _packed(cluster.state, "state") | _packed(cluster.now, "now")
        _write(self.folder / "state.npz", packed | {"about": np.array(json.dumps(about))})

    def remove(self) -> None:
        """The run is complete and its results are elsewhere."""
        remove(self.folder)

    def _segment(self, number: int) -> Path:
        return self.folder / f"windows-{number:06d}.npz"


def remove(folder: Path) -> None:
    """Take away what runs saved in a folder, parts of an interrupted save too, and nothing else."""
    for pattern in ("windows-*", "state.*"):
        for path in folder.glob(pattern):
            path.unlink()
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()


def _identity(cluster: ScaleTestCluster) -> str:
    run = cluster.run
    about = record.described(run)
    for name in ("seed", "trials", "duration_s", "sampled_vertices"):
        about[name] = getattr(run, name)
    if run.first_trial:
        about["first_trial"] = run.first_trial
    return json.dumps(about, sort_keys=True)


def _packed(tree: Any, name: str) -> dict[str, np.ndarray]:
    return {f"{name}{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}


def _unpacked(like: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    leaves, kind = jax.tree.flatten(like)
    found = [arrays[f"{name}{i}"] for i in range(len(leaves))]
    # Plain numbers stay plain: what a program is compiled for depends on it.
    plain = [
        type(old)(new.item()) if isinstance(old, (bool, int, float)) else new
        for old, new in zip(leaves, found, strict=True)
    ]
    return jax.tree.unflatten(kind, plain)


def _write(path: Path, arrays: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)
    part.replace(path)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise damaged(path, str(error).partition("\n")[0]) from error
