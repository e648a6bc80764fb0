"""What scenarios leave behind: tables, JSON that keeps to its schema, self-contained pages."""

import copy
import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from jsonschema import ValidationError
from markdown_it import MarkdownIt
from scenario import shown
from synthetic import CONFIG, dataset

from vecsim.scenario import config, draw, export, report, simulate, verdict
from vecsim.scenario.judging import judge_all
from vecsim.scenario.verdict import ScenarioOutcome

TIME = np.arange(30)
TIMELINE = [
    {"at_s": 5, "do": "create_partition", "shares": [0.5, 0.5]},
    {"at_s": 10, "do": "heal_partition"},
    {"at_s": 12, "every_s": 4, "times": 3, "do": "kill_random_nodes", "count": 1},
    {"at_s": 20, "do": "set_packet_loss", "loss": 0.1},
    {"at_s": 25, "do": "set_packet_loss", "loss": 0.0},
]


def judged(data, given=CONFIG):
    return ScenarioOutcome(given, judge_all(config.criteria(given), data))


def two_variants():
    given = CONFIG | {"variants": {"few": {"cluster.nodes": 10}, "many": {"cluster.nodes": 20}}}
    data = simulate.joined({"few": dataset(), "many": dataset(length_s=[1.0] * 12)})
    return given, data


def exported(data, given=CONFIG):
    return export.result_json(given, data, judged(data, given).verdicts)


@pytest.mark.parametrize("lost", [0, 1])
def test_export_survives_json_and_keeps_to_its_schema(lost, tmp_path):
    data = dataset(divergent=np.where(TIME > 20, lost, 0), outcome=0)
    found = exported(data)
    export.write_result(found, tmp_path / "result.json")
    read = json.loads((tmp_path / "result.json").read_text())
    assert read == found
    export.validate(read)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert read["results"]["latency"]["latency_p95"]["value"] is None
    assert read["results"]["throughput"]["avg_tps"] == {"value": 10, "low": 10, "high": 10}
    kinds = [(a["kind"], a["trial"], a["time_s"], a["count"]) for a in read["anomalies"]]
    assert kinds == ([("divergent", 0, 21, 1), ("divergent", 1, 21, 1)] if lost else [])
    assert read["test_status"]["status"] == ("NOT PASSED" if lost else "PASSED")


def test_export_of_variants_and_of_probes_alone():
    given, data = two_variants()
    found = exported(data, given)
    export.validate(found)
    assert [*found["results"]["variants"]] == ["few", "many"]
    probed = dataset()[[]]
    probed["put_ns"] = ("trial", [1.0, 2.0])
    criteria = [{"metric": "put_ns", "op": "<=", "threshold": 1e6}]
    found = exported(probed, CONFIG | {"criteria": criteria})
    export.validate(found)
    assert found["results"]["throughput"]["avg_tps"]["value"] is None


def test_same_results_have_the_same_name():
    first, again = exported(dataset()), exported(dataset())
    assert first["test_run_id"] == again["test_run_id"]
    assert exported(dataset(cpu_percent=3.0))["test_run_id"] != first["test_run_id"]


def broken(path, value):
    def change(result):
        *parents, last = path
        for parent in parents:
            result = result[parent]
        if value is None:
            del result[last]
        else:
            result[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(broken([key], None) for key in export.schema()["required"]),
        broken(["timestamp"], "yesterday"),
        broken(["test_run_id"], 7),
        broken(["extra"], 1),
        broken(["results", "latency"], None),
        broken(["results", "throughput", "avg_tps"], 10),
        broken(["results", "throughput", "avg_tps", "value"], "10"),
        broken(["test_status", "status"], "perhaps"),
        broken(["anomalies"], [{"kind": "divergent"}]),
        broken(["configuration", "category"], "other"),
    ],
)
def test_a_broken_result_is_refused(change):
    result = copy.deepcopy(exported(dataset()))
    export.validate(result)
    change(result)
    with pytest.raises(ValidationError):
        export.validate(result)


class Page(HTMLParser):
    """Collects tags, what they refer to, and whether every tag that opens also closes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.references = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset")]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_needs_nothing_but_itself(tmp_path):
    given = CONFIG | {
        "timeline": TIMELINE,
        "workload": {"kind": "ramp", "start_tps": 1, "end_tps": 20, "ramp_s": 30},
    }
    data = dataset(guard=np.where((TIME >= 6) & (TIME < 10), 0, 1))
    report.write_report(tmp_path, judged(data, given), data, "What it shows: a < b.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md"]
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.tags.count("svg") == 2
    assert not {"script", "link", "img", "iframe"} & {*page.tags}
    assert all(reference.startswith("#") for reference in page.references)
    assert "url(http" not in text
    assert "@import" not in text
    assert "a &lt; b" in text
    assert text == report.html(judged(data, given), data, "What it shows: a < b.")


HOSTILE = (
    "*a* _b_ **c** `d` ~~e~~ [f](http://g.h) ![i](j.png) <b>k</b> <script>l()</script> &lt; \\_ m_n"
)


def test_what_a_file_says_is_text_in_markdown():
    """Nothing of it is a link, a picture, a tag or an emphasis; all of it can be read."""
    pages = report.markdown(judged(dataset()), dataset(), HOSTILE)
    shown = MarkdownIt().render(pages.split("\n\n")[1])
    assert html.unescape(shown) == f"<p>{HOSTILE}</p>\n"
    assert set(re.findall("<[^>]*>", shown)) == {"<p>", "</p>"}


def test_markdown_has_the_criteria_the_record_and_the_cost():
    text = report.markdown(judged(dataset()), dataset(), "What it shows.")
    assert "| avg tps | >= 10 | 10 | 95 %, mean of 2 runs | pass |" in text
    assert "| lost | = 0 | 0 of 2, below 0.85 | 95 %, share of 2 runs with any | pass |" in text
    assert "| confidence_at_finalization | 0.96 |" in text
    assert "USD on rented machines" in text
    assert text.count("\n| ") == 2 + 4 + 2 + 15


def test_nothing_finalised_can_be_drawn():
    data = dataset(outcome=0, finalised=0, guard=0)
    assert "<svg" in report.html(judged(data), data)


def test_variants_are_compared():
    given, data = two_variants()
    found = draw.drawn(data, config.variants(given))
    assert [*found] == ["Variants compared", "Course of few", "Course of many"]
    with_probes_only = dataset()[[]]
    assert draw.drawn(with_probes_only, {"": CONFIG}) == {}


def test_faults_of_a_timeline():
    found = draw.spans(TIMELINE, 30)
    assert [(span.start, span.end) for span in found] == [
        (5, 10),
        (12, 12),
        (16, 16),
        (20, 20),
        (20, 25),
    ]
    assert draw.spans([{"at_s": 3, "do": "stop"}], 30) == [(3, 30, "stop")]


def test_the_course_shows_what_was_measured():
    figure = draw.course(dataset(finalised=np.where(TIME < 15, 10, 4)), CONFIG)
    throughput, latency, *_ = figure.axes
    finalised = next(line for line in throughput.lines if line.get_label() == "finalised")
    np.testing.assert_allclose(finalised.get_ydata(), np.where(TIME < 15, 10, 4))
    np.testing.assert_allclose(latency.lines[0].get_ydata(), 50)


def test_performance_beside_its_baseline():
    changes = {row.figure: row.change for row in report.performance(dataset(cpu_percent=31.0))}
    assert changes == {
        "avg tps": "regression",
        "latency p95": "unchanged",
        "avg cpu percent": "unchanged",
        "avg memory mb": "improvement",
        "avg network mbps": "improvement",
    }


def test_the_performance_report_is_part_of_a_regression_scenario():
    given = {"category": "regression", "cluster": {"nodes": 100}}
    config = CONFIG | given | {"workload": {"kind": "constant", "rate_tps": 100}}
    data = dataset(cpu_percent=31.0)
    pages = [make(ScenarioOutcome(config, []), data) for make in (report.markdown, report.html)]
    assert f"## {report.BESIDE}" in pages[0]
    for row in report.performance(data):
        assert f"| {' | '.join(row)} |" in pages[0]
        assert "".join(f"<td>{cell}</td>" for cell in row) in pages[1]
    other = config | {"cluster": {"nodes": 150}}
    assert report.BESIDE not in report.markdown(ScenarioOutcome(other, []), data)


def test_tables_of_one_and_of_many(tmp_path):
    good, bad = judged(dataset()), judged(dataset(finalised=0))
    lost = ScenarioOutcome(CONFIG | {"name": "lost", "category": "chaos"}, [])
    text = shown(bad)
    assert "NOT PASSED" in text
    assert re.search(r"avg tps +>= 10 +0 +95 %, mean of 2 runs +fail", text)
    rows = verdict.summary_table([lost, bad, good]).rows
    assert [row[0] for row in rows] == ["load", "load", "chaos"]
    assert [row[4] for row in rows] == ["avg tps >= 10: 0", "ok", "nothing judged"]
    assert [each.good for each in (good, bad, lost)] == [True, False, False]
    report.write_summary(tmp_path, [lost, bad, good])
    summary = (tmp_path / "summary.md").read_text()
    assert "1 of 3 show what they are to show: load 1 of 2, chaos 0 of 1" in summary
    assert Page((tmp_path / "summary.html").read_text()).open == []


def test_reading_and_reporting_do_not_start_jax():
    modules = "criteria, verdict, report, export, draw, config, simulate"
    code = f"import sys; from vecsim.scenario import {modules}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
