"""Points in simulated time, and what single nodes do in their trials, for tests."""

from typing import Any, NamedTuple

import jax
import numpy as np

import vecsim
from vecsim.engines.agents.prepare import Assembler, agents_shape, items
from vecsim.engines.choose import PROGRAMS, engine_of
from vecsim.engines.timed.ticks import tick_ms
from vecsim.engines.trial import all_devices, batch


class Timed(NamedTuple):
    """Trials: times of decision in ms [trials, honest nodes], NaN for never; outcomes by name."""

    decided_ms: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def last_ms(self):
        """Time of the last decision of each trial, NaN where not all decided."""
        return self.decided_ms.max(axis=1)


def point_of_words(*words: str, **given: Any):
    """The point with schedule=timed that words and parameters describe."""
    made = vecsim.point(*words, schedule="timed", **given)
    assert engine_of(made, "auto") == "timed"
    return made


def run(made, trials: int, seed: int = 1, size: int = 32) -> Timed:
    """Trials of a point, `size` in a batch."""
    shape = agents_shape([made], seed)
    packed = Assembler(shape, [made], size, seed)
    numbers = np.arange(trials)
    parts = []
    for every, tables, place in packed.batches(items(made, seed, numbers, numbers)):
        ended = batch(PROGRAMS[shape.engine], shape, all_devices(), every, tables)
        outcome, _, decided, queries = jax.device_get(ended)
        values = outcome._asdict() | {"queries": queries, "honest": every.honest}
        parts.append(
            {k: v[: len(place)] for k, v in values.items()} | {"at": decided[: len(place)]}
        )
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    ticks = values.pop("at")[:, : int(values["honest"].max())]
    return Timed(np.where(ticks < 0, np.nan, ticks * tick_ms(made)), values)
