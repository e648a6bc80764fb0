"""Which points splitting serves, and on which engine."""

import contextlib

import jax.numpy as jnp

from vecsim.engines.agents.prepare import poll_kind
from vecsim.engines.cells import only_by_nodes
from vecsim.model.point import Point

MOST_HELD = 10_000  # nodes of weighted stake: every walker keeps what each of its nodes holds


def supports_splitting(point: Point, engine: str) -> str | None:
    """Why the walkers of a point cannot climb on this engine; None if they can."""
    rule, adversary, groups = point.protocol, point.adversary, point.network.groups
    if reason := only_by_nodes(rule):
        return reason
    weighted = point.stake.weighted
    name, unknown = f"protocol={type(rule).__name__}", True
    with contextlib.suppress(NotImplementedError):
        rule.remaining(rule.start(jnp.zeros(1, jnp.uint32)), 0)
        unknown = False
    drawn = float(adversary.admission) < 1 and point.byzantine > 0
    reasons = {
        f"{name}: its nodes decide nothing": not rule.decides,
        f"{name}: it does not say how many polls remain": unknown,
        f"{name} with {len(rule.quorums)} quorums: walkers know two": len(rule.quorums) > 2,
        f"adversary={adversary.title}: its number of nodes is drawn by chance": drawn,
        "weighted stake with engine.name=population": point.stake.weighted
        and engine == "population",
        f"weighted stake of more than {MOST_HELD} nodes": weighted and point.n > MOST_HELD,
        f"network.groups={groups}: walkers are of one group": groups,
        "only lockstep rounds on complete graphs": engine not in ("agents", "population"),
        f"{name} with engine.name=population": engine == "population" and rule.counts,
        f"{name} with answers that may be missing": engine == "agents" and poll_kind(point).silent,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
