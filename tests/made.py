"""Studies whose points are numbers, and whose trials take no time."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vecsim.errors import ConfigError
from vecsim.results.estimate import Precision
from vecsim.results.layout import Variable
from vecsim.results.shards import Shard
from vecsim.studies import runner
from vecsim.studies.assignment import Assignment
from vecsim.studies.dimensions import Dimension
from vecsim.studies.executors.executor import Executor, InProcess
from vecsim.studies.executors.processes import Processes
from vecsim.studies.sweep import Study
from vecsim.studies.work import Work


class Number(int):
    """A point that is only a number."""

    components = ()

    def lasting(self) -> int:
        return int(self)


class Silent:
    """A reporter that keeps the lines that it is told."""

    def __init__(self):
        self.told: list[str] = []

    def start(self, *_) -> None:
        pass

    advance = finish = start

    def tell(self, line: str) -> None:
        self.told.append(line)


class Made(Work):
    """Two variables that name the point and the trial; y is missing in every fifth trial."""

    variables = Variable("x", "int32", {}), Variable("y", "float64", {})
    always = frozenset(["x"])

    def chunks(self) -> tuple[int, int]:
        return 2, 4

    def compute(self, numbers, trials) -> dict[str, np.ndarray]:
        points = np.array([int(self.study.points[number]) for number in numbers])[:, None]
        values = points * 1000 + np.asarray(trials)
        return {"x": values, "y": np.where(values % 5 == 0, np.nan, values / 4)}

    def events(self, values) -> tuple[np.ndarray, np.ndarray]:
        """A coin for each trial, with a share of heads that grows with the point."""
        heads = values["x"] * 7919 % 101 < values["x"] // 1000 * 5
        return heads, values["x"] != -1


def study(values: list[int], trials: int, precision: Precision | None = None) -> Study:
    """One swept dimension of these values."""
    config = {"seed": 0, "trials": trials, "sweep": {"n": values}}
    config["precision"] = precision._asdict() if precision else None
    dimensions, points = [Dimension("n", "n", values)], [Number(value) for value in values]
    block = precision.min_trials if precision else trials
    engines = ["made"] * len(points)
    return Study("made", dimensions, points, trials, block, precision, 0, config, engines)


class Slow(Made):
    """A chunk takes a hundredth of a second."""

    def compute(self, numbers, trials) -> dict[str, np.ndarray]:
        time.sleep(0.01)
        return super().compute(numbers, trials)


class Fatal(Made):
    """Whoever computes it is killed."""

    def compute(self, numbers, trials) -> dict[str, np.ndarray]:
        os._exit(9)


class Wrong(Made):
    """It has no value at the fifth point."""

    def compute(self, numbers, trials) -> dict[str, np.ndarray]:
        if 4 in numbers:
            raise ConfigError("made.value is 9; allowed: others")
        return super().compute(numbers, trials)


class Sent(Assignment):
    """What workers are sent, which makes one of these works."""

    def work(self) -> Work:
        return {0: Made, 1: Slow, 2: Fatal, 3: Wrong}[self.memory](self.study)


MADE, SLOW, FATAL, WRONG = range(4)  # what `Sent` makes


def processes(made: Study, count: int, sent: int = MADE) -> Callable[[Work], Executor]:
    """Gives an executor of so many processes. sent: which work they make."""
    return lambda work: Processes(Sent(made, sent, None), count, 1)


def run(
    made: Study,
    path: Path,
    executor: Callable[[Work], Executor] = InProcess,
    work: Callable[[Study], Work] = Made,
    shard: Shard | None = None,
) -> list[str]:
    """Run a study; returns the lines that were told."""
    reporter, computed = Silent(), work(made)
    given = {} if shard is None else {"shard": shard}
    attrs = {"command": f"vecsim made=1 shard={shard}"}
    runner.run_study(computed, path, attrs, reporter, executor(computed), **given)
    return reporter.told
