"""The verdict table: what a scenario was to show, what was measured, and whether it holds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from vecsim.scenario.config import CATEGORIES, scenario_cost_usd
from vecsim.scenario.judging import Verdict

# Columns of the two tables: of one scenario, and of many.
HEADERS = ("criterion", "threshold", "measured [interval]", "interval of", "result")
SUMMARY = ("category", "scenario", "criteria", "status", "result", "USD")
# Operators that are not shown as they are written.
WORDS = {"not_rising": "does not rise", "not_falling": "does not fall", "==": "="}


class ScenarioOutcome(NamedTuple):
    """A scenario that was judged. varied: what is particular about it in a multirun."""

    config: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    varied: str = ""

    @property
    def name(self) -> str:
        """Name of the scenario, with what is particular about it."""
        return ", ".join(part for part in (self.config["name"], self.varied) if part)

    @property
    def status(self) -> str:
        """PASSED if every criterion holds, safety among them."""
        return "PASSED" if all(verdict.passed for verdict in self.verdicts) else "NOT PASSED"

    @property
    def good(self) -> bool:
        """Whether the scenario shows what it must: False where nothing was judged."""
        return bool(self.verdicts) and all(verdict.as_expected for verdict in self.verdicts)


def shown_number(value: Any) -> str:
    """A number to four digits or as a whole one, a name as it is.

    >>> [shown_number(each) for each in (0.123456, 12345.0, 99.5, float("nan"), "cpu")]
    ['0.1235', '12,345', '99.5', 'not measured', 'cpu']
    """
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return "not measured"
    if abs(value - round(value)) < 1e-9 * max(1.0, abs(value)):
        return f"{round(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def plain_text(text: str) -> str:
    """Text that a terminal shows and does not obey: what is not printable is written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def measured(verdict: Verdict) -> str:
    """The value with its interval, which is left out where it is a point. For what never happened
    it is the number of runs and the upper end; for what is compared with another measurement, the
    value and the difference, with the interval of the latter."""
    text = shown_number(verdict.measured)
    if isinstance(verdict.measured, str) or math.isnan(verdict.low):
        return text
    if verdict.of.startswith("share") and verdict.measured == 0:
        return f"0 of {verdict.of.split()[2]}, below {_up(verdict.high)}"
    ends = bracketed(verdict.low, verdict.high)
    if verdict.of.startswith("difference"):
        return f"{text}, difference {shown_number(verdict.measured - verdict.threshold)}{ends}"
    return f"{text}{ends}"


def bracketed(low: float, high: float) -> str:
    """The ends of an interval behind a value, nothing where it is a point."""
    return f" [{shown_number(low)} {shown_number(high)}]" if low != high else ""


def interval(verdict: Verdict) -> str:
    """The level of the interval and what it is of: "95 %, mean of 8 runs"."""
    if not verdict.of or math.isnan(verdict.low):
        return ""
    return f"{100 * verdict.level:.10g} %, {verdict.of}"


def _up(value: float) -> str:
    """A number above 0 to two digits, rounded up, so that an upper bound remains one."""
    digits = 1 - math.floor(math.log10(value))
    return f"{math.ceil(value * 10**digits - 1e-9) / 10**digits:.{digits}f}"


def condition(verdict: Verdict) -> str:
    """Operator and threshold."""
    word = WORDS.get(verdict.op, verdict.op)
    if verdict.threshold is None or verdict.op in ("not_rising", "not_falling"):
        return word
    return f"{word} {shown_number(verdict.threshold)}"


def result(verdict: Verdict) -> str:
    """pass or fail; where the criterion was to fail, that is said."""
    word = "pass" if verdict.passed else "fail"
    return f"{word} (expected)" if verdict.as_expected and not verdict.passed else word


class Table(NamedTuple):
    """A title, and rows of text under their headers; wrong: which of the rows are marked."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    wrong: Sequence[bool]


def criteria_table(verdicts: Sequence[Verdict]) -> Table:
    """A row for each criterion."""
    rows = [(v.name, condition(v), measured(v), interval(v), result(v)) for v in verdicts]
    return Table("Criteria", HEADERS, rows, [not v.as_expected for v in verdicts])


def _print(table: Table, console: Console) -> None:
    shown = RichTable(box=box.SIMPLE_HEAD)
    for header in table.headers:
        shown.add_column(header, overflow="fold", justify="right" if header == "USD" else "left")
    for row, wrong in zip(table.rows, table.wrong, strict=True):
        shown.add_row(*map(escape, map(plain_text, row)), style="red" if wrong else "")
    console.print(shown)


def summary_table(outcomes: Sequence[ScenarioOutcome]) -> Table:
    """A row for each scenario, by category: how many criteria came out as they must, and for a
    failed scenario its first failed criterion."""
    rows = []
    for outcome in outcomes:
        wrong = [verdict for verdict in outcome.verdicts if not verdict.as_expected]
        first = [f"{v.name} {condition(v)}: {measured(v)}" for v in wrong[:1]]
        text = "ok" if outcome.good else "".join(first) or "nothing judged"
        criteria = f"{len(outcome.verdicts) - len(wrong)} of {len(outcome.verdicts)}"
        usd = f"{scenario_cost_usd(outcome.config):,.2f}"
        rows.append((outcome.config["category"], outcome.name, criteria, outcome.status, text, usd))
    rows.sort(key=lambda row: (CATEGORIES.index(row[0]), row[1]))
    return Table("Scenarios", SUMMARY, rows, [row[4] != "ok" for row in rows])


def cost(config: Mapping[str, Any]) -> str:
    """What the same campaign would cost on rented machines."""
    return f"{scenario_cost_usd(config):,.2f} USD on rented machines"


def by_category(outcomes: Sequence[ScenarioOutcome]) -> str:
    """How many scenarios show what they must, in all and of each category; one sentence."""
    counts: dict[str, list[bool]] = {category: [] for category in CATEGORIES}
    for outcome in outcomes:
        counts[outcome.config["category"]].append(outcome.good)
    told = [f"{name} {sum(good)} of {len(good)}" for name, good in counts.items() if good]
    good = sum(map(sum, counts.values()))
    return f"{good} of {len(outcomes)} show what they are to show: {', '.join(told)}."


def show_verdicts(outcome: ScenarioOutcome, console: Console) -> None:
    """Print name, status and cost of one scenario, and its table."""
    head = f"{outcome.name}: {outcome.status}, {cost(outcome.config)}"
    console.print(plain_text(head), style="bold", markup=False, highlight=False)
    _print(criteria_table(outcome.verdicts), console)


def show_summary(outcomes: Sequence[ScenarioOutcome], console: Console) -> None:
    """Print a row for each scenario, and how many show what they must."""
    _print(summary_table(outcomes), console)
    console.print(by_category(outcomes), markup=False)
