"""Neutral: answers every poll, and for neither colour."""

from vecsim.adversaries.shared import SILENT, Constant


class Neutral(Constant):
    """Says that it knows nothing of the matter. To a protocol that does not tell such an answer
    from a missing one it is silent."""

    identity = "adversaries.neutral.Neutral"
    mixes = (SILENT,)
    neutral = (1.0,)
