"""How a process of the command stands to who has started it: its streams, and Ctrl-C."""

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

AGAIN_S = 0.05  # seconds, after which a callback that was interrupted has returned
TOLD = "vecsim: stopped; the same command goes on from here"


def stand_in() -> None:
    """Where a standard stream is closed nothing is written, and no other file takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def drop_output() -> None:
    """What is still to be written to the standard output would be found wrong again at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def exiting_on_interrupt(code: int) -> Iterator[None]:
    """While libraries are loaded, in whose midst an exception may be a crash, Ctrl-C ends all.

    Where whoever started the process wants it to be deaf to Ctrl-C, it stays so.
    """
    before = signal.getsignal(signal.SIGINT)

    def leave(*_: object) -> None:
        print(TOLD, file=sys.stderr, flush=True)
        os._exit(code)

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def listen() -> None:
    """Hear Ctrl-C also where it falls into a callback, as JAX has one of the garbage collector:
    Python would tell of the exception there and go on."""
    told = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            again = threading.Timer(AGAIN_S, _thread.interrupt_main)
            again.daemon = True
            again.start()
        else:
            told(unraisable)

    sys.unraisablehook = hook


def ignore_interrupts() -> None:
    """All is done: Ctrl-C comes too late, and finds an interpreter that is taken apart."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def skip_teardown(code: int) -> None:
    """End without taking the interpreter apart: XLA may still compute, and would crash then."""

    def leave() -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)

    atexit.register(leave)
