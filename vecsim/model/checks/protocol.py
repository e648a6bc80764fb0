"""The check of a protocol: nodes are followed through many polls, and their cells looked at."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from vecsim import fields
from vecsim.errors import name_of, raised_by, require, whole
from vecsim.types import Counts, Protocol, Quorum

_Words = NDArray[np.uint32]

MOST_PEERS = 400
WALKERS, STEPS = 128, 256  # nodes that are followed, and their polls in one call
_MOST_STEPS = 4096  # polls after which a node is not followed any further
PAIRS = STEPS * WALKERS  # cells and polls that are stepped at once
_NAMES = ("no quorum", "agree", "agree, confident", "against", "against, confident")


def check_protocol(rule: Protocol) -> None:
    """Raise ConfigError unless the protocol keeps what `types.Protocol` promises."""
    _check_numbers(rule)
    starts = _check_start(rule)
    polls = _polls(rule)
    cells = _follow(rule, starts, polls)
    _check_every_poll(rule, starts, cells, polls)


def _check_numbers(rule: Protocol) -> None:
    name = name_of(rule)
    for flag in ("counts", "decides"):
        value = getattr(rule, flag)
        require(type(value) is bool, f"{name}.{flag}", value, "True or False")
    for number in ("k", "max_rounds"):
        allowed = f"a field, {number}: int = ..., or a property"
        require(hasattr(rule, number), f"{name}.{number}", "missing", allowed)
    k = whole(f"{name}.k", rule.k, 1, MOST_PEERS)
    whole(f"{name}.max_rounds", rule.max_rounds, 1, 2**31 - 1)
    with raised_by(rule, "quorums"):
        quorums = rule.quorums
    allowed = "two whole numbers, k/2 < alpha_preference <= alpha_confidence <= k"
    require(isinstance(quorums, tuple) and len(quorums) == 2, f"{name}.quorums", quorums, allowed)
    good = all(isinstance(each, int) and not isinstance(each, bool) for each in quorums)
    good = good and k / 2 < quorums[0] <= quorums[1] <= k
    require(good, f"{name}.quorums", quorums, f"{allowed} = {k}")
    with raised_by(rule, "fields"):
        sizes = rule.fields()
    good = isinstance(sizes, dict) and not set(sizes) & set(fields.RESERVED)
    allowed = "names and how many values each has, but preference and decided"
    require(good, f"{name}.fields()", sizes, allowed)
    for field, size in sizes.items():
        whole(f"{name}.fields()[{field!r}]", size, 1, 2**29)
    with raised_by(rule, "cell_limit"):
        limit = rule.cell_limit()
    whole(f"{name}.cell_limit()", limit, 4, 2**32)


def _check_start(rule: Protocol) -> _Words:
    with raised_by(rule, "start"):
        starts, differs = map(np.asarray, _started(rule))
    name = name_of(rule)
    for colour, cell in enumerate(starts):
        _check_cell(rule, f"start({colour})", int(cell))
        good = int(cell) & 3 == colour
        allowed = f"a cell that prefers {colour} (bit 0) and has not decided (bit 1)"
        require(good, f"{name}.start({colour})", int(cell), allowed)
    require(
        not differs,
        f"{name}.start",
        "other cells for one colour than for two",
        "the same: start is elementwise",
    )
    return starts


@jax.jit
def _started(rule: Protocol):
    """The cell of each colour, and whether it is another one where colours come by themselves."""

    def start(colours):
        return _typed(rule, "start", rule.start(colours), colours)

    colours = jnp.arange(2, dtype=jnp.uint32)
    with fields.marking():
        flat = start(colours)
    return flat, (flat != jax.vmap(start)(colours)).any()


def _typed(rule: Protocol, method: str, cells: Any, like: Any):
    """The cells, which must be uint32 of the same shape."""
    name = f"{name_of(rule)}.{method}"
    kind = getattr(cells, "dtype", type(cells).__name__)
    require(kind == jnp.uint32, f"{name} of uint32", str(kind), "uint32")
    allowed = f"{like.shape}, an element for each"
    require(cells.shape == like.shape, f"{name} of shape {like.shape}", cells.shape, allowed)
    return cells


# What polls may give


@lru_cache(maxsize=64)
def _pairs(k: int) -> tuple[_Words, _Words]:
    """Every number of answers of the node's own colour, and of answers."""
    positive, answered = np.meshgrid(np.arange(k + 1), np.arange(k + 1), indexing="ij")
    there = positive <= answered
    return positive[there].astype(np.uint32), answered[there].astype(np.uint32)


def _polls(rule: Protocol) -> Any:
    """Every result that a poll may have, as arrays."""
    if rule.counts:
        counts: Any = _pairs(rule.k)
        return Counts(*counts)
    # Where both alphas are the same `confident` is True whether there is a quorum or not.
    unsure = rule.quorums[0] < rule.quorums[1]
    rows = [(0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 1, 0), (0, 1, 1), (0, 0, 1)]
    kept = [row for row in rows if unsure or row[2] or not any(row)]
    return Quorum(*np.array(kept, bool).T)


def _choices(rule: Protocol, polls: Any) -> NDArray[np.int64]:
    """Which poll each walker meets at each step, [STEPS, WALKERS]: long runs, changes, anything."""
    generator = np.random.default_rng(0)
    total = len(polls[0])
    if rule.counts:
        k, (alpha, _) = rule.k, rule.quorums
        answers = [(k, k), (0, k), (0, 0), (alpha, k), (k - alpha, k), (alpha - 1, k), (alpha,) * 2]
        number = {
            pair: i for i, pair in enumerate(zip(*map(np.ndarray.tolist, polls), strict=True))
        }
        usual = [number[pair] for pair in answers]
    else:
        usual = list(range(total))
    favourite = np.resize(usual, WALKERS)
    second = generator.choice(usual, WALKERS)
    odds = np.where(np.arange(WALKERS) < WALKERS // 2, 1.0, generator.random(WALKERS))
    drawn = generator.integers(total, size=(STEPS, WALKERS))
    kind = generator.random((STEPS, WALKERS))
    return np.where(kind < odds, favourite, np.where(kind < (1 + odds) / 2, second, drawn))


# Nodes that are followed


def _follow(rule: Protocol, starts: _Words, polls: Any) -> _Words:
    """Undecided cells that come up; each poll is looked at."""
    choices = _choices(rule, polls)
    met = jax.tree.map(lambda part: part[choices], polls)
    flat = jax.tree.map(np.ravel, met)
    begin = np.resize(starts, WALKERS)
    cells, visited = begin, [starts]
    for _ in range(0, min(rule.max_rounds, _MOST_STEPS), STEPS):
        with raised_by(rule, "step"):
            cells, before, after = jax.device_get(_walk(rule, begin, cells, met))
        _check_step(rule, before.ravel(), flat, after.ravel())
        visited.append(np.unique(before))
    return np.unique(np.concatenate(visited))


@jax.jit
def _walk(rule: Protocol, begin, cells, polls):
    """Cells before and after each poll, [STEPS, WALKERS]; who decides begins again.

    Each node by itself, as under async.
    """

    def move(cells, poll):
        after = jax.vmap(lambda cell, poll: _typed(rule, "step", rule.step(cell, poll), cell))(
            cells, poll
        )
        return jnp.where((after & jnp.uint32(2)) == 0, after, begin), (cells, after)

    cells, (before, after) = lax.scan(move, cells, polls)
    return cells, before, after


def _check_every_poll(rule: Protocol, starts: _Words, visited: _Words, polls: Any) -> None:
    """Every poll at the starts, and at as many of the visited cells as there is room for."""
    total = len(polls[0])
    room = max(PAIRS // total - 2, 0)
    others = np.setdiff1d(visited, starts)
    if len(others) > room:
        others = np.random.default_rng(0).choice(others, room, replace=False)
    cells = np.concatenate([starts, others]).astype(np.uint32)
    where, which = (part.ravel() for part in np.indices((len(cells), total)))
    for first in range(0, len(where), PAIRS):
        part = np.resize(np.arange(first, min(first + PAIRS, len(where))), PAIRS)
        _check_step(rule, cells[where[part]], jax.tree.map(lambda p, w=which[part]: p[w], polls))


@jax.jit
def _stepped(rule: Protocol, cells, polls):
    """Cells after polls, and `remaining` for a colour that differs from cell to cell."""
    with fields.marking():
        after = _typed(rule, "step", rule.step(cells, polls), cells)
    if type(rule).remaining is Protocol.remaining:
        return after, None
    with raised_by(rule, "remaining"):
        return after, rule.remaining(cells, _colours(len(cells)))


def _colours(number: int):
    return (jnp.arange(number) // 2 % 2).astype(jnp.uint32)


# What must not be


def _check_step(rule: Protocol, before: _Words, polls: Any, alone: _Words | None = None) -> None:
    """Look at polls [PAIRS]. alone: what they gave to each cell by itself."""
    with raised_by(rule, "step"):
        after, left = jax.device_get(_stepped(rule, before, polls))
    _check_cells(rule, before, after, polls)
    if alone is not None and (alone != after).any():
        at = int(np.argmax(alone != after))
        name = f"{name_of(rule)}.step({before[at]}, {_told(rule, [p[at] for p in polls])})"
        require(False, name, int(after[at]), f"{alone[at]}, as for the cell by itself")
    if not rule.counts:
        _check_no_quorum(rule, before, after, polls)
    if left is not None:
        bad = np.flatnonzero(~(np.asarray(left, float) >= 1))
        if len(bad):
            at, colour = bad[0], int(_colours(len(before))[bad[0]])
            name = f"{name_of(rule)}.remaining({before[at]}, {colour})"
            require(False, name, left[at].item(), "1 or more polls")


def _check_cells(rule: Protocol, before: _Words, after: _Words, polls: Any) -> None:
    """Refuse the first cell that must not be."""
    bad = (after >= rule.cell_limit()) | ((after & fields.OVERFLOW) != 0)
    if not rule.decides:
        bad |= (after & 2) != 0
    if bad.any():
        at = int(np.argmax(bad))
        poll = _told(rule, [part[at] for part in polls])
        _check_cell(rule, f"step({before[at]}, {poll})", int(after[at]))


def _told(rule: Protocol, poll: Any) -> str:
    if rule.counts:
        return f"{poll[0]} of {poll[1]} answers for its colour"
    agree, against, confident = poll
    return _NAMES[(1 + confident) * agree + (3 + confident) * against]


def _check_cell(rule: Protocol, call: str, cell: int) -> None:
    name, limit = f"{name_of(rule)}.{call}", rule.cell_limit()
    mark = fields.overflow(rule.fields(), cell) if cell & fields.OVERFLOW else None
    if mark is not None:
        field, value, most = mark
        require(False, f"{name}: {field}", value, f"0 to {most}, as fields() says")
    allowed = "a cell without bit 2, which is the engine's"
    require(not cell & fields.OVERFLOW, name, cell, allowed)
    require(cell < limit, name, cell, f"less than cell_limit() = {limit}")
    allowed = "a cell without bit 1, decided, as decides is False"
    require(rule.decides or not cell & 2, name, cell, allowed)


def _check_no_quorum(rule: Protocol, before: _Words, after: _Words, met: Any) -> None:
    """Engines differ in what `confident` is where there is no quorum."""
    none = ~met.agree & ~met.against
    cells, first, which = np.unique(before[none], return_index=True, return_inverse=True)
    gives = after[none]
    other = np.flatnonzero(gives != gives[first][which])
    if len(other):
        cell, found = cells[which[other[0]]], gives[first][which[other[0]]]
        name = f"{name_of(rule)}.step({cell}, no quorum)"
        allowed = f"{found} whatever `confident` is, which means nothing without a quorum"
        require(False, name, int(gives[other[0]]), allowed)
