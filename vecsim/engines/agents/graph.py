"""Peers drawn one by one: for graphs that are not complete, and as the oracle of exact sampling.

Lockstep rounds. Every node draws its peers from its own neighbours and every peer answers by
itself. Nodes are put on the graph's vertices by a random permutation of each trial:

    nodes        int32 [n]           the node on each vertex; honest nodes have the first numbers
    cells        uint32 [n]          of the node on each vertex
    neighbours   int32 [n, degree]   vertices, -1 where a vertex has fewer
    peers        int32 [n, k]        the vertices that each one polls in this round
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vecsim.engines.rounds import in_lockstep
from vecsim.engines.trial import Shape, Tables, Tally, Trials, answers, common_word
from vecsim.model import random
from vecsim.model.poll_draw import FOLD
from vecsim.polls import below, counted
from vecsim.types import Counts, View, decided, preference


def draw_peers(shape: Shape, trial: Trials, neighbours, round_):
    """Vertices polled by each vertex, int32 [vertex, the program's k]; only the first k of a trial
    count.

    neighbours: int32 [vertex, degree]. round_: uint32. Distinct peers are those of the neighbours
    that get the largest random words.
    """
    k = shape.kind.k
    there = neighbours >= 0
    second = random.counter(round_, random.PEERS)
    slots = jnp.arange(shape.nodes * shape.degree, dtype=jnp.uint32)
    word, _ = random.threefry(*trial.key, slots.reshape(shape.nodes, shape.degree), second)
    _, distinct = lax.top_k(jnp.where(there, word, jnp.uint32(0)), min(k, shape.degree))
    degree = there.sum(axis=1, dtype=jnp.uint32)[:, None]
    slots = jnp.arange(shape.nodes * k, dtype=jnp.uint32).reshape(shape.nodes, k)
    _, again = random.threefry(*trial.key, slots, random.counter(round_, random.REPEATS))
    repeated = below(again, degree).astype(jnp.int32)
    distinct = jnp.pad(distinct, ((0, 0), (0, k - distinct.shape[1])))
    return jnp.take_along_axis(neighbours, jnp.where(trial.replacement, repeated, distinct), axis=1)


def _ask(shape: Shape, trial: Trials, peers, colours, nodes, mixes, round_) -> Counts:
    """Answers of the peers to each vertex: (positive, answered), counted."""
    k = shape.kind.k
    slots = jnp.arange(shape.nodes * k, dtype=jnp.uint32).reshape(shape.nodes, k)
    coin, lost = random.threefry(*trial.key, slots, random.counter(round_, random.ANSWERS))
    return answers_to(trial, nodes[peers], colours[peers], colours, nodes, mixes, coin, lost)


def answers_to(trial: Trials, asked, colours, own, pollers, mixes, coin, lost) -> Counts:
    """Answers to each poller, counted; all but the common word of Counts.

    asked: int32 [m, k], the numbers of the nodes asked. colours: uint32 [m, k], what they prefer.
    own: uint32 [m], what the pollers prefer. pollers: int32 [m], their numbers. mixes: int32
    [groups, colour]. coin, lost: uint32 [m, k], random words of every answer.
    """
    group = (pollers >= trial.first_group).astype(jnp.int32) * (mixes.shape[0] - 1)
    mix = mixes[group, own.astype(jnp.int32)][:, None]
    # The number of the first node of each further kind; honest nodes count as of the first.
    others = trial.honest + jnp.cumsum(trial.kinds[:-1])
    kind = (asked[..., None] >= others).sum(axis=-1, dtype=jnp.int32)
    chances = tuple(trial.coins[mix, kind, i] for i in range(3))
    one, zero, neutral = replies(asked >= trial.honest, colours, chances, coin)
    slot = jnp.arange(asked.shape[1])
    arrives = (jnp.minimum(lost, FOLD) >= trial.loss) & (slot < trial.protocol.k)
    own = own[:, None]
    agrees = jnp.where(own == 1, one, zero) & arrives
    neutral = neutral & arrives
    answered = (one | zero) & arrives
    rule = trial.protocol
    if rule.neutral:
        answered = answered | neutral
    counts = Counts(*(each.sum(axis=1, dtype=jnp.uint32) for each in (agrees, answered, neutral)))
    return counts._replace(voter=asked[:, 0].astype(jnp.uint32)) if rule.voters else counts


def replies(byzantine, colours, chances, coin):
    """Whether each node asked answers 1, 0, or neither (bool each); else it is silent.

    byzantine: whether it is. colours: uint32, what honest ones prefer. chances: of Byzantine ones,
    as in `Trials.coins`. coin: uint32, their random words. All have one shape.
    """
    accept, reject, neither = chances
    coin = jnp.minimum(coin, FOLD)
    one = jnp.where(byzantine, coin < accept, colours == 1)
    zero = jnp.where(byzantine, (coin >= accept) & (coin < reject), colours == 0)
    return one, zero, byzantine & (coin >= reject) & (coin < neither)


def poll_of(trial: Trials, counts: Counts, round_):
    """What `step` is given of these counts. round_: int32, rounds completed."""
    rule = trial.protocol
    if not rule.counts:
        return counted(rule.quorums, counts)
    return counts._replace(common=common_word(trial, round_)) if rule.common else counts


def tally_of(trial: Trials, nodes, cells) -> Tally:
    """The tally of honest nodes. nodes: int32 [n], their numbers. cells: of the same nodes."""
    honest, one, over = nodes < trial.honest, preference(cells) == 1, decided(cells)
    flags = (one & honest, over & honest, one & over & honest)
    counts = Tally(*(flag.sum(dtype=jnp.int32) for flag in flags))
    if trial.protocol.stops:
        stopped = trial.protocol.gives_up(cells) & honest & ~over
        counts = counts._replace(given_up=stopped.sum(dtype=jnp.int32))
    if trial.holders is None:
        return counts
    units = (jnp.where(flag, trial.holders.units[nodes], 0).sum() for flag in flags)
    return counts._replace(units=Tally(*units))


def stepped(trial: Trials, nodes, cells, poll) -> tuple[Any, Any]:
    """The cells after each node's poll, and how many preferences changed, int32. All as above."""
    rule = trial.protocol
    stays = decided(cells) | (nodes >= trial.honest)
    if rule.stops:
        stays = stays | rule.gives_up(cells)
    new = jax.tree.map(partial(jnp.where, stays), cells, rule.step(cells, poll))
    return new, (preference(new) != preference(cells)).sum(dtype=jnp.int32)


def graph_program(shape: Shape):
    """The function (trials, tables) -> Outcome."""

    def begin(trial: Trials):
        vertex = jnp.arange(shape.nodes, dtype=jnp.uint32)
        word, _ = random.threefry(*trial.key, vertex, jnp.uint32(random.PLACE))
        nodes = jnp.argsort(word).astype(jnp.int32)  # on each vertex; honest ones come first
        return nodes, trial.protocol.start(trial.starts_at_one(nodes)), jnp.zeros_like(trial.honest)

    def count(trial: Trials, state):
        nodes, cells, flips = state
        return tally_of(trial, nodes, cells), flips

    def move(trial: Trials, tables: Tables, state, seen: View, memory):
        nodes, cells, _ = state
        mixes, memory = answers(trial, seen, memory)
        round_ = seen.round.astype(jnp.uint32)
        peers = draw_peers(shape, trial, tables.neighbours[trial.graph], round_)
        counts = _ask(shape, trial, peers, preference(cells), nodes, mixes, round_)
        new, flips = stepped(trial, nodes, cells, poll_of(trial, counts, seen.round))
        return (nodes, new, flips), memory

    return in_lockstep(begin, count, move)
