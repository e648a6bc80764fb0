"""Shares of honest nodes in each state, and what a round does to them when nodes are many.

Snowflake with beta 2, where 4 of 10 nodes start at 1; the shares of a group add up to 1:

    cell         0    1    2    3    4    5
    preference   0    1    0    1    0    1
    counter      0    0    1    1    decided
    state        0.6  0.4  0    0    0    0      float64 [cells], at the start

`moves` [cells, cells x results] takes each share, times P(each result), to the cell that follows.
"""

from itertools import chain
from math import comb
from operator import sub
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vecsim.engines.cells import enumerate_cells, padded, require_cells
from vecsim.errors import require
from vecsim.model.poll_law import Floats, binomial_pmf
from vecsim.polls import results_of
from vecsim.protocols.qr_avalanche import QrAvalanche
from vecsim.types import Counts, Protocol, decided, preference

_MOST_CELLS = 32_000  # cells of QR-Avalanche followed one by one, to bound the time of a round
# Share of nodes, or probability of a poll, below which it is left out: no more than rounding moves.
_NEGLIGIBLE = 1e-16
ROUNDING = 1e-14  # probability of silence below which it counts as 0: rounding may leave as much


def _at_least(k: int, p, *least: int) -> list[Floats]:
    """P(so many or more of k independent answers), for answers of probability p [...] each."""
    law = binomial_pmf(k, np.asarray(p)[..., None])
    return [law[..., alpha:].sum(axis=-1) for alpha in least]


def result_shares(rule: Protocol, asked: Floats, colour: int) -> Floats:
    """Probabilities of `results_of` the rule's quorums for a node of this colour, [..., results].

    asked: P(one answer is 1), P(it is 0), [..., 2].
    """
    k, quorums = int(rule.k), rule.quorums
    own = _at_least(k, asked[..., 1 - colour], *quorums)
    other = _at_least(k, asked[..., colour], *quorums)
    none = np.maximum(1 - own[0] - other[0], 0.0)
    levels = ([*map(sub, tails, tails[1:]), tails[-1]] for tails in (own, other))
    return np.stack([none, *chain.from_iterable(levels)], axis=-1)


class FewCells:
    """Shares of nodes in each cell, for protocols that look at quorums.

    known: how many of `results_of` its quorums, the first ones, a poll may give; all unless given.
    """

    def __init__(self, rule: Protocol, rounds: int, known: int | None = None):
        known = len(results_of(len(rule.quorums))) if known is None else known
        self.rule, self.cells = rule, enumerate_cells(rule, rounds, known)
        size = len(self.cells.cells), len(self.cells.cells) * known
        # Columns go cell by cell, the results of each one after another.
        places = self.cells.after.ravel(), np.arange(size[1])
        self.moves = sparse.csr_array((np.ones(size[1]), places), size)

    def begin(self, ones: float) -> Floats:
        """Shares in each cell at the start, [cells]. ones: share that starts at 1."""
        state = np.zeros(len(self.cells.cells))
        state[:2] = 1 - ones, ones
        return state

    def shares(self, state: Floats) -> tuple[float, float, float, float]:
        """Shares of 1-holders, of nodes that decided 0, that decided 1, and of undecided nodes."""
        colour, decided = self.cells.preference, self.cells.decided
        over = [state[decided & (colour == each)].sum() for each in (0, 1)]
        ones, left = state[colour == 1].sum(), state[~decided].sum()
        return float(ones), float(over[0]), float(over[1]), float(left)

    def step(self, state: Floats, asked: Floats) -> Floats:
        """The state after a round. asked: P(one answer is 1), P(it is 0), for a node of each
        colour, [colour, 2].
        """
        laws = np.stack([result_shares(self.rule, asked[colour], colour) for colour in (0, 1)])
        return self.polled(state, laws)

    def polled(self, state: Floats, laws: Floats) -> Floats:
        """The same. laws: P(each result) for a node of each colour, [colour, results]."""
        return self.moves @ (state[:, None] * laws[self.cells.preference]).ravel()


class Averages(NamedTuple):
    """Shares of undecided nodes in each of some cells, and of those that decided each colour."""

    cells: NDArray[np.int64]  # [cells]: of which the confidence may be a mean of several
    share: Floats  # [cells]
    decided: Floats  # [colour]


class ManyCells:
    """Shares of nodes for QR-Avalanche, whose confidence takes too many values.

    Cells are followed one by one as long as there are few. Of more, those of one colour and streak
    whose confidences fall into one bin are merged, at their mean; no bin crosses the threshold.

    width: values of the confidence in a bin. pairs: int [polls, 2], what a poll may give, as
    (positive, answered). threshold: the least confidence that decides, in fixed point.
    """

    def __init__(self, rule: Any):
        self.rule, self.width = rule, 1
        self.pairs = np.array([(i, j) for j in range(rule.k + 1) for i in range(j + 1)])
        self.threshold = int(rule.least_confidence)

    def begin(self, ones: float) -> Averages:
        """The two cells at the start. ones: share that starts at 1."""
        cells = np.asarray(self.rule.start(jnp.arange(2, dtype=jnp.uint32))).astype(np.int64)
        self.width = 1
        return Averages(cells, np.array([1 - ones, ones]), np.zeros(2))

    def shares(self, state: Averages) -> tuple[float, float, float, float]:
        """As those of `FewCells`."""
        ones = state.share[preference(state.cells) == 1].sum() + state.decided[1]
        return float(ones), *state.decided.tolist(), float(state.share.sum())

    def step(self, state: Averages, asked: Floats) -> Averages:
        """As that of `FewCells`; shares below _NEGLIGIBLE are dropped."""
        cells, shares = [], []
        for colour in (0, 1):
            mine = (preference(state.cells) == colour) & (state.share > _NEGLIGIBLE)
            if mine.any():
                agree, against = asked[colour, 1 - colour], asked[colour, colour]
                law = _joint(int(self.rule.k), agree, against, self.pairs)
                likely = np.flatnonzero(law > _NEGLIGIBLE)
                before = padded(state.cells[mine].astype(np.uint32))
                stepped = _counted(self.rule, before, padded(self.pairs[likely].astype(np.uint32)))
                cells.append(np.asarray(stepped)[: len(likely), : mine.sum()].ravel())
                shares.append((law[likely, None] * state.share[mine]).ravel())
        if not cells:
            return state
        cell, share = np.concatenate(cells).astype(np.int64), np.concatenate(shares)
        over = decided(cell)
        ended = state.decided + np.bincount(preference(cell[over]), share[over], 2)
        return Averages(*self._merged(cell[~over], share[~over]), ended)

    def _merged(self, cells: NDArray[np.int64], share: Floats):
        """The cells and shares, merged into at most _MOST_CELLS bins, which widen as they must."""
        confidence, rest = self.rule.parts(cells)
        confidence -= self.threshold
        while True:
            bins = self.rule.joined(confidence // self.width, rest)
            names, index = np.unique(bins, return_inverse=True)
            if len(names) <= _MOST_CELLS:
                break
            self.width *= 2
        sums = np.bincount(index, share, len(names)).astype(float)
        total = np.bincount(index, share * confidence, len(names))
        kept = sums > 0
        mean = np.rint(total[kept] / sums[kept]).astype(np.int64) + self.threshold
        return self.rule.joined(mean, self.rule.parts(names[kept])[1]), sums[kept]


def _joint(k: int, agree: float, against: float, pairs) -> Floats:
    """P(so many answers agree, and so many arrive) for pairs (positive, answered), [pairs].

    agree, against: probability that one answer does; otherwise it is missing.
    """
    positive, answered = pairs.T
    ways = np.array([float(comb(k, j) * comb(j, i)) for i, j in pairs.tolist()])
    silent = max(1 - agree - against, 0.0)
    silent = 0.0 if silent < ROUNDING else silent
    return ways * agree**positive * against ** (answered - positive) * silent ** (k - answered)


@jax.jit
def _counted(rule, cells, pairs):
    """The cells after each poll, uint32 [pairs, cells], by the protocol's own step."""
    return jax.vmap(lambda pair: rule.step(cells, Counts(pair[0], pair[1])))(pairs)


def shares_of(rule: Protocol, rounds: int) -> Any:
    """What follows the shares of a protocol's nodes: FewCells, or ManyCells.

    ConfigError for other protocols that look at counts, and as `enumerate_cells` raises it.
    """
    require_limit(rule)
    return ManyCells(rule) if rule.counts else FewCells(rule, rounds)


def require_limit(rule: Protocol) -> None:
    """ConfigError for protocols whose limit is not known."""
    require_cells(rule)
    good = not rule.counts or isinstance(rule, QrAvalanche)
    allowed = "a protocol that looks at quorums only, or QR-Avalanche"
    require(good, "protocol", type(rule).__name__, allowed)
