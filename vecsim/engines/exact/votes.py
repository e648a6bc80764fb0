"""Exact: how many votes an eCash node needs, where the votes are independent of one another.

What a vote does follows from the last eight votes, the preference and the confidence. The windows
are those of the protocol's own `step`; windows from which the same votes always have the same
effect are put together, which leaves some dozens of the 6,561 for each preference:

    state      float64 [windows, confidences]    probability, of a node that is still voting
    moves      float64 [effects x windows, windows]    to (row) from (column), for one vote

Voters are all different, so that `distinct_voters` makes no difference.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vecsim.errors import number, require, whole
from vecsim.model.poll_law import Floats
from vecsim.protocols.ecash import WINDOW, Ecash
from vecsim.types import Counts

_MOST_VOTES = 2**20  # that are followed at most, to bound time and memory
_LEFT = 1e-15  # probability of still voting at which they are followed no further
# Confidence at which effects of a vote are looked up: it turns the preference (0 after it), does
# nothing (1) or counts (2).
_BEFORE = 1
_ASKED = 256  # numbers of votes for which it is asked at once whether a node gives up


class VoteLaw(NamedTuple):
    """The distribution of the votes of one node; entry i is for after i votes."""

    decided_0: Floats  # P(has decided 0), [votes + 1]
    decided_1: Floats  # P(has decided 1), likewise
    given_up: Floats  # P(has given up), likewise

    @property
    def voting(self) -> Floats:
        """P(is still voting), [votes + 1]."""
        return 1 - self.decided_0 - self.decided_1 - self.given_up

    @property
    def mean(self) -> float:
        """Mean number of votes until the node has decided or given up; of those followed, where it
        may be voting after them."""
        return float(self.voting[:-1].sum())


def law_of_votes(
    rule: Ecash, yes: float, neutral: float = 0.0, colour: int = 0, votes: int | None = None
) -> VoteLaw:
    """How a node that starts at `colour` ends, if votes are independent.

    yes, neutral: P(a vote is yes), P(it is neutral), 0 to 1 and together at most 1; the others are
    no. votes: how many are followed, 1 to 2^20 (left out: until the node has ended, or as many as
    the rule has rounds). ConfigError where a number is none of these.
    """
    require(isinstance(rule, Ecash), "rule", type(rule).__name__, "Ecash")
    number("yes", yes, "0 to 1", lambda v: 0 <= v <= 1)
    number("neutral", neutral, f"0 to 1 - yes = {1 - yes:g}", lambda v: 0 <= v <= 1 - yes + 1e-12)
    require(colour in (0, 1), "colour", colour, "0 or 1")
    most = int(rule.max_rounds) if votes is None else votes
    whole("votes", most, 1, _MOST_VOTES)
    effects, after, preference, starts = _windows(rule)
    chances = np.array([yes, max(1 - yes - neutral, 0.0), neutral])
    rows = effects * len(preference) + after
    entries = np.broadcast_to(chances, rows.shape).ravel()
    places = rows.ravel(), np.repeat(np.arange(len(rows)), len(chances))
    moves = sparse.csr_array((entries, places), shape=(3 * len(rows), len(rows)))
    state = np.zeros((len(preference), int(rule.finalization_score)))
    state[starts[colour], 0] = 1.0
    confidences = np.arange(state.shape[1], dtype=np.uint32)
    ended, found, stale = np.zeros(3), [np.zeros(3)], np.empty((0, 0), bool)
    while len(found) <= most and (votes is not None or state.sum() > _LEFT):
        turned, state, counted = (moves @ state).reshape(3, *state.shape)
        state[:, 0] += turned.sum(axis=1)
        state[:, 1:] += counted[:, :-1]
        ended[:2] += np.bincount(preference, counted[:, -1], minlength=2)
        ahead = (len(found) - 1) % _ASKED
        if not ahead:
            numbers = np.arange(len(found), len(found) + _ASKED, dtype=np.uint32)
            stale = np.asarray(_stale(rule, *np.meshgrid(numbers, confidences, indexing="ij")))
        gone = stale[ahead]
        ended[2] += state[:, gone].sum()
        state[:, gone] = 0
        found.append(ended.copy())
    return VoteLaw(*np.array(found).T)


class _Windows(NamedTuple):
    """Windows put together, with each preference; the votes are yes, no and neutral."""

    effects: NDArray[np.int64]  # [windows, votes]
    after: NDArray[np.int64]  # [windows, votes]: the next window
    preference: NDArray[np.int64]  # [windows]
    starts: NDArray[np.int64]  # [2]: where a node of each preference begins


@lru_cache(maxsize=8)
def _windows(rule: Ecash) -> _Windows:
    """The windows of a rule, by its `step` at one confidence: it only adds to that or clears it."""
    yes, given, preference = np.indices((2**WINDOW, 2**WINDOW, 2), dtype=np.uint32).reshape(3, -1)
    possible = (yes & ~given) == 0
    every = yes[possible], given[possible], preference[possible]
    before = _cells(rule, *every, _BEFORE)
    stepped = [rule.unpack(rule.step(before, poll)) for poll in _polls(every[2])]
    effects = np.stack([np.asarray(now.confidence, int) for now in stepped], axis=1)

    def code(yes, given, preference):
        parts = (np.asarray(part, int) for part in (yes, given, preference))
        return sum(part << shift for part, shift in zip(parts, (WINDOW + 1, 1, 0), strict=True))

    place = np.full(2 ** (2 * WINDOW + 1), -1)
    place[code(*every)] = np.arange(len(every[0]))
    nexts = (place[code(now.yes, now.given, now.preference)] for now in stepped)
    after = np.stack([*nexts], axis=1)
    # Windows are put together as long as neither what votes do nor what follows differs.
    told, label = 0, np.column_stack([every[2], effects])
    while True:
        _, first, label = np.unique(label, axis=0, return_index=True, return_inverse=True)
        label = label.ravel()
        if len(first) == told:
            break
        told, label = len(first), np.column_stack([label, label[after]])
    begins = label[place[code(0, 0, np.arange(2))]]
    return _Windows(effects[first], label[after[first]], every[2][first].astype(int), begins)


def _cells(rule: Ecash, yes, given, preference, confidence, votes=0):
    """Cells of these windows, which nobody has voted in yet."""
    none = jnp.zeros_like(jnp.asarray(preference, jnp.uint32))
    names = (name for sizes in (rule.fields(), *rule.further()) for name in sizes)
    known = dict(yes=yes, given=given, confidence=confidence, votes=votes)
    values = {name: none + jnp.asarray(known.get(name, 0), jnp.uint32) for name in names}
    return rule.pack(preference=preference, **values)


def _polls(preference) -> list[Counts]:
    """A vote yes, one no and a neutral one, to nodes of these preferences."""
    one = np.ones_like(preference)
    return [
        Counts(preference, one, 0 * one),
        Counts(one - preference, one, 0 * one),
        Counts(0 * one, one, one),
    ]


@jax.jit
def _stale(rule: Ecash, votes, confidences):
    """Whether a node gives up after so many votes at a confidence; arrays of one shape."""
    zero = jnp.zeros_like(confidences)
    return rule.gives_up(_cells(rule, zero, zero, zero, confidences, votes))
