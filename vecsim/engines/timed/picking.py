"""The places of the few set flags among many, so that work is done for them alone."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

_BITS = 32  # flags in a word


def computed_once(always, compute: Callable) -> Any:
    """What compute() gives, computed once.

    XLA computes simple values anew wherever they are used, on CPUs also behind its barriers (seen
    in JAX 0.10.1); it does not look into a branch. always: bool, which is True but not known to be.
    """

    def never():
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(compute))

    return lax.cond(always, compute, never)


class _Marked(NamedTuple):
    """Flags, 32 to a word, and how many are set up to the end of each word, uint32 and int32."""

    words: Any
    ends: Any

    @classmethod
    def of(cls, flags) -> "_Marked":
        """Of flags, bool [flags]."""
        padded = jnp.pad(flags, (0, -len(flags) % _BITS)).reshape(-1, _BITS).astype(jnp.uint32)
        words = (padded << jnp.arange(_BITS, dtype=jnp.uint32)).sum(axis=1, dtype=jnp.uint32)
        return cls(words, jnp.cumsum(lax.population_count(words).astype(jnp.int32)))

    def places(self, wanted, none: int):
        """Where the flags of these numbers are, 1 for the first that is set, int32 of their shape;
        `none` for those past the last.

        By counting the bits of words and then by halves of one word, which is several times quicker
        than to sum up over all flags.
        """
        row = jnp.searchsorted(self.ends, wanted, method="scan_unrolled").astype(jnp.int32)
        there = row < len(self.words)
        row = jnp.minimum(row, len(self.words) - 1)
        word = self.words[row]
        left = wanted - (self.ends[row] - lax.population_count(word).astype(jnp.int32))
        bit = jnp.zeros_like(wanted)
        for half in (16, 8, 4, 2, 1):
            lower = (word >> bit.astype(jnp.uint32)) & jnp.uint32(2**half - 1)
            lower = lax.population_count(lower).astype(jnp.int32)
            above = left > lower
            left, bit = left - jnp.where(above, lower, 0), bit + jnp.where(above, half, 0)
        return jnp.where(there, row * _BITS + bit, none)


def for_each_set(flags: Callable, work: Callable, most: int, state: Any) -> Any:
    """The state after work at all places at which flags are set.

    flags(state): bool [flags], those that are set. work(state, places): the state after the work at
    these places, int32 [most], of which those that are the number of flags are none.
    """
    set_ = flags(state)
    marked, first = _Marked.of(set_), jnp.arange(1, most + 1, dtype=jnp.int32)
    number = marked.ends[-1]

    def body(carry):
        done, state = carry
        places = computed_once(done < number, lambda: marked.places(done + first, len(set_)))
        return done + most, work(state, places)

    return lax.while_loop(lambda carry: carry[0] < number, body, (jnp.int32(0), state))[1]


def until_none(flags: Callable, work: Callable, most: int, state: Any) -> Any:
    """The same where work may set flags anew: again until none is set."""
    again = partial(for_each_set, flags, work, most)
    return lax.while_loop(lambda state: flags(state).any(), again, state)
