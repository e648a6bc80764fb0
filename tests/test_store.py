"""Stores: resumption after any interruption, refusals that change nothing, joined jobs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import timeit
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from vecsim.results import jobs, netcdf
from vecsim.results import store as stores
from vecsim.results.chunks import Chunks
from vecsim.results.store import Layout, Store, StoreError, Variable

VARIABLES = (
    Variable("decided_0", "int32", {"long_name": "decided 0", "units": "nodes", "modelled": True}),
    Variable("decided_1", "int32", {"long_name": "decided 1", "units": "nodes"}),
    Variable("rounds", "float64", {"long_name": "rounds", "units": "rounds"}),
)
LAYOUT = Layout({"fraction": [0.0, 0.1, 0.2], "kind": ["a", "b"]}, 10, (2, 1, 4), VARIABLES)
CONFIG = {"n": 100, "protocol": {"k": 20, "alpha": 15}, "sweep": {"fraction": [0, 0.1, 0.2]}}
CREATE = {"kind": "decisions", "seed": 7, "versions": {"numpy": "2"}, "wall": None}


def value(layout: Layout, index: tuple[int, ...]) -> dict[str, np.ndarray]:
    region = layout.region(index)
    number = np.arange(np.prod(layout.shape)).reshape(layout.shape)[region]
    rounds = np.where(number % 5 == 0, np.nan, number / 4)
    missing = index == (0, 0, 0)  # a chunk without a single value is done all the same
    decided = np.full_like(number, -1) if missing else number
    return {"decided_0": decided, "decided_1": decided // 2, "rounds": rounds}


def run(path: Path, layout: Layout = LAYOUT, config: dict = CONFIG, until: int | None = None):
    """Run the chunks that are not done, `until` a number of them, and finish."""
    with Store.open_or_create(path, layout, config, CREATE) as store:
        for index in list(np.ndindex(*layout.grid))[:until]:
            if not store.done[index]:
                store.write(index, value(layout, index))
        if until is None:
            store.finish({"wall_s": 1.5, "device": {"kind": "cpu"}})


def tree(path: Path) -> dict[str, bytes]:
    files = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def refusal(path: Path, layout: Layout = LAYOUT, config: dict = CONFIG) -> str:
    """The line of a refusal, which must leave every byte around the store as it was."""
    before = tree(path.parent)
    with pytest.raises(StoreError) as caught:
        Store.open_or_create(path, layout, config, CREATE)
    assert tree(path.parent) == before
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.zarr"


def test_the_bytes_are_those_that_zarr_writes(path):
    """Whole chunks, those at the ends of the grid, and one without a single value."""
    run(path)
    before = tree(path)
    with zarr.config.set({"array.write_empty_chunks": True}):
        arrays = {v.name: zarr.open_array(path / v.name, mode="r+") for v in VARIABLES}
        for file in path.glob("*/c/**/*"):
            if file.is_file() and file.parents[3].name in arrays:
                file.unlink()
        assert len(tree(path)) == len(before) - 3 * 12
        for index in np.ndindex(*LAYOUT.grid):
            for name, array in value(LAYOUT, index).items():
                arrays[name][LAYOUT.region(index)] = array
    assert tree(path) == before


def test_reads_back_through_xarray(path: Path):
    run(path)
    expected = {name: np.empty(LAYOUT.shape) for name, *_ in VARIABLES}
    for index in np.ndindex(*LAYOUT.grid):
        for name, values in value(LAYOUT, index).items():
            expected[name][LAYOUT.region(index)] = np.where(values == -1, np.nan, values)
    ours, plain = stores.open(path), xr.open_zarr(path, chunks=None)
    xr.testing.assert_identical(ours, plain.load())
    assert list(ours.decided_0.dims) == ["fraction", "kind", "trial"]
    assert ours.kind.values.tolist() == ["a", "b"]
    for name, values in expected.items():
        np.testing.assert_array_equal(ours[name], values)
    assert ours.attrs["complete"] == 1
    assert ours.attrs["seed"] == 7
    assert json.loads(ours.attrs["config"]) == CONFIG
    assert json.loads(ours.attrs["versions"]) == {"numpy": "2"}
    assert json.loads(ours.attrs["wall"]) is None
    assert json.loads(ours.decided_0.attrs["modelled"]) is True
    assert xr.open_zarr(path, chunks=None, consolidated=False).equals(ours)


def test_without_a_sweep(path: Path):
    layout = Layout({}, 5, (2,), VARIABLES[1:2])
    with Store.open_or_create(path, layout, {}, {}) as store:
        assert store.done.shape == (3,)
        store.write((2,), {"decided_1": np.array([4])})
        assert store.read((2,))["decided_1"].tolist() == [4]
    np.testing.assert_array_equal(stores.open(path).decided_1, [np.nan] * 4 + [4])


def test_integer_and_mixed_coordinates(path: Path):
    layout = Layout(
        {"n": [10, np.int64(20)], "beta": [1, 2.5], "mix": ["x", None]}, 1, (2,) * 4, ()
    )
    Store.open_or_create(path, layout, {}, {}).close()
    dataset = stores.open(path)
    assert dataset.n.dtype == np.int64
    assert dataset.beta.dtype == np.float64
    assert dataset.mix.values.tolist() == ["x", "null"]
    Store.open_or_create(path, layout, {}, {}).close()


def test_wrong_calls(path: Path):
    with Store.open_or_create(path, LAYOUT, CONFIG, CREATE) as store:
        good = value(LAYOUT, (0, 0, 0))
        with pytest.raises(ValueError, match="chunk"):
            store.write((0, 0, 2), good)  # the last chunk is smaller
        with pytest.raises(ValueError, match="chunk"):
            store.write((0, 0, 0), {"rounds": good["rounds"]})
        with pytest.raises(ValueError, match="no chunk"):
            store.write((2, 0, 0), good)
        with pytest.raises(ValueError, match="not done"):
            store.read((0, 0, 0))
        assert not store.done.any()
    for wrong in (
        LAYOUT._replace(chunks=(1, 4)),
        LAYOUT._replace(trials=0),
        LAYOUT._replace(coords={"trial": [1], "kind": ["a"]}),
        LAYOUT._replace(variables=(Variable("x", "int8", {}),)),
    ):
        with pytest.raises(ValueError, match=r"chunks|a name|int32"):
            Store.open_or_create(path.with_name("other.zarr"), wrong, CONFIG, CREATE)


def test_resumes_to_the_same_files(path: Path, tmp_path: Path):
    run(tmp_path / "whole.zarr")
    for until in (0, 1, 5, 11):
        run(path, until=until)
        dataset = stores.open(path)
        assert dataset.attrs["complete"] == 0
        assert dataset.rounds.notnull().any() == (until > 0)
        run(path)
        assert tree(path) == tree(tmp_path / "whole.zarr")
        shutil.rmtree(path)


def test_goes_on_from_any_state_of_a_killed_write(path: Path, tmp_path: Path):
    """Writing chunk 3 goes through these states; each must read as missing and be done again."""
    run(tmp_path / "whole.zarr")
    chunk = Path("c", "0", "1", "0")

    def unmarked(root: Path):
        (root / "vecsim/marks/0.1.0").unlink()

    def cut_before_the_mark(root: Path):
        unmarked(root)
        os.truncate(root / "rounds" / chunk, 7)

    def one_variable_written(root: Path):
        unmarked(root)
        for name in ("decided_1", "rounds"):
            (root / name / chunk).unlink()

    def part_files(root: Path):
        one_variable_written(root)
        (root / "decided_1" / chunk).with_suffix(".0123.partial").write_bytes(b"part")
        (root / "vecsim/part").write_text("12 3")

    for damage in (unmarked, cut_before_the_mark, one_variable_written, part_files):
        run(path, until=4)
        damage(path)
        dataset = stores.open(path)
        assert dataset.isel(fraction=[0, 1], kind=1, trial=slice(4)).rounds.isnull().all()
        with Store.open_or_create(path, LAYOUT, CONFIG, CREATE) as store:
            assert np.argwhere(store.done).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]
        run(path)
        assert tree(path) == tree(tmp_path / "whole.zarr"), damage.__name__
        shutil.rmtree(path)


def test_a_creation_that_was_killed_is_repeated(path: Path):
    path.mkdir()  # an empty directory is no obstacle
    for part in ("", "vecsim", "vecsim/marks", "decided_0"):
        (path.parent / ".study.zarr.new" / part).mkdir(parents=True)
        run(path)
        assert os.listdir(path.parent) == ["study.zarr"]
        shutil.rmtree(path)


WRITER = """
import sys, time
from pathlib import Path
sys.path[:0] = {path!r}
import test_store
slow = test_store.value
def value(layout, index):
    time.sleep(0.02)
    return slow(layout, index)
test_store.value = value
print("ready", flush=True)
test_store.run(Path(sys.argv[1]))
"""


def test_kill_minus_nine(path: Path, tmp_path: Path):
    run(tmp_path / "whole.zarr")
    code = WRITER.format(path=[str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE
    ) as process:
        while not (path / "vecsim/marks/0.0.1").exists():
            assert process.poll() is None
            time.sleep(0.005)
        message = refusal_while_written(path)
        process.send_signal(signal.SIGKILL)
    assert "another process" in message
    assert stores.open(path).attrs["complete"] == 0
    run(path)
    assert tree(path) == tree(tmp_path / "whole.zarr")


def test_an_interrupt_waits_for_the_chunk(path: Path, monkeypatch):
    """Ctrl-C while a chunk is being written: it is finished, and the next is not begun."""

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return files(*arguments)

    files = Chunks.files
    monkeypatch.setattr(Chunks, "files", interrupted)
    handler = signal.default_int_handler  # the shell may have made it deaf
    before = signal.signal(signal.SIGINT, handler)
    with Store.open_or_create(path, LAYOUT, CONFIG, CREATE) as store:
        with pytest.raises(KeyboardInterrupt):
            store.write((0, 0, 1), value(LAYOUT, (0, 0, 1)))
        assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, before)
    monkeypatch.undo()
    with Store.open_or_create(path, LAYOUT, CONFIG, CREATE) as store:
        assert store.done[0, 0, 1]
        assert store.done.sum() == 1
        for name, values in value(LAYOUT, (0, 0, 1)).items():
            np.testing.assert_array_equal(store.read((0, 0, 1))[name], values)


def refusal_while_written(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        Store.open_or_create(path, LAYOUT, CONFIG, CREATE)
    return str(caught.value)


def test_one_writer(path: Path):
    with Store.open_or_create(path, LAYOUT, CONFIG, CREATE) as store:
        assert "another process" in refusal(path)
        store.write((0, 0, 0), value(LAYOUT, (0, 0, 0)))
        assert stores.open(path).attrs["complete"] == 0  # reading is free
    Store.open_or_create(path, LAYOUT, CONFIG, CREATE).close()
    store = Store.open_or_create(path, LAYOUT, CONFIG, CREATE)
    store.finish({})
    Store.open_or_create(path, LAYOUT, CONFIG, CREATE).close()


def test_refuses_what_is_not_a_store(path: Path):
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")
    (path / "vecsim").mkdir()
    assert "not a vecsim store" in refusal(path)
    with pytest.raises(StoreError, match="not a vecsim store"):
        stores.open(path)
    shutil.rmtree(path)
    path.write_text("a file")
    assert "not a vecsim store" in refusal(path)
    with pytest.raises(StoreError, match="does not exist"):
        stores.open(path.with_name("nowhere.zarr"))
    xr.Dataset({"x": 1}).to_zarr(path.with_name("other.zarr"), consolidated=False)
    assert "not a vecsim store" in refusal(path.with_name("other.zarr"))


def test_refuses_another_config(path: Path):
    run(path, until=2)
    other = {"n": 100, "protocol": {"k": 10, "beta": 20}, "seed": 1, "x": 0}
    message = refusal(path, config=other)
    assert "protocol.k is 20 there, 10 here" in message
    assert "protocol.beta is absent there, 20 here" in message
    assert "and 3 more" in message
    assert "delete it" in message


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"trials": 12}, "trials is 10 there, 12 here"),
        ({"chunks": (1, 1, 4)}, "chunks is [2, 1, 4] there, [1, 1, 4] here"),
        ({"coords": {"fraction": [0.0, 0.1, 0.3], "kind": ["a", "b"]}}, "coords.fraction is"),
        ({"coords": {"kind": ["a", "b"], "fraction": [0.0, 0.1, 0.2]}}, "dims is"),
        ({"variables": VARIABLES[:2]}, "variables is"),
    ],
)
def test_refuses_another_layout(path: Path, change: dict, named: str):
    run(path, until=2)
    layout = LAYOUT._replace(**change)
    if "kind" in change.get("coords", {}) and next(iter(change["coords"])) == "kind":
        layout = layout._replace(chunks=(1, 2, 4))
    message = refusal(path, layout)
    assert "another layout" in message
    assert named in message


DAMAGE = {
    "no root metadata": ("zarr.json", None, "zarr.json is missing"),
    "half the root metadata": ("zarr.json", 100, "zarr.json was"),
    "no array metadata": ("rounds/zarr.json", None, "rounds/zarr.json is missing"),
    "half the array metadata": ("rounds/zarr.json", 50, "rounds/zarr.json was"),
    "no coordinate": ("fraction/c/0", None, "fraction/c/0 is missing"),
    "no coordinate metadata": ("kind/zarr.json", None, "kind/zarr.json is missing"),
    "half the layout": ("vecsim/zarr.json", 100, "vecsim/zarr.json was"),
    "no layout": ("vecsim/zarr.json", None, "vecsim/zarr.json is missing"),
    "no chunk": ("rounds/c/0/0/1", None, "rounds, chunk 0.0.1, is missing"),
    "half a chunk": ("rounds/c/0/0/1", 9, "rounds, chunk 0.0.1, differs"),
    "an empty chunk": ("decided_1/c/0/0/0", 0, "decided_1, chunk 0.0.0, differs"),
    "half a mark": ("vecsim/marks/0.0.1", 3, "0.0.1"),
    "an empty mark": ("vecsim/marks/0.0.1", 0, "vecsim/marks/0.0.1 is not a mark"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_refuses_damage(path: Path, case: str):
    name, length, line = DAMAGE[case]
    run(path)
    if length is None:
        (path / name).unlink()
    else:
        os.truncate(path / name, length)
    message = refusal(path)
    assert "is damaged" in message
    assert line in message
    with pytest.raises(StoreError, match=re.escape(line)):
        stores.open(path)


@pytest.mark.parametrize(
    "name", ["rounds/c/0/0/1", "rounds/zarr.json", "fraction/c/0", "kind/c/0", "vecsim/marks/0.1.2"]
)
def test_refuses_a_changed_byte(path: Path, name: str):
    run(path)
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    assert "is damaged" in refusal(path)


def test_refuses_a_strange_mark(path: Path):
    run(path)
    for name in ("0.0.7", "0.0", "x", "00.0.0", "0.0.0.partial"):
        strange = path / "vecsim/marks" / name
        strange.write_text("1 2 3")
        assert f"vecsim/marks/{name} is not a mark" in refusal(path)
        strange.unlink()


def test_a_path_that_cannot_be(path: Path):
    path.write_text("a file")
    with pytest.raises(StoreError, match=re.escape(f"{path / 'below'}: ")):
        Store.open_or_create(path / "below", LAYOUT, CONFIG, CREATE)


def test_netcdf(path: Path):
    run(path)
    dataset, file = stores.open(path), path.with_suffix(".nc")
    netcdf.save_netcdf(dataset, file)
    loaded = stores.open(file)
    xr.testing.assert_identical(loaded, dataset)
    assert loaded.vecsim.rate("disagreement").trials.sum() == 52


def test_a_thousand_chunk_files_open_quickly(path: Path):
    """Beside xarray, best of three: whatever looks at all chunks for each of them takes far more
    than twice as long."""
    layout = Layout({"n": list(range(34))}, 1000, (1, 100), VARIABLES)
    run(path, layout)
    ways = (
        lambda: xr.open_zarr(path, chunks=None).load(),
        lambda: Store.open_or_create(path, layout, CONFIG, CREATE).close(),
        lambda: stores.open(path),
    )
    plain, begun, opened = (min(timeit.repeat(way, number=1, repeat=3)) for way in ways)
    assert max(begun, opened) < 2 * plain


def job(directory: Path, config: dict, fractions: list, until: int | None = None):
    layout = Layout({"fraction": fractions}, 4, (1, 2), VARIABLES)
    run(directory / "study.zarr", layout, config | {"sweep": {"fraction": fractions}}, until)


def test_collect_makes_dimensions_of_what_differs(tmp_path: Path):
    cases = [(10, 100, 0), (20, 100, 1), (20, 1000, 2), (20, 20, 10)]
    for k, n, number in cases:
        config = {"n": n, "protocol": {"k": k, "alpha": 15}, "precision": None}
        job(tmp_path / str(number), config, [0.0, 0.1])
    joined = jobs.collect(tmp_path)
    assert dict(joined.sizes) == {"n": 3, "k": 2, "fraction": 2, "trial": 4}
    assert joined.n.values.tolist() == [20, 100, 1000]
    for k, n, number in cases:
        single = stores.open(tmp_path / str(number) / "study.zarr")
        xr.testing.assert_equal(joined.sel(k=k, n=n, drop=True), single)
    assert joined.sel(k=10, n=1000).rounds.isnull().all()
    assert joined.vecsim.rate("disagreement").trials.sel(k=10, n=1000).values.tolist() == [0, 0]
    assert json.loads(joined.attrs["config"])["protocol"] == {"alpha": 15}
    assert [entry["job"] for entry in json.loads(joined.attrs["jobs"])] == [
        f"{number}/study.zarr" for *_, number in cases
    ]
    netcdf.save_netcdf(joined, tmp_path / "joined.nc")
    xr.testing.assert_equal(stores.open(tmp_path / "joined.nc"), joined)


def test_collect_joins_along_what_is_swept(tmp_path: Path):
    job(tmp_path / "1", {"n": 100}, [0.2, 0.3])
    job(tmp_path / "0", {"n": 100}, [0, 0.1])
    joined = jobs.collect(tmp_path)
    assert joined.rounds.dims == ("fraction", "trial")
    assert joined.fraction.values.tolist() == [0, 0.1, 0.2, 0.3]
    second = stores.open(tmp_path / "1" / "study.zarr")
    xr.testing.assert_equal(joined.isel(fraction=[2, 3]), second)


def test_collect_names(tmp_path: Path):
    for number, (name, beta, lag) in enumerate(
        [("Slush", None, 0), ("Snow", 20, 0), ("Snow", 20, 1)]
    ):
        protocol = {"_target_": f"vecsim.protocols.{name}", "lag": lag}
        config = {
            "protocol": protocol | ({"beta": beta} if beta else {}),
            "adversary": {"lag": lag},
        }
        job(tmp_path / str(number), config | {"trial": {"rounds": lag}}, [0])
    joined = jobs.collect(tmp_path)
    assert joined.protocol.values.tolist() == ["Slush", "Snow"]
    np.testing.assert_array_equal(joined.beta, [np.nan, 20])
    assert joined.beta.dims == ("protocol",)
    assert joined.rounds.dims == ("protocol", "protocol_lag", "fraction", "trial")
    for name in ("adversary_lag", "trial_rounds"):  # move together with it
        assert joined[name].dims == ("protocol_lag",)
        assert joined[name].values.tolist() == [0, 1]
    assert joined.vecsim.rate("disagreement").trials.values.max() == 4


def test_collect_refuses(tmp_path: Path):
    def line() -> str:
        with pytest.raises(StoreError) as caught:
            jobs.collect(tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no store" in line()
    job(tmp_path / "0", {"n": 100}, [0])
    job(tmp_path / "1", {"n": 200}, [0], until=1)
    (tmp_path / "2").mkdir()
    assert "1/study.zarr is unfinished" in line()
    assert "2 holds no store" in line()
    assert "missing='allow' leaves them out" in line()
    with pytest.warns(UserWarning, match=r"left out: 2 holds no store; 1/study.zarr is unfinished"):
        joined = jobs.collect(tmp_path, missing="allow")
    xr.testing.assert_equal(joined, stores.open(tmp_path / "0/study.zarr"))
    assert len(json.loads(joined.attrs["left_out"])) == 2
    (tmp_path / "2").rmdir()
    job(tmp_path / "1", {"n": 200}, [0])
    (tmp_path / "1/study.zarr/rounds/zarr.json").unlink()
    assert "rounds/zarr.json is missing" in line()
    shutil.rmtree(tmp_path / "1")
    job(tmp_path / "1", {"n": 100}, [0])
    assert "1/study.zarr holds a point that another job holds too" in line()
    shutil.rmtree(tmp_path / "1")
    run(tmp_path / "1" / "study.zarr")
    assert "has other dimensions" in line()
    with pytest.raises(StoreError, match="not a directory"):
        jobs.collect(tmp_path / "nowhere")
