"""The verdict table: what a scenario was to show, what was measured, and whether it holds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vecsim.scenario.config import CATEGORIES, scenario_cost_usd
from vecsim.scenario.judging import Verdict

HEADERS = ("criterion", "threshold", "measured [interval]", "interval of", "result")
WORDS = {"not_rising": "does not rise", "not_falling": "does not fall", "==": "="}


class ScenarioOutcome(NamedTuple):
    """A scenario that was judged; `error` where it could not be run.

    varied: what is particular about it in a multirun.
    """

    config: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    error: str = ""
    varied: str = ""

    @property
    def name(self) -> str:
        return ", ".join(part for part in (self.config["name"], self.varied) if part)

    @property
    def status(self) -> str:
        """PASSED if every criterion holds, safety among them."""
        return status(self.verdicts) if not self.error else "ERROR"

    @property
    def good(self) -> bool:
        """Whether the scenario shows what it is to show."""
        return bool(self.verdicts) and not self.error and as_expected(self.verdicts)


def status(verdicts: Sequence[Verdict]) -> str:
    return "PASSED" if all(verdict.passed for verdict in verdicts) else "NOT PASSED"


def as_expected(verdicts: Sequence[Verdict]) -> bool:
    return all(verdict.as_expected for verdict in verdicts)


def exit_status(outcomes: Sequence[ScenarioOutcome]) -> int:
    """0 if every scenario shows what it is to show, else 1."""
    return 0 if outcomes and all(outcome.good for outcome in outcomes) else 1


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
    """Text that a terminal shows and does not obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def measured(verdict: Verdict) -> str:
    """The value with its interval, which is left out where it is a point; of what never happened
    the runs and the upper end; what is compared with something measured, and the difference."""
    text = shown_number(verdict.measured)
    if isinstance(verdict.measured, str) or math.isnan(verdict.low):
        return text
    if verdict.of.startswith("share") and verdict.measured == 0:
        return f"0 of {verdict.of.split()[2]}, below {_up(verdict.high)}"
    ends = f" [{shown_number(verdict.low)} {shown_number(verdict.high)}]"
    ends = "" if verdict.low == verdict.high else ends
    if verdict.of.startswith("difference"):
        return f"{text}, difference {shown_number(verdict.measured - verdict.threshold)}{ends}"
    return f"{text}{ends}"


def interval(verdict: Verdict) -> str:
    """The level of the interval and what it is of: "95 %, mean of 8 runs"."""
    if not verdict.of or math.isnan(verdict.low):
        return ""
    return f"{100 * verdict.level:.10g} %, {verdict.of}"


def _up(value: float) -> str:
    """Two digits, rounded up: a bound stays one."""
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
    expected = verdict.as_expected != verdict.passed
    return f"{word} (expected)" if expected and verdict.as_expected else word


def rows(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    """What stands under `HEADERS`."""
    return [(v.name, condition(v), measured(v), interval(v), result(v)) for v in verdicts]


def _heading(outcome: ScenarioOutcome) -> str:
    """Name, status and cost of one scenario."""
    return f"{outcome.name}: {outcome.error or outcome.status}, {cost(outcome.config)}"


def table(outcome: ScenarioOutcome) -> Table:
    """One scenario, a row for each criterion."""
    shown = Table(box=box.SIMPLE_HEAD)
    for header in HEADERS:
        shown.add_column(header, overflow="fold")
    for row, verdict in zip(rows(outcome.verdicts), outcome.verdicts, strict=True):
        colour = "" if verdict.as_expected else "red"
        shown.add_row(*map(escape, map(plain_text, row)), style=colour)
    return shown


def summary(outcomes: Sequence[ScenarioOutcome]) -> Table:
    """Many scenarios by category, a row for each; of a failed one its first failed criterion."""
    shown = Table(box=box.SIMPLE_HEAD)
    for header in ("category", "scenario", "criteria", "status", "result", "USD"):
        shown.add_column(header, overflow="fold", justify="right" if header == "USD" else "left")
    for row in summary_rows(outcomes):
        shown.add_row(*map(escape, map(plain_text, row)), style="" if row[4] == "ok" else "red")
    return shown


def summary_rows(outcomes: Sequence[ScenarioOutcome]) -> list[tuple[str, ...]]:
    """Category, scenario, criteria that came out as they must, status, result, cost."""
    ordered = sorted(outcomes, key=lambda o: (CATEGORIES.index(o.config["category"]), o.name))
    found = []
    for outcome in ordered:
        held = sum(verdict.as_expected for verdict in outcome.verdicts)
        wrong = [verdict for verdict in outcome.verdicts if not verdict.as_expected]
        text = "ok"
        if not outcome.good:
            first = [f"{v.name} {condition(v)}: {measured(v)}" for v in wrong[:1]]
            text = outcome.error or "".join(first) or "nothing judged"
        criteria = f"{held} of {len(outcome.verdicts)}"
        usd = f"{scenario_cost_usd(outcome.config):,.2f}"
        category = outcome.config["category"]
        found.append((category, outcome.name, criteria, outcome.status, text, usd))
    return found


def cost(config: Mapping[str, Any]) -> str:
    """What the same campaign would cost on rented machines."""
    return f"{scenario_cost_usd(config):,.2f} USD on rented machines"


def by_category(outcomes: Sequence[ScenarioOutcome]) -> str:
    """How many show what they are to show, in all and of each category."""
    counts: dict[str, list[bool]] = {category: [] for category in CATEGORIES}
    for outcome in outcomes:
        counts[outcome.config["category"]].append(outcome.good)
    told = [f"{name} {sum(good)} of {len(good)}" for name, good in counts.items() if good]
    good = sum(outcome.good for outcome in outcomes)
    return f"{good} of {len(outcomes)} show what they are to show: {', '.join(told)}."


def text(outcomes: Sequence[ScenarioOutcome], width: int = 120) -> str:
    """What `show_verdicts` prints, as plain text, for messages and logs."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        show_verdicts(outcomes, console)
    return capture.get()


def show_verdicts(outcomes: Sequence[ScenarioOutcome], console: Console | None = None) -> None:
    """Print the table of each scenario, and where there are many the summary."""
    console = console or Console()
    for outcome in outcomes:
        console.print(plain_text(_heading(outcome)), style="bold", markup=False, highlight=False)
        console.print(table(outcome))
    if len(outcomes) > 1:
        console.print(summary(outcomes))
        console.print(by_category(outcomes), style="bold", markup=False, highlight=False)
