"""Sybil identities: refused at admission with probability 0.9; those admitted collude."""

from vecsim.adversaries.shared import Colluding
from vecsim.errors import require


class Sybil(Colluding):
    """Identities without valid credentials: each is admitted with probability `admission_rate`;
    those refused are not part of the network, those admitted act as coordinated collusion.
    """

    identity = "adversaries.sybil.Sybil"

    admission_rate: float = 0.1  # 0 to 1
    reject_share: float = 0.1  # of undisputed vertices, 0 to 1

    def __check_init__(self):
        rate = self.admission_rate
        require(0 <= rate <= 1, "adversary.admission_rate", rate, "0 to 1")

    @property
    def admission(self):
        """`admission_rate`, for each identity by itself."""
        return self.admission_rate
