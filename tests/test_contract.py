"""What every option in conf/ promises: it builds, compiles, keeps types, and is data in a sweep."""

import json
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compilations, run
from omegaconf import OmegaConf

from vecsim import places
from vecsim.engines.agents.prepare import agents_program_key
from vecsim.model import build
from vecsim.model.point import Point
from vecsim.polls import counted
from vecsim.protocols.snowflake import Snowflake
from vecsim.types import Adversary, Counts, Protocol, View, decided, identity_of

CONF = places.root("conf")
NEEDED = {"mixture": {"of": {"balance_pooled": 0.5, "random_voting": 0.25, "silent": 0.25}}}


def options(kind):
    return sorted(path.stem for path in (CONF / kind).glob("*.yaml"))


def built(kind, option, **settings):
    section = OmegaConf.to_container(OmegaConf.load(CONF / kind / f"{option}.yaml"))
    section |= NEEDED.get(option, {})
    return build.component(kind, section | settings)


def point_of(protocol="snowflake", adversary="random_voting", network="complete", **fields):
    numbers = {"n": 150, "byzantine_fraction": 0.1, "initial_accept": 0.5, "schedule": "lockstep"}
    parts = (("protocol", protocol), ("adversary", adversary), ("network", network))
    made = {k: v if not isinstance(v, str) else built(k, v) for k, v in parts}
    p = Point(**{**numbers, **fields, **made})
    p.check()
    return p


def view_of(**fields):
    numbers = dict.fromkeys(View._fields, 1) | {"honest": 20, "peers": 24, "ones": 8, "k": 10}
    numbers |= {"byzantine": 5, "alpha": 7, "start_ones": 10} | fields
    coins = {"trial_coin": jnp.float32(0.3), "round_coin": jnp.float32(0.7)}
    return View(**{k: jnp.int32(v) for k, v in numbers.items()} | coins)


def test_there_is_an_option_for_every_file():
    for kind, folder in (("protocol", "protocols"), ("adversary", "adversaries")):
        files = {p.stem for p in (places.PACKAGE / folder).glob("*.py")}
        used = {type(built(kind, option)).__module__.rpartition(".")[2] for option in options(kind)}
        assert used == files - {"__init__", "checks", "streak", "shared"}
    assert len(options("adversary")) == 16


def test_identities_stay():
    """Random words follow from them, so that they may not change when a class moves."""
    kinds = ("protocol", "adversary", "network")
    every = [(kind, option) for kind in kinds for option in options(kind)]
    points = {f"{kind}={option}": point_of(**{kind: option}, n=1000) for kind, option in every}
    for option in options("stake"):
        if option != "file":  # which is known by the numbers in it
            stake = built("stake", option)
            network = built("network", "complete", exclude_self=not stake.weighted)
            numbers = {"n": stake.nodes or 1000, "stake": stake, "network": network}
            points[f"stake={option}"] = point_of(**numbers)
    known = json.loads((Path(__file__).parent / "data/identities.json").read_text())
    assert {name: f"{point.hash():016x}" for name, point in points.items()} == known
    for point in points.values():
        for part in (point.protocol, point.adversary, point.network, point.stake):
            assert "identity" in vars(type(part))


def test_a_class_of_ones_own_has_its_own_identity():
    """Also where it extends one of vecsim's, or was copied from it with all that it says."""
    copied = type("Snowflake", (Snowflake,), {"identity": Snowflake.identity})
    for rule in (copied(), type("Other", (Snowflake,), {})()):
        assert identity_of(rule) == f"{type(rule).__module__}.{type(rule).__qualname__}"
    assert identity_of(Snowflake()) == "vecsim.protocols.snowflake.Snowflake"


CONDITIONS = {"alpha_preference": 12, "conditions": [[12, 6], [15, 4], [18, 2]]}


@pytest.mark.parametrize("option", [*options("protocol"), "snowflake, conditions"])
def test_protocols(option):
    option, conditions, _ = option.partition(", conditions")
    rule = built("protocol", option, **CONDITIONS if conditions else {})
    assert isinstance(rule, Protocol)
    assert eqx.filter(rule, callable) is not None
    low, *more = rule.quorums
    assert rule.k / 2 < low
    assert [low, *more, rule.k] == sorted([low, *more, rule.k])
    colours = jnp.arange(12, dtype=jnp.uint32).reshape(3, 4) % jnp.uint32(2)
    words = 1 + len(rule.further())

    def every(cells):
        """All words of cells, each of which must be uint32 and of the colours' shape."""
        listed = cells if isinstance(cells, tuple) else (cells,)
        assert len(listed) == words
        assert all((word.dtype, word.shape) == (jnp.uint32, (3, 4)) for word in listed)
        return [np.asarray(word) for word in listed]

    cells = jax.jit(lambda rule: rule.start(colours))(rule)
    assert np.array_equal(every(cells)[0] & 7, colours)
    traces = 0

    @jax.jit
    def step(rule, cells, positive, answered, number):
        nonlocal traces
        traces += 1
        neutral = (answered - positive) * jnp.uint32(rule.neutral)
        counts = Counts(positive, answered, neutral, number, number % jnp.uint32(5))
        new = rule.step(cells, counts if rule.counts else counted(rule.quorums, counts))
        over = rule.gives_up(new) if rule.stops else False
        return new, jax.tree.map(partial(jnp.where, decided(new) | over), cells, new)

    numbers = np.random.default_rng(0).integers(0, rule.k + 1, (50, 3, 4), dtype=np.uint32)
    # One whose k is fixed has another number that is data.
    which = (lambda rule: rule.k) if "k" in vars(rule) else (lambda rule: rule.max_rounds)
    changed = eqx.tree_at(which, rule, which(rule) + 2)
    for each in (rule, changed):
        for number, positive in enumerate(numbers):
            new, cells = step(each, cells, positive, np.uint32(rule.k), np.uint32(number << 26))
            first = every(new)[0]
            assert (first.astype(int) < rule.cell_limit()).all()
            assert not (first & 4).any()
    assert traces == 1


@pytest.mark.parametrize("option", options("adversary"))
def test_adversaries(option):
    adversary = built("adversary", option)
    assert isinstance(adversary, Adversary)
    assert adversary.groups in (1, 2)
    assert 0 <= adversary.admission <= 1
    for way, neither in zip(adversary.ways, adversary.neutrals, strict=True):
        for (accept, reject), neutral in zip(way, neither, strict=True):
            assert min(accept, reject, neutral) >= 0
            assert accept + reject + neutral <= 1
    traces = 0

    @jax.jit
    def answer(adversary, view, memory):
        nonlocal traces
        traces += 1
        return adversary.answer(view, memory)

    for round_, ones in ((0, 0), (1, 8), (60, 15), (60, 20)):
        view = view_of(round=round_, ones=ones, decided_1=ones // 3, decided_0=0)
        number = adversary.memories
        before = jnp.ones((number,) if number > 1 else (), jnp.int32)
        mixes, memory = answer(adversary, view, before)
        eager, _ = adversary.answer(view, before)
        assert mixes.dtype == jnp.int32
        assert mixes.shape == (adversary.groups, 2)
        assert (jnp.asarray(memory).dtype, jnp.shape(memory)) == (jnp.int32, before.shape)
        assert int(mixes.min()) >= 0
        assert int(mixes.max()) < len(adversary.ways)
        assert np.array_equal(mixes, eager)
    assert traces == 1


@pytest.mark.parametrize("option", options("network"))
def test_networks(option):
    network = built("network", option, degree=40, graphs=3)
    (out,) = run([point_of(network=network, n=120)], 8)
    assert (out["decided_0"] + out["decided_1"] + out["undecided"] == 108).all()


def test_protocols_and_adversaries_run_together():
    plain = ("slush", "snowflake", "snowball", "qr_avalanche")
    points = [
        point_of(protocol, adversary)
        for protocol in options("protocol")
        for adversary in options("adversary")
        if protocol in plain or adversary in ("random_voting", "safety_split")
    ]
    with compilations() as compiled:
        outs = run(points, 4)
    assert len(compiled) == len({agents_program_key(p) for p in points})
    for p, out in zip(points, outs, strict=True):
        total = out["decided_0"] + out["decided_1"] + out["undecided"]
        assert (total == p.honest).all()
        for name, values in out.items():
            times = name in ("rounds", "unanimity") or name.endswith("_decision")
            assert values.dtype == (np.float64 if times else np.int32)
            assert (np.isnan(values) | (values >= 0)).all()


# Sweeps

SWEEPS = {
    "snowflake": {
        "k": (9, 21, 20),
        "alpha_preference": (11, 14, 20),
        "beta": (5, 19, 30),
        "max_rounds": (60, 999),
    },
    "snowflake, conditions": {
        "conditions": ([[12, 6], [15, 4], [18, 2]], [[13, 6], [14, 6], [20, 1]]),
    },
    "snowball": {"k": (9, 21, 20), "alpha_preference": (11, 20), "beta": (5, 30)},
    "slush": {"k": (9, 21), "alpha": (11, 19), "m": (5, 300)},
    "qr_avalanche": {
        "k": (29, 30),
        "alpha": (16, 30),
        "beta": (5, 100),
        "confidence_threshold": (0, 0.5, 1.0),
        "initial_confidence": (0.0, 1.0),
        "max_rounds": (5, 150),
    },
    "ecash": {
        "conclusive": (5, 8),
        "finalization_score": (1, 128, 255),
        "stale_votes": (0, 50),
        "stale_factor": (0, 64),
        "max_rounds": (60, 300),
    },
    "fpc": {
        "k": (9, 21),
        "first_low": (0.0, 0.5),
        "first_high": (0.7, 1.0),
        "low": (0.1, 0.6),
        "high": (0.7, 1.0),
        "finality": (1, 10, 255),
        "cooling": (0, 3),
        "max_rounds": (60, 100),
    },
}
ADVERSARY_SWEEPS = {
    "balance_pooled": {"lag": (0, 1)},
    "coordinated_collusion": {"reject_share": (0.0, 0.5, 1)},
    "sybil": {"admission_rate": (0.2, 0.5), "reject_share": (0.0, 1.0)},
    "safety_split": {"target": (0, 1)},
    "release": {"release_round": (0, 5, 50)},
}


def swept():
    for option, numbers in SWEEPS.items():
        if "conditions" in numbers:
            name, rest = option.partition(",")[0], {"alpha_preference": 12}
            for each in numbers["conditions"]:
                yield option, [built("protocol", name, conditions=each, **rest)], None
            continue
        full = {"alpha_confidence": 20} if "alpha_preference" in numbers else {}
        low = {"alpha_preference": 15} if full else {}
        for name, values in numbers.items():
            settings = []
            for value in values:
                setting = {name: value}
                if full:
                    # Equal alphas, so that one number moves and the draw stays the same.
                    k = value if name == "k" else 20
                    alpha = value if name == "alpha_preference" else k // 2 + 1
                    setting |= {"k": k, "alpha_preference": alpha, "alpha_confidence": alpha}
                elif name == "k" and option != "fpc":
                    setting["alpha"] = value // 2 + 1
                settings.append(setting)
            yield f"{option}.{name}", [built("protocol", option, **low | s) for s in settings], None
    for option, numbers in ADVERSARY_SWEEPS.items():
        for name, values in numbers.items():
            made = [built("adversary", option, **{name: value}) for value in values]
            yield f"{option}.{name}", None, made


@pytest.mark.parametrize("schedule", ["lockstep", "async"])
def test_a_sweep_over_numbers_compiles_once(schedule):
    """All numbers of a component, and of the point, are data."""
    by_option = {}
    for name, rules, adversaries in swept():
        for rule in rules or [built("protocol", "slush", m=5)]:
            for adversary in adversaries or [built("adversary", "random_voting")]:
                p = point_of(rule, adversary, n=31, schedule=schedule)
                by_option.setdefault(name.partition(".")[0], []).append(p)
    for points in by_option.values():
        points += [points[0]._replace(byzantine_fraction=f) for f in (0.0, 0.3)]
        points += [points[0]._replace(initial_accept=f) for f in (0.0, 1.0)]
        if schedule == "async":
            points = [p for p in points if p.protocol.max_rounds <= 300]
        with compilations() as compiled:
            run(points, 2)
        assert len(compiled) == 1


def test_replacement_loss_and_self_are_data():
    networks = [
        built("network", "complete", sampling=sampling, exclude_self=own, loss=loss)
        for sampling in ("without_replacement", "with_replacement")
        for own in (True, False)
        for loss in (0.0, 0.1)
    ]
    with compilations() as compiled:
        run([point_of(network=network, n=32) for network in networks], 2)
    assert len(compiled) == 1


def test_the_byzantine_sweep_compiles_once_per_protocol():
    experiment = OmegaConf.to_container(
        OmegaConf.load(CONF / "experiment" / "byzantine_sweep.yaml")
    )
    sweep = experiment["sweep"]
    width = sweep["byzantine_fraction"]
    fractions = np.arange(width["start"], width["stop"] + width["step"] / 2, width["step"])
    points = [
        point_of(
            protocol,
            adversary,
            n=build.USUAL_N,
            initial_accept=share,
            byzantine_fraction=round(fraction, 12),
        )
        for protocol in sweep["protocol"]
        for adversary in sweep["adversary"]
        for share in sweep["initial_accept"]
        for fraction in fractions.tolist()[::8]
    ]
    assert len({agents_program_key(p) for p in points}) == len(sweep["protocol"])
    with compilations() as compiled:
        run(points, 2, size=64)
    assert len(compiled) == len(sweep["protocol"])
