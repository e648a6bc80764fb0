"""Files that are whole or not there, with a checksum at their end that shows whether they changed.

Checksums find damage and careless edits, not forgeries: anyone can compute a new one.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SEAL = re.compile(rb"\nvecsim sha256 ([0-9a-f]{64})\n")  # the last line of a sealed file
LENGTH = 80  # bytes of a seal: two line ends, 14 of words and spaces, 64 digits


class StoreError(Exception):
    """A line that says what is wrong with a file and what to do about it."""


@contextlib.contextmanager
def one_line(path: str | Path) -> Iterator[None]:
    """Turns an error of the operating system into a StoreError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise StoreError(f"{path}: {reason}") from error


def damaged(path: Path, what: str) -> StoreError:
    """The error of a damaged file. what: the damage, in words."""
    return StoreError(f"{path} is damaged: {what}; choose another output or delete it")


def file_digest(content: bytes | memoryview) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def json_digest(described: Any) -> str:
    """SHA-256 of what JSON can hold, 64 hexadecimal digits; the order of keys does not matter."""
    return file_digest(json.dumps(described, sort_keys=True).encode())


def hash64(described: Any) -> int:
    """64 bits that stand for what JSON can hold: the first of its digest."""
    return int(json_digest(described)[:16], 16)


def write(path: Path, data: bytes | memoryview, part: Path | None = None) -> None:
    """Write a file whole or not at all; a link there is replaced, never followed.

    part: the file while it is written, in the same file system; default PATH.part.
    """
    part = part or Path(f"{path}.part")
    part.unlink(missing_ok=True)  # left by a process that was killed, or a link
    try:
        with part.open("xb") as file:
            file.write(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)  # the disk may be full
        raise


def write_sealed(path: Path, data: bytes | memoryview) -> None:
    """`write`, with a line at the end of the file that holds the checksum of all before it."""
    write(path, b"".join((data, f"\nvecsim sha256 {file_digest(data)}\n".encode())))


def read_sealed(path: Path) -> bytes:
    """What `write_sealed` wrote; StoreError where the file has changed or never had a seal."""
    with one_line(path):
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise StoreError(f"{path} is no ordinary file")
        content = path.read_bytes()
    seal = SEAL.fullmatch(content[-LENGTH:])
    if not seal:
        what = "it was cut off, or written by an older vecsim or another program"
        raise StoreError(f"{path} has no vecsim checksum at its end: {what}")
    data = content[:-LENGTH]
    if file_digest(data).encode() != seal[1]:
        raise damaged(path, "it differs from the checksum at its end")
    return data


def require_own(folder: Path) -> None:
    """StoreError where a folder holds a link, a pipe or the like, which leads to other files."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                require_own(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry):
                raise StoreError(f"{entry.path} is no ordinary file; delete it")


def write_checksums(file: Path, listed: Iterable[tuple[str, str]]) -> None:
    """Save (name, digest) of files as lines of text; a file may be listed with several."""
    text = "".join(f"{checksum}  {name}\n" for name, checksum in listed)
    write_sealed(file, text.encode())


def read_checksums(file: Path) -> list[tuple[str, str]]:
    """What `write_checksums` saved; StoreError where it has changed since."""
    lines = read_sealed(file).decode().splitlines()
    return [(name, checksum) for checksum, _, name in (line.partition("  ") for line in lines)]
