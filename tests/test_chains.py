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


class Stopping(Shuffled):
    """Is interrupted after some answers."""

    left = 0

    def next(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().next()

    @classmethod
    def after(cls, answers: int, seed: int = 0):
        """Of a work: what makes it."""

        def made_of(work):
            executor = cls(work, seed, 4)
            executor.left = answers
            return executor

        return made_of


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

    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "data.zarr"
        try:
            made.run(study, here, Stopping.after(after, seed))
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


@pytest.fixture
def parts(whole, tmp_path):
    """A folder with both halves of the study."""
    for number in range(2):
        shard = Shard(number, 2)
        made.run(whole[0], tmp_path / shard.folder / "data.zarr", shard=shard)
    return tmp_path


@pytest.mark.parametrize("name", ["0-of-0", "0-of-1", "2-of-2", "00-of-02", "0-of-99999999999"])
def test_folders_that_are_no_shards(parts, name):
    (parts / "shards" / name).mkdir()
    with pytest.raises(StoreError, match=rf"shards/{name} is no shard of a study; delete it$"):
        merging.merge_shards(parts)
    assert not (parts / "data.zarr").exists()


@pytest.mark.parametrize("name", ["shards", "shards/1-of-2", "shards/1-of-2/data.zarr"])
def test_shards_that_are_links(parts, name):
    (parts / name).rename(parts / "elsewhere")
    (parts / name).symlink_to(parts / "elsewhere")
    with pytest.raises(StoreError, match=rf"{name} is a link; allowed: a folder$"):
        merging.merge_shards(parts)
    assert not (parts / "data.zarr").exists()


@pytest.mark.parametrize("number", [0, 1])
def test_a_second_store_that_one_shard_lacks(whole, parts, number):
    """Nothing is merged then, whichever shard it is."""
    path = parts / f"shards/{1 - number}-of-2/defended.zarr"
    made.run(whole[0], path, shard=Shard(1 - number, 2))
    told = rf"lacks shards {number}/2, whose commands have not begun defended.zarr; "
    with pytest.raises(StoreError, match=told):
        merging.merge_shards(parts)
    assert not (parts / "data.zarr").exists()


def test_shards_merged_into_what_is_there(whole, parts):
    """A store that another command began is filled; it tells of all that computed."""
    study, path = whole

    class Interrupted(InProcess):
        def next(self):
            answer = super().next()
            if answer.ticket == 3:
                raise KeyboardInterrupt
            return answer._replace(worker=answer.worker._replace(host="north"))

    with pytest.raises(KeyboardInterrupt):
        made.run(study, parts / "data.zarr", Interrupted)
    for _ in range(2):
        merging.merge_shards(parts)
        assert chunks(parts / "data.zarr") == chunks(path)
        attrs = store.open(parts / "data.zarr").attrs
        hosts = [each["host"] for each in json.loads(attrs["workers"])]
        assert hosts[0] == "north"
        assert len(hosts) == 3
        assert len(json.loads(attrs["shards"])) == 2


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_shards_of_an_extension(whole, seed):
    """Of fewer trials and points first, stopped anywhere: the same files, nothing beside them."""
    study, path = whole
    choose = random.Random(seed)
    precise = study.precision
    fewer = made.study(VALUES[:3], 20, precise and precise._replace(max_trials=20))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2):
            shard = Shard(number, 2)
            here = Path(folder, shard.folder, "data.zarr")
            made.run(fewer, here, lambda work: Shuffled(work, seed, 3), shard=shard)
            while True:
                try:
                    made.run(study, here, Stopping.after(choose.randrange(2, 12)), shard=shard)
                    break
                except KeyboardInterrupt:
                    assert store.open(here).attrs["complete"] == 0
            assert [each.name for each in here.parent.iterdir()] == ["data.zarr"]
        merging.merge_shards(folder)
        assert chunks(Path(folder, "data.zarr")) == chunks(path)


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
    data = store.open(path)
    assert data["x"].notnull().sum() == 8
    assert sum(host["chunks"] for host in json.loads(data.attrs["workers"])) == 1
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
        (with_values(x=np.full((2, 4), 2**64 - 1, np.uint64)), "x that does not fit"),
        (with_values(y=np.full((2, 4), 2**53 + 1)), "y that does not fit; allowed: .* float64"),
        (with_values(x=np.full((2, 4), 7, object)), "x ndarray; allowed: an array of numbers"),
        # Its mask hides that all is missing.
        (with_values(x=np.ma.masked_equal(np.full((2, 4), -1), -1)), "x MaskedArray; allowed"),
        (with_values(z=np.zeros((2, 4))), "answers with 'z'; allowed: x, y"),
        (lambda answer: answer._replace(ticket=77), "answers 77, which nobody asked"),
        (lambda answer: answer._replace(ticket=0), "answers 0, which nobody asked"),
        (lambda answer: answer._replace(values={}), "x NoneType"),
        (lambda _: None, "answers with a broken NoneType; allowed: an answer of a vecsim worker"),
        (lambda answer: answer._replace(ticket=[1]), "answers with a broken Answer"),
        (lambda answer: answer._replace(values=None), "answers with a broken Answer"),
        (lambda answer: answer._replace(worker=None), "answers with a broken Answer"),
        (lambda answer: answer._replace(core_s=math.nan), "answers with a broken Answer"),
        (
            lambda answer: answer._replace(worker=answer.worker._replace(host="a\nb")),
            "answers with a broken Answer",
        ),
    ],
)
def test_answers_that_cannot_be_right(spoil, told, tmp_path):
    line = refused(tmp_path / "data.zarr", spoil)
    with pytest.raises(WorkerError, match=told):
        raise WorkerError(line)
    assert "\n" not in line


def test_answers_in_other_forms(tmp_path):
    """Bytes in another order, and memory that cannot be written or is there once: the same bits."""
    forms = [
        lambda array: array.astype(array.dtype.newbyteorder(">")),
        lambda array: np.asfortranarray(array),
        lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
    ]

    class Formed(InProcess):
        def next(self):
            answer = super().next()
            form = forms[answer.ticket % len(forms)]
            return with_values(**{k: form(v) for k, v in answer.values.items()})(answer)

    made.run(made.study(VALUES, 40), tmp_path / "one/data.zarr")
    made.run(made.study(VALUES, 40), tmp_path / "two/data.zarr", Formed)
    assert chunks(tmp_path / "two/data.zarr") == chunks(tmp_path / "one/data.zarr")


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
