"""A point of a study of campaigns: what the defended cluster goes through, and what counts."""

import re
from typing import Any, NamedTuple

from vecsim.cluster.config import KEYS, Run, parse_run
from vecsim.errors import ConfigError, require
from vecsim.results.files import hash64
from vecsim.studies.obey import CAMPAIGN
from vecsim.types import identity_of

TARGET = "_target_"  # the class of a component, as Hydra names it
MEASURED = ("outcomes", "series")  # of a campaign: what is measured on it


class Planned(NamedTuple):
    """A point of a study of campaigns: what the defended cluster goes through, and what counts."""

    run: Run
    section: dict[str, Any]  # resolved, `campaign` in the configuration

    @property
    def components(self) -> tuple[Any, ...]:
        """The adversary; protocol and network are the cluster's own."""
        return (self.run.cluster.adversary,)

    @property
    def nodes(self) -> int:
        """All nodes, honest and Byzantine."""
        return self.run.cluster.nodes

    @property
    def byzantine(self) -> int:
        """Byzantine nodes, a whole number."""
        return self.run.cluster.byzantine

    @property
    def byzantine_share(self) -> float:
        """The share of Byzantine nodes that was asked for, 0 to 1, before rounding."""
        return self.run.cluster.byzantine_fraction

    def hash(self) -> int:
        """64 bits that stand for all parameters but the seed."""
        return hash64(self._described())

    def lasting(self) -> int:
        """The same but for the number of trials."""
        return hash64({k: v for k, v in self._described().items() if k != "trials"})

    def _described(self) -> dict[str, Any]:
        """The section, where the adversary's class is known by what it will always be called."""
        cluster = self.section.get("cluster") or {}
        adversary = cluster.get("adversary")
        if not isinstance(adversary, dict) or TARGET not in adversary:
            return self.section
        named = adversary | {TARGET: identity_of(self.run.cluster.adversary)}
        return self.section | {"cluster": cluster | {"adversary": named}}


def planned(section: Any, seed: int) -> Planned:
    """What a campaign's section describes; ConfigError where it has no meaning."""
    require(isinstance(section, dict), CAMPAIGN, section, "duration_s, cluster, workload, ...")
    described = {key: value for key, value in section.items() if key not in MEASURED}
    require("seed" not in section, "campaign.seed", section.get("seed"), "seed, of the whole study")
    try:
        return Planned(parse_run(described | {"seed": seed}), section)
    except ConfigError as error:  # which knows its keys as those of a scenario
        key = re.split(r"\W", str(error))[0]
        raise ConfigError(f"{CAMPAIGN}.{error}" if key in KEYS else str(error)) from None
