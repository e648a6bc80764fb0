"""The check of a protocol: nodes are followed through many polls, and their cells tested.

A walker is one column of these arrays, except of `polls`:

    polls      each part of Counts, Quorum or Levels: every result that a poll may have, [results]
    choices    index of the result that each walker meets, [STEPS, WALKERS]
    cells      uint32 [WALKERS]; before and after each poll, [STEPS, WALKERS]
"""

from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vecsim import fields
from vecsim.errors import name_of, raised_by, require, whole
from vecsim.polls import poll_record, possible, results_of
from vecsim.types import Counts, Protocol, Quorum

_Words = NDArray[np.uint32]  # cells

MOST_PEERS = 400  # peers of a poll, k: more would be slow, as counts have about k^2 / 2 results
WALKERS, STEPS = 128, 256  # nodes that are followed, and their polls in one call: milliseconds
_MOST_STEPS = 4096  # polls after which a node is not followed any further, to bound the time
PAIRS = STEPS * WALKERS  # cells and polls that are stepped at once: always so many, one compilation
# Colours that `remaining` is asked about, [PAIRS]: both in one call, with every kind of cell.
_COLOURS = np.arange(PAIRS, dtype=np.uint32) // 2 % 2
# What messages call the results of a poll where there are two quorums.
_NAMES = ("no quorum", "agree", "agree, confident", "against", "against, confident")


def check_protocol(rule: Protocol) -> None:
    """Raise ConfigError unless the protocol keeps what `types.Protocol` promises."""
    _check_numbers(rule)
    starts = _check_start(rule)
    polls, usual = _polls(rule)
    _check_every_poll(rule, starts, _follow(rule, starts, polls, usual), polls)


def _check_numbers(rule: Protocol) -> None:
    """ConfigError unless flags, numbers, quorums and the sizes of fields are in their ranges."""
    name = name_of(rule)
    for flag in ("counts", "decides"):
        value = getattr(rule, flag)
        require(type(value) is bool, f"{name}.{flag}", value, "True or False")
    for number, most in (("k", MOST_PEERS), ("max_rounds", 2**31 - 1)):
        allowed = f"a field, {number}: int = ..., or a property"
        require(hasattr(rule, number), f"{name}.{number}", "missing", allowed)
        whole(f"{name}.{number}", getattr(rule, number), 1, most)
    with raised_by(rule, "quorums"):
        quorums, k = rule.quorums, rule.k
    allowed = "two whole numbers or more, k/2 < alpha_preference <= alpha_confidence <= ... <= k"
    number = len(quorums) if isinstance(quorums, tuple) else 0
    require(number >= 2, f"{name}.quorums", quorums, allowed)
    good = all(type(each) is int for each in quorums) and k / 2 < quorums[0] and quorums[-1] <= k
    good = good and all(low <= high for low, high in pairwise(quorums))
    require(good, f"{name}.quorums", quorums, f"{allowed} = {k}")
    with raised_by(rule, "fields"):
        sizes = rule.fields()
    good = isinstance(sizes, dict) and not set(sizes) & set(fields.RESERVED)
    allowed = "names and how many values each has, but preference and decided"
    require(good, f"{name}.fields()", sizes, allowed)
    for field, size in sizes.items():
        whole(f"{name}.fields()[{field!r}]", size, 1, 2**29)
    with raised_by(rule, "cell_limit"):
        whole(f"{name}.cell_limit()", rule.cell_limit(), 4, 2**32)


def _check_start(rule: Protocol) -> _Words:
    """The cell of each colour that a node starts with."""
    with raised_by(rule, "start"):
        starts, differs = map(np.asarray, _started(rule))
    name = f"{name_of(rule)}.start"
    for colour, cell in enumerate(starts.tolist()):
        _check_cell(rule, f"start({colour})", cell)
        allowed = f"a cell that prefers {colour} (bit 0) and has not decided (bit 1)"
        require(cell & 3 == colour, f"{name}({colour})", cell, allowed)
    found = "other cells for one colour than for two"
    require(not differs, name, found, "the same: start is elementwise")
    return starts


@jax.jit
def _started(rule: Protocol):
    """The cell of each colour, and whether `start` gives another one for a single colour."""
    start, colours = partial(_called, rule, "start"), jnp.arange(2, dtype=jnp.uint32)
    with fields.marking():
        flat = start(colours)
    return flat, (flat != jax.vmap(start)(colours)).any()


def _called(rule: Protocol, method: str, words: Any, *poll: Any):
    """What `start` or `step` gives: cells, which must be uint32, one for each of the words."""
    cells: Any = getattr(rule, method)(words, *poll)
    name = f"{name_of(rule)}.{method}"
    kind = getattr(cells, "dtype", type(cells).__name__)
    require(kind == jnp.uint32, f"{name} of uint32", str(kind), "uint32")
    allowed = f"{words.shape}, an element for each"
    require(cells.shape == words.shape, f"{name} of shape {words.shape}", cells.shape, allowed)
    return cells


# What polls may give


def _polls(rule: Protocol) -> tuple[Any, list[int]]:
    """Every result that a poll may have, as arrays, and the numbers of usual ones."""
    k, (alpha, sure, *more) = rule.k, rule.quorums
    if rule.counts:
        pairs: Any = np.array(np.triu_indices(k + 1), np.uint32)
        answers = [(k, k), (0, k), (0, 0), (alpha, k), (k - alpha, k), (alpha - 1, k), (alpha,) * 2]
        listed = pairs.T.tolist()
        return Counts(*pairs), [listed.index([*pair]) for pair in answers]
    if more:
        levels = possible(rule.quorums)
        listed = [each for each in results_of(len(rule.quorums)) if each[2] in (0, *levels)]
        agree, against, level = map(np.array, zip(*listed, strict=True))
        every = poll_record(len(rule.quorums), agree, against, level.astype(np.uint32))
        return every, list(range(len(listed)))
    # Where both alphas are the same `confident` is True whether there is a quorum or not.
    rows = [(0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 1, 0), (0, 1, 1), (0, 0, 1)]
    kept = [row for row in rows if alpha < sure or row[2] or not any(row)]
    return Quorum(*np.array(kept, bool).T), list(range(len(kept)))


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
    begin = cells = np.resize(starts, WALKERS)
    visited = starts
    for _ in range(0, min(rule.max_rounds, _MOST_STEPS), STEPS):
        with raised_by(rule, "step"):
            cells, before, after = jax.device_get(_walk(rule, begin, cells, met))
        _check_step(rule, before.ravel(), jax.tree.map(np.ravel, met), after.ravel())
        visited = np.union1d(visited, before)
    return visited


@jax.jit
def _walk(rule: Protocol, begin, cells, polls):
    """Cells at the end [WALKERS], and before and after each poll [STEPS, WALKERS].

    A walker that decides begins again. Each is stepped by itself, as under async.
    """

    def move(cells, poll):
        after = jax.vmap(partial(_called, rule, "step"))(cells, poll)
        return jnp.where((after & jnp.uint32(2)) == 0, after, begin), (cells, after)

    cells, (before, after) = jax.lax.scan(move, cells, polls)
    return cells, before, after


def _check_every_poll(rule: Protocol, starts: _Words, visited: _Words, polls: Any) -> None:
    """Every poll at the starts, and at as many of the visited cells as there is room for."""
    total = len(polls[0])
    room = max(PAIRS // total - 2, 0)
    others = np.setdiff1d(visited, starts)
    if len(others) > room:
        others = np.random.default_rng(0).choice(others, room, replace=False)
    cells = np.concatenate([starts, others])
    where, which = (part.ravel() for part in np.indices((len(cells), total)))
    for first in range(0, len(where), PAIRS):
        part = np.resize(np.arange(first, min(first + PAIRS, len(where))), PAIRS)
        _check_step(rule, cells[where[part]], jax.tree.map(lambda p, w=which[part]: p[w], polls))


@jax.jit
def _stepped(rule: Protocol, cells, polls):
    """Cells after polls, and `remaining` for a colour that differs from cell to cell."""
    with fields.marking():
        after = _called(rule, "step", cells, polls)
    if type(rule).remaining is Protocol.remaining:
        return after, None
    with raised_by(rule, "remaining"):
        return after, rule.remaining(cells, jnp.asarray(_COLOURS))


# What must not happen; `argmax` of a mask is the index of its first True


def _check_step(rule: Protocol, before: _Words, polls: Any, alone: _Words | None = None) -> None:
    """Check polls of cells, [PAIRS] each. alone: what each cell became when stepped by itself."""
    with raised_by(rule, "step"):
        after, left = jax.device_get(_stepped(rule, before, polls))

    def call(at: Any) -> str:
        return f"step({before[at]}, {_told(rule, [part[at] for part in polls])})"

    bad = (after >= rule.cell_limit()) | ((after & fields.OVERFLOW) != 0)
    bad |= (after & 2 != 0) & (not rule.decides)
    at = bad.argmax()
    _check_cell(rule, call(at), int(after[at]))
    if alone is not None:
        at = (alone != after).argmax()
        allowed = f"{alone[at]}, as for the cell by itself"
        require(alone[at] == after[at], f"{name_of(rule)}.{call(at)}", int(after[at]), allowed)
    if not rule.counts:
        _check_no_quorum(rule, before, after, polls)
    if left is not None:
        left = np.ravel(left)
        at = (~(left >= 1)).argmax()  # a NaN fails, too
        name = f"{name_of(rule)}.remaining({before[at]}, {_COLOURS[at]})"
        require(left[at] >= 1, name, left[at].item(), "1 or more polls")


def _told(rule: Protocol, poll: Any) -> str:
    """A poll in words, for messages."""
    if rule.counts:
        return f"{poll[0]} of {poll[1]} answers for its colour"
    if len(rule.quorums) > 2:
        agree, against, level = poll
        colour = "agree" if agree else "against"
        return f"{colour}, level {level}" if agree or against else _NAMES[0]
    agree, against, confident = poll
    return _NAMES[(1 + confident) * agree + (3 + confident) * against]


def _check_cell(rule: Protocol, call: str, cell: int) -> None:
    """ConfigError unless the cell is one that the protocol may return. call: what returned it."""
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
    """Without a quorum `confident` must make no difference: engines differ in what it is then."""
    none = ~met.agree & ~met.against
    cells, gives = before[none], after[none]
    _, first, which = np.unique(cells, return_index=True, return_inverse=True)
    same = gives[first][which]
    at = (gives != same).argmax()
    name = f"{name_of(rule)}.step({cells[at]}, no quorum)"
    allowed = f"{same[at]} whatever `confident` is, which means nothing without a quorum"
    require(gives[at] == same[at], name, int(gives[at]), allowed)
