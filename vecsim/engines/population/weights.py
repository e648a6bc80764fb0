"""All that decides the polls of a point except its nodes' preferences (host side).

`poll_results` puts the two together; its docstring has the formula, and an example. There k = 4,
and a poll that draws x own and y = 0 answers of the third part (all arrive) has these weights:

    x                   0  1  2  3  4
    no quorum           0  0  6  0  0        C(4, x), in the row of the result that x leads to
    own, confident      0  0  0  4  1
    other, confident    1  4  0  0  0
"""

from functools import lru_cache
from itertools import pairwise
from math import comb
from typing import Any, NamedTuple

import numpy as np

from vecsim.model import poll_law as pools
from vecsim.model.point import Point
from vecsim.polls import results_of


class Polls(NamedTuple):
    """All that decides the results of a point's polls except its nodes' preferences."""

    k: Any  # int32
    honest: Any  # float64
    exclude_self: Any  # float64, 0 or 1
    step: Any  # float64: 1 for distinct peers, 0 with replacement
    arrives: Any  # float64: P(an answer arrives) with replacement, else 1
    lost: Any  # float64: P(an answer is lost) with replacement, else 0
    answers: Any  # float64 [mixes, kinds, own colour, 2]: share of the Byzantine nodes of a kind
    # that count as own, as others
    apart: Any  # float64 [mixes, kinds]: share in the third part
    ways: Any  # float64 [x]: C(k, x)
    # float64 [mixes, own colour, results, y, x]: 0 where x + y is more than k. With unheard nodes
    # there is a first axis: draws that meet nodes that are heard. Where there is a third part, one
    # kind of Byzantine nodes, and all honest nodes are heard, `_rests` is multiplied in; of several
    # kinds some may answer a fixed colour, and how many they are depends on the trial.
    weights: Any

    @property
    def results(self) -> int:
        """Results that a poll may have."""
        return self.weights.shape[-3]


def third_part(point: Point) -> bool:
    """Whether some answer may be a coin or silence (the third part, see `poll_results`)."""
    network, ways = point.network, point.adversary.ways if point.byzantine else ()
    mixes = {mix for way in ways for mix in way}
    if network.replacement:
        return network.loss > 0 or any(sum(mix) < 1 for mix in mixes)
    return any(mix not in pools.FIXED for mix in mixes)


def varies_apart(point: Point) -> bool:
    """Whether the third part may be of several kinds whose numbers differ between trials."""
    kinds = point.adversary.kinds
    apart = [kind for kind in kinds if any(mix not in pools.FIXED for mix in kind.mixes)]
    drawn = any(float(kind.admission) < 1 for kind in apart)
    return len(apart) > 1 and drawn and not point.network.replacement


def polls_of(point: Point, mixes: int, size: int, third: bool, unheard: bool = False) -> Polls:
    """The point's polls, filled up to `mixes` mixes and `size` answers.

    third: whether the program has a third part. unheard: whether honest nodes may be unheard.
    """
    varying = unheard or point.stake.weighted
    polls = _polls_of(point, mixes, size, third, point.protocol.k, varying)
    if not unheard:
        return polls
    shorter = [_polls_of(point, mixes, size, third, k, True).weights for k in range(polls.k)]
    none = np.zeros((size - int(polls.k), *polls.weights.shape))
    return polls._replace(weights=np.concatenate([np.stack([*shorter, polls.weights]), none]))


def _polls_of(point: Point, mixes: int, size: int, third: bool, k: int, varying: bool) -> Polls:
    """As `polls_of`, for polls of k draws, all of nodes that are heard.

    varying: whether how many honest nodes, or units of their stake, are heard may differ.
    """
    rule, network = point.protocol, point.network
    replacement = network.replacement
    kinds = point.kinds
    answers, apart = np.zeros((mixes, len(kinds), 2, 2)), np.zeros((mixes, len(kinds)))
    results = len(results_of(len(rule.quorums)))
    weights = np.zeros((mixes, 2, results, size + 1 if third else 1, size + 1))
    for i, way in enumerate(point.adversary.ways):
        for j, mix in enumerate(way):
            merged = replacement or mix in pools.FIXED
            apart[i, j] = (1 - sum(mix)) if replacement else float(not merged)
            answers[i, j] = [[mix[1 - own], mix[own]] for own in range(2)] if merged else 0.0
        for own in range(2):
            loss = 0.0 if replacement else network.loss
            given = () if replacement else _third(way, kinds, own)
            rows = result_weights(k, rule.quorums, loss, given, third)
            if given and not varying and len(kinds) == 1:
                rows = rows * _rests(point.honest - network.exclude_self, k)[: rows.shape[1]]
            weights[i, own, :, : rows.shape[1], : rows.shape[2]] = rows
    return Polls(
        k=np.int32(k),
        honest=np.float64(point.honest),
        exclude_self=np.float64(network.exclude_self),
        step=np.float64(not replacement),
        arrives=np.float64(1 - network.loss if replacement else 1.0),
        lost=np.float64(network.loss if replacement else 0.0),
        answers=answers,
        apart=apart,
        ways=np.array([float(comb(k, x)) for x in range(size + 1)]),
        weights=weights,
    )


@lru_cache(maxsize=512)
def result_weights(
    k: int, quorums: tuple[int, ...], loss: float, apart: tuple[pools.Voters, ...], third: bool
) -> pools.Floats:
    """Ways to draw x own answers and y of the third part, times P(each result | x, y).

    quorums: the protocol's. apart: of each kind of nodes in the third part how many there are (of a
    single kind: 0), P(one gives an own answer), P(another one). third: whether y goes up to k, or
    is 0. [results, y, x].
    """
    size = k + 1
    count = np.add.outer(np.arange(size), np.arange(size))  # arriving + of the third part
    chosen = [(count >= low) & (count < high) for low, high in pairwise((0, *quorums, 2 * size))]
    arriving = pools.arriving(k, 1 - loss)
    below, *levels = (arriving @ part.astype(float) for part in chosen)
    weights = np.zeros((len(results_of(len(quorums))), size if third else 1, size))

    def answered(y, own, other):
        return _trinomial(y, own * (1 - loss), other * (1 - loss))

    if len(apart) > 1:
        laws = pools.combined(apart, k, answered)
    else:  # of any number of nodes
        laws = [answered(y, *(apart[0][1:] if apart else (0.0, 0.0))) for y in range(size)]
    for y, both in enumerate(laws[: weights.shape[1]]):  # no more than there are
        x = np.arange(k - y + 1)
        z = x[::-1]
        mine, theirs = both.sum(axis=1), both.sum(axis=0)
        answers = slice(0, y + 1)
        neither = (below[x, answers] @ both * below[z, answers]).sum(axis=1)
        own = [reached[x, answers] @ mine for reached in levels]
        other = [reached[z, answers] @ theirs for reached in levels]
        ways = np.array([float(comb(k, y) * comb(k - y, i)) for i in x])
        weights[:, y, x] = ways * np.array([neither, *own, *other])
    weights.setflags(write=False)
    return weights


def _third(way, kinds: tuple[int, ...], own: int) -> tuple[pools.Voters, ...]:
    """`apart` of `result_weights`, for queriers of one colour."""
    found = [(nodes, mix) for nodes, *mix in pools.by_mix(way, kinds) if (*mix,) not in pools.FIXED]
    alone = len(found) == 1
    return tuple((0 if alone else nodes, mix[1 - own], mix[own]) for nodes, mix in found)


def _rests(total: int, k: int) -> pools.Floats:
    """[total]_x [total]_(d-x) / [total]_d for d = k - y draws, [y, x]."""
    j = np.arange(k)
    under = total - (k - np.arange(k + 1)[:, None] - 1.0 - j)
    ratios = np.maximum(total - j, 0) / np.where(under > 0, under, 1)
    return np.cumprod(np.pad(ratios, ((0, 0), (1, 0)), constant_values=1.0), axis=1, dtype=float)


def _trinomial(trials: int, first: float, second: float) -> pools.Floats:
    """P(i of the first kind, j of the second) in so many trials, [trials + 1, trials + 1]."""
    either = first + second
    share = first / either if either else 0.0
    joint = pools.coloured(pools.binomial_pmf(trials, either), share, trials + 1)  # [both, first]
    i, j = np.indices(joint.shape)
    return np.where(i + j <= trials, joint[np.minimum(i + j, trials), i], 0.0)
