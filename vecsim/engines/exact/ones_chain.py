"""Chain on the number of honest nodes that prefer 1, for protocols without other state (Slush).

With 9 honest nodes and an adversary that may have two memories there are 20 states:

    state    0 1 ... 9    10 11 ... 19
    ones     0 1 ... 9     0  1 ...  9
    memory       0             1
"""

from functools import cache

import numpy as np

from vecsim.engines.behaviour import Branch, Conduct
from vecsim.engines.drawn import around_mode
from vecsim.engines.exact.absorbing import Chain, transitions
from vecsim.engines.exact.polls import turned
from vecsim.model.point import Nodes, Point
from vecsim.model.poll_law import Floats

# Probability, relative to the mode of a binomial law, below which numbers are left out: far below
# that of any rare event of interest.
_TAIL = 1e-100


def tally_chain(point: Point, admitted: Nodes, conduct: Conduct) -> tuple[Chain, np.ndarray]:
    """The chain, whose states are (memory, 1-holders), and the 1-holders in each state, [states].

    admitted: Byzantine nodes of each kind in the network.
    """
    honest = point.honest
    ones = np.tile(np.arange(honest + 1), conduct.memories)
    done = (ones == 0) | (ones == honest)
    still = done & (sum(admitted) == 0)  # nothing moves any more
    moves = tuple(_moves(point, admitted, branches, still) for branches in conduct.branches)
    return Chain(moves, conduct.phases, point.start_ones, done), ones


def _moves(point: Point, admitted: Nodes, branches: tuple[Branch, ...], still):
    """The matrix of one phase, CSR [states, states]. still: bool [states], nothing moves there."""
    honest, mixes = point.honest, point.adversary.ways

    @cache
    def chances(mix: int, colour: int):
        return turned(point, mixes[mix], admitted, colour)

    row_of = _lockstep if point.schedule == "lockstep" else _poll
    found = []
    for state in range(len(still)):
        memory, ones = divmod(state, honest + 1)
        for branch in branches:
            if still[state]:
                first, row, base = ones, np.ones(1), memory * (honest + 1)
            else:
                mix = branch.mixes[memory, ones, 0]
                down, up = ([law[ones] for law in chances(mix[own], own)] for own in (1, 0))
                first, row = row_of(ones, honest, down, up)
                base = branch.memory[memory, ones] * (honest + 1)
            found.append((state, base + first + np.arange(len(row)), branch.weight[ones] * row))
    return transitions(found, len(still))


def _lockstep(ones: int, honest: int, down, up) -> tuple[int, Floats]:
    """The least number of 1-holders after a round in which all poll, and probabilities from it."""
    lost_first, lost = binomial_law(ones, *down)
    won_first, won = binomial_law(honest - ones, *up)
    least = ones - (lost_first + len(lost) - 1) + won_first
    return least, np.convolve(lost[::-1], won)


def _poll(ones: int, honest: int, down, up) -> tuple[int, Floats]:
    """The same after one node, drawn from all honest ones, has polled."""
    share = np.array([ones, honest - ones]) / honest
    stays = share[0] * down[1] + share[1] * up[1]
    row = np.array([share[0] * down[0], stays, share[1] * up[0]])
    present = slice(int(ones == 0), 3 - int(ones == honest))
    return ones - 1 + present.start, row[present]


def binomial_law(trials: int, success: float, failure: float) -> tuple[int, Floats]:
    """The least number of successes that counts, and the (binomial) probabilities from it on.

    success + failure = 1, each accurate by itself. From the mode outwards by ratios, so that
    every probability keeps its relative accuracy.
    """
    if trials == 0 or success == 0:
        return 0, np.ones(1)
    if failure == 0:
        return trials, np.ones(1)
    mode = min(int((trials + 1) * success), trials)
    i = np.arange(mode, trials)
    up = (trials - i) / (i + 1) * (success / failure)
    i = np.arange(mode, 0, -1)
    down = i / (trials - i + 1) * (failure / success)
    return around_mode(mode, up, down, _TAIL)
