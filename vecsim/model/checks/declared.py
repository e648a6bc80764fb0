"""The check of what a protocol declares: flags, numbers, quorums and the sizes of fields."""

from itertools import pairwise

from vecsim import fields
from vecsim.errors import name_of, raised_by, require, whole
from vecsim.types import Protocol

DECLARED = ("counts", "decides", "neutral", "common", "voters", "stops")  # constants of the class
MOST_PEERS = 400  # peers of a poll, k: more would be slow, as counts have about k^2 / 2 results


def check_declared(rule: Protocol) -> None:
    """ConfigError unless flags, numbers, quorums and the sizes of fields are in their ranges."""
    name = name_of(rule)
    for flag in DECLARED:
        value = getattr(rule, flag)
        require(type(value) is bool, f"{name}.{flag}", value, "True or False")
        allowed = "False, as counts is False"
        more = flag in ("neutral", "common", "voters")
        require(not (value and more) or rule.counts, f"{name}.{flag}", value, allowed)
    gives_up = type(rule).gives_up is not Protocol.gives_up
    allowed = f"{gives_up}, as it has {'a' if gives_up else 'no'} gives_up"
    require(rule.stops == gives_up, f"{name}.stops", rule.stops, allowed)
    for number, most in (("k", MOST_PEERS), ("max_rounds", 2**31 - 1)):
        allowed = f"a field, {number}: int = ..., or a property"
        require(hasattr(rule, number), f"{name}.{number}", "missing", allowed)
        whole(f"{name}.{number}", getattr(rule, number), 1, most)
    require(not rule.voters or rule.k == 1, f"{name}.k", rule.k, "1, as voters is True")
    with raised_by(rule, "quorums"):
        quorums, k = rule.quorums, rule.k
    allowed = "two whole numbers or more, k/2 < alpha_preference <= alpha_confidence <= ... <= k"
    number = len(quorums) if isinstance(quorums, tuple) else 0
    require(number >= 2, f"{name}.quorums", quorums, allowed)
    good = all(type(each) is int for each in quorums) and k / 2 < quorums[0] and quorums[-1] <= k
    good = good and all(low <= high for low, high in pairwise(quorums))
    require(good, f"{name}.quorums", quorums, f"{allowed} = {k}")
    _check_fields(rule)
    with raised_by(rule, "cell_limit"):
        whole(f"{name}.cell_limit()", rule.cell_limit(), 4, 2**32)


def _check_fields(rule: Protocol) -> None:
    """ConfigError unless fields have names of their own, sizes, and room in their words."""
    name, taken = name_of(rule), {*fields.RESERVED}
    with raised_by(rule, "fields"):
        sizes = rule.fields()
    with raised_by(rule, "further"):
        further = rule.further()
    allowed = "a tuple with the names and sizes of each further word, or ()"
    require(isinstance(further, tuple), f"{name}.further()", further, allowed)
    for i, word in enumerate((sizes, *further)):
        called = f"{name}.further()[{i - 1}]" if i else f"{name}.fields()"
        allowed = "names and how many values each has, but preference and decided"
        allowed += ", and no name twice" if i else ""
        require(isinstance(word, dict) and not taken & {*word}, called, word, allowed)
        taken |= {*word}
        for field, size in word.items():
            whole(f"{called}[{field!r}]", size, 1, 2**32 - 1 if i else 2**29)
        bits = sum((size - 1).bit_length() for size in word.values())
        require(not i or bits <= 32, called, f"{bits} bits", "32 bits at most, as in a word")
