"""Reports of scenarios: Markdown, and one HTML page that holds all it shows."""

import html as escaping
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import xarray as xr

from vecsim.results import files
from vecsim.results.measures.measure import of_variant
from vecsim.results.measures.record import record
from vecsim.scenario.config import variants
from vecsim.scenario.verdict import (
    HEADERS,
    ScenarioOutcome,
    by_category,
    cost,
    plain_text,
    rows,
    shown_number,
    summary_rows,
)

PAGES = ("report.md", "report.html")
SUMMARY = ("category", "scenario", "criteria", "status", "result", "USD")
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
        better, worse = (low, high) if more else (-high, -low)
        limit = baseline if more else -baseline
        change = "unchanged"
        if better > limit + MARGIN * baseline:
            change = "improvement"
        elif worse < limit - MARGIN * baseline:
            change = "regression"
        name = field.replace("_", " ")
        rows.append(
            Performance(
                name, f"{shown_number(value)} {unit}", f"{shown_number(baseline)} {unit}", change
            )
        )
    return rows


def markdown(outcome: ScenarioOutcome, dataset: xr.Dataset, about: str = "") -> str:
    """One scenario; about: what it shows."""
    parts = [f"# {_text(outcome.name)}", _text(about)]
    parts.append(f"**{outcome.status}**. {cost(outcome.config)}.")
    parts += ["## Criteria", _table(HEADERS, rows(outcome.verdicts))]
    for title, found in _records(outcome, dataset):
        parts += [f"## {title}", _table(("figure", "mean [95 % interval]"), found)]
    if beside := _beside(outcome, dataset):
        parts += [f"## {BESIDE}", _table(Performance._fields, beside)]
    config = json.dumps(outcome.config, indent=2).replace("`", "\\u0060")  # ends no block
    parts += ["## Configuration", f"```json\n{config}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def html(outcome: ScenarioOutcome, dataset: xr.Dataset, about: str = "") -> str:
    """One scenario as a page that needs nothing else: its figures are part of it."""
    from vecsim.scenario.draw import drawn

    wrong = [not verdict.as_expected for verdict in outcome.verdicts]
    text = escaping.escape
    parts = [f"<h1>{text(outcome.name)}</h1>", f"<p>{text(about)}</p>"]
    parts.append(f"<p><strong>{outcome.status}</strong>. {text(cost(outcome.config))}.</p>")
    parts += ["<h2>Criteria</h2>", _page_table(HEADERS, rows(outcome.verdicts), wrong)]
    for caption, image in drawn(dataset, variants(outcome.config)).items():
        parts.append(f"<h2>{text(caption)}</h2>\n<figure>{image}</figure>")
    for title, found in _records(outcome, dataset):
        parts.append(f"<h2>{text(title)}</h2>")
        parts.append(_page_table(("figure", "mean [95 % interval]"), found))
    if beside := _beside(outcome, dataset):
        wrong = [row.change == "regression" for row in beside]
        parts += [f"<h2>{BESIDE}</h2>", _page_table(Performance._fields, beside, wrong)]
    config = text(json.dumps(outcome.config, indent=2))
    parts.append(f"<h2>Configuration</h2><pre>{config}</pre>")
    return _page(outcome.name, parts)


def summary_markdown(outcomes: Sequence[ScenarioOutcome]) -> str:
    """Many scenarios, a row for each, and how many of each category came out as they must."""
    parts = ["# Scenarios", by_category(outcomes), _table(SUMMARY, summary_rows(outcomes))]
    return "\n\n".join(parts) + "\n"


def summary_html(outcomes: Sequence[ScenarioOutcome]) -> str:
    found = summary_rows(outcomes)
    table = _page_table(SUMMARY, found, [row[4] != "ok" for row in found])
    head = f"<p>{escaping.escape(by_category(outcomes))}</p>"
    return _page("Scenarios", ["<h1>Scenarios</h1>", head, table])


def write_report(
    folder: Path, outcome: ScenarioOutcome, dataset: xr.Dataset, about: str = ""
) -> list[Path]:
    """Save `report.md` and `report.html` in a folder."""
    paths = [folder / page for page in PAGES]
    for path, make in zip(paths, (markdown, html), strict=True):
        files.write(path, make(outcome, dataset, about).encode())
    return paths


def _records(
    outcome: ScenarioOutcome, dataset: xr.Dataset
) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    """The metrics record of every variant, as a title and rows."""
    if "finalised" not in dataset:
        return
    for name in variants(outcome.config):
        found = []
        for field, (value, low, high) in record(of_variant(dataset, name or None)).items():
            interval = (
                ""
                if low == high or value != value
                else f" [{shown_number(low)} {shown_number(high)}]"
            )
            found.append((field, f"{shown_number(value)}{interval}"))
        yield (f"Metrics of {name.replace('_', ' ')}" if name else "Metrics"), found


def _beside(outcome: ScenarioOutcome, dataset: xr.Dataset) -> list[Performance]:
    """The performance report, of the run that the baselines are for."""
    cluster, workload = (outcome.config.get(part) or {} for part in ("cluster", "workload"))
    same = outcome.config["category"] == "regression" and cluster.get("nodes") == 100
    same &= workload == {"kind": "constant", "rate_tps": 100}
    same &= "finalised" in dataset and "variant" not in dataset.dims
    return performance(dataset) if same else []


def _table(headers: Sequence[str], found: Iterable[Sequence[str]]) -> str:
    lines = [[_cell(cell) for cell in line] for line in (headers, *found)]
    lines.insert(1, ["---"] * len(headers))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    """Text in which Markdown finds nothing to do: no emphasis, link, code, tag or escape."""
    return MARKS.sub(r"\\\g<0>", plain_text(text))


def _page_table(
    headers: Sequence[str], found: Iterable[Sequence[str]], wrong: Sequence[bool] = ()
) -> str:
    def line(cells: Sequence[str], tag: str, bad: bool = False) -> str:
        inner = "".join(f"<{tag}>{escaping.escape(cell)}</{tag}>" for cell in cells)
        return f"<tr{' class=wrong' if bad else ''}>{inner}</tr>"

    found = list(found)
    marks = list(wrong) or [False] * len(found)
    body = [line(cells, "td", bad) for cells, bad in zip(found, marks, strict=True)]
    return "<div><table>" + line(headers, "th") + "".join(body) + "</table></div>"


def _page(title: str, parts: Sequence[str]) -> str:
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    head += f"<title>{escaping.escape(title)}</title><style>{_STYLE}</style>"
    body = "\n".join(parts)
    return f"<!doctype html>\n<html lang='en'><head>{head}</head>\n<body>\n{body}\n</body></html>\n"
