"""What a study holds: its dimensions, chunks and variables, and values as stores keep them."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from vecsim.errors import require

Index = tuple[int, ...]  # a number along each dimension: of a chunk in the grid, or sizes
Array = np.ndarray[Any, Any]  # its shape and dtype are said where it stands
_NAME = re.compile(r"[^/.][^/]*")  # a folder in the store: not hidden, and not one above it


class Variable(NamedTuple):
    """One raw outcome per trial."""

    name: str
    dtype: str  # "int32" or "float64"
    attrs: dict[str, Any]  # long_name, units, meaning
    inner: tuple[str, ...] = ()  # dimensions that each trial has by itself, after `trial`

    @property
    def missing(self) -> float:
        """The value in a trial that was not run."""
        return -1 if self.dtype == "int32" else math.nan

    @property
    def stored_attrs(self) -> dict[str, Any]:
        """xarray reads _FillValue as missing; NaN needs no such help."""
        return self.attrs | ({"_FillValue": self.missing} if self.dtype == "int32" else {})

    def unset(self, shape: Index) -> np.ndarray:
        """An array of nothing but missing values."""
        return np.full(shape, self.missing, self.dtype)


class Beside(NamedTuple):
    """A coordinate that belongs to dimensions without being one. values: flat, in their order."""

    dims: tuple[str, ...]
    values: list
    attrs: dict[str, Any] = {}  # noqa: RUF012


class Layout(NamedTuple):
    """The shape of a study: its dimensions are the swept parameters, in order, then `trial`.

    beside: coordinates that say more about a point, such as parameters that move together.
    An example: two swept parameters of 3 and 2 values, 10 trials per point, chunks (2, 1, 4).

        shape (3, 2, 10)   of every variable's array; its own dimensions come behind these
        grid  (2, 2, 3)    chunks along each dimension
        chunk (1, 0, 2)    holds points [2:3, 0:1] and trials [8:10]: the last ones are smaller
    """

    coords: dict[str, list]  # swept values, numbers or strings; empty: nothing is swept
    trials: int  # per point, at most
    chunks: Index  # points along each swept dimension, then trials; the last may be smaller
    variables: tuple[Variable, ...]
    inner: Mapping[str, list] = {}  # coordinates of the variables' own dimensions
    beside: Mapping[str, Beside] = {}

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions: the swept parameters, then `trial`."""
        return (*self.coords, "trial")

    @property
    def arrays(self) -> list[str]:
        """Names of everything that is stored as an array."""
        return [*self.coords, *self.inner, *self.beside, *(v.name for v in self.variables)]

    @property
    def shape(self) -> Index:
        """Sizes of the dimensions."""
        return (*(len(values) for values in self.coords.values()), self.trials)

    @property
    def grid(self) -> Index:
        """Number of chunks along each dimension."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunks, strict=True))

    def region(self, index: Index) -> tuple[slice, ...]:
        """Where the chunk `index` lies in the arrays; ValueError where there is no such chunk."""
        parts = list(zip(index, self.chunks, self.shape, strict=True))
        if not all(0 <= i * c < n for i, c, n in parts):
            raise ValueError(f"no chunk {index} in a grid of {self.grid}")
        return tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in parts)

    def within(self, variable: Variable) -> Index:
        """Sizes of the variable's own dimensions; a chunk holds them whole."""
        return tuple(len(self.inner[name]) for name in variable.inner)

    def described(self) -> dict[str, Any]:
        """What is compared between layouts: all but `beside`, which the configuration implies."""
        return {"dims": list(self.dims), **self._replace(beside={})._asdict()}

    def coordinates(self) -> dict[str, tuple[tuple[str, ...], Array, dict[str, Any]]]:
        """The dimensions, values and attributes of every coordinate, by name."""
        own = {**self.coords, **self.inner}
        found: dict[str, Any] = {name: ((name,), np.array(v), {}) for name, v in own.items()}
        for name, (dims, values, attrs) in self.beside.items():
            array = np.array(values, object if isinstance(values[0], str) else None)
            found[name] = dims, array.reshape([len(self.coords[dim]) for dim in dims]), attrs
        return found

    def checked(self) -> "Layout":
        """The same in plain types, as it reads back from disk; ValueError where it has no sense."""
        coords = {name: labels(values) for name, values in self.coords.items()}
        variables = tuple(
            Variable(name, dtype, json_safe(attrs), *map(tuple, inner))
            for name, dtype, attrs, *inner in self.variables
        )
        inner = {name: labels(values) for name, values in self.inner.items()}
        beside = {
            name: Beside(tuple(dims), labels(values), *map(json_safe, attrs))
            for name, (dims, values, *attrs) in self.beside.items()
        }
        chunks = tuple(map(int, self.chunks))
        layout = Layout(coords, int(self.trials), chunks, variables, inner, beside)
        names = ["vecsim", *layout.dims, *inner, *beside, *(v.name for v in variables)]
        for name in names:
            good = name.isprintable() and _NAME.fullmatch(name) and names.count(name) == 1
            allowed = "names that differ from those of outcomes and of one another, without '/'"
            require(bool(good), "a name in the study", name, allowed)
        for name, values in coords.items():
            for value in values:
                require(str(value).isprintable(), name, value, "printable text")
        if any(v.dtype not in ("int32", "float64") for v in variables):
            raise ValueError("a variable is int32 or float64")
        if any(len(b.values) != prod(len(coords[d]) for d in b.dims) for b in beside.values()):
            raise ValueError("a coordinate has a value for each place along its dimensions")
        if {name for v in variables for name in v.inner} != set(inner):
            raise ValueError("inner dimensions are those of the variables")
        if len(layout.chunks) != len(layout.shape) or min(*layout.shape, *layout.chunks) < 1:
            raise ValueError(f"chunks {layout.chunks} do not fit the shape {layout.shape}")
        return layout


def json_safe(attrs: Mapping) -> dict[str, str | int | float]:
    """Attributes that every format can hold: what is neither text nor number becomes JSON."""
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in attrs.items()}
    return {k: v if type(v) in (str, int, float) else json.dumps(v) for k, v in plain.items()}


def labels(values: Sequence) -> list:
    """Swept values as a coordinate holds them: all integers, all floats, or all text."""
    values = [v.item() if isinstance(v, np.generic) else v for v in values]
    if all(type(v) is int for v in values):
        return values
    if all(type(v) in (int, float) for v in values):
        return [float(v) for v in values]
    return [v if isinstance(v, str) else json.dumps(v) for v in values]


def leaves(config: Any, key: str = "") -> dict[str, Any]:
    """A nested config as {dotted key: value}; lists count as values."""
    if not isinstance(config, dict) or not config:
        return {key: config}
    parts = [leaves(value, f"{key}.{name}".lstrip(".")) for name, value in config.items()]
    return {name: value for part in parts for name, value in part.items()}
