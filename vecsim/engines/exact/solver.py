"""Exact: what trials give on average and in distribution, from absorbing Markov chains.

No trial is drawn. Slush is a chain on the number of honest nodes that prefer 1, other protocols
one on how many nodes are in each cell. Shared coins, and the number of Sybil identities that are
admitted, are averaged over. Float64; shared coins as the other engines draw them, of 24 bits.
"""

import math
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import stats

from vecsim.engines.behaviour import Conduct, conducts, unsupported
from vecsim.engines.cells import only_by_nodes
from vecsim.engines.drawn import first_ones_law
from vecsim.engines.exact.absorbing import Passage, passage
from vecsim.engines.exact.counts import Census
from vecsim.engines.exact.counts_chain import census_chain
from vecsim.engines.exact.ones_chain import tally_chain
from vecsim.errors import ConfigError
from vecsim.model.point import Nodes, Point
from vecsim.model.poll_law import Floats
from vecsim.polls import results_of

MOST_HONEST = 5000  # honest nodes of a chain on 1-holders: its moves grow with their square
MOST_COUNTED = 2**15 - 1  # honest nodes of a chain on censuses, whose counts have 16 bits
MOST_CENSUSES = 20_000  # conceivable censuses up to which `supports` need not list the moves
FEW_MOVES = 500_000  # moves that `supports` lists, and a point may have, where there are more
_RARE = 1e-20  # probability of a number of admitted identities, or of a start, that is left out


class Solution(NamedTuple):
    """What a point's trials give: probabilities, and times in rounds.

    A trial has finished when every honest node has decided; under a protocol that does not decide,
    when all honest nodes first prefer one colour. Probabilities are those of a trial of
    max_rounds; times are in rounds (under async, polls / n).

    finish: P(finished after exactly i steps), i = 0, 1, ...; a negligible rest (1e-25) is cut off.
    round_steps: steps in a round (1; n under async).
    unfinished: P(not finished within max_rounds).
    mean_rounds, sd_rounds: of the time to finish, were there no max_rounds: inf if it may never
    come, NaN if the chain is too slow to solve.
    agreed_0, agreed_1: P(finished with all honest nodes on 0, or on 1).
    disagreement: P(honest nodes have decided both colours).
    majority_kept: P(finished, all honest nodes on the colour that most of them held at the start);
    under a protocol that does not decide, P(all hold that colour at the end). NaN where as many
    start at 0 as at 1.
    stalled: P(an honest node is undecided at the end), whatever others have decided; 1 under a
    protocol that does not decide. Below 1e-25, where chains are cut off, it bounds the probability
    from above, and so does unfinished.
    final_ones: P(c honest nodes prefer 1 at the end), c = 0 ... honest.
    states: states of the largest chain solved.
    """

    finish: Floats
    round_steps: int
    unfinished: float
    mean_rounds: float
    sd_rounds: float
    agreed_0: float
    agreed_1: float
    disagreement: float
    stalled: float
    majority_kept: float
    final_ones: Floats
    states: int


class _Part(NamedTuple):
    """The solution for one value of everything that is averaged over."""

    passage: Passage
    ones: np.ndarray  # in each state
    violation: np.ndarray  # bool: whether both colours are decided


def supports(point: Point) -> str | None:
    """Why a point cannot be solved; None if it can. It may list up to FEW_MOVES moves."""
    if point.stake.weighted:
        return "nodes that hold more or less than others are not solved"
    if point.timed:
        return "simulated time is not solved"
    if point.network.topology != "complete":
        return "only complete graphs are solved"
    if point.network.groups:
        return "networks with groups are not solved"
    if reason := only_by_nodes(point.protocol):
        return reason
    if point.protocol.counts:
        return "a protocol that looks at counts has too many cells"
    try:
        most = MOST_HONEST if _simple(point) else MOST_COUNTED
        if point.honest > most:
            return f"more than {most} honest nodes"
        census = Census(point)
        reason = unsupported(point, census.number_of_situations)
        if not reason and not _simple(point) and census.bound > MOST_CENSUSES:
            admitted, _ = _admitted(point)[-1]
            for conduct in conducts(point, admitted, census.situations()):
                census_chain(census, admitted, conduct, FEW_MOVES)
    except ConfigError as error:
        return str(error)
    return reason


def solve(point: Point) -> Solution:
    """What the point's trials give; ConfigError where `supports` has a reason not to."""
    reason = supports(point)
    if reason:
        raise ConfigError(f"engine is exact: {reason}")
    situations = Census(point).situations()
    parts = [
        (share * chance * conduct.weight, _part(point, admitted, ones, conduct))
        for (admitted, share), (ones, chance) in product(_admitted(point), _starts(point))
        for conduct in conducts(point, admitted, situations)
    ]
    return _averaged(point, parts)


def _simple(point: Point) -> bool:
    """Whether the number of 1-holders is the whole state: a node keeps its colour only (Slush)."""
    if point.protocol.decides or point.adversary.groups > 1:
        return False
    # The colour that follows 0, and 1, after each result: a quorum against turns a node.
    turned = [int(against) for _, against, _ in results_of(len(point.protocol.quorums))]
    return np.array_equal(Census(point).after, [turned, [1 - each for each in turned]])


def _admitted(point: Point) -> list[tuple[tuple[int, ...], float]]:
    """Numbers of Byzantine nodes of each kind in the network, and their probability."""
    laws = []
    for nodes, kind in zip(point.kinds, point.adversary.kinds, strict=True):
        admission = float(kind.admission)
        chances = stats.binom.pmf(np.arange(nodes + 1), nodes, admission)
        law = [(i, float(chance)) for i, chance in enumerate(chances) if chance > _RARE]
        laws.append([(nodes, 1.0)] if admission == 1 else law)
    together = (zip(*several, strict=True) for several in product(*laws))
    found = ((numbers, math.prod(chances)) for numbers, chances in together)
    return [(numbers, chance) for numbers, chance in found if chance > _RARE]


def _starts(point: Point) -> list[tuple[int, float]]:
    """Numbers of nodes in the adversary's first group that start at 1, and their probabilities."""
    least, law = first_ones_law(point)
    return [(least + i, float(chance)) for i, chance in enumerate(law) if chance > _RARE]


def _part(point: Point, admitted: Nodes, first_ones: int, conduct: Conduct) -> _Part:
    """The solution for these admitted nodes, this start and this conduct of the adversary."""
    if _simple(point):
        chain, ones = tally_chain(point, admitted, conduct)
        violation = np.zeros(len(ones), bool)
    else:
        census = Census(point, first_ones)
        chain, rows = census_chain(census, admitted, conduct)
        decided = [rows @ (census.over & (census.ones == colour)) > 0 for colour in (0, 1)]
        ones, violation = rows @ census.ones, decided[0] & decided[1]
    steps = point.steps
    chain = chain._replace(phases=tuple(phase * steps for phase in chain.phases))
    return _Part(passage(chain, int(point.protocol.max_rounds) * steps), ones, violation)


def _averaged(point: Point, parts: list[tuple[float, _Part]]) -> Solution:
    """The average of the parts, each with its probability."""
    steps, honest = point.steps, point.honest

    def mean(value):
        return float(sum(weight * value(part) for weight, part in parts))

    def entered(ones):
        return lambda part: part.passage.entered[part.ones == ones].sum()

    finish = np.zeros(max(len(part.passage.finish) for _, part in parts))
    final = np.zeros(honest + 1)
    for weight, part in parts:
        finish[: len(part.passage.finish)] += weight * part.passage.finish
        final += weight * np.bincount(part.ones, part.passage.final, honest + 1)
    first = mean(lambda part: part.passage.mean)
    second = mean(lambda part: part.passage.square)
    sd = math.sqrt(max(second - first**2, 0.0)) if math.isfinite(second) else second
    unfinished = mean(lambda part: part.passage.unfinished)
    agreed = [mean(entered(ones)) for ones in (0, honest)]
    ends = agreed if point.protocol.decides else [float(final[0]), float(final[honest])]
    majority = np.sign(2 * point.start_ones - honest)
    return Solution(
        finish=finish,
        round_steps=steps,
        unfinished=unfinished,
        mean_rounds=first / steps,
        sd_rounds=sd / steps,
        agreed_0=agreed[0],
        agreed_1=agreed[1],
        disagreement=mean(lambda part: part.passage.final[part.violation].sum()),
        stalled=unfinished if point.protocol.decides else 1.0,
        majority_kept=ends[int(majority > 0)] if majority else np.nan,
        final_ones=final,
        states=max(len(part.ones) for _, part in parts),
    )
