"""Laws of stake: what every node holds, measured tables, and numbers from files."""

import csv
import dataclasses
import gzip
import importlib
import itertools
import json
import math
import os
import pickle
import re
from fractions import Fraction
from pathlib import Path

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scipy import special, stats

import vecsim
from vecsim import places
from vecsim.errors import ConfigError, name_of
from vecsim.model.checks.stake import SIZES
from vecsim.stakes import reading
from vecsim.stakes.equal import Equal
from vecsim.stakes.file import File
from vecsim.stakes.lognormal import Lognormal
from vecsim.stakes.pareto import Pareto
from vecsim.stakes.stake import Stake, Weighted
from vecsim.stakes.table import StakeTable
from vecsim.stakes.zipf import Zipf

OPTIONS = sorted(places.root("conf").glob("stake/*.yaml"))
TABLES = ("avalanche_2026", "avalanche_owners_2026", "flare_2026", "solana_2025", "sui_2025")
UNITS = 2**20


class Given(Weighted):
    """Any weights."""

    given: tuple = ()

    def weights(self, n):
        return self.given[:n]


def section(option):
    """The class that an option names, and its parameters."""
    values = yaml.safe_load((places.root("conf") / f"stake/{option}.yaml").read_text("utf-8"))
    module, _, name = values.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name), values


def built(class_, **values):
    """A component as configurations make it."""
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(class_), values))


def table(option):
    class_, values = section(option)
    return built(class_, **values)


def message(class_, **values):
    """What is said where these parameters are refused."""
    with pytest.raises(ConfigError) as caught:
        built(class_, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Whole units


def by_hand(weights, units):
    """One unit each, and the rest by the largest remainder; among equal ones the larger weight."""
    weights = sorted(map(Fraction, weights), reverse=True)
    n, total = len(weights), sum(weights)
    quotas = [weight * (units - n) / total for weight in weights]
    held = [1 + math.floor(quota) for quota in quotas]
    for _ in range(units - sum(held)):
        best = max(range(n), key=lambda i: quotas[i] + 1 - held[i])
        held[best] += 1
    return held


def check_holdings(stake, n):
    held = stake.holdings(n)
    assert held.dtype == np.int64
    assert held.tolist() == by_hand(map(float, stake.weights(n)), stake.units)
    assert held.sum() == stake.units
    assert held.min() >= 1
    assert (np.diff(held) <= 0).all()
    assert stake.effective(n) == pytest.approx(1 / sum((h / stake.units) ** 2 for h in held))


LAWS = [
    Zipf(),
    Zipf(exponent=0.0),
    Zipf(exponent=10.0),
    Lognormal(),
    Lognormal(sigma=10.0),
    Lognormal(sigma=3.0, cap=0.03),
    Lognormal(sigma=0.0),
    Pareto(),
    Pareto(tail_index=0.1),
    Pareto(tail_index=100.0),
]


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("n", [40, 41, 300])
def test_holdings_are_whole_and_by_the_largest_remainder(law, n):
    for units in (n, n + 1, 2 * n, 10_007):
        check_holdings(dataclasses.replace(law, units=units), n)


def test_equal_remainders_are_not_decided_by_rounding():
    held = Given(given=(15.0, 14.0, 4.0), units=24).holdings(3)
    assert held.tolist() == [11, 10, 3]  # quotas 9 6/11, 8 10/11 and 2 6/11
    draws = np.random.default_rng(0)
    for _ in range(500):
        n = int(draws.integers(1, 9))
        given = tuple(draws.integers(1, 20, n).tolist())
        check_holdings(Given(given=given, units=n + int(draws.integers(0, 40))), n)


@pytest.mark.parametrize("given", [(5e-324, 1.7e308, 1e308), (1.7e308,) * 3, (5e-324,) * 3])
def test_any_scale_of_weights_will_do(given):
    check_holdings(Given(given=given, units=1000), 3)


def test_a_hundred_thousand_nodes():
    for law in (Zipf(), Lognormal(sigma=2.0, cap=0.001), Pareto()):
        held = law.holdings(100_000)
        assert held.sum() == UNITS
        assert held.min() >= 1
        assert held is law.holdings(100_000)  # made once
        assert not held.flags.writeable


def test_n_eff():
    assert Zipf(exponent=0.0).effective(64) == 64
    assert Given(given=(2.0, 1.0, 1.0), units=400_003).effective(3) == pytest.approx(16 / 6, 1e-4)


def test_what_holdings_refuse():
    with pytest.raises(ConfigError) as caught:
        Zipf(units=9).holdings(10)
    assert str(caught.value) == "stake.units is 9; allowed: at least one for each of 10 nodes"
    with pytest.raises(ConfigError) as caught:
        table("sui_2025").holdings(100)
    assert str(caught.value) == "n is 100; allowed: 106, the number of nodes that the stake is of"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"units": 0}, "stake.units is 0; allowed: 1 to 4194304"),
        ({"units": 2**22 + 1}, "stake.units is 4194305; allowed: 1 to 4194304"),
        ({"byzantine": "few"}, "stake.byzantine is 'few'; allowed: random, largest, smallest"),
        ({"initial_accept_of": "n"}, "stake.initial_accept_of is 'n'; allowed: stake or nodes"),
    ],
)
@pytest.mark.parametrize("class_", [Zipf, Lognormal, Pareto])
def test_what_every_law_refuses(class_, values, told):
    assert message(class_, **values) == told


@pytest.mark.parametrize(
    ("class_", "values", "told"),
    [
        (Zipf, {"exponent": -0.1}, "stake.exponent is -0.1; allowed: 0 to 10"),
        (Lognormal, {"sigma": -1}, "stake.sigma is -1.0; allowed: 0 to 10"),
        (Lognormal, {"sigma": math.nan}, "stake.sigma is nan; allowed: 0 to 10"),
        (Lognormal, {"cap": 0}, "stake.cap is 0.0; allowed: above 0, to 1"),
        (Lognormal, {"cap": 1.5}, "stake.cap is 1.5; allowed: above 0, to 1"),
        (Pareto, {"tail_index": 0}, "stake.tail_index is 0.0; allowed: 0.1 to 100"),
        (Pareto, {"tail_index": math.inf}, "stake.tail_index is inf; allowed: 0.1 to 100"),
        (
            StakeTable,
            {},
            "stake.ranks is (); allowed: whole numbers that rise, from 1 to 4194304",
        ),
        (
            StakeTable,
            {"ranks": [0, 2], "cumulative": [0.5, 1]},
            "stake.ranks is (0, 2); allowed: whole numbers that rise, from 1 to 4194304",
        ),
        (
            StakeTable,
            {"ranks": [2, 2], "cumulative": [0.5, 1]},
            "stake.ranks is (2, 2); allowed: whole numbers that rise, from 1 to 4194304",
        ),
        (
            StakeTable,
            {"ranks": [1, 2**23], "cumulative": [0.5, 1]},
            "stake.ranks is (1, 8388608); allowed: whole numbers that rise, from 1 to 4194304",
        ),
        *(
            (
                StakeTable,
                {"ranks": [1, 2], "cumulative": shares},
                f"stake.cumulative is {tuple(map(float, shares))}; "
                "allowed: 2 shares that rise, from above 0 to 1",
            )
            for shares in ([], [1], [0, 1], [0.5, 0.9], [1, 0.5], [0.5, 1.1], [math.nan, 1])
        ),
    ],
)
def test_what_a_law_refuses(class_, values, told):
    assert message(class_, **values) == told


@pytest.mark.parametrize(
    ("class_", "values", "told"),
    [
        (Zipf, {"exponent": "a"}, "stake.exponent is 'a'; allowed: 0 to 10"),
        (Zipf, {"exponent": None}, "stake.exponent is None; allowed: 0 to 10"),
        (Zipf, {"exponent": True}, "stake.exponent is True; allowed: 0 to 10"),
        (Zipf, {"exponent": [1]}, "stake.exponent is [1]; allowed: 0 to 10"),
        (Zipf, {"units": "a"}, "stake.units is 'a'; allowed: 1 to 4194304"),
        (Zipf, {"units": 3.5}, "stake.units is 3.5; allowed: 1 to 4194304"),
        (Zipf, {"shared_fate": "x"}, "stake.shared_fate is 'x'; allowed: true or false"),
        (Lognormal, {"sigma": "a"}, "stake.sigma is 'a'; allowed: 0 to 10"),
        (Lognormal, {"cap": "a"}, "stake.cap is 'a'; allowed: above 0, to 1"),
        (Pareto, {"tail_index": "a"}, "stake.tail_index is 'a'; allowed: 0.1 to 100"),
        (
            StakeTable,
            {"ranks": ["a"]},
            "stake.ranks is ('a',); allowed: whole numbers that rise, from 1 to 4194304",
        ),
        (
            StakeTable,
            {"ranks": (1, 2.5), "cumulative": (0.5, 1)},
            "stake.ranks is (1, 2.5); allowed: whole numbers that rise, from 1 to 4194304",
        ),
        (
            StakeTable,
            {"ranks": 0},
            "stake.ranks is (0,); allowed: whole numbers that rise, from 1 to 4194304",
        ),
        (
            StakeTable,
            {"ranks": [1, 2], "cumulative": ["a", 1]},
            "stake.cumulative is ('a', 1); allowed: 2 shares that rise, from above 0 to 1",
        ),
        (File, {"path": 3}, "stake.path is 3; allowed: a file with a number for each node"),
        (File, {"path": "a", "column": 3}, "stake.column is 3; allowed: the name of a column"),
    ],
)
def test_what_is_of_another_type_in_python(class_, values, told):
    """A configuration checks types; a class that is called does it by itself."""
    with pytest.raises(ConfigError) as caught:
        class_(**values)
    assert str(caught.value) == told


def test_numbers_of_numpy_and_of_jax_are_numbers():
    for number in (np.float64(0.5), np.float32(0.5), jnp.float32(0.5)):
        assert vecsim.point(stake=Zipf(exponent=number), n=90).stake.exponent == 0.5
    assert vecsim.point(stake=Zipf(units=np.int64(90)), n=90).stake.units == 90


# Quantiles


@pytest.mark.parametrize("n", [1, 2, 7, 500])
def test_lognormal_and_pareto_are_quantiles(n):
    at = (np.arange(n, 0, -1) - 0.5) / n
    expected = stats.lognorm.ppf(at, 1.7)
    got = Lognormal(sigma=1.7).weights(n)
    np.testing.assert_allclose(got, expected / expected.sum(), rtol=1e-9)
    np.testing.assert_allclose(Pareto(tail_index=1.3).weights(n), stats.pareto.ppf(at, 1.3))


def test_a_fifth_holds_four_fifths():
    """Of infinitely many, p ** (1 - s) with s = 1 / tail_index.

    A sum over n nodes is an integral by the middles of its cells. It falls short by what the first
    cell lacks, where the integrand has a pole, and by at most a 24th of the curvature at the start
    of each of the others.
    """
    n, s = 10**6, 1 / Pareto().tail_index
    weights = Pareto().weights(n)
    first = 1 / (1 - s) - 0.5**-s
    short = n ** (s - 1) * (first + s * (s + 1) * special.zeta(s + 2) / 24)
    part, whole = 0.2 ** (1 - s) / (1 - s), 1 / (1 - s)
    share = weights[: n // 5].sum() / weights.sum()
    assert (part - short) / (whole - short) <= share <= part / whole
    assert round(part / whole, 2) == 0.8


def capped(shares, cap):
    """The cap as it is described, again and again until nobody is above it."""
    shares, cut = list(shares), set()
    while above := {i for i, share in enumerate(shares) if share > cap * (1 + 1e-9)}:
        cut |= above
        others = [i for i in range(len(shares)) if i not in cut]
        scale = (1 - cap * len(cut)) / sum(shares[i] for i in others)
        shares = [cap if i in cut else share * scale for i, share in enumerate(shares)]
    return shares


@pytest.mark.parametrize("sigma", [0.0, 0.5, 2.0, 6.0])
@pytest.mark.parametrize("cap", [1.0, 0.5, 0.1, 0.03, 0.0201, 0.02])
def test_no_share_is_above_the_cap(sigma, cap):
    free = Lognormal(sigma=sigma).weights(50)
    law = Lognormal(sigma=sigma, cap=cap)
    got = law.weights(50)
    np.testing.assert_allclose(got, capped(free, cap), rtol=1e-9)
    assert got.sum() == pytest.approx(1)
    assert got.max() <= cap * (1 + 1e-9)
    assert got.min() > 0
    assert law.holdings(50).max() <= cap * law.units + 1


@pytest.mark.parametrize("n", range(1, 200))
def test_a_cap_of_one_nth_makes_all_equal(n):
    np.testing.assert_allclose(Lognormal(sigma=4.0, cap=1 / n).weights(n), np.full(n, 1 / n))


def test_a_cap_that_leaves_stake_over():
    with pytest.raises(ConfigError) as caught:
        Lognormal(cap=0.0199).holdings(50)
    assert str(caught.value) == "stake.cap is 0.0199; allowed: 1/n = 0.02 or more"


# Measured tables


def rows(option):
    with (Path(__file__).parent / "data/stake_tables.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["network"] == option]


def as_interpolated(option):
    """Shares of the nodes, the largest first."""
    stake = table(option)
    shares = np.sort(stake.weights(stake.nodes))[::-1]
    assert shares.sum() == pytest.approx(1)
    return shares / shares.sum()


@pytest.mark.parametrize("option", TABLES)
def test_an_option_has_the_rows_of_its_table(option):
    stake, of = table(option), rows(option)
    assert isinstance(stake, StakeTable)
    assert stake.ranks == tuple(int(row["rank"]) for row in of)
    assert stake.cumulative == tuple(float(row["cumulative_share"]) for row in of)
    assert {stake.nodes} == {int(row["nodes"]) for row in of}
    text = (places.root("conf") / f"stake/{option}.yaml").read_text("utf-8")
    comments = " ".join(line for line in text.splitlines() if line.startswith("#"))
    for key in ("date", "gini", "n_eff", "nodes"):
        assert of[0][key] in comments
    assert "Source: " in comments


@pytest.mark.parametrize("option", TABLES)
def test_the_cumulative_share_is_linear_in_the_logarithm(option):
    stake = table(option)
    together = np.cumsum(stake.weights(stake.nodes))
    known = [(0, 0.0), *zip(stake.ranks, stake.cumulative, strict=True)]
    for (low, below), (high, above) in itertools.pairwise(known):
        for rank in range(low + 1, high + 1):
            part = math.log((1 + rank) / (1 + low)) / math.log((1 + high) / (1 + low))
            assert together[rank - 1] == pytest.approx(below + part * (above - below))


def test_n_eff_and_gini_of_the_tables():
    found = {option: as_interpolated(option) for option in TABLES}
    n_eff = [round(1 / float(shares @ shares), 1) for shares in found.values()]
    assert n_eff == [128.6, 44.2, 110.6, 111.5, 70.9]
    for option, expected in (("avalanche_2026", 0.7812), ("avalanche_owners_2026", 0.8151)):
        shares = found[option]
        n = len(shares)
        gini = (n + 1 - 2 * np.arange(1, n + 1)) @ shares / n
        assert round(float(gini), 4) == expected


def polls(held, k=20):
    """Distinct holders in a poll of k distinct units: the mean, and P(k of them)."""
    units = sum(held)
    every = math.comb(units, k)
    mean = sum(1 - Fraction(math.comb(units - h, k), every) for h in held)
    ways = [1] + [0] * k  # to draw so many units, all of different holders
    for h in held:
        for size in range(k, 0, -1):
            ways[size] += ways[size - 1] * h
    return float(mean), ways[k] / every


def test_distinct_validators_in_a_poll():
    quotas = as_interpolated("avalanche_2026") * UNITS
    whole = np.floor(quotas).astype(int)
    whole[np.argsort(whole - quotas)[: UNITS - whole.sum()]] += 1
    mean, all_distinct = polls(whole.tolist())
    assert round(mean, 3) == 18.618
    assert round(all_distinct, 4) == 0.2260
    # One unit for each node first takes a little from the largest.
    mean, all_distinct = polls(table("avalanche_2026").holdings(662).tolist())
    assert round(mean, 3) == 18.619
    assert round(all_distinct, 4) == 0.2264


@pytest.mark.parametrize(
    ("share", "distinct", "with_replacement"),
    [
        ("0.1", "9.4739e-12", "9.4813e-12"),
        ("0.2", "1.80213e-07", "1.80276e-07"),
        ("0.3", "4.2933e-05", "4.2940e-05"),
    ],
)
def test_byzantine_majorities_of_a_poll(share, distinct, with_replacement):
    p = Fraction(share)
    bad = round(p * UNITS)
    ways = sum(math.comb(bad, j) * math.comb(UNITS - bad, 20 - j) for j in range(15, 21))
    digits = len(distinct.partition("e")[0]) - 2
    assert f"{ways / math.comb(UNITS, 20):.{digits}e}" == distinct
    alone = sum(math.comb(20, j) * p**j * (1 - p) ** (20 - j) for j in range(15, 21))
    assert f"{float(alone):.{digits}e}" == with_replacement


# Files


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes stake.csv in the working folder."""
    monkeypatch.chdir(tmp_path)

    def write(content):
        data = content if isinstance(content, bytes) else content.encode()
        Path("stake.csv").write_bytes(data)
        return "stake.csv"

    return write


def numbers(stake):
    return stake.weights(stake.nodes).tolist()


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("3\n1\n2\n", ""),
        ("1\n2\n3", ""),
        ("1\r\n2\r\n3\r\n", ""),
        ("\ufeff1\r2\r3\r", ""),
        ("# of today\n\n 1 \n  # more\n+2.0\n\n.3e1\n", ""),
        ("stake\n1\n2\n3\n", ""),
        ("stake\n1\n2\n3\n", "stake"),
        ('"stake, AVAX"\n"1"\n2\n3\n', "stake, AVAX"),
        ("node,stake\na,1\nb,2\nc,3\n", ""),
        ("a,1\nb,2\nc,3\n", ""),
        ("1,a\n2,b\n3,c\n", ""),
        ('"Nodes, Inc.",1\n"say ""no""",2\n c , 3\n', ""),
        ("node , rank, stake\na,1,3\nb,2,2\nc,3,1\n", "stake"),
        ("1st,2nd\n1,9\n2,9\n3,9\n", "1st"),
        ("node,stake,name\n0xab,1,\n0xcd,2,2\n0xef,3,nan\n", ""),
    ],
)
def test_files_that_say_the_same(write, content, column):
    first = built(File, path=write("1\n2\n3\n"))
    for data in (content.encode(), gzip.compress(content.encode())):
        stake = built(File, path=write(data), column=column)
        assert numbers(stake) == [3, 2, 1]
        assert stake.parameters() == first.parameters()
    check_holdings(stake, 3)


def test_integers_beyond_53_bits(write):
    given = [10**27 + 7, 31_415_926_535_897_932_384_626_433, 2**80, 2**53 + 1]
    stake = built(File, path=write("\n".join(map(str, given))))
    assert numbers(stake) == sorted(map(float, given), reverse=True)
    check_holdings(stake, 4)


def test_a_file_is_known_by_its_numbers(write):
    stake = built(File, path=write("1\n2\n3\n"))
    told = stake.parameters()
    assert told.keys() == {"units", "byzantine", "initial_accept_of", "shared_fate", "numbers"}
    assert re.fullmatch("[0-9a-f]{64}", told["numbers"])
    os.rename("stake.csv", "other.csv")
    assert built(File, path="other.csv").parameters() == told
    again = built(File, path=write("1\n2\n3.5\n"))
    assert again.parameters()["numbers"] != told["numbers"]
    assert again != stake
    assert again.holdings(3).tolist() != stake.holdings(3).tolist()
    assert built(File, path=write("1\n2\n3\n")) == stake
    assert built(File, path="stake.csv", units=9).parameters() == told | {"units": 9}


def test_a_file_is_not_needed_again(write):
    stake = built(File, path=write("a,5\nb,2\n"), units=100)
    os.remove("stake.csv")
    copies = [pickle.loads(pickle.dumps(stake)), jax.tree.map(lambda leaf: leaf, stake)]
    for copy in copies:
        assert copy == stake
        assert hash(copy) == hash(stake)
        assert copy.parameters() == stake.parameters()
        assert copy.nodes == 2
        assert copy.holdings(2).tolist() == stake.holdings(2).tolist() == [71, 29]


def test_an_object_may_be_of_a_file_anywhere(write, tmp_path_factory, monkeypatch):
    path = Path(write("1\n2\n3\n")).resolve()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    point = vecsim.point("protocol=ecash", stake=File(path=str(path), units=9))
    assert point.n == 3
    assert point.stake == File(path=str(path), units=9)
    assert point.stake.holdings(3).tolist() == [4, 3, 2]


def test_only_one_law_reads():
    classes = [section(file.stem)[0] for file in OPTIONS]
    assert {class_ for class_ in classes if class_.reads} == {File}


OF = "of stake.path 'stake.csv'"
FILE = "stake.path is 'stake.csv'; allowed:"
NUMBER = "allowed: a number above 0, such as 12, 1.5 or 2e9"
BAD = ["x", "-3", "0", "0.0", "-0", "nan", "inf", "-inf", "1e400", "1e-400", "1_000", "0x10", "1 A"]


@pytest.mark.parametrize("text", [*BAD, "٣"])
def test_what_is_no_number(write, text):
    told = f"line 2 {OF} is {text!r}; {NUMBER}"
    assert message(File, path=write(f"1\n{text}\n3\n")) == told
    assert message(File, path=write(f"node,stake\na,{text}\n"), column="stake") == told
    if text not in ("x", "٣"):  # which may be the name of a column
        told = told.replace("line 2", "line 1")
        assert message(File, path=write(f"{text}\n1\n3\n")) == told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", f"{FILE} a file with at least one number"),
        ("\n# 1\n", f"{FILE} a file with at least one number"),
        ("stake\n", f"{FILE} a file with at least one number"),
        (b"1\n\xff", f"{FILE} text in UTF-8, or gzip of it"),
        ("1\n2\n".encode("utf-16"), f"{FILE} text in UTF-8, or gzip of it"),
        (gzip.compress(b"1\xff", mtime=0), f"{FILE} text in UTF-8, or gzip of it"),
        (gzip.compress(b"1\n2\n", mtime=0)[:-9], f"{FILE} gzip that is not damaged"),
        (gzip.compress(b"1\n2\n", mtime=0)[:-4] + b"\0\0\0\7", f"{FILE} gzip that is not damaged"),
        (b"\x1f\x8b\x08\x00 no", f"{FILE} gzip that is not damaged"),
        ("1\n\0\n", f"line 2 {OF} is '\\x00'; {NUMBER}"),
        ("1\n,\n", f"line 2 {OF} is ','; allowed: as many cells as in the first row, 1"),
        ("a,1\nb\n", f"line 2 {OF} is 'b'; allowed: as many cells as in the first row, 2"),
        ("a,1\nb,\n", f"line 2 {OF} is ''; {NUMBER}"),
        ("a,b\nc,d\n", f"line 2 {OF} is 'c,d'; {NUMBER}, in a cell"),
        ('a,"1\nb",2\n', f"line 1 {OF} is 'a,\"1'; allowed: quotes in pairs, around a cell"),
    ],
)
def test_files_that_are_refused(write, content, told):
    assert message(File, path=write(content)) == told


@pytest.mark.parametrize(
    ("content", "column", "allowed"),
    [
        ("rank,stake\n\n1,2\n", "", f"the name in a header, for line 3 {OF} has 2 numbers"),
        ("1,234\n", "", f"the name in a header, for line 1 {OF} has 2 numbers"),
        ("a,b\n1,2\n", "c", f"what line 1 {OF} has once: 'a', 'b'"),
        ("#\na,a\n1,2\n", "a", f"what line 2 {OF} has once: 'a', 'a'"),
        ("1\n2\n", "a", f"what line 1 {OF} has once: '1'"),
        ("", "c", "a name in the header, but stake.path 'stake.csv' is empty"),
    ],
)
def test_columns_that_are_refused(write, content, column, allowed):
    told = message(File, path=write(content), column=column)
    assert told == f"stake.column is {column!r}; allowed: {allowed}"


def test_a_header_alone(write):
    told = f"{FILE} a file with at least one number"
    assert message(File, path=write("node,stake\n"), column="stake") == told
    assert message(File, path="stake.csv") == told


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.binary() | st.text('019.,-e"#\n\r\t aé\0'), st.sampled_from(["", "a"]))
def test_any_content_is_read_or_refused_in_a_line(write, content, column):
    path, told = write(content), ""
    try:
        assert min(numbers(built(File, path=path, column=column))) > 0
    except ConfigError as error:
        told = str(error)
    assert told.isprintable()
    assert not told or "; allowed: " in told


def test_paths_that_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    told = {
        "": "stake.path is ''; allowed: a file with a number for each node",
        "none.csv": "stake.path is 'none.csv'; allowed: a file that exists",
        "a\0b": r"stake.path is 'a\x00b'; allowed: a file that exists",
        "folder": "stake.path is 'folder'; allowed: an ordinary file",
        "pipe": "stake.path is 'pipe'; allowed: an ordinary file",
        "/dev/zero": "stake.path is '/dev/zero'; allowed: an ordinary file",
        "x" * 300: f"stake.path is '{'x' * 99}...; allowed: a file that can be read "
        "(File name too long)",
    }
    assert {path: message(File, path=path) for path in told} == told
    assert message(File) == told[""]
    assert message(File, path="???") == told[""]  # OmegaConf's word for what is to be set


def test_bounds_of_a_file(write, monkeypatch):
    line = "1" * 10_000
    assert built(File, path=write("1\n# " + line[3:] + "\n")).nodes == 1
    told = message(File, path=write(f"1\n{line}1\n"))
    shown = "1" * 99
    assert told == (
        f"line 2 of stake.path 'stake.csv' is '{shown}...; allowed: at most 10000 characters"
    )
    assert reading.MOST_NUMBERS == 1_000_000
    monkeypatch.setattr(reading, "MOST_NUMBERS", 3)
    assert built(File, path=write("node,stake\na,1\n\nb,2\nc,5\n")).nodes == 3
    told = message(File, path=write("1\n2\n3\n4\n"))
    assert told == "stake.path is 'stake.csv'; allowed: at most 3 numbers"
    assert reading.MOST_MIB == 64
    monkeypatch.setattr(reading, "MOST_MIB", 1)
    full = b"5\n" + b"\n" * (2**20 - 2)
    assert built(File, path=write(full)).nodes == 1
    assert built(File, path=write(gzip.compress(full, mtime=0))).nodes == 1
    told = message(File, path=write(full + b"\n"))
    assert told == "stake.path is 'stake.csv'; allowed: at most 1 MiB"
    told = message(File, path=write(gzip.compress(full + b"\n", mtime=0)))
    assert told == "stake.path is 'stake.csv'; allowed: at most 1 MiB when unpacked"


def test_a_hundred_thousand_numbers(write):
    stake = built(File, path=write("\n".join(str(10**24 + i) for i in range(100_000))))
    assert stake.nodes == 100_000
    assert stake.holdings(100_000).sum() == UNITS


# Options


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: file.stem)
def test_an_option_has_every_field_of_its_class(file, write):
    class_, values = section(file.stem)
    assert issubclass(class_, Stake)
    assert set(values) == {field.name for field in dataclasses.fields(class_) if field.init}
    assert yaml.safe_load(file.read_text("utf-8"))["_target_"] == name_of(class_)
    if class_ is File:
        assert values.pop("path") == ""
        values["path"] = write("1\n")
    stake = built(class_, **values)
    if class_ is not StakeTable:
        assert stake == class_(**{"path": values["path"]} if class_ is File else {})
    assert class_.identity == name_of(class_).removeprefix("vecsim.")


def test_there_is_an_option_for_every_law():
    names = {"equal", "zipf", "lognormal", "pareto", "file", *TABLES}
    assert {file.stem for file in OPTIONS} == names


def test_numbers_of_nodes():
    found = {option: table(option).nodes for option in TABLES}
    assert found == dict(zip(TABLES, (662, 504, 178, 954, 106), strict=True))
    assert {law.nodes for law in (Equal(), *LAWS)} == {None}


# Laws of one's own


class Two(Weighted):
    """One node that holds more than the others."""

    big: float = 10.0

    def weights(self, n):
        return np.r_[self.big, np.ones(n - 1)]


class Wrong(Two):
    """What a law must not give, by the name of its fault."""

    fault: str = ""

    def weights(self, n):
        good = super().weights(n)
        return {
            "nothing": good - 1,
            "endless": good * np.inf,
            "too few": good[1:],
            "text": good.astype(str),
            "chance": good * np.random.default_rng().random(),
        }[self.fault]


def test_a_law_of_ones_own_is_checked():
    vecsim.check(Two())
    vecsim.check(Equal())
    name = f"{__name__}.Wrong.weights"
    for fault, message in (
        ("nothing", r"\(2\)\[1\] is 0.0; allowed: a finite number above 0"),
        ("endless", r"\(1\)\[0\] is inf; allowed: a finite number above 0"),
        ("too few", r"\(1\) is 'float64 of shape \(0,\)'; allowed: numbers of shape \(1,\), one f"),
        ("text", r"\(1\) is '<U\d+ of shape \(1,\)'; allowed: numbers of shape \(1,\), one for"),
        ("chance", r"\(1\) is 'other numbers when it is called again'; allowed: always the same"),
    ):
        with pytest.raises(ConfigError, match=name + message):
            vecsim.check(Wrong(fault=fault))
    with pytest.raises(ConfigError, match=r"\.Half extends Stake alone; allowed: a class that ext"):
        vecsim.check(Half())


class Late(Weighted):
    """A law that goes wrong for more nodes than are tried."""

    fault: str = ""

    def weights(self, n):
        if n <= max(SIZES):
            return np.ones(n)
        return {"longer": np.ones(n + 1), "below": np.arange(n) - 1.0, "raises": [1, ""]}[
            self.fault
        ]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("longer", r"\(101\) is 'float64 of shape \(102,\)'; allowed: numbers of shape \(101,\)"),
        ("below", r"\(101\)\[0\] is -1.0; allowed: a finite number above 0"),
        ("raises", r"\(101\) is '<U\d+ of shape \(2,\)'; allowed: numbers of shape \(101,\)"),
    ],
)
def test_a_law_is_checked_for_the_nodes_that_there_are(fault, message):
    law = Late(fault=fault)
    vecsim.check(law)
    with pytest.raises(ConfigError, match=f"{__name__}.Late.weights{message}"):
        vecsim.point(stake=law, n=101)


class Half(Stake):
    """Neither equal nor weighted."""


def test_a_law_of_ones_own_runs(tmp_path):
    data = vecsim.run(stake=Two(big=50.0), n=40, trials=20, output=str(tmp_path / "own"))
    assert data.sizes == {"trial": 20}
    assert (data["byzantine_stake"] == 0).all()
    assert json.loads(data.attrs["config"])["stake"]["big"] == 50.0
