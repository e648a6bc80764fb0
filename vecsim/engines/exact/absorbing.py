"""Absorbing Markov chains without subtractions (float64).

Everything is made of sums and products of probabilities, so that rare events and very long times
keep their relative accuracy. Times come from the elimination of Grassmann, Taksar and Heyman
(1985, "Regenerative analysis and steady state distributions for Markov chains"), here as an LU
factorisation by blocks: a pivot is the sum of what leaves a state, never 1 minus what stays.

For Slush with n = 10, all honest, 4 of them at 1, the states are the numbers of 1-holders:

    state   0     1 ... 9     10
    done    yes   no          yes
    start   4     (moves: [11, 11], rows that add up to 1)
"""

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from math import inf, isfinite, nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import solve_triangular
from scipy.sparse.linalg import aslinearoperator, gmres

from vecsim.model.poll_law import Floats

_NEGLIGIBLE = 1e-25  # probability of going on at which the distribution of steps is cut off
DENSE = 6000  # states up to which times come from the elimination (288 MB), else from GMRES
TOLERANCE = 1e-12  # relative residual that GMRES must reach
_BLOCK = 64  # states eliminated before the rest is updated by one product of matrices
CHECK = 16  # steps between two tests of whether the probability of going on is negligible


class Chain(NamedTuple):
    """A chain that is followed until it first enters a state that is `done`.

    moves: for each phase, P(row -> column) as a sparse array [states, states]; phase i holds from
    step `phases[i]` on, and the last one for ever. start: number of the first state.
    """

    moves: tuple[Any, ...]
    phases: tuple[int, ...]
    start: int
    done: NDArray[np.bool_]


def transitions(found: list[tuple[int, Any, Floats]], states: int, number: Callable = np.asarray):
    """The matrix of one phase of a `Chain`: CSR [states, states], float64.

    found: a state, what may follow it, and the probabilities of that, each. number: turns what may
    follow into numbers of states, where it is something else.
    """
    sources, targets, weights = zip(*found, strict=True)
    rows = np.repeat(np.array(sources, np.int32), list(map(len, weights)))
    columns = number(np.concatenate(targets)).astype(np.int32)
    return sparse.coo_array((np.concatenate(weights), (rows, columns)), (states, states)).tocsr()


class Passage(NamedTuple):
    """When a chain is first done, and where it is then and at the end.

    finish: P(done first after exactly i steps), i = 0, 1, ... up to the limit or a negligible rest.
    unfinished: P(not done within the limit). entered: P(done first in this state), within the
    limit. final: P(in this state) after the limit, or at the first done state where those are
    absorbing. mean, square: means of the number of steps until it is done and of its square, were
    there no limit.
    """

    finish: Floats
    unfinished: float
    entered: Floats
    final: Floats
    mean: float
    square: float


def passage(chain: Chain, limit: int) -> Passage:
    """Follow the chain for `limit` steps, and from there on in closed form.

    mean and square are inf where the chain may never be done, NaN where GMRES does not converge.
    """
    absorbing = all((moves.diagonal()[chain.done] == 1.0).all() for moves in chain.moves)
    forward = [moves.T.tocsr() for moves in chain.moves]
    done = np.flatnonzero(chain.done)
    going = np.zeros(len(chain.done))  # not done yet
    going[chain.start] = 1.0
    whole = going.copy()  # done or not; not followed where that would tell no more
    entered, finish = np.zeros(len(going)), []
    last = min(chain.phases[-1], limit)
    late = np.zeros(len(going))  # `going` when the last phase begins
    for step in range(limit + 1):
        arrived = going[done]
        finish.append(arrived.sum())
        entered[done] += arrived
        going[done] = 0.0
        if step == last:
            late = going.copy()
        if step == limit or (absorbing and step % CHECK == 0 and going.sum() < _NEGLIGIBLE):
            break
        moves = forward[bisect_right(chain.phases, step) - 1]
        going = moves @ going
        if not absorbing:
            whole = moves @ whole
    finish = np.trim_zeros(np.array(finish), "b")
    mean, square = _moments(chain, finish, last, late)
    final = going + entered if absorbing else whole
    return Passage(finish, float(going.sum()), entered, final, mean, square)


def _moments(chain: Chain, finish: Floats, steps: int, state: Floats) -> tuple[float, float]:
    """Mean and mean square of the steps to be done, from `state` after so many steps."""
    first = finish[: steps + 1]
    early = np.arange(len(first))
    sums = np.array([first @ early, first @ early**2])
    rest = state.sum()
    if rest > 0:
        more = _times(chain.moves[-1], chain.done, state)
        if more[0] == inf:
            return inf, inf
        sums += [steps * rest + more[0], steps**2 * rest + 2 * steps * more[0] + more[1]]
    return float(sums[0]), float(sums[1])


def _times(moves, done, state: Floats) -> tuple[float, float]:
    """Mean and mean square of the steps still to go, times the mass of `state`; inf if endless."""
    reachable = _closure(moves, state > 0)
    finite = _closure(moves.T, done)
    inside = np.flatnonzero(reachable & ~done)
    if not finite[inside].all():
        return inf, inf
    inner = moves[inside][:, inside]
    leaving = moves[inside][:, np.flatnonzero(done)].sum(axis=1)
    visits_from = partial(_iterate, inner)
    if len(inside) <= DENSE:
        visits_from = partial(_visits, *_eliminated(inner.toarray(), np.asarray(leaving, float)))
    visits = visits_from(state[inside])
    again = visits_from(visits)
    mean, square = float(visits.sum()), float(2 * again.sum() - visits.sum())
    return (mean if isfinite(mean) else inf), (square if isfinite(square) else inf)


def _closure(moves, members: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The states that can be reached from the members, and the members."""
    pattern = (moves > 0).astype(np.int32).T.tocsr()
    while True:
        grown = members | (pattern @ members.astype(np.int32) > 0)
        if np.array_equal(grown, members):
            return members
        members = grown


@np.errstate(over="ignore", invalid="ignore")
def _visits(packed: Floats, pivots: Floats, start: Floats) -> Floats:
    """x with x = start + x Q: how often each state is visited, counting the start.

    packed, pivots: of `_eliminated`.
    """
    upper = np.triu(-packed, 1)
    np.fill_diagonal(upper, pivots)
    solve = partial(solve_triangular, trans=1, check_finite=False)
    halfway = solve(upper, start)
    np.negative(packed, out=upper)
    return solve(upper, halfway, lower=True, unit_diagonal=True)


@np.errstate(over="ignore", invalid="ignore")
def _eliminated(inner: Floats, leaving: Floats) -> tuple[Floats, Floats]:
    """I - Q = L U, for Q = inner and the probabilities of leaving (both are overwritten).

    Row sums of Q plus `leaving` are 1; the diagonal of Q is not used. Returns in one array
    minus L under its diagonal of ones and minus U off its own, and the diagonal of U.
    """
    size = len(leaving)
    pivots = np.empty(size)
    for first in range(0, size, _BLOCK):
        last = min(first + _BLOCK, size)
        for i in range(first, last):
            row, below = inner[i, i + 1 :], inner[last:, i]
            pivots[i] = row.sum() + leaving[i]
            below += inner[last:, first:i] @ inner[first:i, i]
            inner[i + 1 :, i] /= pivots[i]
            share = inner[i + 1 : last, i]
            inner[i + 1 : last, i + 1 :] += share[:, None] * row
            leaving[i + 1 : last] += share * leaving[i]
        share = inner[last:, first:last]
        leaving[last:] += share @ leaving[first:last]
        inner[last:, last:] += share @ inner[first:last, last:]
    return inner, pivots


def _iterate(inner, start: Floats) -> Floats:
    """The same visits by GMRES, for chains too large to eliminate."""
    system = aslinearoperator(sparse.eye_array(len(start)) - inner.T.tocsr())
    visits, failed = gmres(system, start, rtol=TOLERANCE, restart=100, maxiter=100)
    return np.full(len(start), nan) if failed else visits
