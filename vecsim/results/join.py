"""The jobs of a multirun as one dataset."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np
import xarray as xr

from vecsim.results.layout import labels, leaves

Codes = dict[str, list[int]]  # by column: equal numbers where the jobs have equal values
CLASSES = ("_target_", "class")  # keys of a component's section that name its class


def join(jobs: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Join finished studies, given by name; ValueError, one line, where they do not fit.

    What differs between the jobs becomes a dimension, named by the last part of its key, unless the
    jobs sweep it: then they are joined along it. Of parameters that move together one becomes the
    dimension and the others coordinates of it: first the option of a group (protocol=...), then
    what was set by hand. Points of no job are missing.
    """
    first, every = next(iter(jobs.values())), list(jobs.values())
    inner = {name: first[name].dims[first[name].dims.index("trial") + 1 :] for name in first}
    own = {str(dim): first[dim].values.tolist() for dims in inner.values() for dim in dims}
    for name, job in jobs.items():
        if {key: job[key].dims for key in job} != {key: first[key].dims for key in first}:
            raise ValueError(f"{name} has other dimensions or variables than the rest")
        if any(job[dim].values.tolist() != values for dim, values in own.items()):
            raise ValueError(f"{name} has other values of {', '.join(own)} than the rest")
    swept = [str(dim) for dim in first.sizes if dim not in ("trial", *own)]
    configs = [json.loads(job.attrs["config"]) for job in every]
    columns = _differing(every, configs, swept)
    named = _names(columns, [*swept, "trial", *own, *map(str, first)])
    codes = {key: _codes(column) for key, column in columns.items()}
    dims, beside = arrange(codes, _by_hand(every))
    values = {named[key]: _in_order(columns[key]) for key in dims}
    for dim in swept:
        there = dict.fromkeys(v for job in every for v in job[dim].values.tolist())
        values[dim] = list(there) if isinstance(next(iter(there)), str) else sorted(there)
    sizes = {dim: len(listed) for dim, listed in {**values, **own}.items()}
    sizes["trial"] = max(job.sizes["trial"] for job in every)
    taken = xr.Variable(list(values), np.zeros([sizes[dim] for dim in values], bool))
    places: list[dict[str, Any]] = []  # of each job, by dimension: an index, several, or a slice
    for number, (name, job) in enumerate(jobs.items()):
        at: dict = {named[key]: values[named[key]].index(columns[key][number]) for key in dims}
        at |= {dim: [values[dim].index(v) for v in job[dim].values.tolist()] for dim in swept}
        if taken[at].values.any():
            raise ValueError(f"{name} holds a point that another job holds too")
        taken[at] = True
        places.append({**at, "trial": slice(job.sizes["trial"])})

    def joined(dims: Sequence, parts: Iterable, missing: Any = None) -> xr.Variable:
        """One array over `dims` with the part of each job in its place, else `missing`."""
        table = xr.Variable(dims, np.full([sizes[dim] for dim in dims], missing))
        for place, part in zip(places, parts, strict=True):
            table[{dim: place[dim] for dim in dims if dim in place}] = part
        return table

    variables = {}
    for name in first:
        parts = [job[name].variable for job in every]
        variables[name] = joined((*values, "trial", *inner[name]), parts, np.nan)
        variables[name].attrs = first[name].attrs
    coords: dict[str, Any] = {dim: (dim, _coordinate(v)) for dim, v in {**values, **own}.items()}
    for key, over in beside.items():
        parts = [xr.Variable((), np.array(value, object)) for value in columns[key]]
        coords[named[key]] = _typed(joined([named[dim] for dim in over], parts))
    for name in map(str, first.coords):
        if name not in coords and name not in (*first.dims, *named.values()):
            along = [dim for dim in values if dim not in swept or dim in first[name].dims]
            table = joined(along, [job[name].variable for job in every])
            coords[name] = _typed(_narrowed(table, [dim for dim in along if dim not in swept]))
    attrs = {k: v for k, v in first.attrs.items() if all(job.attrs.get(k) == v for job in every)}
    attrs["config"] = json.dumps(reduce(_shared, configs))
    attrs["jobs"] = json.dumps([{"job": name, **job.attrs} for name, job in jobs.items()])
    return xr.Dataset(variables, coords, attrs)


def _narrowed(table: xr.Variable, dims: Iterable[str]) -> xr.Variable:
    """The table without those of the dimensions along which its values are all the same."""
    for dim in reversed([*dims]):
        lines = [table[{dim: i}].values for i in range(table.sizes[dim])]
        first = lines[0]
        for line in lines[1:]:
            first = np.where(np.equal(first, None), line, first)
        if all((np.equal(line, None) | (line == first)).all() for line in lines):
            table = xr.Variable([each for each in table.dims if each != dim], first)
    return table


def _typed(table: xr.Variable) -> tuple[tuple, np.ndarray]:
    """The table of objects as a coordinate with one type."""
    return table.dims, _coordinate(table.values.ravel().tolist()).reshape(table.shape)


def arrange(codes: Codes, firm: Iterable[str]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Which columns become dimensions, and of which of these the others are coordinates.

    A column that others determine is a coordinate of them; firm ones are dimensions where there is
    a choice. A component is never a coordinate of a parameter of its own.

    With jobs (n, k) = (10, 5), (20, 10), (30, 15): codes n [0, 1, 2] and k [0, 1, 2] determine one
    another, so the one that is firm (or else the first) is the dimension, the other its coordinate.
    """
    firm = set(firm)
    order = sorted(codes, key=lambda key: key not in firm)
    dims, beside = list(order), {}
    for key in reversed(order):
        others = [d for d in dims if d != key and not d.startswith(f"{key}.")]
        others = [d for d in others if d in firm or key not in firm]
        found = next(([d] for d in others if _determine(codes, [d], key)), None)
        if found is None and key not in firm and _determine(codes, others, key):
            found = others
            for other in reversed(others):
                fewer = [d for d in found if d != other]
                found = fewer if _determine(codes, fewer, key) else found
        if found is not None and others:
            dims.remove(key)
            beside[key] = tuple(found)
    for key, over in beside.items():  # what was a dimension then may hang on others by now
        while any(d in beside for d in over):
            over = tuple(dict.fromkeys(e for d in over for e in beside.get(d, (d,))))
        beside[key] = over
    return [d for d in codes if d in dims], {key: beside[key] for key in codes if key in beside}


def _determine(codes: Codes, keys: Sequence[str], key: str) -> bool:
    """Whether jobs that agree in some columns agree in another."""
    rows = set(zip(*(codes[each] for each in (*keys, key)), strict=True))
    return len({row[:-1] for row in rows}) == len(rows)


def _codes(column: Sequence) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(json.dumps(value), len(numbers)) for value in column]


def _in_order(column: Sequence) -> list:
    """The different values: numbers ascending, behind a missing one; others as they come."""
    found = list(dict.fromkeys(column))
    if _optional_numbers(found):
        found.sort(key=lambda value: (value is not None, value))
    return found


def _differing(jobs: list[xr.Dataset], configs: list[dict], swept: list[str]) -> dict[str, list]:
    """Values of the jobs, by key, of what differs between them; left out is what they sweep.

    A component is told by the option of its group, or else by its class.
    """
    options = [json.loads(job.attrs.get("options", "{}")) for job in jobs]
    flat = [leaves({**each, "points": None, "sweep": None}) for each in configs]
    groups = dict.fromkeys(chain(*options))
    columns: dict[str, list] = {group: [each.get(group) for each in options] for group in groups}
    for key in dict.fromkeys(chain(*flat)):
        owner, _, last = key.rpartition(".")
        column = [each.get(key) for each in flat]
        column = [json.dumps(v) if isinstance(v, (list, dict)) else v for v in column]
        if owner and last in CLASSES:
            if len(set(columns.get(owner, [None]))) > 1:
                continue
            key, column = owner, [str(v).rpartition(".")[2] for v in column]
        columns[key] = column
    found = {}
    for key, column in columns.items():
        parts = key.split(".")
        ends = {sep.join(parts[i:]) for i in range(len(parts)) for sep in "._"}
        if len(set(_codes(column))) > 1 and ends.isdisjoint(swept):
            found[key] = column
    return found


def _names(columns: Iterable[str], used: list[str]) -> dict[str, str]:
    """Names of coordinates, by key: the last part of the key, unless another has it too."""
    lasts = {key: key.rpartition(".")[2] for key in columns}
    every = [*lasts.values(), *used]
    return {k: last if every.count(last) == 1 else k.replace(".", "_") for k, last in lasts.items()}


def _by_hand(jobs: Iterable[xr.Dataset]) -> set[str]:
    """The keys that the jobs' commands set."""
    words = [word for job in jobs for word in shlex.split(job.attrs.get("command", ""))[1:]]
    return {word.partition("=")[0].lstrip("+~") for word in words}


def _optional_numbers(values: Sequence) -> bool:
    return all(value is None or type(value) in (int, float) for value in values)


def _coordinate(values: Sequence) -> np.ndarray:
    """Values as one type: numbers (missing ones NaN), truth values, or words (missing ones '')."""
    if _optional_numbers(values) and None in values:
        return np.array(values, float)
    if all(type(value) is bool for value in values):
        return np.array(values)
    return np.array(labels(["" if value is None else value for value in values]))


def _shared(one: dict, other: dict) -> dict:
    """What both configs agree on."""
    shared = {}
    for key, value in one.items():
        if isinstance(value, dict) and isinstance(other.get(key), dict):
            shared[key] = _shared(value, other[key])
        elif key in other and value == other[key]:
            shared[key] = value
    return shared
