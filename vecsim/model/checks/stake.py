"""The check of a law of stake: what its nodes hold are numbers above 0, always the same."""

import numpy as np

from vecsim.errors import ConfigError, name_of, require
from vecsim.stakes.equal import Equal
from vecsim.stakes.stake import Stake, Weighted

# Numbers of nodes that are tried, where the law does not say how many; `holdings` checks its own.
SIZES = (1, 2, 7, 100)


def check_stake(stake: Stake) -> None:
    """Raise ConfigError unless a law gives every node a finite weight above 0, always the same."""
    name = name_of(stake)
    if not isinstance(stake, (Equal, Weighted)):
        raise ConfigError(f"{name} extends Stake alone; allowed: a class that extends Weighted")
    if not isinstance(stake, Weighted):
        return
    for n in (stake.nodes,) if stake.nodes else SIZES:
        first, again = (stake.checked_weights(n) for _ in range(2))
        same, told = np.array_equal(first, again), "other numbers when it is called again"
        require(same, f"{name}.weights({n})", told, "always the same ones")
