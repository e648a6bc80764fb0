"""A run that can be killed: its records on disk, segment by segment, and the state after them.

    FOLDER/windows-000000.npz    records of a segment by variable, [windows, trials, ...], with the
                                 windows' `starts` and `lengths`, ms
    FOLDER/state.npz             leaves of the state and the conditions, and `about` (JSON)

`state.npz` is written last, by rename. It holds the digests of the segments in order, and its own
at its end, so that nothing is read that was not written for this run, in this place. The files hold
numbers and text only, so that a foreign file can do no harm.
"""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vecsim.cluster import record
from vecsim.cluster.scale_test_cluster import ScaleTestCluster
from vecsim.cluster.workload import Workload
from vecsim.model.sources import code_of
from vecsim.results import files

# The files of a run, and what an interrupted save leaves.
OURS = re.compile(r"(state|windows-\d{6,})\.npz(\.part)?")
# What a cluster keeps besides its arrays, as JSON: `about`, in the last file.
KEPT = ("since_ms", "settled_ms", "spikes", "workload")


class Checkpoint:
    """What is on disk of one run. folder: made when it is first saved."""

    def __init__(self, folder: Path, cluster: ScaleTestCluster):
        self.folder, self.cluster = folder, cluster
        self.saved: list[str] = []  # digests of the segments on disk

    def load(self) -> int:
        """Put the cluster where the last save left it; returns how many actions had been done.

        StoreError if the files are damaged or belong to another run.
        """
        path, cluster = self.folder / "state.npz", self.cluster
        if not path.exists():
            return 0
        arrays = _arrays(path, files.read_sealed(path))
        about = json.loads(str(arrays["about"]))
        if about["run"] != _identity(cluster):
            raise files.StoreError(f"{path} belongs to another scenario; choose another output")
        for name in ("state", "now"):
            setattr(cluster, name, _unpacked(getattr(cluster, name), arrays, name))
        for name in KEPT:
            setattr(cluster, name, about[name])
        cluster.workload = Workload(*about["workload"])
        cluster.draws.used = about["draws"]
        self.saved = about["segments"]
        for number, known in enumerate(self.saved):
            path = self._segment(number)
            with files.one_line(path):
                content = path.read_bytes()
            if files.file_digest(content) != known:
                raise files.damaged(path, "it is not what was written here")
            part = _arrays(path, content)
            cluster.starts += part.pop("starts").tolist()
            cluster.lengths += part.pop("lengths").tolist()
            cluster.records.append(record.WindowRecord(**part))
        return about["actions"]

    def save(self, actions: int) -> None:
        """Write what has happened since the last save."""
        cluster = self.cluster
        self.folder.mkdir(parents=True, exist_ok=True)
        sizes = np.cumsum([0, *(len(part.issued) for part in cluster.records)])
        for number in range(len(self.saved), len(cluster.records)):
            windows = slice(int(sizes[number]), int(sizes[number + 1]))
            times = {"starts": cluster.starts[windows], "lengths": cluster.lengths[windows]}
            content = _bytes(cluster.records[number]._asdict() | times)
            files.write(self._segment(number), content)
            self.saved.append(files.file_digest(content))
        about = {name: getattr(cluster, name) for name in KEPT}
        about |= {"run": _identity(cluster), "segments": self.saved, "actions": actions}
        about["draws"] = cluster.draws.used
        packed = _packed(cluster.state, "state") | _packed(cluster.now, "now")
        content = _bytes(packed | {"about": np.array(json.dumps(about))})
        files.write_sealed(self.folder / "state.npz", content)

    def _segment(self, number: int) -> Path:
        return self.folder / f"windows-{number:06d}.npz"


def remove_checkpoint(folder: Path) -> None:
    """Take away what a run saved in its folder, parts of an interrupted save too, and nothing else:
    its results are elsewhere."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if OURS.fullmatch(path.name):
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _identity(cluster: ScaleTestCluster) -> str:
    """Everything that decides a run's results, as JSON: by which a run knows its own files."""
    run, settings = cluster.run, ("seed", "trials", "duration_s", "sampled_vertices")
    about = record.described(run) | {name: getattr(run, name) for name in settings}
    if run.first_trial:
        about["first_trial"] = run.first_trial
    return json.dumps(about | code_of([run.cluster.adversary]), sort_keys=True)


def _packed(tree: Any, name: str) -> dict[str, np.ndarray]:
    """The leaves of a tree as arrays, by the name and their number."""
    return {f"{name}{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}


def _unpacked(like: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    """What `_packed` took apart; like: a tree of the same structure."""
    leaves, kind = jax.tree.flatten(like)
    found = (arrays[f"{name}{i}"] for i in range(len(leaves)))
    # Plain numbers stay plain: what a program is compiled for depends on it.
    plain = [
        type(old)(new.item()) if isinstance(old, (bool, int, float)) else new
        for old, new in zip(leaves, found, strict=True)
    ]
    return jax.tree.unflatten(kind, plain)


def _bytes(arrays: Mapping[str, Any]) -> memoryview:
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    return memory.getbuffer()


def _arrays(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz file's content; StoreError, which names `path`, where it is none."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise files.damaged(path, str(error).partition("\n")[0]) from error
