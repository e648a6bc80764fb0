"""A file with a number for each node, read into memory within bounds.

The file is text in UTF-8, or gzip of it, whatever its name is. Blank lines, and lines that start
with #, are skipped. Every other line is a row of cells, divided by commas, some perhaps in quotes,
as many in each row. A number is written as 12, 1.5 or 2e9, above 0 and finite; of more than 15
digits the first 15 or so count.

The numbers are in one column. With `column` the first row is a header, and the column is the one of
that name. Without, the first row is a header where no cell of it starts as a number does, and the
column is the only one that has a number in the first row that is no header.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import numpy as np

from vecsim.errors import LONGEST, ConfigError, require

MOST_NUMBERS = 1_000_000
MOST_MIB = 64  # of the file, and of the text in it: 1,000,000 lines of 67 bytes
LONGEST_LINE = 10_000  # characters
_NUMBER = "a number above 0, such as 12, 1.5 or 2e9"  # what is allowed

Row = tuple[int, list[str]]  # number of the line, from 1, and its cells


def read(path: str, column: str) -> bytes:
    """The numbers of a file, float64, little-endian, the largest first.

    ConfigError where there is no such file, or where it is not as described above.
    """
    named = isinstance(path, (str, Path)) and bool(str(path))
    require(named, "stake.path", path, "a file with a number for each node")
    require(isinstance(column, str), "stake.column", column, "the name of a column")
    file = Path(path)
    try:
        require(file.exists(), "stake.path", path, "a file that exists")
        # A pipe would be waited for without end.
        require(file.is_file(), "stake.path", path, "an ordinary file")
        with file.open("rb") as opened:
            content = opened.read(MOST_MIB * 2**20 + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        allowed = f"a file that can be read ({reason})"
        raise ConfigError(f"stake.path is {_short(path)}; allowed: {allowed}") from None
    require(len(content) <= MOST_MIB * 2**20, "stake.path", path, f"at most {MOST_MIB} MiB")
    return _numbers(content, path, column)


@lru_cache(maxsize=4)  # every point of a sweep reads the file
def _numbers(content: bytes, path: str, column: str) -> bytes:
    """The numbers of a file with this content. path: for messages."""
    where = f"stake.path {_short(path)}"
    rows = _rows(_text(content, path), where)
    chosen, rows = _column(rows, column, where)
    numbers: list[float] = []
    for line, cells in rows:
        value = _value(cells[chosen])
        good = 0 < value < math.inf
        require(good, f"line {line} of {where}", cells[chosen], _NUMBER)
        require(len(numbers) < MOST_NUMBERS, "stake.path", path, f"at most {MOST_NUMBERS} numbers")
        numbers.append(value)
    require(bool(numbers), "stake.path", path, "a file with at least one number")
    return np.sort(np.array(numbers, "<f8"))[::-1].tobytes()


def _text(content: bytes, path: str) -> str:
    """The text of a file, unpacked where it is gzip."""
    most = MOST_MIB * 2**20
    if content.startswith(b"\x1f\x8b"):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(most + 1)
        except (OSError, EOFError, zlib.error):
            require(False, "stake.path", path, "gzip that is not damaged")
        require(len(content) <= most, "stake.path", path, f"at most {MOST_MIB} MiB when unpacked")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse("stake.path", path, "text in UTF-8, or gzip of it")


def _rows(text: str, where: str) -> Iterator[Row]:
    """The rows of a file, each with as many cells as the first."""
    width = 0
    for line, words in enumerate(io.StringIO(text, newline=None), 1):
        name = f"line {line} of {where}"
        require(len(words) <= LONGEST_LINE, name, words, f"at most {LONGEST_LINE} characters")
        words = words.strip()
        if words and not words.startswith("#"):
            cells = _cells(words, name)
            width = width or len(cells)
            allowed = f"as many cells as in the first row, {width}"
            require(len(cells) == width, name, words, allowed)
            yield line, cells


def _cells(words: str, name: str) -> list[str]:
    """The cells of a line. name: of the line, for messages."""
    cells = words.split(",")
    if '"' in words:
        try:
            (cells,) = csv.reader([words], strict=True, skipinitialspace=True)
        except csv.Error:
            _refuse(name, words, "quotes in pairs, around a cell")
    return [cell.strip() for cell in cells]


def _column(rows: Iterator[Row], column: str, where: str) -> tuple[int, Iterator[Row]]:
    """The place of the column that has the numbers, and the rows without header."""
    line, cells = next(rows, (0, [""]))
    names = _short(", ".join(map(repr, cells)), str)
    if column:
        empty = f"a name in the header, but {where} is empty"
        require(line > 0, "stake.column", column, empty)
        good = cells.count(column) == 1
        require(good, "stake.column", column, f"what line {line} of {where} has once: {names}")
        return cells.index(column), rows
    if any(cells) and not any(map(_starts_number, cells)):
        line, cells = next(rows, (0, [""]))
    numeric = [i for i, cell in enumerate(cells) if not math.isnan(_value(cell))]
    if len(cells) == 1 or not line:
        numeric = [0]
    require(bool(numeric), f"line {line} of {where}", ",".join(cells), f"{_NUMBER}, in a cell")
    several = f"the name in a header, for line {line} of {where} has {len(numeric)} numbers"
    require(len(numeric) == 1, "stake.column", column, several)
    return numeric[0], _again((line, cells), rows) if line else rows


def _again(first: Row, rows: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rows


def _starts_number(cell: str) -> bool:
    """Whether a cell is meant as a number, well or badly written."""
    return cell[:1] in tuple("0123456789+-.") or cell.lower() in ("nan", "inf", "infinity")


def _value(cell: str) -> float:
    """The number in a cell, NaN where there is none. Python's own 1_000 is none."""
    try:
        return float(cell) if cell.isascii() and "_" not in cell else math.nan
    except ValueError:
        return math.nan


def _short(text: str, shown=repr) -> str:
    """The text, in a message."""
    text = shown(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _refuse(name: str, value: str, allowed: str) -> NoReturn:
    require(False, name, value, allowed)
    raise AssertionError
