"""Components of one's own: sound ones are accepted, and every fault is refused in one line."""

import re
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest
from test_contract import built, options

import vecsim
from vecsim.adversaries.echo import Echo
from vecsim.adversaries.mixture import Mixture
from vecsim.errors import ConfigError
from vecsim.model.uses import uses
from vecsim.network import Network
from vecsim.types import Adversary, Protocol


@pytest.mark.parametrize("kind", ["protocol", "adversary", "network"])
def test_every_option_is_sound(kind):
    for option in options(kind):
        vecsim.check(built(kind, option))


def test_only_components_are_checked():
    vecsim.check(Network(loss=0.5))
    with pytest.raises(
        ConfigError, match="component is 5; allowed: a protocol, an adversary, a ne"
    ):
        vecsim.check(5)  # pyright: ignore[reportArgumentType]


# Protocols, each with one fault


class Sound(Protocol):
    """A counter of polls that agree; decides at three."""

    k: int = 20
    alpha: int = 15
    max_rounds: int = 40

    @property
    def quorums(self):
        return self.alpha, self.alpha

    def cell_limit(self):
        return 32

    def start(self, colour):
        return colour

    def step(self, cell, poll):
        colour, counter = cell & 1, (cell >> 3) + poll.agree.astype(jnp.uint32)
        decided = jnp.where(counter >= 3, jnp.uint32(2), jnp.uint32(0))
        return jnp.where(poll.against, colour ^ 1, colour | decided | (counter << 3))


class SmallLimit(Sound):
    def cell_limit(self):
        return 16


class EnginesBit(Sound):
    def step(self, cell, poll):
        return jnp.where(poll.against, cell ^ 1, cell | 4)


class Decides(Sound):
    decides = False


class CountsForgotten(Sound):
    def step(self, cell, poll):
        return jnp.where(poll.positive >= 15, cell, cell ^ 1)


class CountsNotWanted(Sound):
    counts = True


class CountsIsAField(Sound):
    counts: bool = True  # pyright: ignore


class CountsIsANumber(Sound):
    counts = 1  # pyright: ignore[reportAssignmentType]


class Signed(Sound):
    def step(self, cell, poll):
        return jnp.where(poll.against, 1, 0)


class Real(Sound):
    def start(self, colour):
        return colour.astype(jnp.float32)


class Sums(Sound):
    def step(self, cell, poll):
        return jnp.where(poll.against.any(), cell ^ 1, cell)


class StartsElsewhere(Sound):
    def start(self, colour):
        return colour ^ 1


class StartsDecided(Sound):
    def start(self, colour):
        return colour | 2


class StartDependsOnOthers(Sound):
    def start(self, colour):
        return colour | ((colour.sum(dtype=jnp.uint32) & 1) << 3)


class Branches(Sound):
    def step(self, cell, poll):
        if poll.against:
            return cell ^ 1
        return cell


class Mistaken(Sound):
    def step(self, cell, poll):
        return cell + undefined  # pyright: ignore


class Shapes(Sound):
    def step(self, cell, poll):
        return super().step(cell, poll)[..., None]


class BelievesConfident(Sound):
    def step(self, cell, poll):
        return jnp.where(poll.confident, cell ^ 1, cell)


class Soon(Sound):
    def remaining(self, cell, colour):
        return 3 - (cell >> 3).astype(jnp.int32) - 1


class NoRounds(Protocol):
    k: int = 20

    @property
    def quorums(self):
        return 15, 15

    def start(self, colour):
        return colour

    def step(self, cell, poll):
        return cell


class HalfPeers(Sound):
    k: float = 20.0


class Text(Sound):
    mode: str = "quick"


class OneQuorum(Sound):
    @property
    def quorums(self):
        return self.alpha


class FewAnswers(Sound):
    alpha: int = 10


class Overflows(Sound):
    """Counts answers up to 30 in a field of 24 values."""

    counts = True
    decides = False

    def fields(self):
        return {"last": 24, "before": 4}

    cell_limit = Protocol.cell_limit

    def start(self, colour):
        return self.pack(preference=colour, last=0, before=3)

    def step(self, cell, poll):
        return self.pack(preference=cell & 1, last=poll.answered + 4, before=0)


class Forgets(Overflows):
    def start(self, colour):
        return self.pack(preference=colour, last=0)


class TooWide(Overflows):
    def fields(self):
        return {"last": 2**20, "before": 2**12}


class Reserved(Overflows):
    def fields(self):
        return {"decided": 24, "before": 4}


BAD_PROTOCOLS = {
    SmallLimit: r"step\(9, agree, confident\) is 17; allowed: less than cell_limit\(\) = 16",
    EnginesBit: r"step\(\d, no quorum\) is \d; allowed: a cell without bit 2, which is the eng",
    Decides: r"step\(\d+, agree, confident\) is \d+; allowed: a cell without bit 1",
    CountsForgotten: r"has no attribute 'positive' \(test_checks.py, line \d+\); .* counts = True",
    CountsNotWanted: r"has no attribute 'agree' .*; allowed: .* counts = False",
    CountsIsAField: "counts is 'a field'; allowed: a constant of the class: counts = ...,",
    CountsIsANumber: "counts is 1; allowed: True or False",
    Signed: "step of uint32 is 'int32'; allowed: uint32",
    Real: "start of uint32 is 'float32'; allowed: uint32",
    Sums: r"step\(\d+, .*\) is \d+; allowed: \d+, as for the cell by itself",
    StartsElsewhere: r"start\(0\) is 1; allowed: a cell that prefers 0",
    StartsDecided: r"start\(0\) is 2; allowed: .* and has not decided",
    StartDependsOnOthers: "start is 'other cells for one colour than for two'; allowed: the same",
    Branches: r"step raises TracerBool.* \(test_checks.py, line \d+\); allowed: jnp.where",
    Mistaken: r"step raises NameError: name 'undefined' is not defined \(test_checks.py, line",
    Shapes: "step of shape .* allowed: .* an element for each",
    BelievesConfident: r"step\(\d+, no quorum\) is \d+; allowed: \d+ whatever `confident` is",
    Soon: r"remaining\(\d+, [01]\) is 0; allowed: 1 or more polls",
    NoRounds: "max_rounds is 'missing'; allowed: a field, max_rounds: int = ",
    HalfPeers: "k is 20.0; allowed: a whole number, 1 to 400",
    Text: "mode is 'quick'; allowed: a number, .* text with eqx.field.static=True.",
    OneQuorum: "quorums is 15; allowed: two whole numbers",
    FewAnswers: r"quorums is \(10, 10\); allowed: .* k/2 < alpha_preference .* k = 20",
    Overflows: r"step\(\d+, \d+ of 20 answers for its colour\): last is 24; allowed: 0 to 23",
    Forgets: "pack gets last; allowed: all of last, before",
    TooWide: r"cell_limit\(\) is \d+; allowed: a whole number, 4 to 4294967296",
    Reserved: r"fields\(\) is .*; allowed: .* but preference and decided",
}


@pytest.mark.parametrize("class_", BAD_PROTOCOLS)
def test_a_bad_protocol_is_refused_in_one_line(class_):
    line = refusal(class_())
    assert line.startswith(f"test_checks.{class_.__name__}") or class_ is Forgets
    assert re.search(BAD_PROTOCOLS[class_], line)


def refusal(component) -> str:
    with pytest.raises(ConfigError) as raised:
        vecsim.check(component)
    text = str(raised.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_a_sound_protocol_is_accepted():
    vecsim.check(Sound())
    vecsim.check(Sound(k=20, alpha=20, max_rounds=1))
    # The same numbers of another type are another component.
    assert "k is 20.0" in refusal(Sound(k=20.0))  # pyright: ignore[reportArgumentType]


class LateFault(Sound):
    """Leaves its cells after 700 polls in a row that agree."""

    max_rounds: int = 5000

    def cell_limit(self):
        return 700 << 3

    def step(self, cell, poll):
        return jnp.where(poll.agree, cell + jnp.uint32(8), cell & 1)


def test_long_runs_are_followed():
    found = r"step\(559[23], agree, confident\) is 560[01]; allowed: less than cell_limit.. = 5600"
    assert re.search(found, refusal(LateFault()))


class OneCount(Sound):
    """Wrong in one of the 231 polls that may come, at k = 20."""

    counts = True

    def step(self, cell, poll):
        odd = (poll.positive == 7) & (poll.answered == 11)
        return jnp.where(odd, cell | jnp.uint32(32), cell)


def test_every_poll_of_a_protocol_that_counts_is_tried():
    assert "7 of 11 answers for its colour) is 32" in refusal(OneCount())


# Adversaries, each with one fault


class Fair(Adversary):
    mixes: ClassVar = [(1, 0), (0.0, 1.0)]

    def answer(self, view, memory):
        return jnp.zeros((1, 2), jnp.int32), memory


class Many(Fair):
    mixes: ClassVar = ((0.7, 0.5),)


class Negative(Fair):
    mixes: ClassVar = ((1.0, 0.0), (-0.1, 0.5))


class Unequal(Fair):
    mixes: ClassVar = ((1.0, 0.0), (1.0,))


class Empty(Fair):
    mixes: ClassVar = ()


class Beyond(Fair):
    def answer(self, view, memory):
        return jnp.full((1, 2), jnp.where(view.ones == view.honest, 2, 1), jnp.int32), memory


class Later(Fair):
    """Leaves its mixes in the eleventh round."""

    def answer(self, view, memory):
        return jnp.full((1, 2), memory // 10, jnp.int32), jnp.minimum(memory + 1, 20)


class Forgetful(Fair):
    def answer(self, view):  # pyright: ignore[reportIncompatibleMethodOverride]
        return jnp.zeros((1, 2), jnp.int32)


class MixesAlone(Fair):
    groups = 2

    def answer(self, view, memory):
        return jnp.zeros((2, 2), jnp.int32)


class OneForAll(Fair):
    def answer(self, view, memory):
        return jnp.int32(0), memory


class RealMixes(Fair):
    def answer(self, view, memory):
        return jnp.zeros((1, 2)), memory


class RealMemory(Fair):
    def answer(self, view, memory):
        return jnp.zeros((1, 2), jnp.int32), view.round_coin


class Misspelt(Fair):
    def answer(self, view, memory):
        return jnp.full((1, 2), view.one > 3, jnp.int32), memory


class Three(Fair):
    groups = 3


class LargeGroup(Fair):
    groups = 2

    def first_group(self, honest, nodes):
        return honest + 1


class PoolsUnseen(Fair):
    def answer(self, view, memory):
        return jnp.full((1, 2), view.pooled_minority), memory


class PoolsForNothing(Fair):
    pools = True


class PoolsYearly(PoolsForNothing):
    every = "year"


class GroupedByName(Fair):
    grouping = "by_name"


class OftenAdmitted(Fair):
    admission = 1.5  # pyright: ignore[reportAssignmentType]


BAD_ADVERSARIES = {
    Many: r"mixes\[0\] is \(0.7, 0.5\); allowed: .* together at most 1",
    Negative: r"mixes\[1\] is \(-0.1, 0.5\); allowed: ",
    Unequal: r"mixes\[1\] is \(1.0,\); allowed: \(P\(answers 1\), P\(answers 0\)\)",
    Empty: r"mixes is \(\); allowed: a list of .* one or more",
    Beyond: r"answer\(honest=(\d+), ones=\1\): mixes\[0, 0\] is 2; allowed: 0 to 1",
    Later: r"answer\(memory=20\): mixes\[0, 0\] is 2; allowed: 0 to 1",
    Forgetful: r"answer takes arguments, which is '\(view\)'; allowed: \(view, memory\)",
    MixesAlone: "answer gives what is '.*'; allowed: two things: .* and the next memory",
    OneForAll: r"mixes is \(\); allowed: \(1, 2\), \[group, colour\]",
    RealMixes: "mixes is 'float32'; allowed: whole numbers, int32",
    RealMemory: r"memory is 'float32 of shape \(\)'; allowed: int32 of shape",
    Misspelt: r"answer raises AttributeError: 'View' .* 'one' \(test_checks.py, line \d+\)",
    Three: "groups is 3; allowed: 1 or 2",
    LargeGroup: r"first_group\(1, 1\) is 2; allowed: 0 to 1 honest nodes",
    PoolsUnseen: "pools is False; allowed: True, as answer looks at view.pooled_minority",
    PoolsForNothing: "pools is True; allowed: False, as answer does not look at",
    PoolsYearly: "every is 'year'; allowed: round or poll",
    GroupedByName: "grouping is 'by_name'; allowed: by_colour or random or largest or smallest",
    OftenAdmitted: "admission is 1.5; allowed: 0 to 1",
}


@pytest.mark.parametrize("class_", BAD_ADVERSARIES)
def test_a_bad_adversary_is_refused_in_one_line(class_):
    line = refusal(class_())
    assert line.startswith(f"test_checks.{class_.__name__}.")
    assert re.search(BAD_ADVERSARIES[class_], line)


class Counts(Fair):
    """Two numbers are kept."""

    memories = 2

    def answer(self, view, memory):
        return jnp.full((1, 2), jnp.minimum(memory[1], 1)), memory + jnp.array([1, 2], jnp.int32)


def test_a_fair_adversary_is_accepted():
    vecsim.check(Fair())
    vecsim.check(Counts())
    assert uses(Counts()) == {"memory"}


def test_the_kinds_of_a_mixture_are_checked():
    mixed = Mixture.of({"fair": (Fair(), 0.5), "later": (Later(), 0.5)})
    assert "Later.answer(memory=20): mixes[0, 0] is 2" in refusal(mixed)


# What an adversary looks at


class Looks(Adversary):
    mixes: ClassVar = ((1.0, 0.0), (0.0, 1.0))

    def answer(self, view, memory):
        @jax.jit
        def nested(view):
            return (view.ones > view.honest // 2).astype(jnp.int32)

        unused = view.decided_0 + 1
        return jnp.full((1, 2), nested(view)), memory + unused


class Remembers(Looks):
    def answer(self, view, memory):
        return jnp.full((1, 2), memory % 2), jnp.where(view.round_coin < 0.5, memory, view.round)


def test_what_an_adversary_looks_at():
    assert uses(Echo()) == frozenset()
    assert uses(Looks()) == {"ones", "honest"}  # its memory is never looked at
    assert uses(Remembers()) == {"memory", "round_coin", "round"}
    with pytest.raises(ConfigError, match="answer raises AttributeError: 'View' object has no"):
        uses(Misspelt())
