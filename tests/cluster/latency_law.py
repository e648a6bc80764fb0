"""How long an undisturbed vertex takes, in closed form: 22 polls, 4 ms apart, counted in order."""

import math

from scipy import stats

K, ALPHA, ROUNDS = 30, 24, 22  # of the defaults; the polls that a vertex needs when all answer yes


def resolution_below(delay_ms, low, high, loss):
    """The chance that a poll resolves within a delay: its alpha-th yes, or a failure at 250 ms."""
    arrival = (1 - loss) ** 2
    share = min(max((delay_ms - low) / (high - low), 0), 1)
    # The alpha-th yes came if at least alpha of k peers answered within the delay.
    success = stats.binom.sf(ALPHA - 1, K, arrival * share)
    return success + (delay_ms >= 250) * stats.binom.cdf(ALPHA - 1, K, arrival)


def latency_below(latency_ms, low, high, loss):
    """The chance that a vertex whose polls succeed takes no longer.

    low, high: of round trips, uniform, in ms; loss: of a message.
    """
    delays = (latency_ms - 4 * i for i in range(ROUNDS))
    return math.prod(resolution_below(delay, low, high, loss) for delay in delays)


def last_failures(success, max_rounds=100):
    """The chance of each last failed poll before a decision (-1: none); the rest time out."""
    decided, undecided = {}, {-1: 1.0}
    for poll in range(max_rounds):
        failed = sum(undecided.values()) * (1 - success)
        undecided = {last: chance * success for last, chance in undecided.items()} | {poll: failed}
        for last in [last for last in undecided if poll - last >= 20 and poll + 1 >= ROUNDS]:
            decided[last] = decided.get(last, 0) + undecided.pop(last)
    return decided


def latency_with_failures_below(latency_ms, loss):
    """The chance that a vertex takes no longer, with round trips of a millisecond at most.

    A failed poll resolves at 250 ms, after the 20 successes that follow it within 81 ms, so that
    latencies after a failure are 250 ms and a multiple of 4 ms.
    """
    decided = last_failures(stats.binom.sf(ALPHA - 1, K, (1 - loss) ** 2))
    ends = {last: 4 * last + 250 if last >= 0 else 85 for last in decided}
    return sum(chance for last, chance in decided.items() if ends[last] <= latency_ms)
