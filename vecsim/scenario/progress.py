"""What is said while a scenario runs: at once, and then now and again."""

import time

from rich.console import Console

from vecsim.scenario.verdict import plain_text

EVERY_S = 10.0  # of wall time, between lines where they stay


class Progress:
    """On a terminal one line that changes, elsewhere a line at first and every ten seconds."""

    def __init__(self, console: Console):
        self.console, self.began, self.last = console, time.monotonic(), -EVERY_S
        self.live = console.status("starting") if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, text: str) -> None:
        """text: what is being done."""
        spent = time.monotonic() - self.began
        line = f"  {plain_text(text)}, {spent:,.0f} s"
        if self.live:
            self.live.update(line)
        elif spent - self.last >= EVERY_S:
            self.last = spent
            self.console.print(line, markup=False, highlight=False)
