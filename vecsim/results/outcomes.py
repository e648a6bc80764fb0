"""The outcomes of a single decision that have a rate, and in which trials each came about."""

from collections.abc import Mapping
from typing import Any

# The outcomes by name, in the order of tables, with what their rates mean.
RATES = {
    "finalised": "share of trials in which every honest node decided, all the same",
    "majority_kept": "share of trials in which all honest nodes ended on the colour that most of"
    " them held at the start; of trials that did not start evenly split",
    "majority_lost": "share of trials in which all honest nodes ended on the colour that fewer of"
    " them held at the start; of trials that did not start evenly split",
    "disagreement": "share of trials in which honest nodes decided both colours",
    "stalled": "share of trials that ended with undecided honest nodes",
    "unanimous": "share of trials in which all honest nodes came to prefer one colour",
}
MAJORITY = ("majority_kept", "majority_lost")  # not defined where a trial starts evenly split


def event(values: Mapping[Any, Any], name: str) -> Any:
    """In which trials the outcome came about (bool); without meaning where a trial was not run.

    values: the variables of a study by name, arrays of NumPy or of xarray.
    """
    if name == "unanimous":
        return values["unanimity"] >= 0
    if name == "stalled":
        return values["undecided"] > 0
    both = (values["decided_0"] > 0) & (values["decided_1"] > 0)
    if name == "disagreement":
        return both
    if name == "finalised":
        return (values["undecided"] == 0) & ~both
    honest, start, final = _honest(values), values["start_ones"], values["final_ones"]
    # Who decides holds what was decided; where nobody does, what all hold at the end counts.
    ended = (values["undecided"] == 0) | (values["decides"] == 0)
    on_one, on_zero = ended & (final == honest), ended & (final == 0)
    if name == "majority_lost":
        on_one, on_zero = on_zero, on_one
    return ((2 * start > honest) & on_one) | ((2 * start < honest) & on_zero)


def defined(values: Mapping[Any, Any], name: str) -> Any:
    """Which trials the rate of the outcome is of (bool): those that were run, and for
    the two of the majority those in which a colour had a majority at the start."""
    run = values["decided_1"] >= 0
    if name not in MAJORITY:
        return run
    return run & (2 * values["start_ones"] != _honest(values))


def _honest(values: Mapping[Any, Any]) -> Any:
    """Honest nodes of each trial."""
    return values["decided_0"] + values["decided_1"] + values["undecided"]
