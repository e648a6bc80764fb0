"""Running a scenario in a test: the configuration that the command line reads, and no other."""

from rich.console import Console

from vecsim.scenario import finding, verdict
from vecsim.scenario.simulate import run_scenario


def run(name: str) -> None:
    """Assert every criterion of a scenario; the message is its verdict table."""
    given = finding.compose_scenario(name)
    _, verdicts = run_scenario(given)
    outcome = verdict.ScenarioOutcome(given, verdicts)
    assert outcome.good, "\n" + shown(outcome)


def shown(outcome: verdict.ScenarioOutcome) -> str:
    """What is printed of a scenario, as plain text."""
    console = Console(width=120, color_system=None, force_terminal=False)
    with console.capture() as capture:
        verdict.show_verdicts(outcome, console)
    return capture.get()
