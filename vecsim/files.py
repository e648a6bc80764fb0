"""Files that are whole or not there, and that say by a checksum at their end if they changed."""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

SEAL = re.compile(rb"\nvecsim sha256 ([0-9a-f]{64})\n")
LENGTH = 80  # bytes of a seal


class StoreError(Exception):
    """What is wrong with a file and what to do about it, in one line."""


@contextlib.contextmanager
def one_line(path: str | Path) -> Iterator[None]:
    """What the operating system refuses becomes a StoreError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise StoreError(f"{path}: {reason}") from error


def damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"{path} is damaged: {what}; choose another output or delete it")


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
    digest = hashlib.sha256(data).hexdigest()
    write(path, b"".join((data, f"\nvecsim sha256 {digest}\n".encode())))


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
    if hashlib.sha256(data).hexdigest().encode() != seal[1]:
        raise damaged(path, "it differs from the checksum at its end")
    return data
