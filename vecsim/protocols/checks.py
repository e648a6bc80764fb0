"""What every protocol's parameters must satisfy."""

from vecsim.errors import require
from vecsim.types import Protocol


def check_sample(rule: Protocol) -> None:
    """ConfigError unless k is 1 to 400, and k/2 < alpha_preference <= alpha_confidence <= k.

    What a rule has beyond these two quorums it checks by itself.
    """
    low, high, *_ = rule.quorums
    names = ("alpha",) * 2 if hasattr(rule, "alpha") else ("alpha_preference", "alpha_confidence")
    require(1 <= rule.k <= 400, "protocol.k", rule.k, "1 to 400 peers")
    allowed = f"more than k/2 and at most k, {rule.k // 2 + 1} to {rule.k}"
    require(rule.k / 2 < low <= rule.k, f"protocol.{names[0]}", low, allowed)
    allowed = f"alpha_preference to k, {low} to {rule.k}"
    require(low <= high <= rule.k, f"protocol.{names[1]}", high, allowed)
