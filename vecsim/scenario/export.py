"""The result of a scenario as JSON, which `schema.json` describes."""

import datetime
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jsonschema import Draft202012Validator, ValidationError

from vecsim.results import files
from vecsim.results.measures.compare import NOTHING
from vecsim.results.measures.measure import of_variant, record
from vecsim.results.measures.variables import COUNTS
from vecsim.scenario.config import scenario_cost_usd, variants
from vecsim.scenario.judging import Verdict
from vecsim.scenario.verdict import ScenarioOutcome

RESULT = "result.json"  # its name in a scenario's folder


def result_json(
    config: Mapping[str, Any], dataset: xr.Dataset, verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """The result of a scenario, as `schema.json` describes it, with its checksum.

    Numbers that were not measured are None. Apart from the time and the checksum it depends on the
    arguments alone.
    """
    runs, anomalies, outcome = {}, [], ScenarioOutcome(config, verdicts)
    for name, changed in variants(config).items():
        data = of_variant(dataset, name or None)
        runs[name] = _run(changed, data)
        anomalies += _anomalies(data, name or None)
    body = {
        "configuration": json.loads(json.dumps(config)),
        "results": runs.get("", {"variants": runs}),
        "anomalies": anomalies,
        "test_status": {
            "status": outcome.status,
            "as_expected": outcome.good,
            "criteria": plain_verdicts(verdicts),
        },
    }
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    named = {"test_run_id": files.json_digest(body)[:16], "timestamp": now} | body
    return named | {"checksum": files.json_digest(named)}


def plain_verdicts(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Verdicts as JSON holds them: fields by name, None for a number that is not finite."""
    return [_plain(verdict._asdict()) for verdict in verdicts]


def read_result(path: Path) -> dict[str, Any]:
    """What `write_result` saved; StoreError where it has changed since or is not valid."""
    text = path.read_bytes()
    try:
        found = json.loads(text)
        validate(found)
        body = {key: value for key, value in found.items() if key != "checksum"}
        intact = found["checksum"] == files.json_digest(body)
    except (ValueError, RecursionError, ValidationError):
        intact = False
    if not intact:
        raise files.damaged(path, "it differs from the checksum in it")
    return found


def schema() -> dict[str, Any]:
    """What a result must keep to, as JSON Schema."""
    return json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))


def validate(exported: Mapping[str, Any]) -> None:
    """Raise jsonschema.ValidationError unless the result keeps to the schema."""
    Draft202012Validator(schema()).validate(exported)


def write_result(exported: Mapping[str, Any], path: Path) -> None:
    """Save a result; replaces `path` whole. jsonschema.ValidationError unless it is valid."""
    validate(exported)
    files.write(path, (json.dumps(exported, indent=2, allow_nan=False) + "\n").encode())


def _run(config: Mapping[str, Any], data: xr.Dataset) -> dict[str, Any]:
    """The four sections of one variant; null throughout where no cluster was simulated."""
    found = record(data) if "finalised" in data else {}
    sections: dict[str, Any] = {
        name: {field: _plain(found.get(field, NOTHING)._asdict()) for field in section["required"]}
        for name, section in schema()["$defs"]["run"]["properties"].items()
    }
    sections["resource_usage"]["cost_usd"] = round(scenario_cost_usd(config), 2)
    return sections


def _anomalies(data: xr.Dataset, variant: str | None) -> Iterator[dict[str, Any]]:
    """What must not happen and did: in which trial, when first, and how often."""
    kinds = schema()["properties"]["anomalies"]["items"]["properties"]["kind"]["enum"]
    for kind in kinds if "divergent" in data else ():
        values = np.nan_to_num(data[kind].transpose("trial", "window").values)
        counts = values.sum(axis=1) if kind in COUNTS else values.max(axis=1)
        for trial in np.flatnonzero(counts).tolist():
            time_s = float(data["time_s"].values[(values[trial] > 0).argmax()])
            about = {"kind": kind, "variant": variant, "trial": trial, "time_s": time_s}
            yield about | {"count": int(counts[trial])}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Python's own numbers, None for one that is not finite."""
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in plain.items()
    }
