"""Rules of the house that no linter knows: names that stand for one thing, files of one sitting."""

import ast
from collections import defaultdict

from vecsim import places

# Handed on, or done in other words, by another module: the same thing.
SAME = {"check", "collect", "open", "point", "run", "supports"}
MOST_LINES = 300
FILES = sorted(places.PACKAGE.rglob("*.py"))


def defined(file):
    """Public names that a module defines at its top."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


def test_a_public_name_stands_in_one_module():
    homes = defaultdict(list)
    for file in FILES:
        for name in set(defined(file)):
            homes[name].append(str(file.relative_to(places.PACKAGE)))
    assert len(homes) > 500
    twice = {name: files for name, files in homes.items() if len(files) > 1}
    assert twice.keys() == SAME


def test_a_file_is_read_at_one_sitting():
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert len(lengths) > 100
    assert {file for file, length in lengths.items() if length > MOST_LINES} == set()
    assert sorted(lengths.values())[len(lengths) // 2] < MOST_LINES / 2
