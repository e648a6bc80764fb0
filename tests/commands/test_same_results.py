"""The same seed gives the same numbers as it did, whatever has moved in the code since.

`tests/data/results.json` holds digests. Where results are meant to change CHANGELOG says so, and
`PYTHONPATH=tests python tests/commands/test_same_results.py` writes the new ones.
"""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from command import call

KNOWN = Path(__file__).parent.parent / "data/results.json"
FEW = "trials=4", "byzantine_fraction=0.1", "estimator.walkers=100"
STUDIES = {
    "byzantine_sweep": (
        *("experiment=byzantine_sweep", "defence=[off,on]", "campaign.trials=1", "trials=8"),
        *("precision.half_width=0.4", "precision.min_trials=4"),
    ),
    "threshold": (
        "experiment=threshold",
        "sweep.protocol=[snowflake]",
        "sweep.n=[100]",
        "trials=400",
    ),
    "splitting": ("estimator=splitting", "n=40", "adversary=safety_split", *FEW),
    "design": (
        *("experiment=design", "n=30", "safety=1e-2", "latency_rounds=60", *FEW),
        *("estimator.fed=[0.45]", "sweep.protocol.k=[12]", "sweep.quorum=[0.75]"),
    ),
    "timed": (
        *("schedule=timed", "protocol=snowball", "n=40", "stake=zipf", "latency=regions"),
        *("adversary=random_voting", "byzantine_fraction=0.1", "trials=8"),
        "sweep.polling.concurrent=[1,4]",
    ),
    **{
        name: (f"scenario=1000_nodes_{name}", "scenario.trials=2", "scenario.cluster.nodes=60")
        for name in ("packet_loss", "20percent_coordinated_collusion", "network_partition")
    },
}
DIGITS = 6  # of numbers with a point: the last ones may depend on the machine's libraries


def digest(data: xr.Dataset) -> str:
    """Of every value but times of the machine, in the order of the names."""
    made = hashlib.sha256()
    for name in sorted({*map(str, data.data_vars)} - {"wall_s"}):
        values: np.ndarray = data[name].values
        shown = [f"{each:.{DIGITS}g}" if isinstance(each, float) else str(each)
                 for each in values.ravel().tolist()]  # fmt: skip
        made.update(f"{name} {values.shape} {' '.join(shown)}\n".encode())
    return made.hexdigest()[:16]


def digests(name: str, folder: Path) -> dict[str, str]:
    """Of each store or dataset that the study leaves in the folder."""
    study = STUDIES[name]
    options = () if study[0].startswith("scenario=") else ("figure=false",)
    result = call(*study, *options, f"output={folder}")
    assert result.err == ""
    stores = sorted({*folder.rglob("*.zarr"), *folder.rglob("data.nc")})
    made = {}
    for store in stores:
        open_ = xr.open_zarr if store.suffix == ".zarr" else xr.open_dataset
        with open_(store) as data:
            made[store.name] = digest(data)
    return made


@pytest.mark.parametrize("name", STUDIES)
def test_the_same_results(name, tmp_path):
    assert digests(name, tmp_path) == json.loads(KNOWN.read_text())[name]


if __name__ == "__main__":
    found = {}
    for study in STUDIES:
        with tempfile.TemporaryDirectory() as place:
            found[study] = digests(study, Path(place))
        print(study, found[study], flush=True)
    KNOWN.write_text(json.dumps(found, indent=1) + "\n")
