"""Probabilities of rare events by fixed-effort multilevel splitting.

Glasserman, Heidelberger, Shahabuddin and Zajic 1999, "Multilevel splitting for estimating rare
event probabilities". A trial on its way to the event passes levels of a score. From each level a
fixed number of walkers start, at states in which others entered it; the product of the shares that
reach the next is an unbiased estimate of the event's probability, whatever the score. The levels,
and how many walkers each takes, come from a pilot, whose own estimate is not used; independent
replicas then give the interval.

One replica of 10 walkers, by two levels and the event:

    start     10 climb to level 1      5 enter it, each goes on twice               0.5
    level 1   10 climb to level 2      4 enter it, and go on 2, 3, 2 and 3 times    0.4
    level 2   10 climb to the event    2 reach it                                   0.2
                                       estimate                0.5 x 0.4 x 0.2 =    0.04
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from vecsim.model import random
from vecsim.studies.rare.walkers import Climbers

# The most levels, walkers of a level, and replicas: the number of a walker has bits for these.
MOST_LEVELS = 256
MOST_WALKERS = 2**16
MOST_REPLICAS = 2**20
# Where few of the pilot get on, MORE times the walkers try, and again, up to MOST_MORE times.
MORE, MOST_MORE = 4, 16
_FEW = 10  # walkers of the pilot: fewer say too little of where the next level should be
_PLAIN = 2**9 - 1  # the stage of plain trials: the last number, which no level has
PILOT = 2**29  # the pilot's number, above those of all replicas
_OWN = 1 << 63  # bit of the numbers of walkers, which those of plain trials do not have

Replicas = int | np.ndarray  # how many, or their numbers, ascending


class Effort(NamedTuple):
    """How much a replica computes.

    walkers: that start from each level, or a multiple where few get on. keep: share of them, 0 to
    1, that should reach the next."""

    walkers: int
    keep: float


class _Splitting(NamedTuple):
    """What a point's replicas gave by one score.

    estimates: of the event's probability, one for each replica. passed: share of each replica's
    walkers that reached each level, then the event [replicas, levels + 1]; NaN past where none did.
    """

    estimates: np.ndarray
    passed: np.ndarray


def split(
    climbers: Climbers, score: int, effort: Effort, replicas: Replicas, seed: int
) -> _Splitting | None:
    """Estimate P(event) with the score of that number; None where the pilot found no way there.

    The result depends on the arguments alone, and each replica's on its number and on none of the
    others. replicas: at most MOST_REPLICAS, numbers below that.
    """
    run = _Run(climbers, score, effort, seed)
    levels = run.pilot()
    if levels is None:
        return None
    passed = run.replicas(levels, _numbers(replicas))
    return _Splitting(np.nan_to_num(passed).prod(axis=1), passed)


def plain_events(climbers: Climbers, walkers: int, replicas: Replicas, seed: int) -> np.ndarray:
    """In how many of so many plain trials the event happened, int [replicas]."""
    run, numbers = _Run(climbers, 0, Effort(walkers, 1.0), seed), _numbers(replicas)
    ended = run.climb(_PLAIN, run.start(np.repeat(numbers, walkers)), np.inf)
    return (ended.best == np.inf).reshape(len(numbers), walkers).sum(axis=1)


def _numbers(replicas: Replicas) -> np.ndarray:
    return np.arange(replicas) if isinstance(replicas, int) else replicas


class _Crowd(NamedTuple):
    """Walkers at the entrance of a level, or where they ended; all have the axis of walkers.

    number: the replica of each, in order. best: the highest score that each has reached on its
    level, infinite where the event happened.
    """

    number: np.ndarray
    coins: np.ndarray
    state: Any
    best: np.ndarray

    def repeated(self, times: int) -> "_Crowd":
        return jax.tree.map(lambda leaf: np.repeat(leaf, times, axis=0), self)


class _Run:
    def __init__(self, climbers: Climbers, score: int, effort: Effort, seed: int):
        self.climbers, self.score, self.effort = climbers, score, effort
        self.key = random.point_key(seed, climbers.point.hash())

    def pilot(self) -> list[tuple[float, int]] | None:
        """The levels on the way to the event, each a score that a share `keep` of the walkers
        reaches, and how many times as many walkers as elsewhere try; the event is the last."""
        levels: list[tuple[float, int]] = []
        crowd, level, more = self.start(np.full(self.effort.walkers, PILOT)), -np.inf, 1
        while len(levels) < MOST_LEVELS:
            stage = len(levels)
            best = self.climb(stage, crowd, np.inf).best
            passing = (best > level).sum()
            if passing < _FEW and more < MOST_MORE:  # hardly any got on: let more of them try
                more *= MORE
                crowd = crowd.repeated(MORE)
                continue
            if not passing:
                return None
            above = next_level(best, level, self.effort.keep)
            if above is None or (best == np.inf).mean() >= self.effort.keep:
                return [*levels, (np.inf, more)]
            level = above
            levels.append((level, more))
            crowd, more = self._enter(stage, self.climb(stage, crowd, level), level), 1
        return None

    def replicas(self, levels: list[tuple[float, int]], numbers: np.ndarray) -> np.ndarray:
        """Shares that passed, [replicas, levels], NaN after nobody did."""
        passed = np.full((len(numbers), len(levels)), np.nan)
        crowd = self.start(np.repeat(numbers, self.effort.walkers))
        for stage, (level, more) in enumerate(levels):
            crowd = self.climb(stage, crowd.repeated(more), level)
            alive = np.unique(crowd.number)
            shares = [(crowd.best[crowd.number == replica] >= level).mean() for replica in alive]
            passed[np.searchsorted(numbers, alive), stage] = shares
            if level == np.inf or not any(shares):
                break
            crowd = self._enter(stage, crowd, level)
        return passed

    def start(self, number: np.ndarray) -> _Crowd:
        """Walkers at the start of a trial; number: the replica of each, in order."""
        keys, best = self.keys(number, 0), np.full(len(number), -np.inf)
        return _Crowd(number, random.trial_coin(keys), self.climbers.start(keys), best)

    def keys(self, number: np.ndarray, stage: int):
        """A key for each walker of a stage; `number` is the replica of each, in order, and walkers
        are numbered within theirs."""
        return self._key(number, stage, np.arange(len(number)) - np.searchsorted(number, number))

    def _key(self, replica: np.ndarray, stage: int, walker):
        fields = (self.score, 2), (replica, 30), (stage, 9), (walker, 21)
        name = np.uint64(1)
        for value, bits in fields:
            name = (name << np.uint64(bits)) | np.asarray(value, np.uint64)
        return random.trial_key(self.key, name | np.uint64(_OWN))

    def climb(self, stage: int, crowd: _Crowd, level: float) -> _Crowd:
        """The walkers where they reached the level, or nothing more could come of them."""
        keys = self.keys(crowd.number, stage)
        reached = self.climbers.climb(keys, crowd.coins, crowd.state, level, self.score)
        best = np.where(reached.happened, np.inf, reached.best)
        return crowd._replace(state=reached.state, best=best)

    def _enter(self, stage: int, ended: _Crowd, level: float) -> _Crowd:
        """The walkers of the next stage: those that passed, each as often as any, but for a rest.

        Who is taken once more is drawn by systematic sampling, for each replica of which some
        passed, so that every one that passed is expected to go on equally often.
        """
        chosen, passed = [], ended.best >= level
        for replica in np.unique(ended.number[passed]):
            entered = np.flatnonzero((ended.number == replica) & passed)
            words, _ = self._key(np.array([replica]), stage, 2**21 - 1)
            shift = int(words[0]) * len(entered) >> 32
            chosen.append(entered[taken(self.effort.walkers, len(entered), shift)])
        rows = np.concatenate(chosen)
        return jax.tree.map(lambda leaf: leaf[rows], ended)


def taken(size: int, passed: int, shift: int) -> np.ndarray:
    """The places of `size` walkers among those that passed; shift: 0 ... passed - 1, at random.

    >>> taken(5, 3, 0).tolist(), taken(5, 3, 2).tolist()
    ([0, 0, 1, 1, 2], [0, 1, 1, 2, 2])
    """
    return (np.arange(size) * passed + shift) // size


def next_level(best: np.ndarray, level: float, keep: float) -> float | None:
    """The score that a share `keep` of the walkers reached, above `level`; None if nobody did."""
    wanted = np.sort(best)[-max(1, int(keep * len(best)))]
    if wanted > level and np.isfinite(wanted):
        return float(wanted)
    above = best[(best > level) & np.isfinite(best)]
    return float(above.min()) if len(above) else None
