"""Small studies at random, really run: what came out must hold together.

`small(seed)` gives the same commands for the same seed. Run with a seed and a number, this file
runs so many of them and prints a line for each.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from command import call
from fuzz import composing, options, planned

import vecsim

MOST_NODES = 50


class Small:
    """Draws the words of a study of few nodes; most of them can be computed."""

    def __init__(self, seed: int):
        self.draw = random.Random(seed)

    def words(self) -> list[str]:
        draw = self.draw
        n = draw.choice([2, 3, 4, 5, 8, 13, 21, 34, MOST_NODES])
        words = [f"n={n}", f"seed={draw.randrange(2**32)}", "netcdf=true"]
        kind = draw.random()
        if kind < 0.1:
            return words + self.campaign(n)
        words += self.protocol(n) + self.network(n) + self.adversary()
        if draw.random() < 0.3:
            words.append("schedule=async")
        if draw.random() < 0.3:
            words.append(f"engine.name={draw.choice(['agents', 'population'])}")
        words += self.sweep(n) if draw.random() < 0.5 else []
        if kind < 0.2:
            event = draw.choice(["stalled", "disagreement"])
            return [*words, "estimator=threshold", f"estimator.event={event}", "trials=60"]
        words.append(f"initial_accept={draw.choice([0, 0.3, 0.5, 1])}")
        words.append(f"byzantine_fraction={draw.choice([0, 0.1, 0.2, 0.4, 0.8, 1])}")
        if kind < 0.27:
            event = draw.choice(["stalled", "disagreement"])
            return [
                *words,
                *("estimator=splitting", f"estimator.event={event}", "trials=3"),
                f"estimator.walkers={draw.choice([10, 40])}",
            ]
        trials = draw.randint(1, 9)
        if draw.random() < 0.2:
            target = draw.choice(["finalised", "stalled", "disagreement", "unanimous"])
            precision = f"precision={{target: {target}, half_width: 0.3, min_trials: 2}}"
            return [*words, precision, f"trials={trials + 3}"]
        return [*words, f"trials={trials}"]

    def protocol(self, n: int) -> list[str]:
        draw = self.draw
        k = draw.randint(1, max(1, min(n - 1, 12)))
        most = draw.randint(k // 2 + 1, k)
        option = draw.choice(options("protocol"))
        rounds = draw.choice([3, 20, 60])
        if option == "slush":
            return ["protocol=slush", f"protocol.k={k}", f"protocol.alpha={most}", "protocol.m=20"]
        words = [f"protocol={option}", f"protocol.k={k}", f"protocol.max_rounds={rounds}"]
        words.append(f"protocol.beta={draw.randint(1, 6)}")
        if option.startswith("qr"):
            return [*words, f"protocol.alpha={most}"]
        least = draw.randint(k // 2 + 1, most)
        return [
            *words,
            f"protocol.alpha_preference={least}",
            f"protocol.alpha_confidence={most}",
        ]

    def network(self, n: int) -> list[str]:
        draw = self.draw
        option = draw.choice(["complete", "complete", *options("network")])
        words = [f"network={option}"]
        if option in ("random_regular", "small_world"):
            degree = 2 * draw.randint(1, max(1, (n - 1) // 2))
            return [*words, f"network.degree={degree}", "network.graphs=2"]
        if option == "groups":
            words.append(f"network.cut={draw.choice([0, 3])}")
            words.append(f"network.active={draw.choice(['[1,1]', '[1,0.5]', '[0.3,0]'])}")
        if draw.random() < 0.4:
            words.append(f"network.loss={draw.choice([0.05, 0.5])}")
        if draw.random() < 0.3:
            words += ["network.sampling=with_replacement", "network.exclude_self=false"]
        return words

    def adversary(self) -> list[str]:
        draw = self.draw
        option = draw.choice(options("adversary"))
        if option == "mixture":
            first, second = draw.sample([o for o in options("adversary") if o != option], 2)
            share = draw.choice([0.25, 0.5, 0.9])
            shares = f"{{{first}: {share}, {second}: {round(1 - share, 2)}}}"
            return ["adversary=mixture", f"adversary.of={shares}"]
        words = [f"adversary={option}"]
        if option == "balance_pooled":
            words.append(f"adversary.every={draw.choice(['round', 'poll'])}")
        if option == "safety_split":
            words.append(f"adversary.grouping={draw.choice(['by_colour', 'random'])}")
        return words

    def sweep(self, n: int) -> list[str]:
        draw = self.draw
        return draw.choice(
            [
                [f"sweep.n=[{n},{n + 1}]"],
                ["sweep.byzantine_fraction={start: 0, stop: 0.6, num: 3}"],
                ["sweep.initial_accept=[0,0.5,1]", "sweep.protocol.beta=[1,4]"],
                ["sweep.adversary=[flip,silent]"],
                ["sweep.both={byzantine_fraction: [0, 0.2], initial_accept: [0.5, 0.9]}"],
            ]
        )

    def campaign(self, n: int) -> list[str]:
        draw = self.draw
        return [
            "defence=on",
            f"byzantine_fraction={draw.choice([0, 0.1, 0.3])}",
            f"adversary={draw.choice(options('adversary'))}",
            *(f"campaign.trials={draw.choice([2, 3])}", "campaign.sampled_vertices=4"),
            f"campaign.cluster.protocol.k={max(1, min(10, n // 2))}",
            f"campaign.cluster.protocol.alpha={max(1, min(8, n // 2))}",
            "campaign.duration_s=2",
            "campaign.drain_s=1",
            f"campaign.window_s={draw.choice([1, 5])}",
        ]


def small(seed: int) -> Iterator[list[str]]:
    """Commands that are not refused, without end. Within `composing`."""
    source = Small(seed)
    while True:
        if not planned(words := source.words()):
            yield words


def wrong_in(folder: Path) -> list[str]:
    """What does not hold together in the results in a folder."""
    found = []
    for store in sorted(folder.rglob("*.zarr")):
        data = vecsim.open(store)
        found += [f"{store.name}: {text}" for text in _wrong_in_trials(data)]
        for level in (0.5, 0.95, 0.999):
            found += _wrong_in_table(data.vecsim.summary(level))
        if not data.identical(vecsim.open(store.with_suffix(".nc"))):
            found.append("the NetCDF file says otherwise")
    for summary in folder.rglob("*summary.nc"):
        found += _wrong_in_table(vecsim.open(summary))
    return found


def _wrong_in_trials(data: xr.Dataset) -> Iterator[str]:
    if data.attrs["complete"] != 1:
        yield "not complete"
    if "decided_1" not in data:
        return
    run = data["decided_1"].notnull()
    precision = json.loads(data.attrs["config"]).get("precision") or {}
    stops_early = bool(precision.get("target"))
    if not (run.all() or (stops_early and run.any("trial").all())):
        yield "trials are missing"
    config = json.loads(data.attrs["config"])
    n = data["n"] if "n" in data.coords else config["n"]
    byzantine = data.get("byzantine_nodes", np.rint(config["byzantine_fraction"] * n))
    honest = n - byzantine
    counts = data["decided_0"] + data["decided_1"] + data["undecided"]
    if not (counts == honest).where(run, True).all():
        yield "counts do not add up"
    for name in ("rounds", "final_ones", "start_ones", "polls", "flips"):
        numbers = data.get(name, run)
        if not (np.isfinite(numbers) & (numbers >= 0)).where(run, True).all():
            yield f"{name} is not a number"
    for name in ("final_ones", "start_ones"):
        if (data[name] > honest).where(run, False).any():
            yield f"{name} is more than the honest nodes"
    undecided = data["last_decision"].isnull() & run
    decided = data["decided_0"] + data["decided_1"]
    if (undecided & (data["undecided"] == 0) & (decided > 0) & (data["decides"] == 1)).any():
        yield "all decided, but never"
    if (data["last_decision"] > data["rounds"]).any():
        yield "decided after the end"


def _wrong_in_table(table: xr.Dataset) -> Iterator[str]:
    for name in map(str, table.data_vars):
        if f"{name}_low" not in table:
            continue
        value, low, high = (table[name + end].values for end in ("", "_low", "_high"))
        known = ~np.isnan(value)
        if not ((low <= value) & (value <= high))[known].all():
            yield f"{name} is not within its interval"
        if table[name].attrs.get("interval") == "clopper_pearson":
            if not ((low >= 0) & (high <= 1))[known].all():
                yield f"{name} is no share"
            if (low == high)[known].any():
                yield f"{name} is known exactly"


def run(words: list[str], folder: Path) -> list[str]:
    """The command, in this process; what is wrong with it."""
    result = call(*words, f"output={folder}")
    if (result.code, result.err) != (0, ""):
        return [f"exit {result.code}: {result.err}"]
    if " nan" in result.out.lower():
        return [f"shown: {result.out}"]
    return wrong_in(folder)


if __name__ == "__main__":
    import sys
    import tempfile
    import traceback

    from vecsim import device

    device.configure(1)
    with composing():
        source = small(int(sys.argv[1]))
        chosen = [next(source) for _ in range(int(sys.argv[2]))]
    for words in chosen:
        with tempfile.TemporaryDirectory() as folder:
            try:
                wrong = run(words, Path(folder) / "here")
            except Exception:
                wrong = [traceback.format_exc()]
        print("WRONG" if wrong else "good", " ".join(words), *wrong, sep="\t", flush=True)
