"""How many nodes are Byzantine, as a share of them is rounded to a whole number; and how many equal
ones a weighted stake is worth."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vecsim.engines.agents.holdings import always_byzantine
from vecsim.model.point import Point
from vecsim.results.layout import Beside
from vecsim.studies.dimensions import Dimension

# Names of coordinates in the dataset.
_NAME, _EFFECTIVE = "byzantine_nodes", "effective_nodes"


def beside(dimensions: list[Dimension], points: list[Any]) -> Mapping[str, Beside]:
    """A coordinate with the number of Byzantine nodes, where their share is swept: along the share,
    and along the dimensions that change the number; not of a weighted stake, where it differs from
    trial to trial. points: one for each combination of values."""
    swept = [any("byzantine_fraction" in p.key for p in d.parameters) for d in dimensions]
    if not any(swept) or any(map(_weighted, points)):
        return {}
    about = {"long_name": "Byzantine nodes", "units": "nodes"}
    return {_NAME: _along(dimensions, swept, [point.byzantine for point in points], about)}


def effective(dimensions: list[Dimension], points: list[Any]) -> Mapping[str, Beside]:
    """A coordinate with how concentrated the stake is, along the dimensions that change it; none
    where no point has a weighted stake, or all have the same. points: as of `beside`."""
    if not any(map(_weighted, points)):
        return {}
    numbers = [point.stake.effective(point.n) if _weighted(point) else point.n for point in points]
    if len(set(numbers)) == 1:
        return {}
    told = "nodes with equal holdings that would be as concentrated, 1 / sum(share**2)"
    about = {"long_name": told, "units": "nodes"}
    return {_EFFECTIVE: _along(dimensions, [False] * len(dimensions), numbers, about)}


def _along(dimensions: list[Dimension], kept: list[bool], numbers: list, about: dict) -> Beside:
    """Numbers of all points, without the dimensions along which they do not change, but for those
    that are kept."""
    array = np.reshape(numbers, [len(d.values) for d in dimensions])
    kept = [own or bool(np.ptp(array, axis=i).any()) for i, own in enumerate(kept)]
    values = array[tuple(slice(None) if keep else 0 for keep in kept)].ravel().tolist()
    return Beside(tuple(d.name for d, k in zip(dimensions, kept, strict=True) if k), values, about)


def range_of(points: Iterable[Any]) -> str:
    """In words, how many nodes of how many are Byzantine, fewest to most: `0 to 3 of 10 nodes
    Byzantine`; empty where none is.

    Of a weighted stake also the share that these nodes hold, which is not quite the one that was
    asked for; where nodes are Byzantine in random order that share differs from trial to trial, and
    what was asked for is told.
    """
    points = list(points)
    nodes = [point.nodes for point in points]
    if not any(point.byzantine for point in points):
        return ""
    if any(_weighted(point) and point.stake.byzantine == "random" for point in points):
        asked = _span([point.byzantine_share for point in points], ".4g")
        return f"{asked} of the stake Byzantine, or in each trial what comes nearest"
    counts, shares = zip(*map(_came, points), strict=True)
    told = f"{_span(counts, ',')} of {_span(nodes, ',')} nodes Byzantine"
    return (
        f"{told} with {_span(shares, '.4g')} of the stake" if any(map(_weighted, points)) else told
    )


def _came(point: Any) -> tuple[int, float]:
    """How many nodes are Byzantine in every trial, and the share that they hold."""
    if not _weighted(point):
        return point.byzantine, point.byzantine / point.nodes
    nodes, units = always_byzantine(point)
    return nodes, units / point.size


def _span(numbers: Iterable[float], form: str) -> str:
    """The least and the greatest number, or the one that all are. form: how each is written."""
    least, most = (format(f(numbers), form) for f in (min, max))
    return least if least == most else f"{least} to {most}"


def missing(points: Iterable[Any]) -> str:
    """In words, a kind of Byzantine nodes whose share is rounded to no node; empty without one."""
    for point in points:
        for name, nodes in point.adversary.told(point.byzantine).items():
            if point.byzantine and not nodes and not _weighted(point):
                return f"of {point.byzantine:,} Byzantine nodes none is of the kind {name}"
    return ""


def started(points: Iterable[Any]) -> str:
    """In words, a share of nodes that start at 1 (neither 0 nor 1) that is rounded to none of the
    honest nodes, or to all; empty without one."""
    for point in points:
        share, ones, honest = point.initial_accept, point.start_ones, point.honest
        known = not point.network.groups and not _weighted(point)
        if known and 0 < share < 1 and honest and ones in (0, honest):
            return f"initial_accept {share:g} is {ones} of {honest:,} honest nodes"
    return ""


def rounded(points: Iterable[Any]) -> str:
    """In words, shares of Byzantine nodes that are rounded to the same number of nodes, or one that
    is rounded to none; empty without any."""
    shares: dict[tuple[int, int], set[float]] = {}
    for point in points:
        if not _weighted(point):
            shares.setdefault((point.nodes, point.byzantine), set()).add(point.byzantine_share)
    alike = [(*key, sorted(found)) for key, found in shares.items() if len(found) > 1]
    alike += [(*key, sorted(f)) for key, f in shares.items() if key[1] == 0 and 0 not in f]
    if not alike:
        return ""
    nodes, number, found = alike[0]
    values = f"{', '.join(f'{share:g}' for share in found[:-1])} and " if len(found) > 1 else ""
    more = f", and {len(alike) - 1} more such" if len(alike) > 1 else ""
    verb = "are each" if values else "is"
    return f"byzantine_fraction {values}{found[-1]:g} {verb} {number} of {nodes:,} nodes{more}"


def _weighted(point: Any) -> bool:
    """Whether shares are of a stake of which nodes hold more or less than others."""
    return isinstance(point, Point) and point.stake.weighted
