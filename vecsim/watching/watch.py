"""A watch: while it lasts, what runs can be read in a file or at an address."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from vecsim.errors import ConfigError, require
from vecsim.results import files
from vecsim.watching.metric import Metric, Reading
from vecsim.watching.place import Address, WatchPlace

_EVERY_S = 5.0  # seconds between writes of the file: a third of Prometheus' usual interval
_RUNNING = Metric(
    "vecsim_running", "1 while the command computes, 0 in a file once it has ended.", ("output",)
)
_UPDATED = Metric(
    "vecsim_updated_timestamp_seconds",
    "When these values were read, seconds since 1970. If a file gets old while vecsim_running is "
    "1, its process was killed.",
    ("output",),
)
WATCH_METRICS = (_RUNNING, _UPDATED)


class Readable(Protocol):
    """Something that runs and can be read."""

    def readings(self) -> Iterable[Reading]:
        """What its metrics read now; called by other threads than the one that computes."""
        ...


class Watch:
    """Shows what its sources read. output: the folder of the results, which tells commands apart.

    sources: may be added to at any time.
    """

    def __init__(self, output: Path):
        self.output = str(output)
        self.sources: list[Readable] = []
        self.running = True

    def collect(self) -> Iterator[Any]:
        """The families of prometheus-client, as it calls for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        rows: dict[Metric, list[Reading]] = {}
        for each in [*self._own(), *(r for source in self.sources for r in source.readings())]:
            rows.setdefault(each.metric, []).append(each)
        for metric, readings in rows.items():
            made = CounterMetricFamily if metric.grows else GaugeMetricFamily
            family = made(metric.name, metric.help, labels=metric.labels)
            for each in readings:
                family.add_metric([str(label) for label in each.labels], each.value)
            yield family

    def _own(self) -> list[Reading]:
        own = (self.output,)
        return [Reading(_RUNNING, own, self.running), Reading(_UPDATED, own, time.time())]


@contextlib.contextmanager
def watched(place: WatchPlace | None, output: Path) -> Iterator[Watch | None]:
    """While this lasts a watch shows its sources at a place; None where there is none.

    ConfigError, before anything is shown, where the file cannot be written or the port not be had.
    A file stays, and says in the end that nothing runs.
    """
    if place is None:
        yield None
        return
    watch = Watch(output)
    shown = _written(place, watch) if isinstance(place, Path) else _served(place, watch)
    with shown:
        yield watch


@contextlib.contextmanager
def _served(place: Address, watch: Watch) -> Iterator[None]:
    """Shows it at an address."""
    import prometheus_client

    try:
        server, thread = prometheus_client.start_http_server(
            place.port, place.host, _registry(watch)
        )
    except OSError as error:
        told = f"watch is {place.said!r}; allowed: an address that can be had ({error.strerror})"
        raise ConfigError(told) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def _written(path: Path, watch: Watch) -> Iterator[None]:
    """Shows it in a file, which is replaced every few seconds."""
    import prometheus_client

    registry, over = _registry(watch), threading.Event()

    def write() -> None:
        files.write(path, prometheus_client.generate_latest(registry))

    def keep_writing() -> None:
        while not over.wait(_EVERY_S):
            with contextlib.suppress(OSError):  # the last one is told
                write()

    require(path.parent.is_dir(), "watch", str(path), "a file in a folder that is there")
    require(not path.is_dir(), "watch", str(path), "a file, not a folder")
    try:
        write()
    except OSError as error:
        told = f"watch is {str(path)!r}; allowed: a file that can be written ({error.strerror})"
        raise ConfigError(told) from error
    writer = threading.Thread(target=keep_writing, name="vecsim watch", daemon=True)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()
        watch.running = False
        try:
            write()
        except OSError as error:  # the results are as good as without it
            print(f"vecsim: watch: {path}: {error.strerror}", file=sys.stderr, flush=True)


def _registry(watch: Watch) -> Any:
    import prometheus_client

    registry = prometheus_client.CollectorRegistry(auto_describe=False)
    registry.register(watch)
    return registry
