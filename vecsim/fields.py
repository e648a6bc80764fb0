"""A cell as named fields: a protocol says how many values each has, and this packs them.

Bit 0 is the preference, bit 1 says whether the node has decided, bit 2 is the engine's. The fields
follow in their order, each as wide as its largest value needs; the last one takes the remaining
bits. The number of values of a field may depend on the protocol's numbers, and so be traced. With
{"counter": 10, "margin": 3}:

    bit  31 ...      7  6   5   4   3  2       1        0
         margin (rest)  counter        engine  decided  preference
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from vecsim.errors import ConfigError

_FIRST = 3  # bit at which the fields begin, after preference, decided and the engine's bit
OVERFLOW = 4  # the engine's bit, set by `pack` where a field overflows while a protocol is checked
RESERVED = ("preference", "decided")  # names that every cell has, and no field may take
# Whether `pack` returns marks for overflows: only within `marking`, as the comparisons cost time.
_marking: ContextVar[bool] = ContextVar("marking", default=False)


def unpack(sizes: Mapping[str, Any], cell) -> SimpleNamespace:
    """The fields of cells by name (uint32), with `preference` (uint32) and `decided` (bool).

    sizes: number of values of each field. cell: uint32 of any shape, which every field then has.
    """
    found = {"preference": cell & jnp.uint32(1), "decided": (cell & jnp.uint32(2)) != 0}
    return SimpleNamespace(**found, **_unpacked(sizes, cell, jnp.uint32(_FIRST)))


def _unpacked(sizes: Mapping[str, Any], cell, shift) -> dict[str, Any]:
    """The fields from bit `shift` on, by name."""
    one, found = jnp.uint32(1), {}
    for i, (name, size) in enumerate(sizes.items()):
        value, width = cell >> shift, _width(size)
        found[name] = value if i == len(sizes) - 1 else value & ((one << width) - one)
        shift = shift + width
    return found


def pack(sizes: Mapping[str, Any], preference, decided, values: Mapping[str, Any]):
    """The cells (uint32) with these fields, of the shape to which all of them broadcast.

    ConfigError unless `values` has exactly the names of `sizes`. A value that is too large for its
    field spills into the next one, except within `marking`.
    """
    if values.keys() != sizes.keys():
        raise ConfigError(f"pack gets {', '.join(values)}; allowed: all of {', '.join(sizes)}")
    every = preference, decided, *values.values()
    words = [jnp.asarray(value).astype(jnp.uint32) for value in every]
    cell, shift = words[0] | (words[1] << jnp.uint32(1)), jnp.uint32(_FIRST)
    for word, size in zip(words[2:], sizes.values(), strict=True):
        cell = cell | (word << shift)
        shift = shift + _width(size)
    if _marking.get():
        for i, (word, size) in enumerate(zip(words, (2, 2, *sizes.values()), strict=True)):
            cell = _marked(cell, i, word, size)
    return cell


def unpack_words(words: Iterable[tuple[Mapping[str, Any], Any]]) -> SimpleNamespace:
    """As `unpack`, of cells of several words: pairs of the fields and the values of each.

    In the second word and those after it the fields begin at the lowest bit.
    """
    (sizes, first), *others = words
    found = vars(unpack(sizes, first))
    for more, cell in others:
        found |= _unpacked(more, cell, jnp.uint32(0))
    return SimpleNamespace(**found)


def pack_words(words: Sequence[Mapping[str, Any]], preference, decided, values: Mapping[str, Any]):
    """As `pack`, cells of several words, a tuple. words: the fields of each."""
    names = [name for sizes in words for name in sizes]
    if sorted(values) != sorted(names):
        raise ConfigError(f"pack gets {', '.join(values)}; allowed: all of {', '.join(names)}")
    parts = [{name: values[name] for name in sizes} for sizes in words]
    first = pack(words[0], preference, decided, parts[0])
    others = []
    number = len(words[0])
    for sizes, part in zip(words[1:], parts[1:], strict=True):
        cell, shift = jnp.zeros_like(first), jnp.uint32(0)
        for name, size in sizes.items():
            word = jnp.asarray(part[name]).astype(jnp.uint32)
            cell = cell | (word << shift)
            shift = shift + _width(size)
            first = _marked(first, number + 2, word, size) if _marking.get() else first
            number += 1
        others.append(cell)
    return (first, *others)


def _marked(cell, number: int, word, size):
    """The cells, with a mark where the field of this number, which is `word`, overflows."""
    mark = jnp.uint32(OVERFLOW | number << _FIRST) | (jnp.minimum(word, 2**24 - 1) << 8)
    return jnp.where(word < jnp.asarray(size, jnp.uint32), cell, mark)


def preference(cell: Any) -> Any:
    """The colour that the nodes prefer, 0 or 1, for cells of JAX or NumPy."""
    return _first(cell) & 1


def decided(cell: Any) -> Any:
    """Whether the node has decided, for cells of JAX or NumPy."""
    return (_first(cell) & 2) != 0


def _first(cell: Any) -> Any:
    """The first word of cells."""
    return cell[0] if isinstance(cell, tuple) else cell


def limit(sizes: Mapping[str, Any]) -> int:
    """A number above every cell: 2^(first bit of the last field) times its number of values."""
    shift, most = _FIRST, 1
    for size in sizes.values():
        shift, most = shift + (most - 1).bit_length(), int(size)
    return most << shift


@contextmanager
def marking() -> Iterator[None]:
    """Within this context `pack` returns a mark for a cell with an overflow; see `overflow`.

    The bits of a mark:

        bit  31 ...           8  7 ... 3              2  1  0
             value that was too  number of the field  1  0  0
             large (below 2^24)
    """
    token = _marking.set(True)
    try:
        yield
    finally:
        _marking.reset(token)


def overflow(sizes: Mapping[str, Any], mark: int) -> tuple[str, int, int] | None:
    """The field that overflowed, its value and the largest allowed one; None if it is no mark.

    sizes: as given to `pack`. mark: a cell with OVERFLOW set.
    """
    every = [("preference", 2), ("decided", 2), *sizes.items()]
    number, value = (mark >> _FIRST) & 31, mark >> 8
    if number >= len(every) or value < int(every[number][1]):
        return None
    return every[number][0], value, int(every[number][1]) - 1


def _width(size):
    """Bits that hold 0 ... size - 1."""
    if isinstance(size, (int, np.integer)):
        return jnp.uint32((int(size) - 1).bit_length())
    return jnp.uint32(32) - lax.clz(jnp.asarray(size, jnp.uint32) - jnp.uint32(1))
