"""Running points without a study, and the statistics that tests compare with."""

import contextlib
import math
import random
from fractions import Fraction

import jax
import numpy as np
import oracle
from jax.sharding import Mesh
from scipy import stats

from vecsim.adversaries.always_reject import AlwaysReject
from vecsim.adversaries.balance_informed import BalanceInformed
from vecsim.adversaries.flip import Flip
from vecsim.adversaries.neutral import Neutral
from vecsim.adversaries.random_voting import RandomVoting
from vecsim.adversaries.silent import Silent
from vecsim.engines.agents.prepare import Assembler, agents_program_key, agents_shape
from vecsim.engines.agents.tables import Stack
from vecsim.engines.population.poll_results import result_probabilities
from vecsim.engines.population.weights import polls_of, third_part
from vecsim.engines.trial import all_devices
from vecsim.model.point import Point
from vecsim.model.poll_law import Pool
from vecsim.network import Network
from vecsim.stakes.equal import Equal
from vecsim.stakes.zipf import Zipf
from vecsim.studies.decisions import Program

SIGMAS = 5
LEAST_P = 1e-6
VOTERS = (AlwaysReject, BalanceInformed, Flip, Neutral, RandomVoting, Silent)


def pool_of(honest, byzantine, k, accept=0.0, reject=0.0, loss=0.0, replacement=False):
    """A pool with one kind of Byzantine nodes."""
    return Pool(honest, k, ((byzantine, accept, reject),), loss, replacement)


def point(
    protocol,
    adversary,
    *,
    n=20,
    byzantine_fraction=0.0,
    initial_accept=0.5,
    schedule="lockstep",
    stake=None,
    **network,
):
    """A checked point."""
    parts = protocol, adversary, Network(**network), stake or Equal()
    built = Point(n, byzantine_fraction, initial_accept, schedule, *parts)
    built.check()
    return built


def mesh_of(devices):
    return Mesh(jax.devices()[:devices], ("trials",))


def run(points, trials, *, seed=0, size=None, mesh=None, first=0, change=None, explicit=False):
    """Outcomes of trials first ... first + trials - 1 of each point: a list of dicts of arrays.

    Points that share a program share its batches. size: trials of a batch. change: fields of the
    program's Shape to replace. explicit: draw every peer by itself (complete graph, lockstep).
    """
    mesh = mesh or all_devices()
    out = [None] * len(points)
    groups = {}
    for i, p in enumerate(points):
        own = p.network.exclude_self if explicit else None
        groups.setdefault((agents_program_key(p), own), []).append(i)
    for members in groups.values():
        served = [points[i] for i in members]
        room = size or -(-min(trials * len(served), 4096) // mesh.size) * mesh.size
        program = Program(served, seed, room, mesh)
        program.assembler = assembler_of(served, room, seed, change, explicit)
        values = program.run([(p, first + np.arange(trials)) for p in served])
        for row, i in enumerate(members):
            out[i] = {name: v[row * trials : (row + 1) * trials] for name, v in values.items()}
    return out


def assembler_of(points, size, seed, change=None, explicit=False):
    shape = agents_shape(points, seed)._replace(**(change or {}))
    assembler = Assembler(shape, points, size, seed)
    if explicit:
        n, with_self = points[0].n, not points[0].network.exclude_self
        everybody = np.broadcast_to(np.arange(n, dtype=np.int32), (n, n))
        table = everybody if with_self else everybody[~np.eye(n, dtype=bool)].reshape(n, n - 1)
        assembler.neighbours = np.ascontiguousarray(table)[None]
        assembler.polls = Stack(0, assembler.polls.row)
        assembler.shape = shape._replace(engine="graph", nodes=n, bits=32, degree=table.shape[1])
    return assembler


@contextlib.contextmanager
def compilations(name="batch"):
    """A list that grows with every program that the jitted function of this name is compiled to."""
    compiled = []

    def listen(event, duration, *, fun_name="", **about):
        if event.endswith("/backend_compile_duration") and fun_name in (name, f"jit({name})"):
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def standard_error(values):
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def assert_mean(values, expected, expected_error=0.0):
    assert not np.isnan(values).any()
    error = math.hypot(standard_error(values), expected_error)
    assert abs(np.mean(values) - expected) <= SIGMAS * error, (np.mean(values), expected, error)


def assert_rate(events, expected):
    """Events is a boolean array; the expected rate is exact."""
    events = np.asarray(events)
    if expected in (0, 1):
        assert events.mean() == expected
        return
    p = stats.binomtest(int(events.sum()), len(events), float(expected)).pvalue
    assert p > LEAST_P, (events.mean(), expected, p)


def assert_distribution(observed, probabilities):
    """Chi-square of counts per cell; cells that expect few are put together.

    Nothing may be observed where the probability is 0.
    """
    observed = np.asarray(observed, float).ravel()
    probabilities = np.asarray(probabilities, float).ravel()
    assert abs(probabilities.sum() - 1) < 1e-9
    assert not observed[probabilities == 0].any()
    total = observed.sum()
    expected = probabilities * total
    order = np.argsort(expected)
    small = np.cumsum(expected[order]) < 10
    rare, rest = order[small], order[~small]
    cells_seen = [*observed[rest], observed[rare].sum()]
    cells_due = [*expected[rest], expected[rare].sum()]
    assert stats.binomtest(int(cells_seen[-1]), int(total), cells_due[-1] / total).pvalue > LEAST_P
    if len(rest) > 1:
        due = np.array(cells_due[:-1])
        seen = np.array(cells_seen[:-1])
        due *= seen.sum() / due.sum()
        assert stats.chisquare(seen, due).pvalue > LEAST_P


def assert_same_distribution(first, second):
    """Two samples of numbers (NaN is a value of its own): chi-square on shared bins."""
    first, second = (np.where(np.isnan(v), np.inf, np.asarray(v, float)) for v in (first, second))
    both = np.concatenate([first, second])
    values, inverse = np.unique(both, return_inverse=True)
    if len(values) == 1:
        return
    counts = np.stack(
        [
            np.bincount(inverse[: len(first)], minlength=len(values)),
            np.bincount(inverse[len(first) :], minlength=len(values)),
        ]
    )
    # Neighbouring values go into one bin until it holds 40 or more.
    ends, have = [0], 0
    for i, count in enumerate(counts.sum(axis=0)):
        have += count
        if have >= 40:
            ends.append(i + 1)
            have = 0
    ends[-1:] = [len(values)] if len(ends) > 1 else [*ends, len(values)]
    binned = np.add.reduceat(counts, ends[:-1], axis=1)
    if binned.shape[1] > 1:
        p = stats.chi2_contingency(binned, correction=False).pvalue
        assert p > LEAST_P, (p, first.mean(), second.mean())


def binomial_fraction(n, p):
    p = Fraction(p)
    return [math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)]


every_class = jax.jit(result_probabilities)


def probabilities(p, ones):
    """What one poll gives, by the population engine: [ones, way, own colour, results]."""
    ways = len(p.adversary.ways)
    mixes = np.tile(np.arange(ways, dtype=np.int32)[:, None], (32, 1, 2))
    with jax.enable_x64(True):
        polls = polls_of(p, max(ways, 4), 8 if p.protocol.k <= 8 else 20, third_part(p))
        padded = np.resize(np.asarray(ones, float), 32)  # one compilation for all
        kinds = np.tile(np.array(p.kinds, float), (32, 1))
        return np.asarray(every_class(polls, kinds, padded, mixes))[: len(ones)]


def assert_as_in_the_plain_loop(rule, config, adversary, *, seed, trials=400, many=8, **fields):
    """Trials of a point, `many` times as many as of the oracle, have the same distributions.

    config: the protocol, as the oracle has it. adversary: the name of one without parameters.
    fields: of `point`, and `zipf`, the exponent of a weighted stake.
    """
    fields = {"n": 16, "byzantine_fraction": 0.25, "initial_accept": 0.5} | fields
    built, theirs = dict(fields), dict(fields)
    if "zipf" in fields:
        stake = Zipf(units=1000, exponent=built.pop("zipf"))
        del theirs["zipf"]
        theirs["holdings"] = stake.holdings(fields["n"]).tolist()
        built |= {"stake": stake, "exclude_self": False}
    class_ = {each.__module__.rpartition(".")[2]: each for each in VOTERS}[adversary]
    outs = [
        oracle.simulate(config, {"name": adversary}, rng=random.Random(f"{seed} {i}"), **theirs)
        for i in range(trials)
    ]
    (ours,) = run([point(rule, class_(), **built)], many * trials, seed=seed)
    for name in outs[0]:
        if name not in ("decided_at", "admitted"):
            assert_same_distribution(ours[name], np.array([out[name] for out in outs], float))
