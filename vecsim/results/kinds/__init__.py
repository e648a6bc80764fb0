"""The kinds of study: what each estimates of its trials, its summary and its table."""

import xarray as xr

from vecsim.results.kinds.campaigns import CampaignResults
from vecsim.results.kinds.decisions import DecisionResults
from vecsim.results.kinds.design import DesignResults
from vecsim.results.kinds.kind import Kind
from vecsim.results.kinds.splitting import SplittingResults
from vecsim.results.kinds.threshold import ThresholdResults

# In the order in which messages name them.
_ALL = DecisionResults(), CampaignResults(), SplittingResults(), ThresholdResults(), DesignResults()
# The same by name: the attribute `kind` of a store's dataset.
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}


def kind_of(data: xr.Dataset) -> Kind:
    """The kind of study that a dataset is of, by its attribute `kind`; ValueError without one."""
    name = data.attrs.get("kind")
    if name not in KINDS:
        there = f"of kind {name}" if name else "without its attribute `kind`"
        raise ValueError(f"the dataset is {there}; allowed: {', '.join(KINDS)}, as studies say it")
    return KINDS[name]
