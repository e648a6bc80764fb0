"""What is saved of a run is taken up again only as it was written, whole and in its place."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from vecsim.cluster import ScaleTestCluster, checkpoint
from vecsim.cluster.checkpoint import Checkpoint
from vecsim.cluster.record import WindowRecord
from vecsim.results.files import StoreError

SEGMENTS, WINDOWS = 4, 3


def cluster(seed: int = 0) -> ScaleTestCluster:
    config = {"nodes": 40}
    return ScaleTestCluster({"trials": 2, "seed": seed, "duration_s": 12, "cluster": config})


def saved(folder: Path, seed: int = 0, segments: int = SEGMENTS) -> Path:
    """A run after some segments of made-up records."""
    run = cluster(seed)
    for number in range(segments):
        values = np.arange(2 * WINDOWS).reshape(WINDOWS, 2) + 100 * number
        run.records.append(WindowRecord(*(values + i for i in range(len(WindowRecord._fields)))))
        run.starts += [1000 * (WINDOWS * number + i) for i in range(WINDOWS)]
        run.lengths += [1000] * WINDOWS
    Checkpoint(folder, run).save(7)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "run")


def refusal(folder: Path, seed: int = 0) -> str:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StoreError) as caught:
        Checkpoint(folder, cluster(seed)).load()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_goes_on_where_it_was(folder: Path):
    run = cluster()
    assert Checkpoint(folder, run).load() == 7
    assert [int(part.issued[0, 0]) for part in run.records] == [0, 100, 200, 300]
    assert run.starts == list(range(0, 12_000, 1000))
    assert sorted(path.name for path in folder.iterdir()) == [
        "state.npz",
        *(f"windows-{number:06d}.npz" for number in range(SEGMENTS)),
    ]


@pytest.mark.parametrize("name", ["state.npz", "windows-000002.npz"])
def test_any_changed_byte_is_refused(folder: Path, name: str):
    whole = (folder / name).read_bytes()
    for place in np.linspace(0, len(whole) - 1, 60).astype(int):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        (folder / name).write_bytes(content)
        assert refusal(folder).startswith(f"{folder / name} "), place
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (folder / name).write_bytes(whole[:length])
        assert refusal(folder).startswith(f"{folder / name} "), length


def test_segments_have_their_places(folder: Path, tmp_path: Path):
    """Swapped, doubled, missing, or of another run that is as long."""
    first, second = folder / "windows-000001.npz", folder / "windows-000002.npz"
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    assert refusal(folder) == (
        f"{first} is damaged: it is not what was written here; choose another output or delete it"
    )
    second.write_bytes(other)
    assert "windows-000001.npz is damaged" in refusal(folder)
    first.unlink()
    assert f"{first}: No such file or directory" in refusal(folder)
    shutil.rmtree(folder)
    saved(folder)
    strange = saved(tmp_path / "strange", seed=1)
    assert f"{folder / 'state.npz'} belongs to another scenario" in refusal(folder, seed=1)
    (folder / "state.npz").write_bytes((strange / "state.npz").read_bytes())
    assert "belongs to another scenario" in refusal(folder)


def test_a_save_that_was_killed_is_done_again(folder: Path):
    """Segments after those that the state knows are written anew."""
    run = cluster()
    save = Checkpoint(folder, run)
    save.load()
    (folder / f"windows-{SEGMENTS:06d}.npz").write_bytes(b"half a segm")
    (folder / "state.npz.part").write_bytes(b"half")
    values = np.full((WINDOWS, 2), 400)
    run.records.append(WindowRecord(*(values + i for i in range(len(WindowRecord._fields)))))
    run.starts += [0] * WINDOWS
    run.lengths += [1] * WINDOWS
    save.save(8)
    again = cluster()
    assert Checkpoint(folder, again).load() == 8
    assert int(again.records[-1].issued[0, 0]) == 400


@pytest.mark.parametrize("name", ["state.npz.part", "windows-000000.npz.part", "state.npz"])
def test_links_are_not_followed(tmp_path: Path, name: str):
    other, folder = tmp_path / "thesis.txt", tmp_path / "run"
    other.write_text("years of work")
    folder.mkdir()
    (folder / name).symlink_to(other)
    if name == "state.npz":
        assert "state.npz has no vecsim checksum" in refusal(folder)
        (folder / name).unlink()
    saved(folder)
    assert other.read_text() == "years of work"
    assert Checkpoint(folder, cluster()).load() == 7


def test_what_others_put_there_stays(folder: Path):
    strange = [folder / "windows-notes.txt", folder / "state.md"]
    for file in strange:
        file.write_text("mine")
    checkpoint.remove_checkpoint(folder)
    assert sorted(folder.iterdir()) == sorted(strange)
    for file in strange:
        file.unlink()
    checkpoint.remove_checkpoint(folder)
    assert not folder.exists()
