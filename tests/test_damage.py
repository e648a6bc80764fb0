"""Three hundred random damages: each is refused in one line or harmless, none changes a number."""

import faulthandler
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import synthetic
import xarray as xr
from test_store import CONFIG, CREATE, LAYOUT, run, tree

import vecsim
from vecsim.cluster import ScaleTestCluster
from vecsim.cluster.checkpoint import Checkpoint
from vecsim.cluster.record import WindowRecord
from vecsim.results import netcdf
from vecsim.results.files import StoreError
from vecsim.results.store import Store
from vecsim.scenario import export
from vecsim.scenario.config import criteria
from vecsim.scenario.judging import judge_all

SECONDS = 60  # that a read may take before the whole process is given up; it takes milliseconds


def flip(rng: random.Random, file: Path, other: Path) -> None:
    content = bytearray(file.read_bytes() or b" ")
    for _ in range(rng.choice((1, 1, 2, 20))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def cut(rng: random.Random, file: Path, other: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content) + 1)])


def cut_out(rng: random.Random, file: Path, other: Path) -> None:
    content = file.read_bytes()
    first, last = sorted(rng.randrange(len(content) + 1) for _ in "12")
    file.write_bytes(content[:first] + content[last:])


def append(rng: random.Random, file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.randrange(1, 200)))


def empty(rng: random.Random, file: Path, other: Path) -> None:
    file.write_bytes(b"")


def delete(rng: random.Random, file: Path, other: Path) -> None:
    file.unlink()


def swap(rng: random.Random, file: Path, other: Path) -> None:
    ours, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    other.write_bytes(ours)


def copy(rng: random.Random, file: Path, other: Path) -> None:
    shutil.copyfile(other, file) if other != file else None


def edit(rng: random.Random, file: Path, other: Path) -> None:
    """Another number, or brackets without end, somewhere in the text."""
    content = file.read_bytes()
    numbers = list(re.finditer(rb"\d+", content))
    if numbers:
        number = rng.choice(numbers)
        new = rng.choice((b"0", b"7", b"-1", b"1e99", b"9" * 400, b"[" * 5000))
        content = content[: number.start()] + new + content[number.end() :]
    file.write_bytes(content)


DAMAGES = (flip, flip, cut, cut_out, append, empty, delete, swap, copy, edit, edit)


def damages(number: int, make: Path, work: Path, seed: int):
    """Damaged copies of a folder, one after the other, each with what was done to it."""
    rng = random.Random(seed)
    for _ in range(number):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(make, work)
        found = sorted(file for file in work.rglob("*") if file.is_file())
        file, other = rng.choice(found), rng.choice(found)
        damage = rng.choice(DAMAGES)
        damage(rng, file, other)
        yield f"{damage.__name__} {file.relative_to(work)} {other.relative_to(work)}"


def answer(read: Callable):
    """What reading gives, or the line of its refusal; anything else fails the test."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        return read()
    except StoreError as error:
        if "\n" in str(error):
            pytest.fail(f"more than a line: {error}")
        return str(error)
    finally:
        faulthandler.cancel_dump_traceback_later()


def contents(store: Path) -> dict[str, bytes]:
    """Every file but the lock, whose content means nothing."""
    return {name: data for name, data in tree(store).items() if name != "vecsim/lock"}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.mark.parametrize("until", [None, 7])
def test_stores(tmp_path: Path, work: Path, until: int | None):
    """Read and gone on with, finished or not."""
    run(tmp_path / "made/s.zarr", until=until)
    run(tmp_path / "whole/s.zarr")
    original, whole = vecsim.open(tmp_path / "made/s.zarr"), contents(tmp_path / "whole/s.zarr")
    refused = 0
    for what in damages(75, tmp_path / "made", work, seed=len(str(until))):
        read = answer(lambda: vecsim.open(work / "s.zarr"))
        if isinstance(read, str):
            refused += 1
        elif until is None or read.rounds.count() == original.rounds.count():
            assert read.identical(original), what
        else:  # a mark is gone from an unfinished study, which says that it is unfinished
            assert read.attrs["complete"] == 0, what
            known = read.notnull()
            assert read.where(known).identical(original.where(known)), what
        refusal = answer(lambda: run(work / "s.zarr"))
        if refusal is None:
            assert contents(work / "s.zarr") == whole, what
        else:
            assert isinstance(read, str), what
    assert refused > 50


def test_netcdf(tmp_path: Path, work: Path):
    data = synthetic.dataset()[["finalised", "latency_ms"]]
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / "made").mkdir(exist_ok=True)
        netcdf.save_netcdf(data.assign_attrs(seed=seed), tmp_path / f"made/{name}.nc")
    refused = 0
    for what in damages(50, tmp_path / "made", work, seed=3):
        for name, seed in (("a", 1), ("b", 2)):
            if not (work / f"{name}.nc").exists():
                continue
            read = answer(lambda name=name: vecsim.open(work / f"{name}.nc"))
            if isinstance(read, xr.Dataset):  # whole; which study it is of is in it
                assert read.equals(data), what
                assert read.seed == seed or what.startswith(("swap", "copy")), what
            else:
                refused += 1
    assert refused > 25


def test_checkpoints(tmp_path: Path, work: Path):
    config = {"trials": 2, "duration_s": 12, "cluster": {"nodes": 40}}

    def records(cluster: ScaleTestCluster) -> list:
        return [np.asarray(part).tolist() for record in cluster.records for part in record]

    made = ScaleTestCluster(config)
    for number in range(4):
        values = np.arange(6).reshape(3, 2) + 100 * number
        made.records.append(WindowRecord(*(values + i for i in range(len(WindowRecord._fields)))))
        made.starts += [number] * 3
        made.lengths += [1000] * 3
    Checkpoint(tmp_path / "made", made).save(7)
    refused = 0
    for what in damages(75, tmp_path / "made", work, seed=4):
        cluster = ScaleTestCluster(config)
        read = answer(lambda cluster=cluster: Checkpoint(work, cluster).load())
        if isinstance(read, str):
            refused += 1
        elif read == 0:  # begins again
            assert not (work / "state.npz").exists(), what
        else:
            assert (read, records(cluster)) == (7, records(made)), what
    assert refused > 50


def test_results_of_scenarios(tmp_path: Path, work: Path):
    data = synthetic.dataset()
    verdicts = judge_all(criteria(synthetic.CONFIG), data)
    exported = export.result_json(synthetic.CONFIG, data, verdicts)
    (tmp_path / "made").mkdir()
    export.write_result(exported, tmp_path / "made/result.json")
    refused = 0
    for what in damages(50, tmp_path / "made", work, seed=5):
        if (work / "result.json").exists():
            read = answer(lambda: export.read_result(work / "result.json"))
            refused += isinstance(read, str)
            assert isinstance(read, str) or read == exported, what
    assert refused > 25


def test_the_same_study_goes_on_from_no_damage(work: Path):
    """That what the damages are measured against is accepted."""
    run(work / "s.zarr")
    before = tree(work / "s.zarr")
    with Store.open_or_create(work / "s.zarr", LAYOUT, CONFIG, CREATE) as store:
        assert store.done.all()
    assert tree(work / "s.zarr") == before
