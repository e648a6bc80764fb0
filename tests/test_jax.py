"""The installed JAX computes what it should.

Some releases give wrong numbers without an error where a vmapped matrix-vector product of more
than about 16,000 rows is reduced (jax-ml/jax#39103 and #40633).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def total(matrix, vectors):
    return jax.vmap(lambda vector: matrix @ vector)(vectors).sum()


def rows_of(rows):
    return jnp.ones((64, 64), jnp.float32), jnp.ones((rows, 64), jnp.float32)


@pytest.mark.parametrize("rows", [1000, 16_384, 16_385, 20_000, 65_536])
def test_compiled_sum_of_products_is_the_eager_one(rows):
    matrix, vectors = rows_of(rows)
    expected = rows * 64 * 64
    assert float(total(matrix, vectors)) == expected
    assert float(jax.jit(total)(matrix, vectors)) == expected
    assert float((np.asarray(vectors) @ np.asarray(matrix).T).sum(dtype=np.float64)) == expected


@pytest.mark.parametrize("rows", [16_383, 16_384, 40_000, 70_001])
def test_compiled_sum_of_integers_is_the_eager_one(rows):
    values = np.random.default_rng(rows).integers(0, 2**32, (rows, 33), dtype=np.uint32)

    def sums(values):
        bits = (values >> jnp.uint32(7)) & jnp.uint32(1)
        per_row = jax.vmap(lambda row: row.sum(dtype=jnp.uint32))(values ^ (bits << jnp.uint32(3)))
        return per_row, per_row.sum(dtype=jnp.uint32), bits.sum(dtype=jnp.int32)

    bits = (values >> 7) & 1
    per_row = (values ^ (bits << 3)).sum(axis=1, dtype=np.uint32)
    for function in (sums, jax.jit(sums)):
        given = function(jnp.asarray(values))
        assert np.array_equal(given[0], per_row)
        assert int(given[1]) == int(per_row.sum(dtype=np.uint32))
        assert int(given[2]) == int(bits.sum())
