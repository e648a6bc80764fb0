"""Metrics, and what they read at a moment."""

from typing import Any, NamedTuple


class Metric(NamedTuple):
    """One metric of Prometheus.

    name: with its unit, and `_total` where it only grows. help: what it is, for readers. labels:
    their names. source: of a scenario's metric, whether it is measured or modelled.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    source: str = ""

    @property
    def grows(self) -> bool:
        """Whether it is a counter; else it is a gauge."""
        return self.name.endswith("_total")


class Reading(NamedTuple):
    """The value of a metric for one set of values of its labels, in their order."""

    metric: Metric
    labels: tuple[Any, ...]
    value: float
