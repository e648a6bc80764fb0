"""The counter of consecutive successes that Snowflake and Snowball share."""

import jax.numpy as jnp


def count_run(rule, counter, colour, agree, against, confident):
    """One poll of a counter and of the colour that it counts.

    rule: has `reset_on_failure` and `count_after_flip`. agree, against: whether the poll had a
    quorum for that colour, or for the other. confident: whether the quorum counts.
    """
    zero, one = jnp.uint32(0), jnp.uint32(1)
    unsuccessful = zero if rule.reset_on_failure else counter
    same = jnp.where(confident, counter + one, unsuccessful)
    other = jnp.where(confident, jnp.uint32(rule.count_after_flip), zero)
    counted = jnp.where(agree, same, jnp.where(against, other, unsuccessful))
    return counted, jnp.where(against, colour ^ one, colour)


def run_left(rule, counter, same):
    """Successes in a row for one colour until the counter reaches `run_length`.

    same: whether the counter is that colour's.
    """
    length = jnp.asarray(run_length(rule), jnp.int32)
    fresh = length + 1 - rule.count_after_flip
    return jnp.where(same, length - counter.astype(jnp.int32), fresh)


def run_length(rule):
    """Value of the counter at which a node decides."""
    return rule.beta + (1 if rule.decide_when == "gt" else 0)
