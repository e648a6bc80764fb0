"""The check of an adversary: its ways to answer, and what it answers in many situations."""

import inspect
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vecsim.errors import name_of, raised_by, require, whole
from vecsim.model.random import COINS
from vecsim.model.uses import uses
from vecsim.types import Adversary, View

TRIALS, ROUNDS = 64, 256
MOST_SLOTS = 64  # numbers that an adversary may keep


def check_adversary(adversary: Adversary) -> None:
    """Raise ConfigError unless the adversary keeps what `types.Adversary` promises."""
    _check_constants(adversary)
    _check_signature(adversary)
    views = _views()
    with raised_by(adversary, "answer"):
        mixes, memories = jax.device_get(_answered(adversary, views))
    _check_mixes(adversary, mixes, memories, views)
    _check_pools(adversary)


def _check_constants(adversary: Adversary) -> None:
    name, mixes = name_of(adversary), adversary.mixes
    allowed = "a list of (P(answers 1), P(answers 0)), one or more"
    good = isinstance(mixes, (tuple, list)) and len(mixes) > 0
    require(good, f"{name}.mixes", mixes, allowed)
    for i, mix in enumerate(mixes):
        good = isinstance(mix, (tuple, list)) and len(mix) == 2
        good = good and all(isinstance(p, (int, float)) and 0 <= p <= 1 for p in mix)
        allowed = "(P(answers 1), P(answers 0)), each 0 to 1 and together at most 1"
        require(good and sum(mix) <= 1, f"{name}.mixes[{i}]", mix, allowed)
    good = type(adversary.groups) is int and adversary.groups in (1, 2)
    require(good, f"{name}.groups", adversary.groups, "1 or 2")
    require(type(adversary.pools) is bool, f"{name}.pools", adversary.pools, "True or False")
    whole(f"{name}.memories", adversary.memories, 1, MOST_SLOTS)
    for attribute, words in (("grouping", ("by_colour", "random")), ("every", ("round", "poll"))):
        value = getattr(adversary, attribute)
        if attribute == "grouping" or adversary.pools:
            require(value in words, f"{name}.{attribute}", value, " or ".join(words))
    with raised_by(adversary, "admission"):
        admission = adversary.admission
    good = isinstance(admission, (int, float)) and 0 <= admission <= 1
    require(good, f"{name}.admission", admission, "0 to 1")
    if adversary.groups == 2:
        _check_first_group(adversary)


def _check_first_group(adversary: Adversary) -> None:
    for honest, nodes in ((1, 1), (2, 3), (80, 100), (10**12, 10**12), (1.0, 1.25)):
        with raised_by(adversary, "first_group"):
            first: Any = adversary.first_group(honest, nodes)
        good = isinstance(first, (int, float)) and 0 <= first <= honest
        name = f"{name_of(adversary)}.first_group({honest}, {nodes})"
        require(good, name, first, f"0 to {honest} honest nodes")


def _check_signature(adversary: Adversary) -> None:
    given = inspect.signature(adversary.answer)
    try:
        given.bind("view", "memory")
    except TypeError:
        allowed = "(view, memory): an adversary that remembers nothing gives memory back"
        require(False, f"{name_of(adversary)}.answer takes arguments, which", str(given), allowed)


@lru_cache(maxsize=1)
def _views() -> View:
    """What adversaries see in trials that are not simulated but might be, [ROUNDS, TRIALS]."""
    generator = np.random.default_rng(0)
    fixed, every = (1, TRIALS), (ROUNDS, TRIALS)
    honest = np.resize([1, 2, 3, 4, 9, 10, 50, 51, 100, 999, 1000, 10**6], fixed)
    byzantine = np.rint(generator.random(fixed) * honest).astype(int)
    k = np.resize([1, 2, 20, 30, 80], fixed)
    alpha = generator.integers(k // 2 + 1, k + 1)
    exclude_self = generator.integers(2, size=fixed)
    start = np.rint(np.resize([0.5, 0, 1, 0.3, 0.9], fixed) * honest).astype(int)

    decided = np.sort(generator.integers(honest + 1, size=every), axis=0)  # never fewer
    decided[: ROUNDS // 4] = 0
    decided_1 = np.rint(decided * np.resize([0.5, 0, 1, 0.2], fixed)).astype(int)
    decided_0 = decided - decided_1
    ones = generator.integers(honest + 1, size=every)
    still = np.resize([True, False], fixed)
    ones = np.clip(np.where(still, start, ones), decided_1, honest - decided_0)

    counts = dict(round=np.arange(ROUNDS)[:, None], honest=honest, byzantine=byzantine)
    counts |= dict(peers=honest + byzantine - exclude_self, exclude_self=exclude_self, k=k)
    counts |= dict(alpha=alpha, start_ones=start, ones=ones, decided_0=decided_0)
    counts |= dict(decided_1=decided_1, pooled_minority=generator.integers(2, size=every))
    parts: dict[str, Any] = {
        name: np.broadcast_to(values, every).astype(np.int32) for name, values in counts.items()
    }
    for name, size in (("trial_coin", fixed), ("round_coin", every)):
        coins = generator.integers(COINS, size=size) / COINS
        coins.flat[:2] = 0, 1 - 1 / COINS
        parts[name] = np.broadcast_to(coins, every).astype(np.float32)
    return View(**parts)


@jax.jit
def _answered(adversary: Adversary, views: View):
    """Mixes [ROUNDS, TRIALS, group, colour], and the memories after each round."""
    name = f"{name_of(adversary)}.answer"

    def answer(seen: View, memory):
        given: Any = adversary.answer(seen, memory)
        allowed = "two things: an index into mixes for each [group, colour], and the next memory"
        both = isinstance(given, tuple) and len(given) == 2
        require(both, f"{name} gives what", type(given).__name__, allowed)
        mixes, after = map(jnp.asarray, given)
        integers = jnp.issubdtype(mixes.dtype, jnp.integer)
        require(integers, f"{name}: mixes", str(mixes.dtype), "whole numbers, int32")
        allowed = f"{(adversary.groups, 2)}, [group, colour]"
        require(mixes.shape == (adversary.groups, 2), f"{name}: mixes", mixes.shape, allowed)
        good = jnp.issubdtype(after.dtype, jnp.integer) and after.shape == memory.shape
        found = f"{after.dtype} of shape {after.shape}"
        require(good, f"{name}: memory", found, f"int32 of shape {memory.shape}")
        return mixes.astype(jnp.int32), after.astype(jnp.int32)

    def one_round(memory, seen: View):
        mixes, after = jax.vmap(answer)(seen, memory)
        return after, (mixes, after)

    number = adversary.memories
    begin = jnp.zeros((TRIALS, number) if number > 1 else TRIALS, jnp.int32)
    _, found = lax.scan(one_round, begin, views)
    return found


def _check_mixes(adversary: Adversary, mixes: Any, memories: Any, views: View) -> None:
    last = len(adversary.mixes) - 1
    bad = (mixes < 0) | (mixes > last)
    if bad.any():
        round_, trial, group, colour = np.argwhere(bad)[0]
        memory = (memories[round_ - 1, trial] if round_ else 0 * memories[0, trial]).tolist()
        seen = {name: part[round_, trial] for name, part in views._asdict().items()}
        used = [name for name in View._fields if name in uses(adversary)]
        told = [f"{part}={seen[part]:.7g}" for part in used]
        told += [f"memory={memory}"] if "memory" in uses(adversary) else []
        name = f"{name_of(adversary)}.answer({', '.join(told)})"
        found = int(mixes[round_, trial, group, colour])
        allowed = f"0 to {last}, for there are {last + 1} mixes"
        require(False, f"{name}: mixes[{group}, {colour}]", found, allowed)


def _check_pools(adversary: Adversary) -> None:
    looks = "pooled_minority" in uses(adversary)
    reason = "looks" if looks else "does not look"
    allowed = f"{looks}, as answer {reason} at view.pooled_minority"
    require(adversary.pools == looks, f"{name_of(adversary)}.pools", adversary.pools, allowed)
