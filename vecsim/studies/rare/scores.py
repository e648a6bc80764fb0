"""How near a trial has come to a rare event: what splitting ranks its walkers by.

A score only decides how fast an estimate becomes precise, as long as the event's probability is
not concentrated on ways that it ranks low; that fails without a sign. So every event has several
scores, of different construction, and estimates by two of them are compared.

disagreement. Two decisions come one after the other: the first in the field (what nodes answer) as
it is, the second in the field that the adversary makes after it; that is easy where this field
drives nodes to its colour, or where chance may. `run` counts the polls that the node nearest to a
first decision lacks, all that are likely at one price. `field` takes the probability of those polls
in the field of the moment: right for a handful of nodes, but among hundreds a favourable field does
not last for a whole run, and walkers that follow its fluctuations give estimates that are orders of
magnitude too low. `staged` is as `field`, but puts any decision that has happened before all that
are in prospect, for where fields change fast what seems near may never come. All fall when little
time is left.

stalled: undecided nodes at the end, whatever the others have decided. Rounds completed, and those
that undecided nodes must still wait for their runs in the frozen field, up to twice a run: the
class that waits longest (`slowest`), or the average of all honest nodes (`average`).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.scipy.special import log_ndtr

from vecsim.engines.trial import Tally

# The scores of each event, in the order in which they are tried.
SCORES = {"disagreement": ("run", "field", "staged"), "stalled": ("slowest", "average")}
_GRID = 2.0**-10  # scores are rounded to it, so that the last bits of a logarithm decide nothing
# Natural logarithms: a poll more likely than exp(LIKELY) costs PRICE, others minus their own; the
# fluctuations of a favourable field then count for nothing.
LIKELY, PRICE = -3.0, 1.4
_LEAST = 1e-30  # probability of a poll's result, at least: its logarithm stays finite
OUT_OF_REACH = 10**6  # polls: more than any node lacks, where there is no node
STAGE = 2.0**13  # what a decision is worth in a score: more than scores differ by otherwise
HASTE = 10.0  # rounds to spare below which decisions may come too late
MEMORY = 10.0  # rounds over which chance may drive the nodes against the field's drift


class Crowd(NamedTuple):
    """The undecided honest nodes of one trial, by group and preference; floats, as in Field.

    number: nodes [groups, own colour]. fewest: polls that the one nearest to deciding a colour
    lacks, [groups, own colour, colour]; OUT_OF_REACH or more where there is none. most: polls
    that the one that lacks most lacks for its own colour, [groups, own colour].
    """

    number: Any
    fewest: Any
    most: Any


class Field(NamedTuple):
    """What polls give: P(a quorum for a colour), [groups, own colour, its colour].

    sets: for one that sets the preference. counts: for one that counts.
    """

    sets: Any
    counts: Any


class Standing(NamedTuple):
    """How a trial stands; scalars. scores: [as in SCORES]."""

    happened: Any  # bool
    over: Any  # bool: nothing more can come of it
    scores: Any


def situations(tally: Tally) -> list[Tally]:
    """The honest nodes as they are, and as they were if one (more) had decided 0, or 1."""
    decided = tally.decided - tally.decided_1, tally.decided_1
    zero, one = (jnp.where(number > 0, 0, 1) for number in decided)
    first = tally._replace(decided=tally.decided + zero)
    second = tally._replace(decided=tally.decided + one, decided_1=tally.decided_1 + one)
    found = [tally, first, second]
    if tally.units is None:
        return found
    held = situations(tally.units)  # with one unit, which is enough to be seen
    return [each._replace(units=units) for each, units in zip(found, held, strict=True)]


def standing(event, rule, tally: Tally, round_, honest, crowd: Crowd, fields: list) -> Standing:
    """How a trial stands after so many rounds. fields: a Field for each of `situations`."""
    decided = tally.decided - tally.decided_1 > 0, tally.decided_1 > 0
    ended = (honest == tally.decided) | (round_ >= rule.max_rounds)
    if event == "stalled":
        happened = (round_ >= rule.max_rounds) & (honest > tally.decided)
        waits = _waits(rule, crowd, fields[0])
        slowest = jnp.where(crowd.number > 0.0, waits, 0.0).max()
        average = (crowd.number * waits).sum() / honest.astype(waits.dtype)
        scores = round_.astype(waits.dtype) + jnp.stack([slowest, average])
    else:
        happened = decided[0] & decided[1]
        left = (rule.max_rounds - round_).astype(crowd.number.dtype)
        scores = _two_decisions(tally, decided, honest, crowd, fields, left)
        ended |= happened | (scores == -jnp.inf).all()
    return Standing(happened, ended, jnp.round(scores / _GRID) * _GRID)


def _two_decisions(tally: Tally, decided, honest, crowd: Crowd, fields: list[Field], left):
    """left: rounds until the trial ends; without time for both decisions the scores are -inf."""
    kind = crowd.number.dtype
    holders = (honest - tally.ones).astype(kind), tally.ones.astype(kind)
    missing = [jnp.maximum(honest.astype(kind) / 4 - each, 0.0) for each in holders]
    orders = []
    for first in range(2):
        second, after = 1 - first, fields[1 + first]
        turning = _tide(crowd, after, second, missing[second])
        sequel = jnp.maximum(_some(crowd, after, second), turning)
        now = _some(crowd, fields[0], first)
        alone = jnp.where(decided[first], 0.0, jnp.stack([_run(crowd, fields[0], first), now, now]))
        orders.append(alone + jnp.where(decided[second], 0.0, sequel))
    lacking = [jnp.where(decided[i], 0.0, crowd.fewest[..., i].min()) for i in range(2)]
    spare = left + 1 - jnp.maximum(*lacking)  # `remaining` may be one too many
    in_time = jnp.where(spare < 0, -jnp.inf, log_ndtr((spare - HASTE) / (HASTE / 2)))
    none_yet = jnp.where(decided[0] | decided[1], 0.0, STAGE)
    return jnp.maximum(*orders) + in_time - none_yet * jnp.array([0.0, 0.0, 1.0], kind)


def _run(crowd: Crowd, field: Field, colour: int):
    """Minus the price of the polls that the nearest node lacks for its run to the colour."""
    logs = jnp.log(jnp.maximum(field.counts, _LEAST))[..., colour]
    return (jnp.where(logs > LIKELY, -PRICE, logs) * crowd.fewest[..., colour]).max()


def _waits(rule, crowd: Crowd, field: Field):
    """Rounds that each class must wait for its last node's run, the field frozen; a wait of more
    than twice a run without a failure counts as that. [groups, own colour]."""
    run = rule.remaining(rule.start(jnp.zeros(1, jnp.uint32)), 0)[0].astype(crowd.number.dtype)
    chance = jnp.clip(field.counts.max(-1), 0.05, 1 - 1e-3)
    failing = -jnp.log(chance)
    wait = (jnp.exp(failing * run) - jnp.exp(failing * (run - crowd.most))) / (1 - chance)
    return jnp.minimum(wait, 2 * run)


def _some(crowd: Crowd, field: Field, colour: int):
    """Log P(the nearest node completes its run for the colour), the field frozen."""
    return (jnp.log(jnp.maximum(field.counts, _LEAST)) * crowd.fewest)[..., colour].max()


def _tide(crowd: Crowd, field: Field, colour: int, missing):
    """Log P(nodes turn to the colour soon), by drift and noise of one round.

    missing: nodes by which its holders are too few for that.
    """
    gain, loss = field.sets[:, 1 - colour, colour], field.sets[:, colour, 1 - colour]
    away, there = crowd.number[:, 1 - colour], crowd.number[:, colour]
    drift = (away * gain - there * loss).sum()
    noise = (away * gain * (1 - gain) + there * loss * (1 - loss)).sum()
    return log_ndtr((drift * MEMORY - missing) / jnp.sqrt(noise * MEMORY + 1e-3))
