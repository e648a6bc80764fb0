"""How the process of a command deals with its standard streams and with Ctrl-C."""

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

AGAIN_S = 0.05  # seconds after which an interrupted callback has returned
# The message after Ctrl-C.
TOLD = "vecsim: stopped; the same command goes on from here"


def stand_in() -> None:
    """Replace closed standard streams, so that no other file takes their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def drop_output() -> None:
    """Discard further standard output: writing it at exit would raise the same error again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def exiting_on_interrupt(code: int) -> Iterator[None]:
    """Within this context Ctrl-C ends the process at once, with this exit code.

    For the time when libraries are loaded, in which an exception may cause a crash. A process that
    was started with Ctrl-C ignored still ignores it.
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
    """Heed Ctrl-C also in a callback, such as the one that JAX gives the garbage collector, in
    which Python would only print the exception and continue."""
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
    """Ignore Ctrl-C once all is done, while the interpreter is being torn down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def skip_teardown(code: int) -> None:
    """End without tearing the interpreter down, in which XLA would crash if it still computes."""

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    atexit.register(leave)
