"""Always accept."""

from vecsim.adversaries.shared import ACCEPT, Constant


class AlwaysAccept(Constant):
    """Every answer is 1."""

    identity = "adversaries.always_accept.AlwaysAccept"
    mixes = (ACCEPT,)
