"""How a process of the command stands to who has started it: its streams, and Ctrl-C."""

import _thread
import atexit
import contextlib
import os
import sys
import threading
from typing import Any

AGAIN_S = 0.05


def stand_in() -> None:
    """Where a standard stream is closed nothing is written, and no other file takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def drop_output() -> None:
    """What is still to be written to the standard output would be found wrong again at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def listen() -> None:
    """Hear Ctrl-C also where it falls into a callback, as JAX has one of the garbage collector:
    Python would tell of the exception there and go on."""
    told = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            again = threading.Timer(AGAIN_S, _thread.interrupt_main)  # the callback is over then
            again.daemon = True
            again.start()
        else:
            told(unraisable)

    sys.unraisablehook = hook


def leave_at_once(code: int) -> None:
    """End without taking the interpreter apart: XLA may still compute, and would crash then."""

    def leave() -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)

    atexit.register(leave)
