"""Joined jobs: dimensions and coordinates of what differs, and which jobs there should be."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from vecsim.results import jobs
from vecsim.results import store as stores
from vecsim.results.join import join
from vecsim.results.store import Layout, Store, StoreError, Variable

VARIABLE = Variable("decided_1", "int32", {"units": "nodes"})


def made(number: int, command: str, **parameters) -> xr.Dataset:
    """A finished study of three trials, in one of which all is `number`."""
    options = {key: parameters.pop(key) for key in ("options",) if key in parameters}
    config: dict = {}
    for key, value in parameters.items():
        section, _, name = key.rpartition("__")
        (config.setdefault(section, {}) if section else config)[name] = value
    attrs = {"config": json.dumps(config), "command": f"vecsim {command}"}
    attrs |= {key: json.dumps(value) for key, value in options.items()}
    return xr.Dataset({"decided_1": ("trial", [float(number)] * 3)}, attrs=attrs)


def filled(data: xr.Dataset) -> bool:
    return bool(data.decided_1.notnull().all())


def test_protocols_are_one_dimension():
    """What an option decides is a coordinate of it, as the type that it is."""
    rules = {
        "slush": {"protocol___target_": "a.Slush", "protocol__k": 20},
        "snowflake": {"protocol___target_": "a.Snowflake", "protocol__k": 20, "protocol__beta": 20},
        "mainnet": {"protocol___target_": "a.Snowflake", "protocol__k": 30, "protocol__beta": 12},
    }
    data = join(
        {
            name: made(i, f"protocol={name}", options={"protocol": name}, **rule)
            for i, (name, rule) in enumerate(rules.items())
        }
    )
    assert data.decided_1.dims == ("protocol", "trial")
    assert data.protocol.values.tolist() == list(rules)
    assert filled(data)
    assert data.k.dims == data.beta.dims == ("protocol",)
    assert data.k.dtype == np.int64
    assert data.k.values.tolist() == [20, 20, 30]
    np.testing.assert_array_equal(data.beta, [np.nan, 20, 12])
    assert data.sel(protocol="mainnet").decided_1.values.tolist() == [2, 2, 2]


def test_what_moves_together_is_one_dimension():
    pairs = [(10, 8), (20, 15), (30, 23)]
    listed = {
        f"{k} {n}": made(k + n, f"protocol.k={k} n={n}", n=n, protocol__k=k, protocol__alpha=alpha)
        for k, alpha in pairs
        for n in (200, 100)
    }
    data = join(listed)
    assert dict(data.sizes) == {"n": 2, "k": 3, "trial": 3}
    assert data.alpha.dims == ("k",)
    assert data.alpha.values.tolist() == [8, 15, 23]
    assert filled(data)
    assert float(data.decided_1.sel(k=20, n=200)[0]) == 220


def test_what_two_decide_is_a_coordinate_of_both():
    cases = [(k, s) for k in (10, 20) for s in ("a", "b")]
    listed = {
        f"{k}{s}": made(k, f"protocol={s} k={k}", k=k, alpha=k + ord(s), options={"protocol": s})
        for k, s in cases
    }
    data = join(listed)
    assert data.decided_1.dims == ("protocol", "k", "trial")
    assert data.alpha.dims == ("protocol", "k")
    assert data.alpha.sel(protocol="b", k=20) == 118
    assert filled(data)


def test_words_and_truths():
    cases = [("complete", True, None), ("ring", False, "x")]
    listed = {w: made(0, f"network={w}", network=w, network_x=t, kind=m) for w, t, m in cases}
    data = join(listed)
    assert data.sizes == {"network": 2, "trial": 3}
    assert data.network.dtype.kind == "U"
    assert data.network_x.values.tolist() == [True, False]
    assert data.kind.values.tolist() == ["", "x"]


def test_jobs_that_sweep_keep_what_moves_with_it():
    """A coordinate beside a swept dimension is kept, with the dimensions along which it differs."""

    def swept(n: int, fractions: list, nodes: list) -> xr.Dataset:
        one = made(n, f"n={n}", n=n).expand_dims(fraction=fractions)
        return one.assign_coords(nodes=("fraction", nodes), rank=("fraction", range(len(nodes))))

    data = join({"0": swept(10, [0.1, 0.2], [1, 2]), "1": swept(20, [0.1, 0.2], [2, 4])})
    assert data.decided_1.dims == ("n", "fraction", "trial")
    assert data.nodes.dims == ("n", "fraction")
    assert data.nodes.values.tolist() == [[1, 2], [2, 4]]
    assert data["rank"].dims == ("fraction",)


def store(path: Path, n: int, until: int | None = None) -> None:
    config = {"n": n}
    with Store.open_or_create(path, Layout({}, 2, (1,), (VARIABLE,)), config, {}) as opened:
        for index in [(0,), (1,)][:until]:
            opened.write(index, {"decided_1": np.array([n])})
        if until is None:
            opened.finish({})


@pytest.fixture
def multirun(tmp_path: Path) -> Path:
    """Of three jobs two are done, one of them elsewhere."""
    folder = tmp_path / "multirun" / "study"
    jobs.write_list(folder, "vecsim n=1,2,3", [["n=1"], ["n=2"], ["n=3"]])
    store(folder / "study-1" / "data.zarr", 1)
    store(tmp_path / "elsewhere" / "data.zarr", 2)
    jobs.write_record(folder, ["n=1"], state="done", output="study-1")
    jobs.write_record(folder, ["n=2"], state="done", output=str(tmp_path / "elsewhere"))
    return folder


def refusal(*arguments, **named) -> str:
    with pytest.raises(StoreError) as caught:
        jobs.collect(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_jobs_that_are_missing_are_named(multirun: Path):
    assert "job n=3 never began" in refusal(multirun)
    with pytest.warns(UserWarning, match="job n=3 never began"):
        assert jobs.collect(multirun, missing="allow").n.values.tolist() == [1, 2]
    jobs.write_record(multirun, ["n=3"], state="refused", told="n is 3; allowed: less")
    assert "job n=3 was refused: n is 3; allowed: less" in refusal(multirun)
    jobs.write_record(multirun, ["n=3"], state="begun", output="study-3")
    assert "study-3, where no store is" in refusal(multirun)
    store(multirun / "study-3" / "data.zarr", 3, until=1)
    assert "study-3/data.zarr is unfinished" in refusal(multirun)
    with pytest.warns(UserWarning, match=r"study-3/data\.zarr is unfinished"):
        assert jobs.collect(multirun, missing="allow").n.values.tolist() == [1, 2]
    store(multirun / "study-3" / "data.zarr", 3)
    assert jobs.collect(multirun).n.values.tolist() == [1, 2, 3]
    shutil.rmtree(multirun.parents[1] / "elsewhere")
    assert "job n=2 wrote to " in refusal(multirun)


def test_multiruns_are_told_apart(multirun: Path):
    jobs.write_list(multirun, "vecsim n=3,1", [["n=3"], ["n=1"]])
    store(multirun / "study-3" / "data.zarr", 3)
    jobs.write_record(multirun, ["n=3"], state="done", output="study-3")
    line = refusal(multirun)
    assert "holds 2 multiruns: " in line
    assert "(vecsim n=1,2,3)" in line
    names = sorted(path.stem.removeprefix("jobs-") for path in multirun.glob("jobs-*.json"))
    found = {tuple(jobs.collect(multirun, multirun=name).n.values.tolist()) for name in names}
    assert found == {(1, 3), (1, 2, 3)}
    assert jobs.collect(multirun, multirun="all").n.values.tolist() == [1, 3]
    assert "multirun is 'x'; allowed: " in refusal(multirun, multirun="x")


def test_several_folders_and_stores(tmp_path: Path):
    for n in (1, 2, 3):
        store(tmp_path / str(n) / "job" / "data.zarr", n)
    listed = [tmp_path / "1", tmp_path / "3", tmp_path / "2" / "job" / "data.zarr"]
    assert jobs.collect(listed).n.values.tolist() == [1, 2, 3]


def test_jobs_of_two_stores(tmp_path: Path):
    for n in (1, 2):
        store(tmp_path / str(n) / "data.zarr", n)
        store(tmp_path / str(n) / "defended.zarr", 10 * n)
    assert "holds data, defended; allowed: store='data' or store='defended'" in refusal(tmp_path)
    assert jobs.collect(tmp_path, store="data").n.values.tolist() == [1, 2]
    assert jobs.collect(tmp_path, store="defended").n.values.tolist() == [10, 20]
    assert "store is 'x'; allowed: data, defended" in refusal(tmp_path, store="x")


def test_the_folder_opens_its_store(tmp_path: Path):
    store(tmp_path / "data.zarr", 1)
    xr.testing.assert_identical(stores.open(tmp_path), stores.open(tmp_path / "data.zarr"))
    store(tmp_path / "defended.zarr", 1)
    with pytest.raises(StoreError, match=r"holds data.zarr and defended.zarr; allowed: .*data.z"):
        stores.open(tmp_path)
