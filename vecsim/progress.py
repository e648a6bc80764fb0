"""How far a run has come: a bar on a terminal, elsewhere a line now and then."""

import sys
import threading
import time

from vecsim.studies.tally import RunTally

FIRST = 2.0  # seconds until the first line without a terminal: short runs print none
LOG_EVERY = 10.0  # seconds between later lines, so that logs stay short
HOSTS_NAMED = 3  # hosts that a line names, so that it fits a terminal
DRAW_EVERY = 0.1  # seconds between redraws of the bar, which then looks continuous


class Pace:
    """How far a run has come and how fast it is, leaving out the first chunk, which compiles.

    tally: of the run. run, fresh: trials that were run, and all that are done, in the chunks after
    the first of which some trials had to be run. rounds_before: of nodes, up to the end of that
    first chunk.
    """

    def __init__(self, tally: RunTally):
        self.tally = tally
        self.run = self.fresh = 0
        self.rounds_before = 0.0
        self.started = self.last = time.monotonic()
        self.began: float | None = None  # when the first chunk had been compiled and run

    def advance(self, run: int, skipped: int) -> None:
        """Count trials that were run, and trials that were there or need not be run."""
        self.last = time.monotonic()
        if run and self.began is None:
            self.began, self.rounds_before = self.last, self.tally.node_rounds or 0.0
        elif run:
            self.run += run
            self.fresh += run + skipped

    @property
    def spent_s(self) -> float:
        """Seconds from the end of the first chunk to that of the last; the next one is running."""
        return self.last - self.began if self.began is not None and self.fresh else 0.0

    @property
    def trials_per_second(self) -> float | None:
        """None where nothing can be said yet."""
        return self.run / self.spent_s if self.spent_s else None

    @property
    def node_rounds_per_second(self) -> float | None:
        """None where nothing can be said yet, or rounds are not counted."""
        rounds, spent = self.tally.node_rounds, self.spent_s
        return (rounds - self.rounds_before) / spent if spent and rounds is not None else None

    @property
    def left_s(self) -> float | None:
        """Seconds until all is done, at this speed; None where nothing can be said yet."""
        if not self.fresh:
            return None
        left = self.spent_s * (self.tally.total - self.tally.passed) / self.fresh
        return max(left - (time.monotonic() - self.last), 0.0)

    def __str__(self) -> str:
        tally = self.tally
        points = f"{tally.passed // tally.trials:,} of {tally.points:,} points"
        elapsed, left_s = clock(time.monotonic() - self.started), self.left_s
        if self.began is None:
            return f"{points}, compiling and running the first, {elapsed}"
        if left_s is None:
            return f"{points}, {elapsed}"
        speed = self.trials_per_second
        told = f"{points}, {elapsed}, {f'{speed:,.0f} trials/s' if speed else 'fast'}"
        told = f"{told}, {clock(left_s)} left"
        return f"{told}, {_workers_and_hosts(tally)}" if tally.remote else told


def _workers_and_hosts(tally: RunTally) -> str:
    """How many workers have answered, and their hosts.

    An example: 12 workers on node1, node2, node3 and 1 more.
    """
    hosts = sorted({host.name for host in [*tally.hosts.values()]})
    workers = sum(len(host.processes) for host in [*tally.hosts.values()])
    more = f" and {len(hosts) - HOSTS_NAMED} more" if len(hosts) > HOSTS_NAMED else ""
    plural = "" if workers == 1 else "s"
    return f"{workers} worker{plural} on {', '.join(hosts[:HOSTS_NAMED])}{more}"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class Lines:
    """Prints a line after FIRST seconds and then one every LOG_EVERY seconds, also while a chunk is
    being computed; for logs and notebooks. A `vecsim.studies.tally.Reporter`."""

    def __init__(self):
        self._lock, self._over = threading.Lock(), threading.Event()

    def start(self, tally: RunTally) -> None:
        """Print what is there already, and begin to print lines."""
        self.pace = Pace(tally)
        if tally.done:
            print(f"{tally.done} of {tally.chunks} chunks are there already", flush=True)
        _tell_taken(tally)
        self._over.clear()
        self._thread = threading.Thread(target=self._tell, name="vecsim progress", daemon=True)
        self._thread.start()

    def advance(self, run: int, skipped: int) -> None:
        """Count trials, for the next line."""
        with self._lock:
            self.pace.advance(run, skipped)

    def tell(self, line: str) -> None:
        """Print a line."""
        print(f"vecsim: {line}", flush=True)

    def finish(self) -> None:
        """Stop printing; no line comes after this returns."""
        self._over.set()
        self._thread.join()

    def _tell(self) -> None:
        wait = FIRST
        while not self._over.wait(wait):
            wait = LOG_EVERY
            with self._lock:
                line = f"{self.pace.tally.passed / self.pace.tally.total:4.0%}, {self.pace}"
            try:
                print(line, flush=True)
            except (OSError, ValueError):  # the reader of the output has gone
                return


class Bar:
    """A progress bar on a terminal. A `vecsim.studies.tally.Reporter`."""

    def __init__(self):
        from rich.progress import BarColumn, Progress, TextColumn

        bar, text = BarColumn(30), TextColumn("{task.percentage:3.0f} %  {task.fields[pace]}")
        self.progress = Progress(bar, text, transient=True, refresh_per_second=1 / DRAW_EVERY)

    def start(self, tally: RunTally) -> None:
        """Print what is there already, and draw the bar."""
        self.pace = Pace(tally)  # read again whenever the bar is drawn
        _tell_taken(tally)
        self.task = self.progress.add_task("", total=tally.total, pace=self.pace)
        self.progress.start()

    def advance(self, run: int, skipped: int) -> None:
        """Count trials, and move the bar."""
        self.pace.advance(run, skipped)
        self.progress.update(self.task, completed=self.pace.tally.passed)

    def tell(self, line: str) -> None:
        """Print a line above the bar."""
        self.progress.console.print(f"vecsim: {line}", highlight=False)

    def finish(self) -> None:
        """Take the bar away."""
        self.progress.stop()


def reporter() -> Bar | Lines:
    """A bar on a terminal, else lines."""
    return Bar() if sys.stdout.isatty() else Lines()


def _tell_taken(tally: RunTally) -> None:
    if tally.taken:
        print(f"{tally.taken:,} of {tally.total:,} trials are there already", flush=True)
