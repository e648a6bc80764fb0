"""Chains of requests, which an executor answers in any order.

A chain is a generator: it yields a request, the numbers of points and the trials of them that it
wants, and is sent the values. What it does next may depend on these alone, so the order in which
an executor answers different chains changes nothing. An example with two slots and three chains:

    in flight   a1 b1 | a1 b2 | a1 c1 | a2 c1 | ...
    answered       b1      b2      a1     ...          (b has ended after b2)
"""

from collections.abc import Callable, Generator, Iterator
from itertools import count

from vecsim.errors import WorkerError
from vecsim.results.layout import Array
from vecsim.studies.executors.executor import Executor
from vecsim.studies.executors.worker import Answer, require_formed

Request = tuple[list[int], Array]  # numbers of points, and numbers of their trials
ChunkValues = dict[str, Array]  # of each variable [points, trials, ...]
ChunkChain = Generator[Request, ChunkValues, None]


def drive(
    chains: Iterator[ChunkChain],
    executor: Executor,
    accept: Callable[[Request, Answer], ChunkValues],
) -> None:
    """Run all chains to their ends, with as many requests in flight as the executor has slots.

    chains: taken from only when a slot is free, so that few are held at once. accept: returns the
    values of an answer, or raises where they cannot be right. WorkerError where an answer is none,
    or is to no request that is in flight.
    """
    in_flight: dict[int, tuple[ChunkChain, Request]] = {}
    tickets = count()

    def advance(chain: ChunkChain, values: ChunkValues | None) -> None:
        try:
            request = chain.send(values)  # pyright: ignore[reportArgumentType]
        except StopIteration:
            return
        ticket = next(tickets)
        in_flight[ticket] = chain, request
        executor.submit(ticket, *request)

    while True:
        while len(in_flight) < executor.slots and (chain := next(chains, None)) is not None:
            advance(chain, None)
        if not in_flight:
            return
        answer = executor.next()
        require_formed(answer)
        if answer.ticket not in in_flight:
            raise WorkerError(f"{answer.worker.name} answers {answer.ticket}, which nobody asked")
        chain, request = in_flight.pop(answer.ticket)
        advance(chain, accept(request, answer))
