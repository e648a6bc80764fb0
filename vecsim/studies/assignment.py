"""What a process needs to compute a study, and the work that it makes of it."""

import pickle
from pathlib import Path
from typing import Any, NamedTuple

from vecsim.errors import ConfigError, require
from vecsim.model.sources import code_of
from vecsim.results.contents import SOURCES
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work


class Assignment(NamedTuple):
    """Everything that a process needs to compute chunks of a study; it can be pickled.

    memory: bytes that a batch may take. folder: where a campaign that takes long is saved as it
    goes, None for nowhere.
    """

    study: Study
    memory: int
    folder: Path | None

    def sources(self) -> dict[str, str]:
        """Hashes of the files, as they are here, of the code of the study's own components."""
        return code_of(self.study.components).get(SOURCES, {})

    def sent(self) -> bytes:
        """Pickled, for other processes; ConfigError where a component cannot be."""
        try:
            return pickle.dumps(self)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            told = " ".join(str(error).split())
            allowed = "null, as a component cannot be sent to other processes"
            raise ConfigError(f"engine.workers is set; allowed: {allowed}: {told}") from None

    def work(self) -> Work:
        """What the study computes: single decisions, or campaigns of the cluster."""
        study = self.study
        if study.kind == "campaigns":
            from vecsim.studies.campaigns import Campaigns

            return Campaigns(study, self.folder)
        from vecsim.studies.decisions import Decisions
        from vecsim.studies.design.designs import Designs
        from vecsim.studies.rare.rare_events import RareEvents
        from vecsim.studies.threshold import Threshold

        works = dict(decisions=Decisions, splitting=RareEvents, threshold=Threshold, design=Designs)
        name: Any = study.estimator.get("name")
        require(study.kind in works, "estimator.name", name, f"plain, {', '.join([*works][1:])}")
        return works[study.kind](study, self.memory)
