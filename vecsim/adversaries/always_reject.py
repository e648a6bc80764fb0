"""Always reject."""

from vecsim.adversaries.shared import REJECT, Constant


class AlwaysReject(Constant):
    """Every answer is 0."""

    identity = "adversaries.always_reject.AlwaysReject"
    mixes = (REJECT,)
