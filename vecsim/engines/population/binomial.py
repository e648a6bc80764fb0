"""Exact binomial draws of whole arrays, from counter-based words (float64, so under JAX's x64).

Small means are drawn by inversion. Others are drawn by transformed rejection (BTRS, Hörmann 1993,
"The generation of binomial random variates"), which takes the same time however large the mean.
The squeeze is left out: in vector code every lane would evaluate the test anyway.

Both probabilities are given, so that nothing is computed as 1 - p.

Draws of any shape are flattened to lanes. On a CPU those that one method has to make are gathered
into pieces, here of 4 instead of PIECE, x being lanes that it leaves alone:

    lanes    0 x x 3 x 5 6 x 8 9
    queue    0 3 5 6 | 8 9 . .      two pieces, each as long as its slowest draw
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vecsim.model import random

_SMALL = 10.0  # means below this are drawn by inversion, as the rejection needs at least this
PIECE = 128  # draws made together on a CPU: vectors are full, few lanes wait for the slowest one
_MOST_STEPS = 120  # P(a mean below _SMALL gives so many) < 1e-80
MOST_ATTEMPTS = 2**10  # P(all of them are rejected) < 1e-300
# Coefficients of the odd powers of 1 / (k + 1) in the Stirling series of log k! (see `stirling`).
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
# log k! - (k + 1/2) log(k + 1) + (k + 1) - log(2 pi) / 2 for small k, where the series is not exact
STIRLING_SMALL = (
    0.08106146679532726,
    0.0413406959554093,
    0.02767792568499834,
    0.020790672103765093,
    0.016644691189821193,
    0.013876128823070748,
    0.01189670994589177,
    0.010411265261972096,
    0.009255462182712733,
    0.00833056343336287,
)


class Names(NamedTuple):
    """What draws are called, so that their random words depend on nothing else.

    key: the trial's two words, uint32. draw: uint32 below 2^22, the number of the draw in its
    round. counters: second counter words of the two blocks that an attempt takes. All broadcast.
    """

    key: tuple[Any, Any]
    draw: Any
    counters: tuple[Any, Any]


def conditional(this, later):
    """P(this | this or later), P(later | this or later); 0 and 1 where neither is possible.

    this, later: probabilities, arrays of one shape.
    """
    total = this + later
    possible = total > 0.0
    total = jnp.where(possible, total, 1.0)
    return this / total, jnp.where(possible, later / total, 1.0)


def names_in(key, draw, round_, first: int = random.POLL, second: int = random.POLL_WIDE) -> Names:
    """Names of draws in a round.

    round_: whole numbers, rounds completed. first, second: purposes of the blocks of an attempt.
    """
    round_ = round_.astype(jnp.uint32)
    return Names(key, draw, (random.counter(round_, first), random.counter(round_, second)))


def binomial(names: Names, n, p, q):
    """Successes among n trials of probability p each; q is P(failure), p + q = 1.

    n: whole numbers up to 1e12 (float64). p and q: each exact to its own last digits (float64).
    Returns whole numbers, float64, of the shape to which n and p broadcast. n = 0 and p = 0 give 0.
    """
    rare, often = jnp.minimum(p, q), jnp.maximum(p, q)
    mean = n * rare
    parts, tree = jax.tree.flatten((names, n, rare, often))
    mean, *parts = (part.ravel() for part in jnp.broadcast_arrays(mean, *parts))
    given = jax.tree.unflatten(tree, parts)
    few = _where((mean > 0.0) & (mean < _SMALL), _inverted, *given)
    many = _where(mean >= _SMALL, _rejected, *given)
    drawn = (few + many).reshape(jnp.broadcast_shapes(jnp.shape(n), jnp.shape(p)))
    return jnp.where(p <= q, drawn, n - drawn)


def _where(wanted, draw, *given):
    """Draws where wanted, 0 elsewhere; on a CPU the wanted ones are gathered in pieces."""

    def drawn(wanted, names: Names, n, p, q):
        return draw(names, jnp.where(wanted, n, 0.0), p, q)

    lanes = wanted.size
    if lanes <= PIECE or jax.default_backend() != "cpu":
        return drawn(wanted, *given)
    place = jnp.cumsum(wanted.astype(jnp.int32))
    queue = jnp.full(-(-lanes // PIECE) * PIECE, lanes, jnp.int32)
    number = jnp.arange(lanes, dtype=jnp.int32)
    queue = queue.at[jnp.where(wanted, place - 1, len(queue))].set(number, mode="drop")

    def piece(i, done):
        lane = lax.dynamic_slice(queue, (i * PIECE,), (PIECE,))
        taken = jax.tree.map(lambda part: part.at[lane].get(mode="clip"), given)
        return done.at[lane].set(drawn(lane < lanes, *taken), mode="drop")

    return lax.fori_loop(0, -(-place[-1] // PIECE), piece, jnp.zeros(lanes))


def _uniform(names: Names, attempt, second):
    """float64 in (0, 1), finest near 0, from a block of 64 bits."""
    counter = (names.draw * jnp.uint32(MOST_ATTEMPTS)) | attempt
    high, low = random.threefry(*names.key, counter, second)
    return high.astype(jnp.float64) * 2.0**-32 + (low.astype(jnp.float64) + 0.5) * 2.0**-64


def _inverted(names: Names, n, p, q):
    """Draws of small mean: a number counts up while the uniform is below its upper tail."""
    uniform = _uniform(names, jnp.uint32(0), names.counters[0])
    none = n * jnp.log1p(-p)
    odds = p / q

    def going(state):
        step, _, tail, _ = state
        return (step < _MOST_STEPS) & (uniform < tail).any()

    def body(state):
        step, count, tail, mass = state
        number = step.astype(jnp.float64)
        mass = mass * odds * jnp.maximum(n - number, 0.0) / (number + 1.0)
        count = jnp.where(uniform < tail, number + 1.0, count)
        return step + 1, count, tail - mass, mass

    start = (jnp.int32(0), jnp.zeros_like(uniform), -jnp.expm1(none), jnp.exp(none))
    _, count, _, _ = lax.while_loop(going, body, start)
    return jnp.minimum(count, n)


def _rejected(names: Names, n, p, q):
    """Draws of mean _SMALL or more; 0 where n is 0."""
    mean, missed = n * p, n * q
    deviation = jnp.sqrt(mean * q)
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    hat = (2.83 + 5.1 / b) * deviation
    mode = jnp.floor((n + 1.0) * p)

    def log_mass(k):
        """Log of P(k), up to a constant."""
        left, distance = n - k, k - mean
        hits = (k + 0.5) * jnp.log1p((distance + 1.0) / mean)
        misses = (left + 0.5) * jnp.log1p((1.0 - distance) / missed)
        return -(hits + misses + stirling(k) + stirling(left))

    top = log_mass(mode)

    def attempt(u, v):
        """The number drawn, or -1 where it is rejected."""
        u = u - 0.5
        from_edge = 0.5 - jnp.abs(u)
        k = jnp.floor((2.0 * a / from_edge + b) * u + mean + 0.5)
        possible = jnp.clip(k, 0.0, n)
        bound = jnp.log(v * hat / (a / (from_edge * from_edge) + b))
        return jnp.where((k == possible) & (bound <= log_mass(possible) - top), k, -1.0)

    def going(state):
        number, drawn = state
        return (number < MOST_ATTEMPTS) & (drawn < 0.0).any()

    def body(state):  # one array: of several each would make the random words again
        number, drawn = state
        # Both uniforms of an attempt together, so that one loop makes them.
        found = attempt(*_uniform(names, number, jnp.stack(names.counters)))
        return number + jnp.uint32(1), jnp.where(drawn < 0.0, found, drawn)

    _, drawn = lax.while_loop(going, body, (jnp.uint32(0), jnp.where(n > 0.0, -1.0, 0.0)))
    return jnp.where(drawn < 0.0, mode, drawn)


def stirling(k):
    """log k! - (k + 1/2) log(k + 1) + (k + 1) - log(2 pi) / 2, for whole k >= 0."""
    x = 1.0 / (k + 1.0)
    square = x * x
    total = jnp.zeros_like(x)
    for term in reversed(STIRLING):
        total = total * square + term
    total = total * x
    for small, exact in enumerate(STIRLING_SMALL):  # selects are vector code, a table is not
        total = jnp.where(k == small, exact, total)
    return total
