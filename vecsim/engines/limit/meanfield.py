"""The limit of many nodes: shares of honest nodes that move without chance.

As n grows at a fixed Byzantine fraction, the share of honest nodes in each cell follows a
deterministic map: every poll is k independent draws from one pool, and what chance does to a
single node it does to the crowd on average. Deviations are of the order 1/sqrt(n). The idea is in
Team Rocket 2018 ("Snowflake to Avalanche"), who follow the expected drift of the larger colour;
Amores-Sesar, Cachin and Schneider 2024 (arXiv 2401.02811) bound the time of the drift away
from an even split, and what a Byzantine minority can do against it. In the limit the drift is all
there is: a split that drift holds is held for ever, and one that it leaves is left for good.
"""

from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from vecsim.engines.behaviour import answered, view_of
from vecsim.engines.cells import enumerate_cells
from vecsim.engines.limit.shares import require_limit, result_shares, shares_of
from vecsim.errors import require
from vecsim.model.point import Point
from vecsim.model.poll_law import Floats
from vecsim.polls import by_side
from vecsim.types import Adversary, Protocol, View

NODES = 2_000_000  # adversaries count nodes: they see the shares of a network of this size
_SHARES = 2000  # pieces of [0, 1] in which zeros of the drift are looked for; two closer are missed
FRACTIONS = 20  # pieces of [0, 1] in which the critical fraction is looked for: steps of 0.05
PRECISION = 1e-5  # of the critical fraction: ten nodes in a million
_CLOSE = 1e-9  # precision of a share at which the drift is zero, far below the 1e-6 promised
STEP = 1e-5  # in the share, of a difference that stands for a slope: its error is about STEP^2
JUMP = 1e-6  # least change of the drift within 20 _CLOSE that is a jump: slopes are far below 50


class Trajectory(NamedTuple):
    """Shares of all honest nodes after 0, 1, ... rounds, [rounds + 1]."""

    ones: Floats  # prefer 1
    decided_0: Floats
    decided_1: Floats
    undecided: Floats


class FixedPoint(NamedTuple):
    """A share of 1-holders that does not move, known to 1e-6.

    stable: whether shares nearby move towards it; one that is not drives them away, and so divides
    those that its two neighbours attract. held: whether the adversary changes its answers there, so
    that the drift jumps over zero; lockstep rounds then go to and fro around it.
    """

    share: float
    stable: bool
    held: bool


class LimitCase(NamedTuple):
    """What decides the limit, except the initial share."""

    rule: Protocol
    adversary: Adversary
    byzantine_fraction: float  # share of all identities, 0 to below 1
    loss: float = 0.0  # probability that an answer is lost

    @property
    def byzantine(self) -> float:
        """Share of the network that is Byzantine, 0 to 1, once identities are admitted."""
        admitted = self.byzantine_fraction * float(self.adversary.admission)
        return admitted / (1 - self.byzantine_fraction + admitted)

    @property
    def answers(self) -> Floats:
        """P(a Byzantine node answers 1), P(it answers 0) in each of the ways: [ways, 2]."""
        admitted = [float(kind.admission) for kind in self.adversary.kinds]
        kinds = np.array(self.adversary.divided(NODES)) * admitted
        ways = np.array(self.adversary.ways, float)  # [ways, kinds, 2]
        return np.average(ways, axis=1, weights=kinds) if kinds.sum() else ways[:, 0]


def trajectory(point: Point, rounds: int | None = None, coin: float = 0.5) -> Trajectory:
    """The limit of a point's trials, whatever its n, in lockstep rounds.

    rounds: max_rounds unless given. coin: the value of the adversary's shared coins, 0 to 1.
    Where QR-Avalanche has many cells some are merged, which leaves shares good to about 1e-3.
    Raises ConfigError on graphs, with groups and under async, and for protocols that look at more
    than quorums, QR-Avalanche excepted.
    """
    crowd = _crowd(point)
    rounds = int(crowd.rule.max_rounds) if rounds is None else rounds
    return follow(crowd, point.initial_accept, rounds, coin)


def fixed_points(point: Point) -> list[FixedPoint]:
    """Shares of 1-holders that do not move while nobody has decided, in ascending order.

    Only the point's protocol, adversary, Byzantine fraction and loss count, not its n.
    What moves the share is the drift: for protocols whose preference follows every quorum, nodes
    that turn to 1 less nodes that turn to 0; for the others (Snowball) the mean change of how
    much stronger 1 is than 0. Byzantine nodes answer as in the first round, from an initial
    share that is the present one.
    Raises ConfigError as `trajectory` does, and for adversaries that distinguish two groups.
    """
    crowd, adversary = _crowd(point), point.adversary
    require(adversary.groups == 1, "adversary", adversary.title, "one group of nodes")
    grid = np.linspace(0, 1, _SHARES + 1)
    # Adversaries change their answers in the middle, so the drift is taken on either side of it.
    grid = np.sort(np.concatenate([grid[grid != 0.5], [0.5 - _CLOSE, 0.5 + _CLOSE]]))
    values = _drift(crowd, grid)
    moving = np.flatnonzero(values)
    found = []
    if values[0] <= 0:
        found.append(FixedPoint(0.0, bool(values[moving[:2]].min(initial=0) < 0), False))
    for low, high in pairwise(moving):
        if (values[low] > 0) != (values[high] > 0):
            found.append(_zero(crowd, grid[low], grid[high], bool(values[low] > 0)))
    if values[-1] >= 0:
        found.append(FixedPoint(1.0, bool(values[moving[-2:]].max(initial=0) > 0), False))
    return found


def critical_fraction(point: Point, coin: float = 0.5) -> float | None:
    """The least Byzantine fraction at which the limit is no longer live; None if it is up to 0.95.

    Only the point's protocol, adversary, initial_accept and loss count, neither its n nor its own
    Byzantine fraction. coin: the value of the adversary's shared coins, 0 to 1.
    It is looked for in steps of 1 / FRACTIONS, then halved down to PRECISION.

    Live: half of the honest nodes or more decide within max_rounds; under a protocol that does
    not decide, half or more of the last polls by holders of the larger colour meet its quorum.
    An initial share of exactly 1/2 stays there without anybody's help.
    Raises ConfigError as `trajectory` does.
    """
    start, rule = _crowd(point), point.protocol

    def live(fraction: float) -> bool:
        crowd = start._replace(byzantine_fraction=fraction)
        path = follow(crowd, point.initial_accept, int(rule.max_rounds), coin)
        if rule.decides:
            return bool(path.decided_0[-1] + path.decided_1[-1] >= 0.5)
        laws = _frozen(crowd, path.ones[-1:])
        law = laws[int(path.ones[-1] >= 0.5)][0]
        return bool(law[2 : by_side(len(law))[0].stop].sum() >= 0.5)

    steps = (piece / FRACTIONS for piece in range(FRACTIONS))
    high = next((fraction for fraction in steps if not live(fraction)), None)
    if not high:
        return high
    low = high - 1 / FRACTIONS
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if live(middle) else (low, middle)
    return high


def _crowd(point: Point) -> LimitCase:
    """What decides the limit of a point; ConfigError where the limit is not known."""
    require_limit(point.protocol)
    require(point.schedule == "lockstep", "schedule", point.schedule, "lockstep")
    topology = point.network.topology
    require(topology == "complete", "network.topology", topology, "complete")
    require(point.network.uniform, "network.groups", point.network.groups, "none")
    fraction = point.byzantine_fraction
    require(0 <= fraction < 1, "byzantine_fraction", fraction, "0 to below 1")
    return LimitCase(point.protocol, point.adversary, fraction, point.network.loss)


def turning(crowd: LimitCase, share: float) -> float:
    """P(a node's quorum is against it), at this share of 1-holders while nobody has decided."""
    zero, one = (_against(law)[0] for law in _frozen(crowd, np.array([share])))
    return float((1 - share) * zero + share * one)


def drift_slope(crowd: LimitCase, share: float) -> float:
    """Slope of the drift at this share of 1-holders: its change per change of the share."""
    low, high = _drift(crowd, np.array([share - STEP, share + STEP]))
    return float((high - low) / (2 * STEP))


# The pool


def _view(crowd: LimitCase, ones, decided_0, decided_1, start_ones, round_, coin) -> View:
    """What the adversary sees, as a network of NODES nodes; shares of honest nodes are arrays."""
    byzantine = round(crowd.byzantine * NODES)
    honest = NODES - byzantine
    shares = dict(ones=ones, decided_0=decided_0, decided_1=decided_1, start_ones=start_ones)
    counts = {name: np.rint(share * honest) for name, share in shares.items()}
    counts |= dict(round=round_, honest=honest, byzantine=byzantine, peers=NODES)
    return view_of(crowd.rule, coin, coin, pooled_minority=ones < 0.5, **counts)


def _asked(crowd: LimitCase, ones, mixes) -> Floats:
    """P(one answer is 1), P(it is 0), for each class of querier: [..., 2], from mixes [...]."""
    table, byzantine = crowd.answers, crowd.byzantine
    honest = np.stack([ones, 1 - np.asarray(ones)], axis=-1)
    return ((1 - byzantine) * honest + byzantine * table[mixes]) * (1 - crowd.loss)


def _frozen(crowd: LimitCase, ones: Floats) -> list[Floats]:
    """Results of polls of holders of 0, and of 1, at these shares [shares, results]."""
    seen = _view(crowd, ones, 0.0 * ones, 0.0 * ones, ones, 0, 0.5)
    memory = np.zeros((len(ones), crowd.adversary.memories), np.int32)
    mixes = np.asarray(answered(crowd.adversary, seen, memory)[0])[:, 0]
    asked = (_asked(crowd, ones, mixes[:, colour]) for colour in (0, 1))
    return [result_shares(crowd.rule, given, colour) for colour, given in enumerate(asked)]


# Fixed points


def _drift(crowd: LimitCase, ones: Floats) -> Floats:
    """Change of the share of 1-holders in a round, at each of these shares (see `fixed_points`)."""
    zero, one = _frozen(crowd, ones)
    if follows_quorums(crowd.rule):
        return (1 - ones) * _against(zero) - ones * _against(one)
    gains = [law[:, by_side(law.shape[1])[0]].sum(axis=1) - _against(law) for law in (zero, one)]
    return ones * gains[1] - (1 - ones) * gains[0]


def _against(law: Floats) -> Floats:
    """P(a quorum against a node), [shares]. law: P(each result) [shares, results]."""
    return law[:, by_side(law.shape[1])[1]].sum(axis=1)


@lru_cache(maxsize=32)
def follows_quorums(rule: Protocol) -> bool:
    """Whether every quorum against a node turns its preference (true of all but Snowball)."""
    if rule.counts:
        return True
    cells = enumerate_cells(rule, 3)
    against = cells.after[:, by_side(cells.after.shape[1])[1]]
    turned = cells.preference[against] != cells.preference[:, None]
    asked = ~cells.decided & (cells.after != np.arange(len(cells.after))[:, None]).any(axis=1)
    return bool(turned[asked].all())


def _zero(crowd: LimitCase, low: float, high: float, stable: bool) -> FixedPoint:
    """Where the drift changes sign between two shares, and whether it jumps there."""
    share: Any = brentq(lambda at: _drift(crowd, np.array([at]))[0], low, high, xtol=_CLOSE)
    sides = _drift(crowd, np.clip([share - 10 * _CLOSE, share + 10 * _CLOSE], 0, 1))
    held = bool(abs(sides[1] - sides[0]) > JUMP)
    return FixedPoint(round(share, 6) if held else share, stable, held)


# Trajectories


def follow(crowd: LimitCase, initial: float, rounds: int, coin: float = 0.5) -> Trajectory:
    """Shares after 0 to `rounds` rounds, from an initial share of 1-holders.

    coin: as for `trajectory`. ConfigError as `shares_of` raises it.
    """
    states, groups = shares_of(crowd.rule, rounds), crowd.adversary.groups
    first = crowd.adversary.first_group(1.0, 1 / (1 - crowd.byzantine)) if groups == 2 else 1.0
    sizes = np.array([first, 1 - first][:groups])
    before = np.cumsum(sizes) - sizes  # those that start at 1 are the first nodes
    shares = np.clip(initial - before, 0, sizes) / np.where(sizes > 0, sizes, 1.0)
    if crowd.adversary.grouping != "by_colour":
        shares = np.full(groups, initial)
    now = [states.begin(share) for share in shares]
    memory, path = np.zeros((1, crowd.adversary.memories), np.int32), []
    for round_ in range(rounds + 1):
        path.append(sizes @ np.array([states.shares(state) for state in now]))
        ones, decided_0, decided_1 = path[-1][:3, None]
        view = _view(crowd, ones, decided_0, decided_1, np.array([initial]), round_, coin)
        mixes, memory = (np.asarray(part) for part in answered(crowd.adversary, view, memory))
        asked = [_asked(crowd, np.full(2, ones), mix) for mix in mixes[0]]
        now = [states.step(*met) for met in zip(now, asked, strict=True)]
    return Trajectory(*np.array(path).T)
