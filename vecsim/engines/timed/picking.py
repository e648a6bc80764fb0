"""The places of the few set flags among many, so that work is done for them alone."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

_BITS = 32  # flags in a word


def first_set(flags, most: int):
    """The first `most` places at which flags are set, int32 [most], filled up with their number.

    flags: bool [flags]. By counting the bits of words and then by halves of one word, which is
    several times quicker than to sum up over all flags.
    """
    length = flags.shape[0]
    padded = jnp.pad(flags, (0, -length % _BITS)).reshape(-1, _BITS).astype(jnp.uint32)
    words = (padded << jnp.arange(_BITS, dtype=jnp.uint32)).sum(axis=1, dtype=jnp.uint32)
    counts = lax.population_count(words).astype(jnp.int32)
    ends = jnp.cumsum(counts)
    wanted = jnp.arange(1, most + 1, dtype=jnp.int32)
    row = jnp.searchsorted(ends, wanted, method="scan_unrolled").astype(jnp.int32)
    there = row < len(words)
    row = jnp.minimum(row, len(words) - 1)
    left, word = wanted - (ends[row] - counts[row]), words[row]
    bit = jnp.zeros(most, jnp.int32)
    for half in (16, 8, 4, 2, 1):
        lower = (word >> bit.astype(jnp.uint32)) & jnp.uint32(2**half - 1)
        lower = lax.population_count(lower).astype(jnp.int32)
        above = left > lower
        left, bit = left - jnp.where(above, lower, 0), bit + jnp.where(above, half, 0)
    return jnp.where(there, row * _BITS + bit, length)


def for_each_set(flags: Callable, work: Callable, most: int, state: Any) -> Any:
    """The state when no flag is set any more.

    flags(state): bool [flags], those that are set. work(state, places): the state after the work at
    these places, int32 [most], of which those that are the number of flags are none; the flags of
    the others are not set then, or are set anew.
    """

    def body(carry):
        state, set_ = carry
        state = work(state, first_set(set_, most))
        return state, flags(state)

    state, _ = lax.while_loop(lambda carry: carry[1].any(), body, (state, flags(state)))
    return state
