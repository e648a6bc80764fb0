"""Progress of a scenario that runs: told at once, and then now and again."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console

from vecsim.scenario.verdict import plain_text

EVERY_S = 10.0  # of wall time between lines that stay: a log of a day's run remains readable


@contextlib.contextmanager
def telling(console: Console) -> Iterator[Callable[[str], None]]:
    """Gives a function that shows what is being done, a text: on a terminal as one line that
    changes, elsewhere as a line at first and then every ten seconds at most."""
    began, last = time.monotonic(), -EVERY_S

    def tell(text: str) -> None:
        nonlocal last
        spent = time.monotonic() - began
        line = f"  {plain_text(text)}, {spent:,.0f} s"
        if live:
            live.update(line)
        elif spent - last >= EVERY_S:
            last = spent
            console.print(line, markup=False, highlight=False)

    with console.status("starting") if console.is_terminal else contextlib.nullcontext() as live:
        yield tell
