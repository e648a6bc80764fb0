"""Small studies at random hold together; `fuzz_runs.py` runs as many more as one likes."""

import pytest
from fuzz import composing
from fuzz_runs import run, small


def test_the_same_seed_gives_the_same_commands():
    with composing():
        first, second = small(5), small(5)
        assert [next(first) for _ in range(3)] == [next(second) for _ in range(3)]


@pytest.mark.parametrize("seed", range(12))
def test_a_small_study(seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with composing():
        words = next(small(seed))
    assert run(words, tmp_path / "here") == [], words
