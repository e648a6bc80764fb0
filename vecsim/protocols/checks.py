"""What every protocol's parameters must satisfy."""

from vecsim.errors import require
from vecsim.types import Protocol


def check_sample(rule: Protocol) -> None:
    """k >= 1 and k/2 < alpha_preference <= alpha_confidence <= k."""
    low, high = rule.quorums
    one = hasattr(rule, "alpha")
    names = ("alpha", "alpha") if one else ("alpha_preference", "alpha_confidence")
    require(1 <= rule.k <= 400, "protocol.k", rule.k, "1 to 400 peers")
    allowed = f"more than k/2 and at most k, {rule.k // 2 + 1} to {rule.k}"
    require(rule.k / 2 < low <= rule.k, f"protocol.{names[0]}", low, allowed)
    require(
        low <= high <= rule.k,
        f"protocol.{names[1]}",
        high,
        f"alpha_preference to k, {low} to {rule.k}",
    )


def check_run_length(rule) -> None:
    """The fields that Snowflake and Snowball share."""
    require(1 <= rule.beta < 2**20, "protocol.beta", rule.beta, "1 to 1048575")
    require(1 <= rule.max_rounds < 2**20, "protocol.max_rounds", rule.max_rounds, "1 to 1048575")
    require(rule.decide_when in ("ge", "gt"), "protocol.decide_when", rule.decide_when, "ge or gt")
    allowed = "0 or 1"
    require(
        rule.count_after_flip in (0, 1), "protocol.count_after_flip", rule.count_after_flip, allowed
    )
