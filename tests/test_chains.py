"""Chunks that are computed anywhere and come back in any order: the same bits; answers that cannot
be right are refused, and nothing of them is stored."""

import json
import math
import random
import tempfile
from pathlib import Path

import made
import numpy as np
import pytest
from command import files
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import chunks

from vecsim.errors import ConfigError, JobKilled, WorkerError
from vecsim.results import merging, store
from vecsim.results.estimate import Precision
from vecsim.results.files import StoreError
from vecsim.results.shards import Shard
from vecsim.studies.executors.executor import InProcess

VALUES = [3, 1, 4, 15, 9]
PRECISE = Precision("made", 0.15, 4, 40)


class Shuffled(InProcess):
    """Answers what is in flight in random order."""

    def __init__(self, work, seed: int, slots: int):
        super().__init__(work)
        self.random, self.slots = random.Random(seed), slots

    def next(self):
        self._waiting.rotate(self.random.randrange(len(self._waiting)))
        return super().next()


@pytest.fixture(scope="module", params=[None, PRECISE], ids=["every trial", "precision"])
def whole(request, tmp_path_factory):
    """A study, and its store as this process makes it."""
    path = tmp_path_factory.mktemp("whole") / "data.zarr"
    study = made.study(VALUES, 40, request.param)
    made.run(study, path)
    return study, path


def test_points_stop_at_their_precision(whole):
    """Otherwise the tests below would not see an order of blocks."""
    study, path = whole
    run = store.open(path)["x"].notnull().sum("trial").values.tolist()
    assert (len(set(run)) > 1) == (study.precision is not None)


@given(seed=st.integers(0, 2**32), slots=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_any_order(whole, seed, slots):
    study, path = whole
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "data.zarr"
        made.run(study, here, lambda work: Shuffled(work, seed, slots))
        assert chunks(here) == chunks(path)


@given(seed=st.integers(0, 2**32), after=st.integers(0, 24))
@settings(max_examples=15, deadline=None)
def test_stopped_and_gone_on_in_another_order(whole, seed, after):
    study, path = whole

    class Stopping(Shuffled):
        left = after

        def next(self):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().next()

    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "data.zarr"
        try:
            made.run(study, here, lambda work: Stopping(work, seed, 4))
        except KeyboardInterrupt:
            done = store.open(here)["x"].notnull().sum()
            assert done < store.open(path)["x"].notnull().sum()
        made.run(study, here, lambda work: Shuffled(work, seed + 1, 3))
        assert chunks(here) == chunks(path)


@pytest.mark.parametrize("of", [2, 3, 7, 40])
def test_shards(whole, of, tmp_path):
    """Merged in any number of parts, more than there are chains among them."""
    study, path = whole
    for number in reversed(range(of)):
        shard = Shard(number, of)
        made.run(study, tmp_path / shard.folder / "data.zarr", shard=shard)
    assert merging.merge_shards(tmp_path) == [tmp_path / "data.zarr"]
    assert chunks(tmp_path / "data.zarr") == chunks(path)
    assert store.open(tmp_path / "data.zarr").attrs["command"] == "vecsim made=1"
    before = files(tmp_path)
    assert merging.merge_shards(tmp_path) == [tmp_path / "data.zarr"]
    assert files(tmp_path) == before


def test_shards_that_are_missing(whole, tmp_path):
    """Each is named: it has not begun, it is not complete, it is of another study."""
    study, _ = whole
    for number in (0, 2, 3):
        shard = Shard(number, 4)
        made.run(study, tmp_path / shard.folder / "data.zarr", shard=shard)
    with pytest.raises(StoreError, match=r"lacks shards 1/4, whose commands have not begun"):
        merging.merge_shards(tmp_path)
    path = tmp_path / "shards/1-of-4/data.zarr"
    made.run(made.study([*VALUES[:-1], 8], 40, study.precision), path, shard=Shard(1, 4))
    with pytest.raises(StoreError, match=r"1-of-4.* belongs to another config: sweep.n"):
        merging.merge_shards(tmp_path)
    path.rename(tmp_path / "gone")
    made.run(study, path, shard=Shard(1, 4))
    mark = next((path / "vecsim/marks").iterdir())
    text = mark.read_text()
    mark.unlink()
    with pytest.raises(StoreError, match=r"lacks shards 1/4, which are not complete"):
        merging.merge_shards(tmp_path)
    mark.write_text(text)
    file = path / "x/c" / mark.name.replace(".", "/")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"is damaged: x, chunk"):
        merging.merge_shards(tmp_path)
    made.run(study, tmp_path / "shards/0-of-3/data.zarr", shard=Shard(0, 3))
    with pytest.raises(StoreError, match=r"holds parts of 3 and 4"):
        merging.merge_shards(tmp_path)


@pytest.mark.parametrize("text", ["0", "1/1/1", "3/3", "-1/3", "a/b", "0/0", 3, "0/1000001", ""])
def test_what_is_no_shard(text):
    with pytest.raises(ConfigError, match=r"^shard is .*; allowed: null, or i/N"):
        Shard.parse(text)


def test_parts_of_parts():
    assert Shard.parse(None) == (0, 1)
    assert Shard.parse("2/3") == (2, 3)


def refused(path: Path, spoil, error: type[Exception] = WorkerError) -> str:
    """What is said of the second answer, which `spoil` changes; only the first is stored."""

    class Spoiling(InProcess):
        count = 0

        def next(self):
            answer = super().next()
            self.count += 1
            return spoil(answer) if self.count == 2 else answer

    with pytest.raises(error) as raised:
        made.run(made.study(VALUES, 40), path, Spoiling)
    assert len(list((path / "vecsim/marks").iterdir())) == 1
    assert store.open(path)["x"].notnull().sum() == 8
    return str(raised.value)


def with_values(**changes):
    return lambda answer: answer._replace(values={**answer.values, **changes})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (with_values(x=np.zeros((2, 3), int)), r"x of shape \(2, 3\); allowed: \(2, 4\)"),
        (with_values(y=None), "y NoneType; allowed: an array of numbers"),
        (with_values(y=np.full((2, 4), "1")), "y ndarray; allowed: an array of numbers"),
        (with_values(x=np.full((2, 4), 2**40)), "x that does not fit; allowed: values of int32"),
        (with_values(x=np.full((2, 4), 0.5)), "x that does not fit; allowed: values of int32"),
        (with_values(x=np.full((2, 4), np.nan)), "x that does not fit"),
        (with_values(x=np.full((2, 4), -1)), "x missing in some trials; allowed: a value in each"),
        (lambda answer: answer._replace(ticket=77), "answers 77, which nobody asked"),
        (lambda answer: answer._replace(values={}), "x NoneType"),
    ],
)
def test_answers_that_cannot_be_right(spoil, told, tmp_path):
    line = refused(tmp_path / "data.zarr", spoil)
    with pytest.raises(WorkerError, match=told):
        raise WorkerError(line)
    assert "\n" not in line


@pytest.mark.parametrize("name", ["jax", "vecsim", "vecsim's own files", "mine/blizzard.py"])
def test_workers_that_differ(name, tmp_path):
    """Where any version, or any file of code, is another one than here."""

    def spoil(answer):
        code = {**dict(answer.worker.code), name: "other"}
        return answer._replace(worker=answer.worker._replace(code=tuple(code.items())))

    line = refused(tmp_path / "data.zarr", spoil, ConfigError)
    assert f" has {name} other, process " in line
    assert line.endswith("; allowed: the same versions, and the same code, in every process")


def test_what_was_computed_where(tmp_path):
    """Two hosts, in two runs: all in the attributes, with what they took."""
    path, study = tmp_path / "data.zarr", made.study(VALUES, 40)

    class Elsewhere(InProcess):
        def __init__(self, work, host: str, most: float):
            super().__init__(work)
            self.host, self.most = host, most

        def next(self):
            if self.most == 0:
                raise JobKilled("gone")
            self.most -= 1
            answer = super().next()
            return answer._replace(worker=answer.worker._replace(host=self.host), core_s=2.0)

    with pytest.raises(JobKilled, match="gone"):
        made.run(study, path, lambda work: Elsewhere(work, "north", 7))
    made.run(study, path, lambda work: Elsewhere(work, "south", math.inf))
    workers = json.loads(store.open(path).attrs["workers"])
    assert [(each["host"], each["chunks"], each["core_s"]) for each in workers] == [
        ("north", 7, 14.0),
        ("south", 23, 46.0),
    ]
