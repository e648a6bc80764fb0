"""Coordinated collusion: all Byzantine nodes push one colour."""

from vecsim.adversaries.shared import Colluding


class CoordinatedCollusion(Colluding):
    """All push one colour for the whole trial: on a disputed vertex that of the minority. All of
    them reject the same undisputed vertices.
    """

    identity = "adversaries.coordinated_collusion.CoordinatedCollusion"

    reject_share: float = 0.1  # of undisputed vertices, 0 to 1
