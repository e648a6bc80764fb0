"""Equal stake: every node counts the same."""

from vecsim.stakes.stake import Stake


class Equal(Stake):
    """Every node holds one unit; polls draw nodes."""

    identity = "stakes.equal.Equal"
