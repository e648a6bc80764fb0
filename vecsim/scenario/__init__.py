"""Scenarios: a simulated cluster under load and faults, and criteria that its figures must meet.

>>> import vecsim
>>> judged = vecsim.scenario.run("ci_smoke_test", trials=2)  # doctest: +SKIP
>>> judged.passed, judged.verdicts  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vecsim.scenario.single import Judged

__all__ = ["run"]


def run(
    name: str | Path,
    /,
    output: str | Path | None = None,
    config_dir: str | Path | Sequence[str | Path] | None = None,
    **changes: Any,
) -> Judged:
    """Run one scenario, judge it, and write what came of it; one that is complete is read.

    name: of the scenario, or the path of its file. output: folder in which that of the scenario is
    made; default results/scenario. config_dir: folder of configuration beside vecsim's own, or a
    list of them. changes: keys of the scenario, `trials=2, cluster={"nodes": 20}, duration_s=20`;
    a mapping sets its own keys and leaves the others, two underscores stand for the dot.
    ConfigError, one line, where a key or a value has no meaning, before anything runs.
    """
    from vecsim.scenario import single
    from vecsim.studies import overrides

    keywords = {f"scenario.{key}": value for key, value in changes.items()}
    return single.run(overrides.from_python((), {"scenario": name, **keywords}), output, config_dir)
