"""Random voting: a fair coin per answer."""

from vecsim.adversaries.shared import Constant


class RandomVoting(Constant):
    """Every answer is a fair coin of its own."""

    identity = "adversaries.random_voting.RandomVoting"
    mixes = ((0.5, 0.5),)
