"""Criteria: what a scenario must show, as data."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from vecsim.errors import mapping, number, require
from vecsim.results.measures import checks
from vecsim.results.measures.compare import COMPARISONS, OPPOSITE

TRENDS = ("not_rising", "not_falling")  # from one variant to the next
# Keys of a threshold that is measured itself.
RELATIVE = ("metric", "statistic", "period", "variant", "every_s", "times", "plus")


class Criterion(NamedTuple):
    """metric, statistic, op and threshold, and of what part of the scenario.

    op: a comparison; `covers` (the interval holds the threshold); `reported` (a finite value was
    measured, or a name); `not_rising` and `not_falling` (from one variant of `over` to the next).
    threshold: a number, a name, or what else was measured: {metric, statistic, period, variant,
    every_s, times, plus}, compared trial by trial. period, variant, every_s, level: see
    `vecsim.results.measures.measure`; without a variant it holds for each. interval: the level of
    the interval. expect: `holds`, or `fails` where the scenario is there to show that it does not.
    """

    metric: str
    op: str
    threshold: Any = None
    statistic: str | None = None
    period: tuple[float, float | None] | None = None
    variant: str | None = None
    every_s: float | None = None
    level: float | None = None
    over: tuple[str, ...] = ()
    interval: float = 0.95
    expect: str = "holds"

    @property
    def name(self) -> str:
        """In words: statistic, metric, period, variants."""
        parts = [self.metric.replace("_", " ")]
        if self.statistic:
            below = f" {self.level:g}" if self.level is not None else ""
            parts.append(self.statistic.replace("_s", " s").replace("_", " ").strip() + below)
        if self.every_s:
            parts.append(f"every {self.every_s:g} s")
        if self.period:
            start, end = self.period
            parts.append(f"{start:g} s on" if end is None else f"{start:g}-{end:g} s")
        where = self.variant or (f"{self.over[0]} to {self.over[-1]}" if self.over else "")
        return ", ".join(parts) + (f" [{where}]" if where else "")

    def metrics(self) -> list[str]:
        """The metrics that it measures: its own, and that of a relative threshold."""
        if isinstance(self.threshold, Mapping):
            return [self.metric, self.threshold["metric"]]
        return [self.metric]

    def variants(self) -> list[str]:
        """The variants that it names."""
        named = self.threshold.get("variant") if isinstance(self.threshold, Mapping) else None
        return [name for name in (self.variant, named, *self.over) if name]


# What every run must show, whatever else is asked of it.
SAFETY = tuple(Criterion(name, "==", 0) for name in ("divergent", "lost", "doubled"))


def parse_criterion(section: Any, where: str = "criteria") -> Criterion:
    """A criterion from its section of the configuration; ConfigError where it has no meaning.

    where: what a refusal calls the section.
    """
    given = dict(mapping(where, section, Criterion._fields))
    checks.check_measured(where, given)
    op, threshold, over = given.get("op"), given.get("threshold"), given.get("over")
    checks.word(f"{where}.op", op, (*COMPARISONS, "reported", *TRENDS), needed=True)
    good = (threshold is not None) == (op in COMPARISONS)
    allowed = f"a value with {', '.join(COMPARISONS)}, and only then"
    require(good, f"{where}.threshold", threshold, allowed)
    _threshold(f"{where}.threshold", given)
    over = checks.list_of(f"{where}.over", over, "variants")
    good = len(over) == len({*map(str, over)}) and (len(over) > 1 if op in TRENDS else not over)
    allowed = "two variants or more, each once, with a trend; nothing else"
    require(good, f"{where}.over", over, allowed)
    for each in over:
        checks.name(f"{where}.over", each)
    if given.get("variant") is not None:
        checks.name(f"{where}.variant", given["variant"])
        require(not over, f"{where}.variant", given["variant"], "over alone, with a trend")
    if "interval" in given:
        about = "the level of the interval, between 0 and 1"
        number(f"{where}.interval", given["interval"], about, lambda v: 0 < v < 1)
    expect = given.get("expect", "holds")
    good = expect == "holds" or (expect == "fails" and op in OPPOSITE)
    require(good, f"{where}.expect", expect, "holds, or fails with a comparison")
    if given.get("period") is not None:
        given["period"] = tuple(given["period"])
    given["over"] = tuple(over)
    return Criterion(**given)


def _threshold(where: str, given: Mapping[str, Any]) -> None:
    """A number, a word, or what else is measured, as the metric has it."""
    threshold, op = given.get("threshold"), given["op"]
    if given["metric"] in checks.NAMED:
        require(op in ("==", "reported"), where.replace("threshold", "op"), op, "==, reported")
        checks.word(where, threshold, checks.NAMED[given["metric"]])
    elif isinstance(threshold, Mapping):
        checks.check_measured(where, mapping(where, threshold, RELATIVE))
        require(threshold["metric"] not in checks.NAMED, where, dict(threshold), "numbers only")
        if threshold.get("variant") is not None:
            checks.name(f"{where}.variant", threshold["variant"])
        for key in ("times", "plus"):
            number(f"{where}.{key}", threshold.get(key, 1), "times 1, plus 0 unless given")
    elif threshold is not None:
        number(where, threshold, f"or what else is measured, {{{', '.join(RELATIVE)}}}")
