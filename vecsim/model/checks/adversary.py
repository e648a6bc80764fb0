"""The check of an adversary: its ways to answer, and what it answers in many situations.

A trial is one column of these arrays:

    views      [ROUNDS, TRIALS]          each part of View
    mixes      int32 [ROUNDS, TRIALS, group, colour]
    memories   int32 [ROUNDS, TRIALS]    after each round; [..., slots] if there are several
"""

import inspect
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vecsim.adversaries.shared import GROUPINGS
from vecsim.errors import name_of, raised_by, require, whole
from vecsim.model.random import COINS
from vecsim.model.uses import uses
from vecsim.types import Adversary, View

TRIALS, ROUNDS = 64, 256  # shown to it: enough for every part of View to vary, in milliseconds
MOST_SLOTS = 64  # numbers that an adversary may keep: all trials of its program have room for them


def check_adversary(adversary: Adversary) -> None:
    """Raise ConfigError unless the adversary keeps what `types.Adversary` promises."""
    _check_constants(adversary)
    _check_signature(adversary)
    views = _views()
    with raised_by(adversary, "answer"):
        mixes, memories = jax.device_get(_answered(adversary, views))
    _check_mixes(adversary, mixes, memories, views)
    looks = "pooled_minority" in uses(adversary)
    allowed = f"{looks}, as answer {'looks' if looks else 'does not look'} at view.pooled_minority"
    require(adversary.pools == looks, f"{name_of(adversary)}.pools", adversary.pools, allowed)


def _check_constants(adversary: Adversary) -> None:
    """ConfigError unless what the class declares, and its first group, are as they must be."""
    name, mixes = name_of(adversary), adversary.mixes
    allowed = "a list of (P(answers 1), P(answers 0)), one or more"
    good = isinstance(mixes, (tuple, list)) and len(mixes) > 0
    require(good, f"{name}.mixes", mixes, allowed)
    for i, mix in enumerate(mixes):
        good = isinstance(mix, (tuple, list)) and len(mix) == 2 and all(_within(p, 1) for p in mix)
        allowed = "(P(answers 1), P(answers 0)), each 0 to 1 and together at most 1"
        require(good and sum(mix) <= 1, f"{name}.mixes[{i}]", mix, allowed)
    _check_neutral(adversary)
    good = type(adversary.groups) is int and adversary.groups in (1, 2)
    require(good, f"{name}.groups", adversary.groups, "1 or 2")
    require(type(adversary.pools) is bool, f"{name}.pools", adversary.pools, "True or False")
    whole(f"{name}.memories", adversary.memories, 1, MOST_SLOTS)
    for attribute, words in (("grouping", GROUPINGS), ("every", ("round", "poll"))):
        value = getattr(adversary, attribute)
        if attribute == "grouping" or adversary.pools:
            require(value in words, f"{name}.{attribute}", value, " or ".join(words))
    with raised_by(adversary, "admission"):
        admission = adversary.admission
    require(_within(admission, 1), f"{name}.admission", admission, "0 to 1")
    sizes = (1, 1), (2, 3), (80, 100), (10**12, 10**12), (1.0, 1.25)
    for honest, nodes in sizes if adversary.groups == 2 else ():
        with raised_by(adversary, "first_group"):
            first = adversary.first_group(honest, nodes)
        allowed = f"0 to {honest} honest nodes"
        require(_within(first, honest), f"{name}.first_group({honest}, {nodes})", first, allowed)


def _check_neutral(adversary: Adversary) -> None:
    """ConfigError unless answers for neither colour are none, or a part of every mix."""
    name, mixes, neutral = name_of(adversary), adversary.mixes, adversary.neutral
    allowed = f"a list with a probability for each of the {len(mixes)} mixes, or none"
    good = isinstance(neutral, (tuple, list)) and len(neutral) in (0, len(mixes))
    require(good, f"{name}.neutral", neutral, allowed)
    for i, (chance, mix) in enumerate(zip(neutral, mixes, strict=False)):
        allowed = f"0 to {1 - sum(mix):g}, what P(answers 1) and P(answers 0) leave"
        # Sums of probabilities such as 0.7, 0.2 and 0.1 are rounded.
        good = _within(chance, 1) and sum(mix) + chance <= 1 + 1e-12
        require(good, f"{name}.neutral[{i}]", chance, allowed)


def _within(value: Any, most: float) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= most


def _check_signature(adversary: Adversary) -> None:
    """ConfigError unless `answer` takes a view and a memory."""
    given = inspect.signature(adversary.answer)
    try:
        given.bind("view", "memory")
    except TypeError:
        allowed = "(view, memory): an adversary that remembers nothing gives memory back"
        require(False, f"{name_of(adversary)}.answer takes arguments, which", str(given), allowed)


@lru_cache(maxsize=1)
def _views() -> View:
    """What adversaries see in trials that are made up but possible, [ROUNDS, TRIALS]."""
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
    ones[:, ::2] = start[:, ::2]  # in every other trial none changes until some have decided
    ones = np.clip(ones, decided_1, honest - decided_0)

    parts = dict(round=np.arange(ROUNDS)[:, None], honest=honest, byzantine=byzantine)
    parts |= dict(peers=honest + byzantine - exclude_self, exclude_self=exclude_self, k=k)
    parts |= dict(alpha=alpha, start_ones=start, ones=ones, decided_0=decided_0)
    parts |= dict(decided_1=decided_1, pooled_minority=generator.integers(2, size=every))
    seen: dict[str, Any] = {name: part.astype(np.int32) for name, part in parts.items()}
    for name, size in (("trial_coin", fixed), ("round_coin", every)):
        coins = generator.integers(COINS, size=size) / COINS
        coins.flat[:2] = 0, 1 - 1 / COINS
        seen[name] = coins.astype(np.float32)
    return View._make(np.broadcast_arrays(*View(**seen)))


@jax.jit
def _answered(adversary: Adversary, views: View):
    """Mixes [ROUNDS, TRIALS, group, colour], and the memories after each round."""
    name = f"{name_of(adversary)}.answer"

    def one_round(memory, seen: View):
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
        after = after.astype(jnp.int32)
        return after, (mixes.astype(jnp.int32), after)

    number = adversary.memories
    begin = jnp.zeros((TRIALS, number) if number > 1 else TRIALS, jnp.int32)
    return jax.lax.scan(jax.vmap(one_round), begin, views)[1]


def _check_mixes(adversary: Adversary, mixes: Any, memories: Any, views: View) -> None:
    """ConfigError unless all answers are indices of mixes; it says what the adversary had seen."""
    last, used = len(adversary.mixes) - 1, uses(adversary)
    bad = (mixes < 0) | (mixes > last)
    # The first index that is out of range, or the very first one where all are in range.
    round_, trial, group, colour = np.unravel_index(bad.argmax(), bad.shape)
    memory = (memories[round_ - 1, trial] if round_ else 0 * memories[0, trial]).tolist()
    shown = {part: values[round_, trial] for part, values in views._asdict().items()}
    told = [f"{part}={value:.7g}" for part, value in shown.items() if part in used]
    told += [f"memory={memory}"] if "memory" in used else []
    name = f"{name_of(adversary)}.answer({', '.join(told)}): mixes[{group}, {colour}]"
    found = int(mixes[round_, trial, group, colour])
    require(0 <= found <= last, name, found, f"0 to {last}, for there are {last + 1} mixes")
