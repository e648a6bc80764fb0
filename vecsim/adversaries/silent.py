"""Silence: a crashed or withholding node."""

from vecsim.adversaries.shared import SILENT, Constant


class Silent(Constant):
    """No answer ever."""

    identity = "adversaries.silent.Silent"
    mixes = (SILENT,)
