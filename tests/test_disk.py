"""Stores that were changed behind vecsim's back, by accident or by hand, and links out of them."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from test_store import CONFIG, CREATE, LAYOUT, VARIABLES, refusal, run, tree, value

from vecsim.results import disk, files
from vecsim.results import store as stores
from vecsim.results.store import Layout, Store, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.zarr"


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """The files of a finished store."""
    run(tmp_path / "whole" / "study.zarr")
    return tree(tmp_path / "whole" / "study.zarr")


def unread(path: Path) -> str:
    """The line with which both reading and going on are refused."""
    with pytest.raises(StoreError) as caught:
        stores.open(path)
    assert str(caught.value) == refusal(path)
    return str(caught.value)


EDITS = {
    "fewer trials": ("vecsim/zarr.json", '"trials": 10', '"trials": 9'),
    "absurdly many trials": ("vecsim/zarr.json", '"trials": 10', '"trials": 1' + "0" * 300),
    "another value": ("vecsim/zarr.json", "0.1", "0.3"),
    "a scale factor": ("vecsim/zarr.json", '"units": "rounds"', '"scale_factor": 2.0'),
    "another format": ("vecsim/zarr.json", '"zarr_format": 3', '"zarr_format": 2'),
    "endless brackets": ("vecsim/zarr.json", "{", "[" * 100_000),
    "another seed": ("zarr.json", '"seed": 7', '"seed": 8'),
    "another k": ("zarr.json", r"\"k\": 20", r"\"k\": 21"),
    "complete by hand": ("zarr.json", '"complete": 0', '"complete": 1'),
    "root of brackets": ("zarr.json", "{", "[" * 100_000),
    "a checksum": ("vecsim/checksums", "a", "b"),
    "a scale factor for zarr": ("rounds/zarr.json", '"units": "rounds"', '"scale_factor": 2.0'),
}


@pytest.mark.parametrize("case", EDITS)
def test_an_edit_of_what_never_changes_is_refused(path: Path, case: str):
    name, before, after = EDITS[case]
    run(path, until=5)
    text = (path / name).read_text()
    assert before in text
    (path / name).write_text(text.replace(before, after, 1))
    assert unread(path) == (
        f"{path} is damaged: {name} was changed or cut off; choose another output or delete it"
    )


def test_marks_deleted_from_a_finished_store(path: Path, whole: dict):
    run(path)
    (path / "vecsim/marks/0.1.2").unlink()
    line = f"{path} was complete and lacks vecsim/marks/0.1.2"
    again = "; the command that made it computes what is missing"
    with pytest.raises(StoreError, match=f"{re.escape(line + again)}$"):
        stores.open(path)
    (path / "vecsim/marks/0.0.0").unlink()
    with pytest.raises(StoreError, match=r"lacks vecsim/marks/0\.0\.0 and 1 more;"):
        stores.open(path)
    run(path)
    assert tree(path) == whole


def test_one_bad_chunk_does_not_cost_the_rest(path: Path, whole: dict):
    for name in ("rounds/c/0/1/1", "vecsim/marks/0.1.1"):
        run(path)
        kept = (path / "rounds/c/0/0/1").stat()
        content = bytearray((path / name).read_bytes())
        content[len(content) // 2] ^= 1
        (path / name).write_bytes(content)
        line = unread(path)
        mark = re.search(r"; delete (\S+) to have its chunk computed again$", line)
        assert mark
        assert Path(mark[1]) == path / "vecsim/marks/0.1.1"
        Path(mark[1]).unlink()
        run(path)
        assert tree(path) == whole
        assert (path / "rounds/c/0/0/1").stat() == kept
        shutil.rmtree(path)


def test_many_bad_chunks_are_told_at_once(path: Path, whole: dict):
    run(path)
    os.truncate(path / "rounds/c/0/1/1", 0)
    (path / "decided_1/c/0/0/2").unlink()
    os.truncate(path / "decided_1/c/1/0/2", 3)
    line = unread(path)
    found = re.fullmatch(r".*: 3 chunks .*; delete in (\S+) .* again: (\S+) (\S+) (\S+)", line)
    assert found
    for name in found.groups()[1:]:
        (Path(found[1]) / name).unlink()
    run(path)
    assert tree(path) == whole


def test_a_chunk_in_another_place_is_refused(path: Path):
    """Both marks and all files swapped, or taken from a study with another seed."""
    run(path)
    parts = [*(f"{v.name}/c/" for v in VARIABLES), "vecsim/marks/"]
    for part in parts:
        dot = "." if "marks" in part else "/"
        one, other = (path / part / dot.join(index) for index in ("000", "010"))
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
    assert "vecsim/marks/0.0.0 is not a mark" in unread(path)
    run(path.with_name("other.zarr"), config=CONFIG | {"seed": 8})
    shutil.rmtree(path)
    run(path)
    for part in parts:
        shutil.rmtree(path / part)
        shutil.copytree(path.with_name("other.zarr") / part, path / part)
    assert "vecsim/marks/0.0.0 is not a mark" in unread(path)


def test_an_older_format_is_refused_by_its_number(path: Path):
    run(path)
    text = (path / "vecsim/zarr.json").read_text()
    (path / "vecsim/zarr.json").write_text(text.replace(f'"format": {disk.FORMAT}', '"format": 1'))
    (path / "vecsim/checksums").unlink()
    assert unread(path) == (
        f"{path} has format 1, and this vecsim reads {disk.FORMAT}; "
        "choose another output or the vecsim that wrote it"
    )


def test_no_checksums(path: Path):
    run(path)
    (path / "vecsim/checksums").unlink()
    assert "vecsim/checksums is missing" in unread(path)


def test_killed_while_it_finished(path: Path, whole: dict, monkeypatch):
    """Between the checksum of the new metadata and the metadata."""

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            run(path)
    with monkeypatch.context() as patch:
        patch.setattr(disk, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run(path)
    assert stores.open(path).attrs["complete"] == 0
    run(path)
    assert tree(path) == whole


def test_a_store_made_by_hand(path: Path):
    """With right checksums of what makes no sense, or of more than any memory holds."""

    def forged(text: str) -> None:
        (path / "vecsim/zarr.json").write_text(text)
        listed = dict(files.read_checksums(path / "vecsim/checksums"))
        listed["vecsim/zarr.json"] = files.file_digest(text.encode())
        files.write_checksums(path / "vecsim/checksums", listed.items())

    run(path, until=0)
    text = (path / "vecsim/zarr.json").read_text()
    forged(text.replace('"trials": 10', f'"trials": {2**50}'))
    with pytest.raises(StoreError, match="holds more than fits into memory"):
        stores.open(path)
    for wrong in ("[" * 100_000, "[1]", '{"attributes": {}}', text.replace('"rounds"', '".."')):
        forged(wrong)
        assert "its metadata has no meaning" in unread(path)


LINKED = ["rounds/c", "rounds/c/0", "rounds/c/0/0/1", "vecsim/marks", "vecsim/lock", "vecsim/part"]


@pytest.mark.parametrize("name", LINKED)
def test_no_link_is_followed(path: Path, name: str, tmp_path: Path):
    """Going on with a store whose chunk folder was a link deleted all the files behind it."""
    run(path, until=5)
    outside = tmp_path / "outside"
    if (path / name).is_dir():
        shutil.move(path / name, outside)
        (outside / "thesis.txt").write_text("years of work")
    else:
        (path / name).unlink(missing_ok=True)
        outside.write_text("years of work")
    (path / name).symlink_to(outside)
    before = tree(outside)
    assert unread(path) == f"{path / name} is no ordinary file; delete it"
    assert tree(outside) == before
    assert outside.is_dir() or outside.read_text() == "years of work"


def test_a_pipe_is_not_waited_for(path: Path):
    run(path)
    (path / "rounds/c/0/0/1").unlink()
    os.mkfifo(path / "rounds/c/0/0/1")
    assert unread(path) == f"{path / 'rounds/c/0/0/1'} is no ordinary file; delete it"


def test_the_store_itself_may_be_behind_a_link(path: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    run(path)
    assert stores.open(path).attrs["complete"] == 1
    assert path.is_symlink()


def test_files_of_others_are_left_alone(path: Path):
    run(path, until=5)
    strange = [path / "rounds/c/notes.txt", path / "rounds/c/0/0/1.bak", path / "vecsim/readme"]
    for file in strange:
        file.write_text("mine")
    run(path)
    assert [file.read_text() for file in strange] == ["mine"] * 3


@pytest.mark.parametrize("kind", ["link", "file", "folder"])
def test_what_is_in_the_way_of_a_new_store_is_left_alone(path: Path, kind: str, tmp_path: Path):
    new, outside = path.with_name(f".{path.name}.new"), tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.txt").write_text("years of work")
    if kind == "link":
        new.symlink_to(outside)
    elif kind == "file":
        new.write_text("years of work")
    else:
        shutil.copytree(outside, new)
    assert refusal(path) == f"{new} is in the way; delete it or choose another output"


def test_names_stay_in_the_store(tmp_path: Path):
    for name in ("..", ".hidden", "a/b", ""):
        layout = Layout({name: [1]}, 1, (1, 1), ())
        with pytest.raises(ValueError, match="a name in the study is"):
            Store.open_or_create(tmp_path / "study.zarr", layout, CONFIG, CREATE)


def test_values_survive_all_this(path: Path):
    """That what is read back is what was written, trial for trial."""
    run(path)
    data = stores.open(path)
    region = LAYOUT.region((1, 1, 2))
    assert (data.decided_1.values[region] == value(LAYOUT, (1, 1, 2))["decided_1"]).all()
    assert json.loads(data.attrs["config"]) == CONFIG
