"""The jobs of a multirun as one dataset."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from vecsim.layout import labels, leaves


def join(jobs: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Join finished studies, given by name; ValueError in one line where they don't fit.

    A parameter that differs between the jobs becomes a dimension, named by the last part of its
    key, unless the jobs sweep it: then they are joined along it. Where a component differs, what it
    decides (a protocol's own parameters) becomes a coordinate of it. Points of no job are missing.
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
    for config in configs:
        config.pop("points", None)  # a hash of what else is there
    names = [*swept, "trial", *own, *map(str, first)]
    differing, decided = _differences([leaves(config) for config in configs], swept, names)
    values = {dim: list(dict.fromkeys(column)) for dim, column in differing.items()}
    for dim in swept:
        values[dim] = list(
            dict.fromkeys(v for job in jobs.values() for v in job[dim].values.tolist())
        )
    for column in values.values():
        if not isinstance(column[0], str):
            column.sort()
    shape = (*map(len, values.values()), max(job.sizes["trial"] for job in jobs.values()))
    within = {name: tuple(len(own[str(dim)]) for dim in dims) for name, dims in inner.items()}
    arrays = {name: np.full(shape + within[name], np.nan) for name in map(str, first)}
    taken = np.zeros(shape[:-1], bool)
    for number, (job_name, job) in enumerate(jobs.items()):
        at = [[values[dim].index(column[number])] for dim, column in differing.items()]
        at += [[values[dim].index(value) for value in job[dim].values.tolist()] for dim in swept]
        if taken[np.ix_(*at)].any():
            raise ValueError(f"{job_name} holds a point that another job holds too")
        taken[np.ix_(*at)] = True
        for name, array in arrays.items():
            block = job[name].transpose(*swept, "trial", *inner[name]).values
            region = np.ix_(*at, range(job.sizes["trial"]))
            array[region] = block.reshape((1,) * len(differing) + block.shape)
    coords = coordinates({**values, **own})
    for name, (dim, table) in decided.items():
        coords[name] = (dim, _coordinate([table[value] for value in values[dim]]))
    every = jobs.values()
    attrs = {k: v for k, v in first.attrs.items() if all(job.attrs.get(k) == v for job in every)}
    attrs["config"] = json.dumps(_common(configs))
    attrs["jobs"] = json.dumps([{"job": name, **job.attrs} for name, job in jobs.items()])
    dims = (*values, "trial")
    variables = {
        name: ((*dims, *inner[name]), array, first[name].attrs) for name, array in arrays.items()
    }
    return xr.Dataset(variables, coords, attrs)


def _differences(
    configs: list[dict], swept: list[str], names: list[str]
) -> tuple[dict[str, list], dict[str, tuple[str, dict]]]:
    """What differs: {dimension: value per job} and {coordinate: (dimension, {value: value})}.

    Left out is what the jobs sweep; `names` are in use already.
    """
    columns = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        column = [config.get(key) for config in configs]
        parts = key.split(".")
        ends = {sep.join(parts[i:]) for i in range(len(parts)) for sep in "._"}
        if all(value == column[0] for value in column) or not ends.isdisjoint(swept):
            continue
        if parts[-1] in ("_target_", "class") and len(parts) > 1:  # a component, by its class
            key, column = ".".join(parts[:-1]), [str(v).rpartition(".")[2] for v in column]
        columns[key] = column if _optional_numbers(column) else labels(column)
    lasts = {key: key.rpartition(".")[2] for key in columns}
    used = [*lasts.values(), *names]
    name = {k: last if used.count(last) == 1 else k.replace(".", "_") for k, last in lasts.items()}
    dims, decided = {}, {}
    for key, column in columns.items():
        owner = next((other for other in columns if key.startswith(f"{other}.")), None)
        table = dict(zip(columns[owner], column, strict=True)) if owner else {}
        if owner and column == [table[value] for value in columns[owner]]:
            decided[name[key]] = (name[owner], table)
        else:
            dims[name[key]] = labels(column)
    return dims, decided


def _optional_numbers(values: Sequence) -> bool:
    return all(value is None or type(value) in (int, float) for value in values)


def _coordinate(values: Sequence) -> np.ndarray:
    if _optional_numbers(values) and None in values:
        return np.array(values, float)
    return np.array(labels(values))


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
