"""The check of a law of stake: what its nodes hold are numbers above 0, always the same."""

from typing import Any

import numpy as np

from vecsim.errors import name_of, raised_by, require
from vecsim.stakes.equal import Equal
from vecsim.stakes.stake import Stake, Weighted

SIZES = (1, 2, 7, 100)  # numbers of nodes that are tried, where the law does not say how many


def check_stake(stake: Stake) -> None:
    """Raise ConfigError unless a law gives every node a finite weight above 0."""
    name = name_of(stake)
    require(isinstance(stake, (Equal, Weighted)), name, "a Stake", "a class that extends Weighted")
    if not isinstance(stake, Weighted):
        return
    for n in (stake.nodes,) if stake.nodes else SIZES:
        with raised_by(stake, "weights"):
            first, again = (np.asarray(stake.weights(n)) for _ in range(2))
        _check_weights(f"{name}.weights({n})", n, first, again)


def _check_weights(call: str, n: int, weights: Any, again: Any) -> None:
    """ConfigError unless these are weights of n nodes. again: from another call."""
    allowed = f"numbers of shape ({n},), one for each node"
    good = weights.dtype.kind in "iuf" and weights.shape == (n,)
    require(good, f"{call}", f"{weights.dtype} of shape {weights.shape}", allowed)
    values = weights.astype(float)
    bad = ~(np.isfinite(values) & (values > 0))
    at = int(bad.argmax())
    require(not bad.any(), f"{call}[{at}]", float(values[at]), "a finite number above 0")
    same = np.array_equal(values, np.asarray(again, float))
    require(same, call, "other numbers when it is called again", "always the same ones")
