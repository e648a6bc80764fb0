"""Reports of scenarios: Markdown, and one HTML page that holds all it shows."""

import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import xarray as xr

from vecsim.results import files
from vecsim.results.measures.measure import of_variant, record
from vecsim.scenario import verdict
from vecsim.scenario.config import variants
from vecsim.scenario.verdict import ScenarioOutcome, Table, cost, plain_text, shown_number

PAGES = ("report.md", "report.html")  # their names in a scenario's folder
# CSS of a page: one column that fits a telephone; wide tables scroll by themselves.
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1, h2, td { overflow-wrap: anywhere } figure { margin: 0 }
svg { width: 100%; max-width: 40rem; height: auto }
div { overflow-x: auto } table { border-collapse: collapse; margin: 1rem 0 }
td, th { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #ddd }
@media (max-width: 40rem) { td, th { padding-right: .5rem; font-size: 13px } }
tr.wrong td { color: #b00020 } pre { background: #f6f6f6; padding: .8rem; overflow-x: auto }
"""
BESIDE = "Beside the baselines"  # title of a regression scenario's performance report
MARKS = re.compile(  # what means something to Markdown; a _ within a word does not
    r"[\\`*~]|\](?=[(\[:])|<(?=[A-Za-z/!?])|&(?=[#\w])|(?<![^\W_])_|_(?![^\W_])|^[#+-]"
)
# Share of its baseline by which the whole interval of a figure must be off before it is called
# better or worse; smaller ones call more of the noise a change.
MARGIN = 0.1
_BASELINES = {  # field of the metrics record -> baseline, unit, whether more is better
    "avg_tps": (56.0, "vertices / s", True),  # the 150-node prototype
    "latency_p95": (50.0, "ms", False),
    "avg_cpu_percent": (30.0, "%", False),
    "avg_memory_mb": (256.0, "MB", False),
    "avg_network_mbps": (15.2, "Mbit/s", False),
}


class Performance(NamedTuple):
    """A figure beside its baseline; change: regression, improvement or unchanged."""

    figure: str
    measured: str
    baseline: str
    change: str


def performance(data: xr.Dataset) -> list[Performance]:
    """Throughput, latency and resources beside their baselines, which are for a run of 100 nodes at
    100 vertices a second. data: of one variant."""
    found = record(data)
    rows = []
    for field, (baseline, unit, more) in _BASELINES.items():
        value, low, high = found[field]
        margin = MARGIN * baseline
        above, below = low > baseline + margin, high < baseline - margin
        change = "unchanged"
        if above or below:
            change = "improvement" if above == more else "regression"
        measured, usual = (f"{shown_number(each)} {unit}" for each in (value, baseline))
        rows.append(Performance(field.replace("_", " "), measured, usual, change))
    return rows


def markdown(outcome: ScenarioOutcome, dataset: xr.Dataset, about: str = "") -> str:
    """The report of one scenario in Markdown. about: what it shows."""
    head = f"**{outcome.status}**. {cost(outcome.config)}."
    parts = [f"# {_text(outcome.name)}", _text(about), head]
    for table in _sections(outcome, dataset):
        parts += [f"## {table.title}", _table(table)]
    config = json.dumps(outcome.config, indent=2).replace("`", "\\u0060")  # ends no block
    parts += ["## Configuration", f"```json\n{config}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def html(outcome: ScenarioOutcome, dataset: xr.Dataset, about: str = "") -> str:
    """The report of one scenario as an HTML page that needs nothing else: its figures are part of
    it. about: what it shows."""
    from vecsim.scenario.draw import drawn

    head = f"<p><strong>{outcome.status}</strong>. {escape(cost(outcome.config))}.</p>"
    images, tables = drawn(dataset, variants(outcome.config)), _sections(outcome, dataset)
    figures = [_headed(title, f"<figure>{image}</figure>") for title, image in images.items()]
    criteria, *measured = [_headed(table.title, _page_table(table)) for table in tables]
    config = f"<h2>Configuration</h2><pre>{escape(json.dumps(outcome.config, indent=2))}</pre>"
    parts = [f"<p>{escape(about)}</p>", head, criteria, *figures, *measured, config]
    return _page(outcome.name, parts)


def write_report(
    folder: Path, outcome: ScenarioOutcome, dataset: xr.Dataset, about: str = ""
) -> None:
    """Save `report.md` and `report.html` in a folder."""
    for page, make in zip(PAGES, (markdown, html), strict=True):
        files.write(folder / page, make(outcome, dataset, about).encode())


def write_summary(folder: Path, outcomes: Sequence[ScenarioOutcome]) -> None:
    """Save `summary.md` and `summary.html` in a folder: a row for each scenario, and how many of
    each category show what they must."""
    table, head = verdict.summary_table(outcomes), verdict.by_category(outcomes)
    files.write(folder / "summary.md", f"# {table.title}\n\n{head}\n\n{_table(table)}\n".encode())
    page = _page(table.title, [f"<p>{escape(head)}</p>", _page_table(table)])
    files.write(folder / "summary.html", page.encode())


def _sections(outcome: ScenarioOutcome, dataset: xr.Dataset) -> Iterator[Table]:
    """The criteria, the metrics record of every variant, and what stands beside the baselines."""
    yield verdict.criteria_table(outcome.verdicts)
    for name in variants(outcome.config) if "finalised" in dataset else ():
        rows = []
        for field, (value, low, high) in record(of_variant(dataset, name or None)).items():
            ends = verdict.bracketed(low, high) if value == value else ""
            rows.append((field, f"{shown_number(value)}{ends}"))
        title = f"Metrics of {name.replace('_', ' ')}" if name else "Metrics"
        yield Table(title, ("figure", "mean [95 % interval]"), rows, [False] * len(rows))
    if rows := _beside(outcome, dataset):
        yield Table(BESIDE, Performance._fields, rows, [row.change == "regression" for row in rows])


def _beside(outcome: ScenarioOutcome, dataset: xr.Dataset) -> list[Performance]:
    """The performance report, of the run that the baselines are for."""
    cluster, workload = (outcome.config.get(part) or {} for part in ("cluster", "workload"))
    same = outcome.config["category"] == "regression" and cluster.get("nodes") == 100
    same &= workload == {"kind": "constant", "rate_tps": 100}
    same &= "finalised" in dataset and "variant" not in dataset.dims
    return performance(dataset) if same else []


def _table(table: Table) -> str:
    rows = table.headers, *table.rows
    lines = [[_text(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines.insert(1, ["---"] * len(table.headers))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(text: str) -> str:
    """Text in which Markdown finds nothing to do: no emphasis, link, code, tag or escape."""
    return MARKS.sub(r"\\\g<0>", plain_text(text))


def _page_table(table: Table) -> str:
    def line(cells: Sequence[str], tag: str, wrong: bool = False) -> str:
        inner = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
        return f"<tr{' class=wrong' if wrong else ''}>{inner}</tr>"

    rows = [line(row, "td", wrong) for row, wrong in zip(table.rows, table.wrong, strict=True)]
    return f"<div><table>{line(table.headers, 'th')}{''.join(rows)}</table></div>"


def _headed(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{body}"


def _page(title: str, parts: Sequence[str]) -> str:
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    head += f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f"<!doctype html>\n<html lang='en'><head>{head}</head>\n<body>\n{body}\n</body></html>\n"
