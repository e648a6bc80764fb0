"""Scalar event loops of a timed trial: what a batch of vecsim is measured against.

`python benchmarks/event_loop.py [nodes] [trials]` prints what a poll costs in each and what they
find. The model is `schedule: timed` in one case: Snowflake, honest nodes of equal stake, half of
them at 1, results in order, early ends, uniform round trips, no loss, nobody polls itself.

python: the loop as one writes it, an event when a query arrives and one when its answer is back.
heap: the same loop compiled by Numba.
calendar: likewise, with a ring of short lists, a moment each, in place of the heap.
windows: the quickest for this model, compiled by Numba. An answer that is back at t was given by
t - 25 ms at the latest. So in a window of 25 ms no node depends on another: each goes through its
own polls alone, without a queue, and reads what others preferred from their changes.
"""

import heapq
import random
import sys
import time
from collections import deque
from functools import cache
from typing import Any

import numpy as np

K, ALPHA, BETA = 20, 15, 20
OPEN = 4  # polls of a node at once
LOW_MS, SPAN_MS = 50.0, 150.0  # round trips: the least, and how far they spread
LOOKAHEAD_MS = LOW_MS / 2
RING = 32  # polls, changes that are kept of a node: at most OPEN results in 50 ms


def _ended(ones: int, zeros: int) -> bool:
    """Whether a poll with these answers is over; what it found is known then."""
    places = K - ones - zeros
    found = [f for f in (ones, zeros) if f] + [ones + zeros]
    return places >= 0 and all(f >= ALPHA or f + places < ALPHA for f in found)


ENDED = np.array([[_ended(ones, zeros) for zeros in range(K + 1)] for ones in range(K + 1)])
FEWEST = min(ones + zeros for ones, zeros in zip(*np.nonzero(ENDED), strict=True))  # answers


class Poll:
    """What came back of one poll."""

    def __init__(self, node: int, began_ms: float):
        self.node, self.began_ms, self.counts, self.ended = node, began_ms, [0, 0], False


def python(n: int, seed: int) -> tuple[np.ndarray, int]:
    """Times of decision, ms, (n,), and the polls begun."""
    draw, over = random.Random(seed), ENDED.tolist()
    preference, run = [int(node < n // 2) for node in range(n)], [0] * n
    decided_ms, undecided, polls = [0.0] * n, n, n * OPEN
    queues: list[deque[Poll]] = [deque() for _ in range(n)]
    events: list[tuple[float, int, Poll]] = []  # time; who is asked, or ~answer; poll

    def begin(node: int, now: float) -> None:
        poll = Poll(node, now)
        queues[node].append(poll)
        for peer in draw.sample(range(n - 1), K):
            half = (LOW_MS + SPAN_MS * draw.random()) / 2
            heapq.heappush(events, (now + half, peer + (peer >= node), poll))

    for begun in range(polls):
        begin(begun // OPEN, 0.0)
    while undecided:
        now, peer, poll = heapq.heappop(events)
        node, queue = poll.node, queues[poll.node]
        if poll.ended or run[node] == BETA:
            continue
        if peer >= 0:  # a query has come; its answer takes as long
            heapq.heappush(events, (2 * now - poll.began_ms, ~preference[peer], poll))
            continue
        poll.counts[~peer] += 1
        zeros, ones = poll.counts
        poll.ended, applied = over[ones][zeros], 0
        while queue and queue[0].ended and run[node] < BETA:
            zeros, ones = queue.popleft().counts
            applied += 1
            if max(ones, zeros) < ALPHA:
                run[node] = 0
            else:
                same = preference[node] == (ones > zeros)
                run[node], preference[node] = run[node] + 1 if same else 1, int(ones > zeros)
        if run[node] == BETA:
            decided_ms[node] = now
            undecided -= 1
            continue
        polls += applied
        for _ in range(applied):
            begin(node, now)
    return np.array(decided_ms), polls


@cache
def compiled() -> dict[str, Any]:
    """The loops that Numba compiles, by name: as `python`, on their first call."""
    try:
        from numba import njit  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise SystemExit("needs Numba: pip install 'vecsim[benchmark]'") from None
    fast, inline = njit(error_model="numpy"), njit(error_model="numpy", inline="always")
    U, unit_ms = np.uint64, SPAN_MS / 2**32

    @inline
    def draw(state, n, node, seen, stamp):
        """A peer that this poll has not yet, and 32 random bits (splitmix64)."""
        while True:
            state[0] += U(0x9E3779B97F4A7C15)
            bits = (state[0] ^ (state[0] >> U(30))) * U(0xBF58476D1CE4E5B9)
            bits = (bits ^ (bits >> U(27))) * U(0x94D049BB133111EB)
            bits ^= bits >> U(31)
            peer = np.int64(((bits & U(0xFFFFFFFF)) * U(n - 1)) >> U(32))
            peer += peer >= node
            if seen[peer] != stamp:
                seen[peer] = stamp
                return peer, bits >> U(32)

    @inline
    def apply(preference, run, node, ones, zeros):
        """Whether a result changed the node's preference."""
        if ones < ALPHA and zeros < ALPHA:
            run[node] = 0
        elif preference[node] == (ones > zeros):
            run[node] += 1
        else:
            run[node], preference[node] = 1, ones > zeros
            return True
        return False

    @inline
    def apply_due(preference, run, node, counts, first):
        """How many results the node applies now, the oldest poll first."""
        applied = 0
        while applied < OPEN and run[node] < BETA:
            oldest = node * RING + first[node] % RING
            zeros, ones = counts[oldest, 0], counts[oldest, 1]
            if not ENDED[ones, zeros]:
                break
            apply(preference, run, node, ones, zeros)
            first[node] += 1
            applied += 1
        return applied

    @fast
    def heap(n, seed):
        state, seen, polls = np.array([seed], np.uint64), np.zeros(n, np.int64), n * OPEN
        preference, run = (np.arange(n) < n // 2).astype(np.int64), np.zeros(n, np.int64)
        decided_ms, undecided = np.empty(n), n
        # of a node: polls applied and begun; of its last RING polls: begin, answers
        first, last = np.zeros(n, np.int64), np.zeros(n, np.int64)
        began_ms, counts = np.empty(n * RING), np.empty((n * RING, 2), np.int64)
        # of an event, from 1 on: time; its poll << 32 | who is asked, or n + answer
        times, facts = np.empty(3 * n * OPEN * K), np.empty(3 * n * OPEN * K, np.int64)

        def push(at, fact, size):
            """Put an event into the heap of so many; how many there are then."""
            place = size + 1
            while place > 1 and times[place >> 1] > at:
                times[place], facts[place] = times[place >> 1], facts[place >> 1]
                place >>= 1
            times[place], facts[place] = at, fact
            return size + 1

        def pop(size):
            """Take the first event of the heap away."""
            at, fact, place = times[size], facts[size], 1
            while 2 * place < size:
                child = 2 * place
                child += child + 1 < size and times[child + 1] < times[child]
                if times[child] >= at:
                    break
                times[place], facts[place], place = times[child], facts[child], child
            times[place], facts[place] = at, fact

        def begin(node, now, stamp, size):
            poll = node * RING + last[node] % RING
            last[node] += 1
            began_ms[poll], counts[poll, 0], counts[poll, 1] = now, 0, 0
            for _ in range(K):
                peer, bits = draw(state, n, node, seen, stamp)
                size = push(now + (LOW_MS + unit_ms * bits) / 2, poll << 32 | peer, size)
            return size

        size = 0
        for begun in range(polls):
            size = begin(begun // OPEN, 0.0, begun + 1, size)
        while undecided:
            now, poll, peer = times[1], facts[1] >> 32, facts[1] & 0xFFFFFFFF
            pop(size)
            node, size = poll // RING, size - 1
            if run[node] == BETA or ENDED[counts[poll, 1], counts[poll, 0]]:
                continue
            if peer < n:  # a query has come; its answer takes as long
                size = push(2 * now - began_ms[poll], poll << 32 | (n + preference[peer]), size)
                continue
            counts[poll, peer - n] += 1
            applied = apply_due(preference, run, node, counts, first)
            if run[node] == BETA:
                decided_ms[node] = now
                undecided -= 1
                continue
            for _ in range(applied):
                polls += 1
                size = begin(node, now, polls, size)
        return decided_ms, polls

    @fast
    def calendar(n, seed):
        state, seen, polls = np.array([seed], np.uint64), np.zeros(n, np.int64), n * OPEN
        preference, run = (np.arange(n) < n // 2).astype(np.int64), np.zeros(n, np.int64)
        decided_ms, undecided = np.empty(n), n
        # of a node: polls applied and begun; of its last RING polls: begin, answers
        first, last = np.zeros(n, np.int64), np.zeros(n, np.int64)
        began_ms, counts = np.empty(n * RING), np.empty((n * RING, 2), np.int64)
        # of an event: time; its poll << 32 | who is asked, or n + answer; the next one of its list
        times, facts = np.empty(3 * n * OPEN * K), np.empty(3 * n * OPEN * K, np.int64)
        after, free = np.arange(1, times.size + 1).astype(np.int32), 0
        # lists by moment, about three events each; all events are within 100 ms
        per_ms, lists, due = n / 2, np.full(64 * n, -1, np.int32), np.empty(1024, np.int32)
        moment = np.int64(LOOKAHEAD_MS * per_ms)

        def put(at, fact, event):
            """Put an event into its list; the next free one."""
            free, place = after[event], np.int64(at * per_ms) % lists.size
            times[event], facts[event], after[event] = at, fact, lists[place]
            lists[place] = event
            return free

        def begin(node, now, stamp, free):
            poll = node * RING + last[node] % RING
            last[node] += 1
            began_ms[poll], counts[poll, 0], counts[poll, 1] = now, 0, 0
            for _ in range(K):
                peer, bits = draw(state, n, node, seen, stamp)
                free = put(now + (LOW_MS + unit_ms * bits) / 2, poll << 32 | peer, free)
            return free

        for begun in range(polls):
            free = begin(begun // OPEN, 0.0, begun + 1, free)
        while undecided:
            event, size = lists[moment % lists.size], 0
            while event >= 0:  # sort the list, to which nothing is added now
                place = size
                while place and times[due[place - 1]] > times[event]:
                    due[place] = due[place - 1]
                    place -= 1
                due[place], event, size = event, after[event], size + 1
            lists[moment % lists.size] = -1
            moment += 1
            for event in due[:size]:
                now, poll, peer = times[event], facts[event] >> 32, facts[event] & 0xFFFFFFFF
                node, after[event], free = poll // RING, free, event
                if run[node] == BETA or ENDED[counts[poll, 1], counts[poll, 0]]:
                    continue
                if peer < n:  # a query has come; its answer takes as long
                    fact = poll << 32 | (n + preference[peer])
                    free = put(2 * now - began_ms[poll], fact, free)
                    continue
                counts[poll, peer - n] += 1
                applied = apply_due(preference, run, node, counts, first)
                if run[node] == BETA:
                    decided_ms[node] = now
                    undecided -= 1
                    continue
                for _ in range(applied):
                    polls += 1
                    free = begin(node, now, polls, free)
        return decided_ms, polls

    @fast
    def windows(n, seed):
        state, seen, polls = np.array([seed], np.uint64), np.zeros(n, np.int64), n * OPEN
        preference, run = (np.arange(n) < n // 2).astype(np.int64), np.zeros(n, np.int64)
        decided_ms, limit = np.empty(n), 0.0
        # of each node: its changes of preference, how many, the last one
        changes_ms, changes, changed_ms = np.empty((n, RING)), np.zeros(n, np.int64), np.zeros(n)
        # of each open poll: when it began, its round trips in order and whom it asked
        oldest, began_ms = np.zeros(n, np.int64), np.empty((n, OPEN))
        trips_ms, asked = np.empty((n, OPEN, K)), np.empty((n, OPEN, K), np.int32)
        keys, ranks, drawn = np.empty(K, np.uint32), np.empty(K, np.uint32), np.empty(K, np.int32)

        def begin(node, slot, now, stamp):
            for i in range(K):
                drawn[i], bits = draw(state, n, node, seen, stamp)
                keys[i] = (bits & U(0xFFFFFFE0)) | U(i)  # no two alike
                ranks[i] = 0
            for j in range(K):
                for i in range(K):
                    ranks[i] += keys[j] < keys[i]
            for i in range(K):
                trips_ms[node, slot, ranks[i]] = LOW_MS + unit_ms * keys[i]
                asked[node, slot, ranks[i]] = drawn[i]
            began_ms[node, slot] = now

        def outcome(node, slot, limit):
            """When a poll ends, or infinity if not by limit, and its answers for 1 and for 0."""
            start, ones = began_ms[node, slot], 0
            if start + trips_ms[node, slot, FEWEST - 1] > limit:
                return np.inf, 0, 0
            for i in range(K):
                trip = trips_ms[node, slot, i]
                if start + trip > limit:
                    break
                peer, asked_ms = asked[node, slot, i], start + trip / 2
                colour = preference[peer]
                if changed_ms[peer] > asked_ms:
                    last = changes[peer] - 1
                    while last >= 0 and changes_ms[peer, last % RING] > asked_ms:
                        last -= 1
                        colour ^= 1
                ones += colour
                if ENDED[ones, i + 1 - ones]:
                    return start + trip, ones, i + 1 - ones
            return np.inf, 0, 0

        for begun in range(polls):
            begin(begun // OPEN, begun % OPEN, 0.0, begun + 1)
        while run.min() < BETA:
            limit += LOOKAHEAD_MS
            for node in range(n):
                while run[node] < BETA:
                    slot = oldest[node]
                    now, ones, zeros = outcome(node, slot, limit)
                    if now > limit:
                        break
                    applied, ended_ms = 0, now
                    while ended_ms <= now:
                        applied += 1
                        if apply(preference, run, node, ones, zeros):
                            changes_ms[node, changes[node] % RING] = now
                            changes[node] += 1
                            changed_ms[node] = now
                        if run[node] == BETA or applied == OPEN:
                            break
                        ended_ms, ones, zeros = outcome(node, (slot + applied) % OPEN, now)
                    if run[node] == BETA:
                        decided_ms[node] = now
                        break
                    for i in range(applied):
                        polls += 1
                        begin(node, (slot + i) % OPEN, now, polls)
                    oldest[node] = (slot + applied) % OPEN
        return decided_ms, polls

    return {"heap": heap, "calendar": calendar, "windows": windows}


def main(n: int = 1000, trials: int = 5) -> None:
    """Print for each loop ns per poll and means over the trials; compilation is not timed."""
    for name, loop in {"python": python, **compiled()}.items():
        loop(100, 1)
        began = time.perf_counter()
        times_ms, polls = zip(*(loop(n, seed) for seed in range(1, trials + 1)), strict=True)
        each_ns = (time.perf_counter() - began) / sum(polls) * 1e9
        node, last = np.mean(times_ms), np.max(times_ms, axis=1).mean()
        print(f"{name:8}{each_ns:8.0f} ns per poll, {sum(polls) / trials / n:.2f} a node;", end="")
        print(f" decided at {node:.1f} ms, the last node at {last:.1f} ms", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
