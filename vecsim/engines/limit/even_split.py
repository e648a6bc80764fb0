"""How long a decision takes from an even split, with many nodes.

In the limit of many nodes (`meanfield`) an even split stands still: it is chance that leaves it.
While the split is nearly even, a round multiplies its deviation by 1 + the slope of the drift, and
adds what chance does to the nodes, independently each time. The deviation thus becomes what would
have grown from a normally distributed one at the start, of the order 1/sqrt(n); from there on the
limit is followed. Nodes are then independent, and the last one's round is the maximum of n.
"""

import numpy as np
from scipy import stats

from vecsim.engines.cells import only_by_nodes
from vecsim.engines.limit.meanfield import LimitCase, drift_slope, follow, follows_quorums, turning
from vecsim.model.point import Point

PIECES = 16  # of equal probability, of the normal distribution's upper half: one path each
CENSORED = 1e-3  # P(some node is undecided at the end) below which the mean is that of all trials


def rounds_until_decided(point: Point) -> float | None:
    """Mean rounds until all nodes have decided, up to terms that vanish as n grows.

    None where that is not known: with Byzantine nodes, from other splits, under async, on graphs,
    with groups or weighted stake, for rules that look at counts or whose preference does not follow
    every quorum, where no drift leads away from the split, or where too many trials end undecided
    (CENSORED).
    """
    rule = point.protocol
    even = not point.byzantine and abs(2 * point.start_ones - point.honest) <= 1
    alike = point.schedule == "lockstep" and point.network.uniform and not point.stake.weighted
    known = rule.decides and not rule.counts and only_by_nodes(rule) is None
    if not (even and alike and known and follows_quorums(rule)):
        return None
    crowd = LimitCase(rule, point.adversary, 0.0, point.network.loss)
    growth, chance = 1 + drift_slope(crowd, 0.5), turning(crowd, 0.5)
    if growth <= 1:
        return None
    deviation = np.sqrt(chance * (1 - chance) / (growth**2 - 1) / point.honest)
    quantiles = stats.norm.ppf(0.5 + (np.arange(PIECES) + 0.5) / (2 * PIECES))
    shares = np.minimum(0.5 + deviation * quantiles, 1.0).tolist()
    paths = [follow(crowd, share, int(rule.max_rounds)) for share in shares]
    one = np.minimum([path.undecided for path in paths], 1.0)  # of the nodes, on each path
    with np.errstate(divide="ignore"):  # before the first decision
        some = -np.expm1(point.honest * np.log1p(-one)).mean(axis=0)
    return float(some.sum()) if some[-1] < CENSORED else None
