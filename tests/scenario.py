"""Running a scenario in a test: the configuration that the command line reads, and no other."""

from vecsim.scenario import finding, verdict
from vecsim.scenario.simulate import run_scenario


def run(name: str) -> None:
    """Assert every criterion of a scenario; the message is its verdict table."""
    given = finding.compose_scenario(name)
    _, verdicts = run_scenario(given)
    outcome = verdict.ScenarioOutcome(given, verdicts)
    assert outcome.good, "\n" + verdict.text([outcome])
