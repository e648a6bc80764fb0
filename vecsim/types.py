"""The records that engines pass around, and the interfaces of components."""

import dataclasses
from abc import abstractmethod
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt

from vecsim import fields

Cell = UInt[Array, "..."]  # uint32
Colour = UInt[Array, "..."]  # uint32, 0 or 1


class Quorum(NamedTuple):
    """What one poll gave the poller, for protocols that only look at quorums.

    agree, against: at least alpha_preference answers of the poller's own preference, or of the
    other colour (never both, as alpha_preference > k/2).
    confident: the quorum, where there is one, also reached alpha_confidence.
    """

    agree: Bool[Array, "..."]
    against: Bool[Array, "..."]
    confident: Bool[Array, "..."]


class Counts(NamedTuple):
    """What one poll gave the poller, for protocols that look at counts.

    positive: answers that agree with the poller's own preference. answered: all answers.
    """

    positive: UInt[Array, "..."]
    answered: UInt[Array, "..."]


class View(NamedTuple):
    """What an adversary may see of one trial when it answers; scalars.

    Counts are of honest nodes, at the start of the round (lockstep) or at the instant of the poll
    (async).
    """

    round: Int[Array, ""]  # rounds completed
    honest: Int[Array, ""]
    byzantine: Int[Array, ""]  # Byzantine nodes in the network
    peers: Int[Array, ""]  # nodes that one node may poll
    exclude_self: Int[Array, ""]  # 1 when a node never polls itself, else 0
    k: Int[Array, ""]  # sample size of the protocol
    alpha: Int[Array, ""]  # answers that make a quorum for the preference
    start_ones: Int[Array, ""]  # honest nodes that started at 1
    ones: Int[Array, ""]  # honest nodes that prefer 1 now
    decided_0: Int[Array, ""]
    decided_1: Int[Array, ""]
    pooled_minority: Int[Array, ""]  # minority colour in this round's pooled answers; 0 on a tie
    trial_coin: Float[Array, ""]  # uniform in [0, 1), one for the whole trial, shared
    round_coin: Float[Array, ""]  # uniform in [0, 1), one per round, shared


class Outcome(NamedTuple):
    """What each trial gave. Steps are rounds (lockstep) or single polls (async); -1 is never."""

    decided_0: Int[Array, "*trial"]
    decided_1: Int[Array, "*trial"]
    undecided: Int[Array, "*trial"]
    rounds: Int[Array, "*trial"]
    first_decision: Int[Array, "*trial"]
    median_decision: Int[Array, "*trial"]
    last_decision: Int[Array, "*trial"]
    unanimity: Int[Array, "*trial"]
    start_ones: Int[Array, "*trial"]
    final_ones: Int[Array, "*trial"]
    flips: Int[Array, "*trial"]
    polls: Int[Array, "*trial"]


STEPPED = ("rounds", "first_decision", "median_decision", "last_decision", "unanimity")


class Protocol(eqx.Module):
    """The rule of one node, elementwise on cells: it serves one node, n nodes or every cell.

    A cell is the whole state of a node as one unsigned integer below `cell_limit()`. Bit 0 is the
    node's preference, which is what it answers when polled; bit 1 says that it has decided that
    colour; bit 2 is the engine's (0 in every cell that `step` takes or gives); the rest is the
    protocol's own. Engines leave a decided cell as it is.
    """

    counts: ClassVar[bool] = False  # whether `step` takes Counts (else Quorum)
    decides: ClassVar[bool] = True  # whether nodes decide

    if TYPE_CHECKING:  # fields (or properties) that every protocol has

        @property
        def k(self) -> Any: ...

        @property
        def max_rounds(self) -> Any: ...

    @property
    @abstractmethod
    def quorums(self) -> tuple[Any, Any]:
        """alpha_preference and alpha_confidence, k/2 < alpha_preference <= alpha_confidence."""

    def fields(self) -> dict[str, Any]:
        """How many values each field of a cell has, beside `preference` and `decided`."""
        return {}

    def cell_limit(self) -> int:
        """Cells are below this number (concrete fields only)."""
        return fields.limit(self.fields())

    def unpack(self, cell: Cell) -> SimpleNamespace:
        """The fields of cells by name, uint32, with `preference` (uint32) and `decided` (bool)."""
        return fields.unpack(self.fields(), cell)

    def pack(self, *, preference: Any, decided: Any = False, **values: Any) -> Cell:
        """The cells with this preference, decided or not, and a value for each of the fields."""
        return fields.pack(self.fields(), preference, decided, values)

    @abstractmethod
    def start(self, colour: Colour) -> Cell:
        """The cell of a node that has not polled yet."""

    @abstractmethod
    def step(self, cell: Cell, poll: Any) -> Cell:
        """The cell after one poll of an undecided node."""

    def remaining(self, cell: Cell, colour: Any) -> Any:
        """Polls until an undecided node decides `colour`, if all k answers of each are for it.

        Of use to estimate rare events (`vecsim.engines.scores`), and needed for nothing else.
        """
        raise NotImplementedError


def preference(cell: Cell) -> Colour:
    return cell & jnp.uint32(1)


def decided(cell: Cell) -> Bool[Array, "..."]:
    return (cell & jnp.uint32(2)) != 0


class Adversary(eqx.Module):
    """What Byzantine nodes answer to each class of querier.

    `mixes` lists the ways in which a Byzantine node may answer, each as (P(answers 1),
    P(answers 0)), the rest being silence; a probability strictly between 0 and 1 is a coin of its
    own for every answer. `answer` picks one mix for each class.
    """

    mixes: ClassVar[tuple[tuple[float, float], ...]] = ()  # every adversary has its own
    groups: ClassVar[int] = 1  # groups of honest nodes that it tells apart: 1 or 2
    # Who is in the first of two groups: `by_colour` those that start at 1 before any other,
    # `random` honest nodes drawn anew in each trial, whatever their colour.
    grouping = "by_colour"
    pools: ClassVar[bool] = False  # whether it uses `View.pooled_minority`
    every = "round"  # when it pools: each `round`, or at each `poll` (async only)
    memories: ClassVar[int] = 1  # numbers that it keeps; of more than one `memory` is an array
    later: ClassVar[tuple[str, ...]] = ()  # fields that are left out of `parameters` by default

    def parameters(self) -> dict[str, Any]:
        """The fields as plain values, which a point's identity is made of.

        Fields in `later`, which the class did not always have, are left out at their defaults.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {
            name: value
            for name, value in vars(self).items()
            if name not in self.later or value != defaults[name]
        }

    @property
    def title(self) -> str:
        return type(self).__name__

    @property
    def kinds(self) -> tuple["Adversary", ...]:
        """The kinds of Byzantine nodes that there are: itself, but for a mixture."""
        return (self,)

    @property
    def ways(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """The mixes that `answer` picks from, each with one pair for every kind."""
        return tuple((mix,) for mix in self.mixes)

    def divided(self, byzantine: int) -> tuple[int, ...]:
        """How many of so many Byzantine nodes are of each kind."""
        return (byzantine,)

    def first_group(self, honest: float, nodes: float) -> float:
        """How many of the honest nodes, the first ones, are in the first of two groups.

        nodes: all nodes, Byzantine ones included.
        """
        return honest / 2

    @property
    def admission(self) -> float:
        """Probability that a Byzantine identity is admitted to the network."""
        return 1.0

    @abstractmethod
    def answer(self, view: View, memory: Int[Array, "..."]) -> tuple[Any, Any]:
        """Index into `mixes` for each [group, colour of the querier], and the next memory.

        memory: one int32 that the adversary keeps from round to round, 0 at the start.
        """
