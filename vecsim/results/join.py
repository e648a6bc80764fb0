"""The jobs of a multirun as one dataset."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from vecsim.results.layout import labels, leaves

Codes = dict[str, list[int]]  # by column: equal numbers where the jobs have equal values
CLASSES = ("_target_", "class")


def join(jobs: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Join finished studies, given by name; ValueError in one line where they don't fit.

    What differs between the jobs becomes a dimension, named by the last part of its key, unless the
    jobs sweep it: then they are joined along it. Of parameters that move together one becomes the
    dimension and the others coordinates of it: first the option of a group (protocol=...), then
    what was set by hand. Points of no job are missing.
    """
    first = next(iter(jobs.values()))
    for name, job in jobs.items():
        if {key: job[key].dims for key in job} != {key: first[key].dims for key in first}:
            raise ValueError(f"{name} has other dimensions or variables than the rest")
    inner = {name: first[name].dims[first[name].dims.index("trial") + 1 :] for name in first}
    own = {str(dim): first[dim].values.tolist() for dims in inner.values() for dim in dims}
    for name, job in jobs.items():
        if any(job[dim].values.tolist() != values for dim, values in own.items()):
            raise ValueError(f"{name} has other values of {', '.join(own)} than the rest")
    swept = [str(dim) for dim in first.sizes if dim not in ("trial", *own)]
    configs = [json.loads(job.attrs["config"]) for job in jobs.values()]
    columns = _differing(list(jobs.values()), configs, swept)
    named = _names(columns, [*swept, "trial", *own, *map(str, first)])
    codes = {key: _codes(column) for key, column in columns.items()}
    dims, beside = arrange(codes, _by_hand(jobs.values()))
    values = {named[key]: _in_order(columns[key]) for key in dims}
    for dim in swept:
        joined = dict.fromkeys(v for job in jobs.values() for v in job[dim].values.tolist())
        values[dim] = list(joined) if isinstance(next(iter(joined)), str) else sorted(joined)
    shape = (*map(len, values.values()), max(job.sizes["trial"] for job in jobs.values()))
    within = {name: tuple(len(own[str(dim)]) for dim in dims_) for name, dims_ in inner.items()}
    arrays = {name: np.full(shape + within[name], np.nan) for name in map(str, first)}
    taken = np.zeros(shape[:-1], bool)
    places = [
        [values[named[key]].index(value) for key, value in zip(dims, row, strict=True)]
        for row in (zip(*(columns[key] for key in dims), strict=True) if dims else [()] * len(jobs))
    ]
    for place, (job_name, job) in zip(places, jobs.items(), strict=True):
        at = [[number] for number in place]
        at += [[values[dim].index(value) for value in job[dim].values.tolist()] for dim in swept]
        if taken[np.ix_(*at)].any():
            raise ValueError(f"{job_name} holds a point that another job holds too")
        taken[np.ix_(*at)] = True
        for name, array in arrays.items():
            block = job[name].transpose(*swept, "trial", *inner[name]).values
            region = np.ix_(*at, range(job.sizes["trial"]))
            array[region] = block.reshape((1,) * len(dims) + block.shape)
    coords = coordinates({**values, **own})
    for key, over in beside.items():
        table = np.full([len(values[named[dim]]) for dim in over], None, object)
        for place, value in zip(places, columns[key], strict=True):
            table[tuple(place[dims.index(dim)] for dim in over)] = value
        flat = _coordinate(table.ravel().tolist())
        coords[named[key]] = (tuple(named[dim] for dim in over), flat.reshape(table.shape))
    for name in first.coords:
        if name not in coords and name not in (*first.dims, *named.values()):
            coords[str(name)] = _carried(str(name), list(jobs.values()), places, swept, values)
    every = jobs.values()
    attrs = {k: v for k, v in first.attrs.items() if all(job.attrs.get(k) == v for job in every)}
    attrs["config"] = json.dumps(_common(configs))
    attrs["jobs"] = json.dumps([{"job": name, **job.attrs} for name, job in jobs.items()])
    variables = {
        name: ((*values, "trial", *inner[name]), array, first[name].attrs)
        for name, array in arrays.items()
    }
    return xr.Dataset(variables, coords, attrs)


def _carried(
    name: str,
    jobs: list[xr.Dataset],
    places: list[list[int]],
    swept: list[str],
    values: Mapping[str, list],
) -> tuple[tuple[str, ...], np.ndarray]:
    """A coordinate that the jobs have beside what they sweep, along whatever it differs with."""
    dims = [dim for dim in values if dim not in swept]
    over = [dim for dim in swept if dim in jobs[0][name].dims]
    table = np.full([len(values[dim]) for dim in (*dims, *over)], None, object)
    for place, job in zip(places, jobs, strict=True):
        at = [[values[dim].index(value) for value in job[dim].values.tolist()] for dim in over]
        block = job[name].transpose(*over).values
        table[np.ix_(*([i] for i in place), *at)] = block.reshape((1,) * len(place) + block.shape)
    for axis in reversed(range(len(dims))):
        lines = np.moveaxis(table, axis, 0)
        first = lines[0]
        for line in lines[1:]:
            first = np.where(np.equal(first, None), line, first)
        if all((np.equal(line, None) | (line == first)).all() for line in lines):
            table = first
            del dims[axis]
    flat = _coordinate([getattr(v, "item", lambda v=v: v)() for v in table.ravel()])
    return (*dims, *over), flat.reshape(table.shape)


def arrange(codes: Codes, firm: Iterable[str]) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Which columns become dimensions, and of which of these the others are coordinates.

    A column that others determine is a coordinate of them; firm ones are dimensions where there is
    a choice. A component is never a coordinate of a parameter of its own.
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
    known: dict[tuple, int] = {}
    rows = zip(*(codes[each] for each in keys), strict=True) if keys else [()] * len(codes[key])
    return all(
        known.setdefault(row, value) == value for row, value in zip(rows, codes[key], strict=True)
    )


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
    flat = [
        leaves({k: v for k, v in each.items() if k not in ("points", "sweep")}) for each in configs
    ]
    columns: dict[str, list] = {}
    for group in dict.fromkeys(group for each in options for group in each):
        columns[group] = [each.get(group) for each in options]
    for key in dict.fromkeys(key for each in flat for key in each):
        owner, _, last = key.rpartition(".")
        column = [_plain(each.get(key)) for each in flat]
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


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _names(columns: Iterable[str], used: list[str]) -> dict[str, str]:
    """Names of coordinates, by key: the last part where that is no other's."""
    lasts = {key: key.rpartition(".")[2] for key in columns}
    every = [*lasts.values(), *used]
    return {k: last if every.count(last) == 1 else k.replace(".", "_") for k, last in lasts.items()}


def _by_hand(jobs: Iterable[xr.Dataset]) -> set[str]:
    """What the jobs' commands set."""
    words = [word for job in jobs for word in shlex.split(job.attrs.get("command", ""))[1:]]
    return {word.partition("=")[0].lstrip("+~") for word in words}


def _optional_numbers(values: Sequence) -> bool:
    return all(value is None or type(value) in (int, float) for value in values)


def _coordinate(values: Sequence) -> np.ndarray:
    """Values as one type: numbers (missing ones NaN), truth values, or words (missing ones '')."""
    if _optional_numbers(values) and None in values:
        return np.array([np.nan if value is None else value for value in values])
    if all(type(value) is bool for value in values):
        return np.array(values)
    return np.array(labels(["" if value is None else value for value in values]))


def coordinates(values: Mapping[str, Sequence]) -> dict[str, Any]:
    return {name: (name, _coordinate(column)) for name, column in values.items()}


def _common(configs: list[dict]) -> dict:
    """What all configs agree on."""
    first, *rest = configs
    common = {}
    for key, value in first.items():
        others = [config[key] for config in rest if key in config]
        if len(others) == len(rest):
            if all(isinstance(other, dict) for other in [value, *others]):
                common[key] = _common([value, *others])
            elif all(other == value for other in others):
                common[key] = value
    return common
