"""Rare events: a probability near 1e-9 by splitting, and how well it is known after that time."""

import numpy as np

from vecsim.adversaries.safety_split import SafetySplit
from vecsim.model.point import Point
from vecsim.network import Network
from vecsim.protocols.snowflake import Snowflake
from vecsim.results.estimate import rare_interval
from vecsim.studies.rare.splitting import Effort, split
from vecsim.studies.rare.walkers import Climbers

EFFORT, REPLICAS, SCORES = Effort(300, 0.2), 8, 2


def test_probability_near_1e_9(benchmark):
    """Snowflake 20/15/15/20, 1,000 nodes, 28 % of them Byzantine, which feed 36 %; compilation
    included."""
    rule, adversary = Snowflake(20, 15, 15, 20, 200), SafetySplit(1, 0.36)
    point = Point(1000, 0.28, 0.5, "lockstep", rule, adversary, Network())

    def run():
        climbers = Climbers(point, "disagreement", "agents", 2**28)
        found = [split(climbers, score, EFFORT, REPLICAS, 0) for score in range(SCORES)]
        return np.stack([one.estimates for one in found if one is not None], axis=-1)

    found = rare_interval(benchmark.pedantic(run, rounds=1))
    benchmark.extra_info["probability"] = float(found.value)
    benchmark.extra_info["interval"] = [float(found.low), float(found.high)]
    benchmark.extra_info["relative_error"] = float(found.error / found.value)
    benchmark.extra_info["gap"] = float(found.gap)
