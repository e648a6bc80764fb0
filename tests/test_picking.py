"""Work at the places of set flags, beside a plain loop over all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vecsim.engines.timed.picking import for_each_set, until_none


def visits(times, most: int):
    """How often each place is worked at until it has been `times` (int [places]) times."""

    def left(state):
        done, _ = state
        return done < times

    def work(state, places):
        done, rounds = state
        return done.at[places].add(1, mode="drop"), rounds + 1

    none = jnp.zeros(len(times), jnp.int32), jnp.int32(0)
    return jax.jit(
        lambda: (for_each_set(left, work, most, none), until_none(left, work, most, none))
    )


@pytest.mark.parametrize("length", [1, 31, 32, 33, 1000])
@pytest.mark.parametrize("most", [1, 7, 64])
def test_every_set_flag_is_worked_at_once_a_pass(length, most):
    for share in (0.0, 0.02, 0.5, 1.0):
        times = np.random.default_rng(length).integers(1, 4, length)
        times = np.where(np.random.default_rng(most).random(length) < share, times, 0)
        (once, chunks), (all_, again) = visits(jnp.asarray(times, jnp.int32), most)()
        np.testing.assert_array_equal(once, np.minimum(times, 1))
        np.testing.assert_array_equal(all_, times)
        assert chunks == -(-(times > 0).sum() // most)
        assert again == sum(-(-(times > i).sum() // most) for i in range(3))
