"""Every result that a poll of a protocol may have, for its check, and what messages call them."""

from collections import namedtuple
from functools import lru_cache
from typing import Any

import numpy as np

from vecsim.polls import poll_record, possible, results_of
from vecsim.types import Protocol, Quorum

# What messages call the results of a poll where there are two quorums.
_NAMES = ("no quorum", "agree", "agree, confident", "against", "against, confident")
_MOST_TRIPLES = 2**15  # results up to which all are listed where some answers may be neutral
_VOTERS = 12  # numbers of nodes that are told apart: few, so that some come again soon


def results(rule: Protocol) -> tuple[Any, list[int]]:
    """Every result that a poll may have, as arrays, and the numbers of usual ones.

    Of random words and voters, which are too many, there is one for each result of the others, or
    several where these are few.
    """
    if rule.counts:
        return _counts(rule)
    alpha, sure, *more = [*rule.quorums]
    if more:
        levels = possible(rule.quorums)
        listed = [each for each in results_of(len(rule.quorums)) if each[2] in (0, *levels)]
        agree, against, level = map(np.array, zip(*listed, strict=True))
        every = poll_record(len(rule.quorums), agree, against, level.astype(np.uint32))
        return every, list(range(len(listed)))
    # Where both alphas are the same `confident` is True whether there is a quorum or not.
    rows = [(0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 1, 0), (0, 1, 1), (0, 0, 1)]
    kept = [row for row in rows if alpha < sure or row[2] or not any(row)]
    return Quorum(*np.array(kept, bool).T), list(range(len(kept)))


def _counts(rule: Protocol) -> tuple[Any, list[int]]:
    """As `results`, of protocols that look at counts."""
    k, alpha = rule.k, rule.quorums[0]
    positive, answered = np.array(np.triu_indices(k + 1), np.uint32)
    parts: dict[str, Any] = {"positive": positive, "answered": answered}
    usual = [(k, k), (0, k), (0, 0), (alpha, k), (k - alpha, k), (alpha - 1, k), (alpha,) * 2]
    if rule.neutral:
        parts = _with_neutral(k, parts)
        usual = [(*each, 0) for each in usual] + [(0, k, k), (k - 1, k, 1)]
    listed = np.column_stack([*parts.values()]).tolist()
    numbers = [listed.index([*each]) for each in usual]
    generator = np.random.default_rng(0)
    if rule.common or rule.voters:  # several of each
        times = max(64 // len(listed), 1)
        numbers = [number + i * len(listed) for number in numbers for i in range(times)]
        parts = {name: np.tile(part, times) for name, part in parts.items()}
    total = len(parts["answered"])
    if rule.common:
        words = generator.integers(0, 2**32, total, dtype=np.uint32)
        words[:2] = 0, 2**32 - 1
        parts["common"] = words
    if rule.voters:
        parts["voter"] = generator.integers(0, _VOTERS, total).astype(np.uint32)
    return _record(*parts)(**parts), numbers


def _with_neutral(k: int, parts: dict[str, Any]) -> dict[str, Any]:
    """The same with all numbers of neutral answers, or where these are too many with some."""
    most = (parts["answered"] - parts["positive"]).astype(int)
    if (most + 1).sum() <= _MOST_TRIPLES:
        which = np.repeat(np.arange(len(most)), most + 1)
        neutral = np.concatenate([np.arange(each + 1) for each in most.tolist()])
    else:
        which = np.tile(np.arange(len(most)), 4)
        neutral = np.concatenate([0 * most, np.minimum(most, 1), most // 2, most])
    return {name: part[which] for name, part in parts.items()} | {
        "neutral": neutral.astype(np.uint32)
    }


@lru_cache(maxsize=16)
def _record(*names: str) -> Any:
    """Counts with no other parts than these, so that one that is not declared is missed."""
    return namedtuple("Counts", names)


def poll_in_words(rule: Protocol, poll: Any) -> str:
    """A poll in words, for messages. poll: its parts, as in `results`."""
    if rule.counts:
        positive, answered, *more = poll
        text = f"{positive} of {answered} answers for its colour"
        names = ("neutral", "common", "voter")
        flags = (rule.neutral, rule.common, rule.voters)
        called = [name for name, flag in zip(names, flags, strict=True) if flag]
        return ", ".join([text, *(f"{n} {v}" for n, v in zip(called, more, strict=True))])
    if len(rule.quorums) > 2:
        agree, against, level = poll
        colour = "agree" if agree else "against"
        return f"{colour}, level {level}" if agree or against else _NAMES[0]
    agree, against, confident = poll
    return _NAMES[(1 + confident) * agree + (3 + confident) * against]
