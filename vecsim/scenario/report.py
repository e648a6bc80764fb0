"""Reports of scenarios: Markdown, and one HTML page that holds all it shows."""

import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import xarray as xr

from vecsim.results import files
from vecsim.results.measures.measure import of_variant
from vecsim.results.measures.record import record
from vecsim.scenario import verdict
from vecsim.scenario.config import variants
from vecsim.scenario.verdict import ScenarioOutcome, cost, plain_text, shown_number, summary_rows

_Rows = Sequence[Sequence[str]]  # of a table, its cells as text

PAGES = ("report.md", "report.html")  # their names in a scenario's folder
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
MARGIN = 0.1  # of its baseline that a figure may be off before it is called better or worse
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
    """Throughput, latency and resources of a run of 100 nodes at 100 vertices a second."""
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
    """One scenario; about: what it shows."""
    parts = [f"# {_text(outcome.name)}", _text(about)]
    parts.append(f"**{outcome.status}**. {cost(outcome.config)}.")
    for title, headers, found, _ in _sections(outcome, dataset):
        parts += [f"## {title}", _table(headers, found)]
    config = json.dumps(outcome.config, indent=2).replace("`", "\\u0060")  # ends no block
    parts += ["## Configuration", f"```json\n{config}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def html(outcome: ScenarioOutcome, dataset: xr.Dataset, about: str = "") -> str:
    """One scenario as a page that needs nothing else: its figures are part of it."""
    from vecsim.scenario.draw import drawn

    parts = [f"<h1>{escape(outcome.name)}</h1>", f"<p>{escape(about)}</p>"]
    parts.append(f"<p><strong>{outcome.status}</strong>. {escape(cost(outcome.config))}.</p>")
    figures = [
        f"<h2>{escape(caption)}</h2>\n<figure>{image}</figure>"
        for caption, image in drawn(dataset, variants(outcome.config)).items()
    ]
    criteria, *measured = [
        f"<h2>{escape(title)}</h2>\n{_page_table(headers, found, wrong)}"
        for title, headers, found, wrong in _sections(outcome, dataset)
    ]
    parts += [criteria, *figures, *measured]
    config = escape(json.dumps(outcome.config, indent=2))
    parts.append(f"<h2>Configuration</h2><pre>{config}</pre>")
    return _page(outcome.name, parts)


def summary_markdown(outcomes: Sequence[ScenarioOutcome]) -> str:
    """Many scenarios, a row for each, and how many of each category came out as they must."""
    parts = [
        "# Scenarios",
        verdict.by_category(outcomes),
        _table(verdict.SUMMARY, summary_rows(outcomes)),
    ]
    return "\n\n".join(parts) + "\n"


def summary_html(outcomes: Sequence[ScenarioOutcome]) -> str:
    """The same as a page."""
    found = summary_rows(outcomes)
    table = _page_table(verdict.SUMMARY, found, [row[4] != "ok" for row in found])
    head = f"<p>{escape(verdict.by_category(outcomes))}</p>"
    return _page("Scenarios", ["<h1>Scenarios</h1>", head, table])


def write_report(
    folder: Path, outcome: ScenarioOutcome, dataset: xr.Dataset, about: str = ""
) -> None:
    """Save `report.md` and `report.html` in a folder."""
    for page, make in zip(PAGES, (markdown, html), strict=True):
        files.write(folder / page, make(outcome, dataset, about).encode())


def write_summary(folder: Path, outcomes: Sequence[ScenarioOutcome]) -> None:
    """Save `summary.md` and `summary.html` in a folder."""
    files.write(folder / "summary.md", summary_markdown(outcomes).encode())
    files.write(folder / "summary.html", summary_html(outcomes).encode())


def _sections(
    outcome: ScenarioOutcome, dataset: xr.Dataset
) -> Iterator[tuple[str, Sequence[str], _Rows, list[bool]]]:
    """The criteria, the metrics record of every variant, and what stands beside the baselines.

    Each is a title and a table: its headers, its rows, and which of these are wrong.
    """
    verdicts = outcome.verdicts
    yield "Criteria", verdict.HEADERS, verdict.rows(verdicts), [not v.as_expected for v in verdicts]
    for name in variants(outcome.config) if "finalised" in dataset else ():
        found = []
        for field, (value, low, high) in record(of_variant(dataset, name or None)).items():
            ends = verdict.bracketed(low, high) if value == value else ""
            found.append((field, f"{shown_number(value)}{ends}"))
        title = f"Metrics of {name.replace('_', ' ')}" if name else "Metrics"
        yield title, ("figure", "mean [95 % interval]"), found, [False] * len(found)
    if beside := _beside(outcome, dataset):
        yield BESIDE, Performance._fields, beside, [row.change == "regression" for row in beside]


def _beside(outcome: ScenarioOutcome, dataset: xr.Dataset) -> list[Performance]:
    """The performance report, of the run that the baselines are for."""
    cluster, workload = (outcome.config.get(part) or {} for part in ("cluster", "workload"))
    same = outcome.config["category"] == "regression" and cluster.get("nodes") == 100
    same &= workload == {"kind": "constant", "rate_tps": 100}
    same &= "finalised" in dataset and "variant" not in dataset.dims
    return performance(dataset) if same else []


def _table(headers: Sequence[str], found: _Rows) -> str:
    lines = [[_text(cell).replace("|", "\\|") for cell in line] for line in (headers, *found)]
    lines.insert(1, ["---"] * len(headers))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(text: str) -> str:
    """Text in which Markdown finds nothing to do: no emphasis, link, code, tag or escape."""
    return MARKS.sub(r"\\\g<0>", plain_text(text))


def _page_table(headers: Sequence[str], found: _Rows, wrong: Sequence[bool]) -> str:
    """A table; wrong: which of its rows are marked."""

    def line(cells: Sequence[str], tag: str, bad: bool = False) -> str:
        inner = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
        return f"<tr{' class=wrong' if bad else ''}>{inner}</tr>"

    body = "".join(line(cells, "td", bad) for cells, bad in zip(found, wrong, strict=True))
    return f"<div><table>{line(headers, 'th')}{body}</table></div>"


def _page(title: str, parts: Sequence[str]) -> str:
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    head += f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    body = "\n".join(parts)
    return f"<!doctype html>\n<html lang='en'><head>{head}</head>\n<body>\n{body}\n</body></html>\n"
