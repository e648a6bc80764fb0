"""Standard streams that are closed, or that nobody reads any more."""

import contextlib
import os
import sys


def stand_in() -> None:
    """Where a standard stream is closed nothing is written, and no other file takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def drop_output() -> None:
    """What is still to be written to the standard output would be found wrong again at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
