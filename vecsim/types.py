"""The records that engines pass around, and the interfaces of components."""

from abc import abstractmethod
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, Int, UInt

from vecsim import fields
from vecsim.errors import name_of
from vecsim.fields import decided as decided
from vecsim.fields import preference as preference
from vecsim.polls import Counts as Counts
from vecsim.polls import Levels as Levels
from vecsim.polls import Quorum as Quorum

Cell = Any  # uint32: the whole state of each node, or a tuple of several words, see `Protocol`
Colour = UInt[Array, "..."]  # uint32, 0 or 1


class View(NamedTuple):
    """What an adversary may see of one trial when it answers: traced scalars.

    Whole numbers are int32, in the population engine int64. Counts are of nodes, of a weighted
    stake of its units, and of honest ones unless stated otherwise, at the start of the round
    (lockstep), of the poll (async) or when it answers (timed), of all groups of the network.
    """

    round: Int[Array, ""]  # rounds completed, 0 to max_rounds - 1; under async a round is n polls
    honest: Int[Array, ""]  # 1 or more
    byzantine: Int[Array, ""]  # Byzantine nodes in the network: Sybil identities once admitted
    peers: Int[Array, ""]  # that one node may poll: honest + byzantine - exclude_self
    exclude_self: Int[Array, ""]  # 1 when a node never polls itself, else 0
    k: Int[Array, ""]  # sample size of the protocol, peers
    alpha: Int[Array, ""]  # answers that make a quorum for the preference, alpha_preference
    start_ones: Int[Array, ""]  # started at 1, 0 to honest
    ones: Int[Array, ""]  # prefer 1 now, decided or not, 0 to honest
    decided_0: Int[Array, ""]  # have decided 0; stays 0 under a protocol that does not decide
    decided_1: Int[Array, ""]  # have decided 1, likewise
    # The minority colour among the answers that Byzantine nodes have pooled, k each from honest
    # nodes, at the start of the round or, with `every = "poll"`, at this poll: 0 or 1, 0 on a tie.
    # Only where `pools` is True.
    pooled_minority: Int[Array, ""]
    trial_coin: Float[Array, ""]  # float32, uniform in [0, 1): one for the whole trial, shared
    round_coin: Float[Array, ""]  # float32, uniform in [0, 1): a new one each round, shared


class Outcome(NamedTuple):
    """The results of trials, int32, from the population engine int64; -1 is never.

    Steps are rounds (lockstep), single polls (async) or ticks (timed)."""

    decided_0: Int[Array, "*trial"]  # honest nodes that ended decided on 0
    decided_1: Int[Array, "*trial"]  # honest nodes that ended decided on 1
    undecided: Int[Array, "*trial"]  # honest nodes; the three add up to all of them
    rounds: Int[Array, "*trial"]  # steps until the trial ended
    first_decision: Int[Array, "*trial"]  # step of the first decision of an honest node
    median_decision: Int[Array, "*trial"]  # step by which half of the honest nodes had decided
    last_decision: Int[Array, "*trial"]  # step by which all of them had decided
    unanimity: Int[Array, "*trial"]  # step from which all honest nodes preferred one colour
    start_ones: Int[Array, "*trial"]  # honest nodes that started at 1
    final_ones: Int[Array, "*trial"]  # honest nodes that preferred 1 at the end
    flips: Int[Array, "*trial"]  # changes of preference of all honest nodes together
    polls: Int[Array, "*trial"]  # polls made by all honest nodes together


# Fields of Outcome that count steps: rounds (lockstep), polls (async) or ticks (timed).
STEPPED = ("rounds", "first_decision", "median_decision", "last_decision", "unanimity")


def identity_of(component: Any) -> str:
    """The name of a component's class in the identity of a point, which random words depend on.

    vecsim's classes declare theirs as `identity`, which stays the same wherever they move; any
    other class is known by its module and its name.
    """
    class_ = type(component)
    package = class_.__module__.partition(".")[0]
    own = vars(class_).get("identity") if package == "vecsim" else None
    return f"{package}.{own}" if own else name_of(class_)


class Protocol(eqx.Module):
    """The rule of one node, elementwise on cells: it serves one node, n nodes or every cell.

    A cell is the whole state of a node as one unsigned integer below `cell_limit()`. Bit 0 is the
    node's preference, which is its answer when polled; bit 1 says that it has decided that colour;
    bit 2 is the engine's (0 in every cell that `step` takes or returns); the other bits are the
    protocol's own. Engines leave a decided cell as it is.

    Most protocols declare in `fields` what else a cell holds and use `pack` and `unpack`; one that
    packs cells itself has a `cell_limit` of its own. Fields of the class are the protocol's
    parameters, and traced; they are validated in `__check_init__`, with `vecsim.errors.require`.
    A parameter that is not a number is `eqx.field(static=True)`. `vecsim.check` tests all this.
    """

    # Whether `step` is given Counts, else quorums. Counts serve any rule and cost more: of the
    # protocols with counts the population engine runs only undisputed QR-Avalanche.
    counts: ClassVar[bool] = False
    # Whether nodes decide. Where they do not (Slush) a trial lasts max_rounds or, without Byzantine
    # nodes, until all prefer one colour.
    decides: ClassVar[bool] = True
    # What else Counts say, for protocols with counts. neutral: answers for neither colour, which to
    # others are none. common: a random word of the round. voters: who was asked; k is 1. Only the
    # engines that keep every node serve these, and `further` and `stops` (see `gives_up`).
    neutral: ClassVar[bool] = False
    common: ClassVar[bool] = False
    voters: ClassVar[bool] = False
    stops: ClassVar[bool] = False
    # In simulated time: whether results count in the order in which polls began; and whether polls
    # of a protocol with counts end, as all others do, when it is settled which quorums they reach.
    in_order: ClassVar[bool] = True
    settled_by_quorums: ClassVar[bool] = False

    # Of every protocol: peers that one poll asks, 1 to 400, and rounds after which a trial ends.
    if TYPE_CHECKING:

        @property
        def k(self) -> Any: ...

        @property
        def max_rounds(self) -> Any: ...

    @property
    @abstractmethod
    def quorums(self) -> tuple[Any, ...]:
        """alpha_preference and alpha_confidence: answers that set the preference, and that count;
        and any more that a rule tells apart.

        k/2 < alpha_preference <= alpha_confidence <= ... <= k.
        """

    def parameters(self) -> dict[str, Any]:
        """The fields as plain values, which are part of a point's identity."""
        return dict(vars(self))

    @property
    def least_beta(self) -> Any:
        """The shortest run of polls that decides, or 0. Where it is short draws are finer."""
        return getattr(self, "beta", 0)

    @property
    def replaced(self) -> dict[str, str]:
        """Fields without effect, each with the field that is set in its place."""
        return {}

    def fields(self) -> dict[str, Any]:
        """How many values each field of a cell has, besides `preference` and `decided`.

        {"counter": self.beta + 1} holds 0 to beta. Each field takes as many bits as its largest
        value needs, in this order, and together they must fit in 32 - 3 bits. A window of the last
        eight votes of two bits each is one field of 4**8 values: (now.window << 2 | vote) % 4**8 is
        the next.
        """
        return {}

    def further(self) -> tuple[dict[str, Any], ...]:
        """The fields of further words, of 32 bits each, where one does not hold a node's state.

        A cell is then a tuple of arrays, the first of which is as described above.
        """
        return ()

    def cell_limit(self) -> int:
        """A number above every cell (a plain int where parameters are plain numbers)."""
        return fields.limit(self.fields())

    def unpack(self, cell: Cell) -> SimpleNamespace:
        """The fields of cells by name, uint32, with `preference` (uint32) and `decided` (bool)."""
        if not (further := self.further()):
            return fields.unpack(self.fields(), cell)
        words = zip((self.fields(), *further), cell, strict=True)
        return fields.unpack_words(words)

    def pack(self, *, preference: Any, decided: Any = False, **values: Any) -> Cell:
        """The cells with this preference, decided or not, and a value for each of the fields."""
        if not (further := self.further()):
            return fields.pack(self.fields(), preference, decided, values)
        return fields.pack_words((self.fields(), *further), preference, decided, values)

    def gives_up(self, cell: Cell) -> Any:
        """Whether an undecided node polls no more (bool, of the cells' shape): it goes on answering
        and stays undecided. False of `start`. Asked only where `stops` is True."""
        raise NotImplementedError

    @abstractmethod
    def start(self, colour: Colour) -> Cell:
        """The cell of a node that has not polled yet and starts at `colour`; of the same shape."""

    @abstractmethod
    def step(self, cell: Cell, poll: Any) -> Cell:
        """The cell after one poll of an undecided node, uint32 of the same shape.

        poll: Counts where `counts` is True, else Quorum, or Levels where `quorums` are more than
        two; with one element for each cell.
        """

    def remaining(self, cell: Cell, colour: Any) -> Any:
        """Polls until an undecided node decides `colour`, if all k answers of each are for it.

        1 or more, of the cells' shape. Used only to estimate rare events
        (`vecsim.studies.rare.scores`); NotImplementedError where a protocol does not say.
        """
        raise NotImplementedError


class Adversary(eqx.Module):
    """What Byzantine nodes answer to each class of querier.

    `mixes` lists the ways in which a Byzantine node may answer, each as (P(answers 1),
    P(answers 0)), the rest being silence; with a probability strictly between 0 and 1 a new coin is
    flipped for every answer. `answer` picks one mix for each class of querier: its group and the
    colour that it prefers.

    Fields are the adversary's parameters, as of `Protocol`.
    """

    mixes: ClassVar[Sequence[tuple[float, float]]] = ()  # each adversary sets its own, at least one
    # P(an answer for neither colour) of each mix, part of the rest; none of all unless given. To
    # protocols that do not tell it apart (`Protocol.neutral`) it is no answer.
    neutral: ClassVar[Sequence[float]] = ()
    groups: ClassVar[int] = 1  # groups of honest nodes that it distinguishes, 1 or 2
    # Which `first_group` honest nodes are in the first of two groups: `by_colour`, those that start
    # at 1 before any others (only them, if there are enough), or `random`, nodes drawn anew in each
    # trial, whatever their colour; with weighted stake also the `largest` or `smallest` holders.
    grouping = "by_colour"
    # Whether it uses `View.pooled_minority`, which needs a table for each point. Byzantine nodes
    # then poll k honest nodes each, as often as `every` says.
    pools: ClassVar[bool] = False
    every = "round"  # when it pools: each `round`, or at each `poll` (async only)
    memories: ClassVar[int] = 1  # numbers that it keeps; if more than one, `memory` is an array
    later: ClassVar[tuple[str, ...]] = ()  # fields left out of `parameters` at their default

    def parameters(self) -> dict[str, Any]:
        """The fields as plain values, which are part of a point's identity.

        Fields in `later`, which were added to the class later, are left out at their defaults.
        """
        usual = [name for name in self.later if getattr(self, name) == getattr(type(self), name)]
        return {name: value for name, value in vars(self).items() if name not in usual}

    @property
    def title(self) -> str:
        """The name in messages and tables."""
        return type(self).__name__

    @property
    def kinds(self) -> tuple["Adversary", ...]:
        """The kinds of Byzantine nodes: the adversary itself, unless it is a mixture."""
        return (self,)

    @property
    def ways(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """The mixes that `answer` indexes, each with one pair for every kind."""
        return tuple((mix,) for mix in self.mixes)

    @property
    def neutrals(self) -> tuple[tuple[float, ...], ...]:
        """P(an answer for neither colour) in each of the `ways`, for every kind."""
        return tuple((chance,) for chance in self.neutral or (0.0,) * len(self.mixes))

    def divided(self, byzantine: int) -> tuple[int, ...]:
        """The number of Byzantine nodes of each kind. byzantine: all of them."""
        return (byzantine,)

    def pooling(self, kinds: Any) -> Any:
        """The number of Byzantine nodes that pool samples.

        kinds: nodes of each kind, a number or an array each; what follows the adversary's own kinds
        is ignored.
        """
        return sum(nodes for nodes, kind in zip(kinds, self.kinds, strict=False) if kind.pools)

    def told(self, byzantine: int) -> dict[str, int]:
        """The numbers of `divided`, by the names of the kinds."""
        return {self.title: byzantine}

    def first_group(self, honest: float, nodes: float) -> float:
        """The number of honest nodes in the first of two groups, 0 to honest.

        nodes: all nodes, including Byzantine ones. The limit of many nodes passes shares, with
        honest = 1.
        """
        return honest / 2

    @property
    def admission(self) -> float:
        """Probability that a Byzantine identity is admitted to the network."""
        return 1.0

    @abstractmethod
    def answer(self, view: View, memory: Int[Array, "..."]) -> tuple[Any, Any]:
        """Index into `mixes` for each [group, colour of the querier], and the next memory.

        The indices are whole numbers of shape (groups, 2). memory: one int32 (or as many as
        `memories`) that the adversary keeps from round to round, 0 at the start. The result may
        depend on view and memory only; use jnp.where instead of branches.
        """
