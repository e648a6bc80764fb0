"""The page `docs/published.md`: published numbers beside vecsim's own.

    python experiments/published/make.py            # writes it
    python experiments/published/make.py --check    # fails where the page on disk is another

What was published, and where vecsim's number is found, is in `claims.yaml`; every number of vecsim
is read from a stored summary, or computed by an exact function of the package.
"""

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from omegaconf import OmegaConf

import vecsim
from vecsim.engines.exact.votes import law_of_votes
from vecsim.model.poll_law import binomial_pmf
from vecsim.protocols.ecash import Ecash
from vecsim.results import estimate
from vecsim.stakes.table import StakeTable

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/published.md"
CLAIMS = Path(__file__).with_name("claims.yaml")
FIELDS = {"claim", "source", "link", "parameters", "published", "unit", "value", "command"}
OPTIONAL = {"tolerance", "relation", "remark", "differs"}
SELF = "python experiments/published/make.py"

HEAD = """# Published numbers

Each number that somebody else published, and what vecsim finds for it. The page is made by

    {command}

from `experiments/published/claims.yaml` and the stored summaries of the experiments; `--check`
fails where the page differs from what they give. {held} of {all} hold.

- **vecsim**: with the 95 % interval of the summary; without one it is exact, or all
  trials gave the same.
- **holds** is computed. A published number with its tolerance (±: half a unit of its last digit, or
  1.96 of its standard errors where it is a mean of simulations) must meet the interval; a bound
  (≥, ≤) must have all of the interval on its side. Two intervals that just meet lie up to 2.8
  standard errors apart, so meeting is the weaker test of the two.
- What does not hold, and what needs a remark, is explained below each table, by number.
"""


class Found(NamedTuple):
    """A number of vecsim with the ends of its interval, all in the unit of the claim."""

    value: float
    low: float
    high: float


class Row(NamedTuple):
    """A claim and what becomes of it."""

    claim: dict[str, Any]
    found: Found
    holds: bool


def groups() -> dict[str, list[dict[str, Any]]]:
    """The claims, by the heading under which they stand."""
    loaded: Any = OmegaConf.to_container(OmegaConf.load(CLAIMS))
    for claim in (claim for claims in loaded.values() for claim in claims):
        if not FIELDS <= claim.keys() <= FIELDS | OPTIONAL:
            raise ValueError(f"{claim.get('claim')}: fields {sorted(claim)}")
    return loaded


def row(claim: dict[str, Any]) -> Row:
    """The number of vecsim for a claim, and whether the claim holds."""
    found = find(claim["value"])
    return Row(claim, found, holds(claim, found))


def holds(claim: dict[str, Any], found: Found) -> bool:
    """Whether the published number, give or take its tolerance, meets the interval; a bound:
    whether all of the interval is on its side."""
    published, tolerance = claim["published"], claim.get("tolerance", 0) * (1 + 1e-9)
    above, below = found.low >= published - tolerance, found.high <= published + tolerance
    relation = claim.get("relation", "=")
    if relation == "=":
        return found.low <= published + tolerance and published - tolerance <= found.high
    return {"≥": above, "≤": below}[relation]


def find(value: dict[str, Any]) -> Found:
    """What `value` of a claim describes: an exact function, or a number of a summary."""
    if "exact" in value:
        number = EXACT[value["exact"]](**value.get("of", {})) * value.get("scale", 1)
        return Found(number, number, number)
    ends = DERIVED[value.get("derived", "plain")](value)
    return Found(*(float(end) * value.get("scale", 1) for end in ends))


# Numbers of summaries


def _plain(value: dict[str, Any]) -> tuple[float, ...]:
    """The one number selected, or the `least` or `greatest` of several."""
    ends = [np.ravel(end) for end in _ends(value, value["at"])]
    if len(ends[0]) > 1:
        at = {"least": np.argmin, "greatest": np.argmax}[value["pick"]](ends[0])
        return tuple(float(end[at]) for end in ends)
    return tuple(end.item() for end in ends)


def _exponent(value: dict[str, Any]) -> tuple[float, ...]:
    """e of the power law c n^e fitted to the numbers selected."""
    found, low, high = _ends(value, value["at"])
    fit = estimate.fit_power(found["n"].values, found.values, low.values, high.values)
    return fit.exponent, fit.low, fit.high


def _saving(value: dict[str, Any]) -> tuple[float, ...]:
    """1 - a / b of two independent means, a at `at` and b at `against`; by the delta method."""
    means = [_ends(value, value["at"] | value.get(key, {})) for key in ("with", "against")]
    (a, a_error), (b, b_error) = ((float(mean), float(high - low) / 2) for mean, low, high in means)
    ratio = a / b
    error = ratio * math.hypot(a_error / a, b_error / b)
    return 1 - ratio, 1 - ratio - error, 1 - ratio + error


def _steps(value: dict[str, Any]) -> tuple[float, ...]:
    """The last increase over the one before it, along three numbers; its ends from all the values
    that the three intervals allow."""
    found, low, high = (end.values for end in _ends(value, value["at"]))
    least = (low[2] - high[1]) / (high[1] - low[0])
    most = (high[2] - low[1]) / (low[1] - high[0])
    return (found[2] - found[1]) / (found[1] - found[0]), least, most


DERIVED = {"plain": _plain, "exponent": _exponent, "saving": _saving, "steps": _steps}


def _ends(value: dict[str, Any], at: dict[str, Any]) -> list[xr.DataArray]:
    """A variable of a summary and the ends of its interval, selected at labels of dimensions."""
    data = vecsim.open(ROOT / value["summary"])
    found = [data[value["variable"] + end] for end in ("", "_low", "_high")]
    for name, label in at.items():
        near = {"method": "nearest", "tolerance": 1e-9} if isinstance(label, float) else {}
        found = [each.sel({name: label}, **near) for each in found]
    return found


# Exact numbers


def votes(colour: int) -> float:
    """Mean votes until an eCash node is final, if all vote yes; it starts at `colour`."""
    return law_of_votes(Ecash(), 1.0, colour=colour).mean


def run_of_quorums(k: int, share: float, alpha: int, beta: int) -> float:
    """P(beta polls in a row have alpha answers or more of k), with replacement."""
    return float(binomial_pmf(k, share)[alpha:].sum()) ** beta


def _shares(table: str) -> np.ndarray:
    """Shares of stake as interpolated from a measured table, the largest first."""
    config: Any = OmegaConf.to_container(OmegaConf.load(ROOT / f"conf/stake/{table}.yaml"))
    stake = StakeTable(**{name: config[name] for name in ("ranks", "cumulative")})
    weights = np.sort(stake.weights(stake.nodes))[::-1]
    return weights / weights.sum()


def effective(table: str) -> float:
    """1 over the sum of the squared shares."""
    return float(1 / (_shares(table) ** 2).sum())


def gini(table: str) -> float:
    shares = _shares(table)
    n = len(shares)
    return float((n + 1 - 2 * np.arange(1, n + 1)) @ shares / n)


def nodes(table: str) -> int:
    return len(_shares(table))


def largest(table: str, count: int) -> float:
    """Share of the stake that the largest hold."""
    return float(_shares(table)[:count].sum())


EXACT = {each.__name__: each for each in (votes, run_of_quorums, effective, gini, nodes, largest)}


# The page


def page() -> str:
    """The whole page as text."""
    made = {title: [row(claim) for claim in claims] for title, claims in groups().items()}
    every = [each for rows in made.values() for each in rows]
    held = sum(each.holds for each in every)
    parts, number = [HEAD.format(command=SELF, held=held, all=len(every))], 0
    for title, rows in made.items():
        parts += [f"\n## {title}\n\n", *_table(rows, number + 1)]
        remarks = _remarks(rows, number + 1)
        parts += ["\n", *remarks] if remarks else []
        number += len(rows)
    return "".join(parts)


def _table(rows: list[Row], first: int) -> list[str]:
    heads = ("", "claim", "source", "parameters", "published", "vecsim", "holds", "command")
    lines = [heads, ("---",) * len(heads)]
    for number, each in enumerate(rows, first):
        claim = each.claim
        source = f"[{claim['source']}]({claim['link']})"
        held = "yes" if each.holds else "**no**"
        made = f"`{claim['command']}`, {_place(claim['value'])}"
        cells = (claim["claim"], source, claim["parameters"], _published(claim), _text(each))
        lines.append((str(number), *cells, held, made))
    return [f"| {' | '.join(cells)} |\n" for cells in lines]


def _remarks(rows: list[Row], first: int):
    """What is said of rows, each text once, after the numbers of its rows."""
    numbers: dict[str, list[str]] = {}
    for number, (claim, _, _) in enumerate(rows, first):
        for text in (claim[key].strip() for key in ("differs", "remark") if key in claim):
            numbers.setdefault(text, []).append(str(number))
    return [f"- **{', '.join(those)}**: {text}\n" for text, those in numbers.items()]


def _place(value: dict[str, Any]) -> str:
    """Where a number is from."""
    if "exact" in value:
        return "exact"
    return f"[summary](../{value['summary']})"


def _published(claim: dict[str, Any]) -> str:
    relation, tolerance = claim.get("relation", "="), claim.get("tolerance", 0)
    bound = "" if relation == "=" else f"{relation} "
    around = f" ± {tolerance:g}" if tolerance else ""
    return f"{bound}{claim['published']:g}{around} {claim['unit']}".strip()


def _text(row: Row) -> str:
    """A number to the digits that its interval bears; an exact one to one digit more than was
    published, four at least."""
    found, unit = row.found, row.claim["unit"]
    width = found.high - found.low
    if width < 1e-12 * abs(found.value):
        published = f"{row.claim['published']:g}".partition("e")[0]
        digits = max(4, 1 + len(published.replace(".", "").lstrip("-0")))
        return f"{found.value:.{digits}g} {unit}".strip()
    digits = max(0, 1 - math.floor(math.log10(width)))
    value, low, high = (f"{each:.{digits}f}" for each in found)
    return f"{value} [{low}, {high}] {unit}".strip()


def main(words: list[str]) -> str | None:
    """Write the page, or check it; what is wrong, if anything."""
    text = page()
    if words == ["--check"]:
        same = PAGE.exists() and PAGE.read_text("utf-8") == text
        return None if same else f"{PAGE.name} is not what {SELF} makes"
    if words:
        return f"words are {' '.join(words)}; allowed: --check, or none"
    PAGE.write_text(text, "utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
