"""What scenarios and campaigns may say about what is measured; ConfigError where it has no meaning.

Nothing is left out without a word: a key that would change nothing is refused too.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from vecsim.errors import number, require
from vecsim.results.measures.measure import STATISTICS, TIMES, known
from vecsim.results.measures.per_trial import FIGURES
from vecsim.results.measures.per_window import RESOURCES
from vecsim.results.measures.probed import METRICS
from vecsim.results.measures.variables import SAMPLED

# What a name may be, and how a refusal says so. 100 characters: file systems allow 255 bytes, and
# a folder's name may have a digest added.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_ALLOWED = "letters, digits, _, . and -, 100 at most, not . first"
NAMED = {"bottleneck": (*RESOURCES, "none")}  # metrics that are a word, not a number
SINGLE = ("wall_s",)  # one value for each run, whatever the period
# Statistics of a course in time: probes have none of them, sampled vertices only the first.
OF_WINDOWS = ("growth_percent", *TIMES)


def name(key: str, given: Any) -> str:
    """A name that can be a file's on every system, and hurts no page or terminal it is shown on."""
    require(isinstance(given, str) and bool(_NAME.fullmatch(given)), key, given, _ALLOWED)
    return given


def list_of(where: str, given: Any, of: str) -> list[Any]:
    """A list, or nothing."""
    require(given is None or isinstance(given, (list, tuple)), where, given, f"a list of {of}")
    return list(given or ())


def word(where: str, given: Any, known: Collection[str], needed: bool = False) -> Any:
    """One of some words, or nothing unless one is needed."""
    good = (given is None and not needed) or (isinstance(given, str) and given in known)
    require(good, where, given, ", ".join(known))
    return given


def check_measured(where: str, given: Mapping[str, Any]) -> None:
    """metric, statistic, period, every_s and level, as `measure.measure` takes them."""
    metric, level = given.get("metric"), given.get("level")
    good = isinstance(metric, str) and known(metric)
    require(good, f"{where}.metric", metric, "a variable of the run's dataset, or a metric")
    statistic = word(f"{where}.statistic", given.get("statistic"), STATISTICS)
    period(f"{where}.period", given.get("period"))
    every = given.get("every_s")
    if every is not None:
        number(f"{where}.every_s", every, "above 0, in seconds", lambda v: v > 0)
    if level is not None:
        number(f"{where}.level", level, f"what {' and '.join(TIMES)} compare with")
    timed, names = statistic in TIMES, ", ".join(TIMES)
    require((level is not None) == timed, f"{where}.level", level, f"with {names}, only")
    require(not timed or every is None, f"{where}.every_s", every, f"not with {names}")
    _of_use(where, str(metric), given)


def period(where: str, given: Any) -> None:
    """[from, to] in seconds of the run, or nothing."""
    if given is None:
        return
    allowed = "[from, to] in seconds, 0 <= from < to; to may be null"
    require(isinstance(given, (list, tuple)) and len(given) == 2, where, given, allowed)
    start, end = given
    number(where, start, allowed, lambda v: v >= 0)
    if end is not None:
        number(where, end, allowed)
        require(start < end, where, list(given), allowed)


def _of_use(where: str, metric: str, given: Mapping[str, Any]) -> None:
    """Every key has something to work on."""
    statistic = given.get("statistic")
    probed, once = metric in METRICS, metric in FIGURES
    for key in ("statistic", "every_s", "level"):
        allowed = f"nothing: {metric} is one value for each run"
        require(not once or given.get(key) is None, f"{where}.{key}", given.get(key), allowed)
    for key in ("period", "every_s", "level"):
        allowed = f"nothing: {metric} has no course in time"
        good = given.get(key) is None or not (probed or metric in SINGLE)
        require(good, f"{where}.{key}", given.get(key), allowed)
    sampled = metric.removesuffix("_undisputed") in (*SAMPLED, "rounds_to_finalise")
    good = statistic not in OF_WINDOWS or not (probed or (sampled and statistic != OF_WINDOWS[0]))
    require(good, f"{where}.statistic", statistic, f"what {metric} has")
    good = statistic != "rate" or probed
    require(good, f"{where}.statistic", statistic, "mean: rate is of a probe's single draws")
