"""The check of a protocol: nodes are followed through many polls, and their cells tested.

A walker is one column of these arrays, except of `polls`:

    polls      each part of Counts, Quorum or Levels: every result that a poll may have, [results]
    choices    index of the result that each walker meets, [STEPS, WALKERS]
    cells      uint32 [words, WALKERS]; before and after each poll, [STEPS, words, WALKERS]

Here cells always have an axis of words, of length 1 for most protocols (`_cells`).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vecsim import fields
from vecsim.errors import name_of, raised_by, require
from vecsim.model.checks.declared import check_declared
from vecsim.model.checks.results import poll_in_words, results
from vecsim.types import Protocol

_Words = NDArray[np.uint32]  # cells, [words, cells]

WALKERS, STEPS = 128, 256  # nodes that are followed, and their polls in one call: milliseconds
_MOST_STEPS = 4096  # polls after which a node is not followed any further, to bound the time
_MOST_VISITED = 2**17  # cells that are kept of those that nodes reach
PAIRS = STEPS * WALKERS  # cells and polls that are stepped at once: always so many, one compilation
# Colours that `remaining` is asked about, [PAIRS]: both in one call, with every kind of cell.
_COLOURS = np.arange(PAIRS, dtype=np.uint32) // 2 % 2


def check_protocol(rule: Protocol) -> None:
    """Raise ConfigError unless the protocol keeps what `types.Protocol` promises."""
    check_declared(rule)
    starts = _check_start(rule)
    polls, usual = results(rule)
    _check_every_poll(rule, starts, _follow(rule, starts, polls, usual), polls)


def _check_start(rule: Protocol) -> _Words:
    """The cell of each colour that a node starts with."""
    with raised_by(rule, "start"):
        starts, differs, over = jax.device_get(_started(rule))
    name = f"{name_of(rule)}.start"
    for colour, cell in enumerate(starts.T.tolist()):
        _check_cell(rule, f"start({colour})", cell)
        allowed = f"a cell that prefers {colour} (bit 0) and has not decided (bit 1)"
        require(cell[0] & 3 == colour, f"{name}({colour})", _shown(cell), allowed)
    allowed = "False, as a node polls once before it gives up"
    require(not over.any(), f"{name_of(rule)}.gives_up of start", True, allowed)
    found = "other cells for one colour than for two"
    require(not differs, name, found, "the same: start is elementwise")
    return starts


@jax.jit
def _started(rule: Protocol):
    """The cell of each colour, whether `start` gives another one for a single colour, and whether
    a node gives up before its first poll."""
    start, colours = partial(_called, rule, "start"), jnp.arange(2, dtype=jnp.uint32)
    with fields.marking():
        flat = start(colours)
    alone = jax.vmap(start, out_axes=-1)(colours)
    return flat, (flat != alone).any(), _gives_up(rule, flat)


def _cells(rule: Protocol, words: Any) -> Any:
    """Cells as the protocol has them. words: [words, ...]."""
    return tuple(words) if rule.further() else words[0]


def _called(rule: Protocol, method: str, given: Any, *poll: Any):
    """What `start` (of colours) or `step` (of cells) gives: cells, [words, ...], which must be
    uint32, one for each that is given."""
    cells: Any = getattr(rule, method)(given, *poll)
    name, number = f"{name_of(rule)}.{method}", len(rule.further())
    shape = jnp.shape(given[0] if isinstance(given, tuple) else given)
    if number:
        found = len(cells) if isinstance(cells, tuple) else type(cells).__name__
        allowed = f"a tuple of {number + 1} arrays, one for each word"
        require(found == number + 1, f"{name} of words", found, allowed)
    words: list[Any] = [*cells] if number else [cells]
    for word in words:
        kind = getattr(word, "dtype", type(word).__name__)
        require(kind == jnp.uint32, f"{name} of uint32", str(kind), "uint32")
        allowed = f"{shape}, an element for each"
        require(word.shape == shape, f"{name} of shape {shape}", word.shape, allowed)
    return jnp.stack(words)


def _gives_up(rule: Protocol, words: Any):
    """Whether nodes give up, bool of the cells' shape. words: [words, ...]."""
    if not rule.stops:
        return jnp.zeros(words.shape[1:], bool)
    with raised_by(rule, "gives_up"):
        given: Any = rule.gives_up(_cells(rule, words))
    name, kind = f"{name_of(rule)}.gives_up", getattr(given, "dtype", type(given).__name__)
    require(kind == jnp.bool_, f"{name} of bools", str(kind), "bool")
    allowed = f"{words.shape[1:]}, an element for each"
    require(
        given.shape == words.shape[1:], f"{name} of shape {words.shape[1:]}", given.shape, allowed
    )
    return given


def _ended(rule: Protocol, words: Any):
    """Whether nodes poll no more."""
    return ((words[0] & jnp.uint32(2)) != 0) | _gives_up(rule, words)


# What nodes meet


def _choices(total: int, usual: list[int]) -> NDArray[np.int64]:
    """The poll that each walker meets at each step, [STEPS, WALKERS]: long runs of one result, runs
    that another one interrupts, and any results at random.

    total: how many results there are. usual: numbers of those that long runs are made of.
    """
    generator = np.random.default_rng(0)
    favourite = np.resize(usual, WALKERS)
    second = generator.choice(usual, WALKERS)
    odds = np.where(np.arange(WALKERS) < WALKERS // 2, 1.0, generator.random(WALKERS))
    drawn = generator.integers(total, size=(STEPS, WALKERS))
    kind = generator.random((STEPS, WALKERS))
    return np.where(kind < odds, favourite, np.where(kind < (1 + odds) / 2, second, drawn))


# Nodes that are followed


def _follow(rule: Protocol, starts: _Words, polls: Any, usual: list[int]) -> _Words:
    """Undecided cells that the walkers reach, ascending; every poll on the way is checked."""
    choices = _choices(len(polls[0]), usual)
    met = jax.tree.map(lambda part: part[choices], polls)
    begin = cells = starts[:, np.arange(WALKERS) % 2]
    visited = starts
    for _ in range(0, min(rule.max_rounds, _MOST_STEPS), STEPS):
        with raised_by(rule, "step"):
            cells, before, after = jax.device_get(_walk(rule, begin, cells, met))
        before, after = (
            np.moveaxis(each, 1, 0).reshape(len(starts), -1) for each in (before, after)
        )
        _check_step(rule, before, jax.tree.map(np.ravel, met), after)
        visited = np.unique(np.concatenate([visited, before], axis=1), axis=1)
        if visited.shape[1] > _MOST_VISITED:
            visited = visited[:, :: visited.shape[1] // _MOST_VISITED + 1]
    return visited


@jax.jit
def _walk(rule: Protocol, begin, cells, polls):
    """Cells at the end [words, WALKERS], and before and after each poll [STEPS, words, WALKERS].

    A walker that decides or gives up begins again. Each is stepped by itself, as under async.
    """

    def alone(words, poll):
        return _called(rule, "step", _cells(rule, words), poll)

    def move(cells, poll):
        after = jax.vmap(alone, (-1, 0), -1)(cells, poll)
        ended = jax.vmap(partial(_ended, rule), -1)(after)
        return jnp.where(ended, begin, after), (cells, after)

    cells, (before, after) = jax.lax.scan(move, cells, polls)
    return cells, before, after


def _check_every_poll(rule: Protocol, starts: _Words, visited: _Words, polls: Any) -> None:
    """Every poll at the starts, and at as many of the visited cells as there is room for."""
    total = len(polls[0])
    room = max(PAIRS // total - 2, 0)
    is_start = (visited[:, :, None] == starts[:, None]).all(axis=0).any(axis=1)
    others = visited[:, ~is_start]
    if others.shape[1] > room:
        some = np.random.default_rng(0).choice(others.shape[1], room, replace=False)
        others = others[:, some]
    cells = np.concatenate([starts, others], axis=1)
    where, which = (part.ravel() for part in np.indices((cells.shape[1], total)))
    for first in range(0, len(where), PAIRS):
        part = np.resize(np.arange(first, min(first + PAIRS, len(where))), PAIRS)
        _check_step(rule, cells[:, where[part]], jax.tree.map(lambda p, w=which[part]: p[w], polls))


@jax.jit
def _stepped(rule: Protocol, cells, polls):
    """Cells after polls, whether a node then gives up and whether it does by itself, and
    `remaining` for a colour that differs from cell to cell."""
    given = _cells(rule, cells)
    with fields.marking():
        after = _called(rule, "step", given, polls)
    over = _gives_up(rule, after), jax.vmap(partial(_gives_up, rule), -1)(after)
    if type(rule).remaining is Protocol.remaining:
        return after, over, None
    with raised_by(rule, "remaining"):
        return after, over, rule.remaining(given, jnp.asarray(_COLOURS))


# What must not happen; `argmax` of a mask is the index of its first True


def _check_step(rule: Protocol, before: _Words, polls: Any, alone: _Words | None = None) -> None:
    """Check polls of cells, [PAIRS] each. alone: what each cell became when stepped by itself."""
    with raised_by(rule, "step"):
        after, over, left = jax.device_get(_stepped(rule, before, polls))

    def call(at: Any) -> str:
        return f"step({_shown(before[:, at])}, {poll_in_words(rule, [part[at] for part in polls])})"

    first = after[0]
    bad = (first >= rule.cell_limit()) | ((first & fields.OVERFLOW) != 0)
    bad |= (first & 2 != 0) & (not rule.decides)
    at = bad.argmax()
    _check_cell(rule, call(at), after[:, at].tolist())
    if alone is not None:
        at = (alone != after).any(axis=0).argmax()
        found, same = _shown(after[:, at]), _shown(alone[:, at])
        allowed = f"{same}, as for the cell by itself"
        require(found == same, f"{name_of(rule)}.{call(at)}", found, allowed)
    at = (over[0] != over[1]).argmax()
    allowed, found = f"{over[1][at]}, as for the cell by itself", bool(over[0][at])
    name = f"{name_of(rule)}.gives_up({_shown(after[:, at])})"
    require(found == over[1][at], name, found, allowed)
    if not rule.counts:
        _check_no_quorum(rule, before, after, polls)
    if left is not None:
        left = np.ravel(left)
        at = (~(left >= 1)).argmax()  # a NaN fails, too
        name = f"{name_of(rule)}.remaining({_shown(before[:, at])}, {_COLOURS[at]})"
        require(left[at] >= 1, name, left[at].item(), "1 or more polls")


def _shown(cell: Any) -> Any:
    """A cell as messages have it: a number, or a tuple of the words."""
    words = tuple(map(int, cell))
    return words[0] if len(words) == 1 else words


def _check_cell(rule: Protocol, call: str, words: list[int]) -> None:
    """ConfigError unless the cell is one that the protocol may return. call: what returned it."""
    name, limit, cell = f"{name_of(rule)}.{call}", rule.cell_limit(), words[0]
    further: tuple[Any, ...] = rule.further()
    sizes = {field: size for word in (rule.fields(), *further) for field, size in word.items()}
    mark = fields.overflow(sizes, cell) if cell & fields.OVERFLOW else None
    if mark is not None:
        field, value, most = mark
        where = "fields()" if field in (*fields.RESERVED, *rule.fields()) else "further()"
        require(False, f"{name}: {field}", value, f"0 to {most}, as {where} says")
    allowed = "a cell without bit 2, which is the engine's"
    require(not cell & fields.OVERFLOW, name, cell, allowed)
    require(cell < limit, name, cell, f"less than cell_limit() = {limit}")
    allowed = "a cell without bit 1, decided, as decides is False"
    require(rule.decides or not cell & 2, name, cell, allowed)


def _check_no_quorum(rule: Protocol, before: _Words, after: _Words, met: Any) -> None:
    """Without a quorum `confident` must make no difference: engines differ in what it is then."""
    none = ~met.agree & ~met.against
    cells, gives = before[:, none], after[:, none]
    _, first, which = np.unique(cells, axis=1, return_index=True, return_inverse=True)
    same = gives[:, first][:, which.ravel()]
    at = (gives != same).any(axis=0).argmax()
    name = f"{name_of(rule)}.step({_shown(cells[:, at])}, no quorum)"
    found, due = _shown(gives[:, at]), _shown(same[:, at])
    allowed = f"{due} whatever `confident` is, which means nothing without a quorum"
    require(found == due, name, found, allowed)
