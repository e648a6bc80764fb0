"""Numbers as text, each with its interval, to digits that the interval bears."""

import math

from vecsim.results.estimate import DISAGREE


def rate(value: float, low: float, high: float) -> str:
    """A share with its interval, to digits that the interval bears.

    >>> rate(0.9, 0.883, 0.921)
    '0.90 [.88 .92]'
    >>> rate(0, 0, 0.0037)
    '0 [0 .004]'
    >>> rate(1, 0.9999963, 1)
    '1 [.999996 1]'
    """
    if not math.isfinite(value):
        return "-"
    digits = max(2, math.ceil(-math.log10(max(high - low, 1e-300))))

    def text(number: float) -> str:
        if number in (0, 1):
            return f"{number:.0f}"
        if digits <= 4 or number > 0.1:
            return f"{number:.{digits}f}"
        return f"{number:.0e}".replace("e-0", "e-")

    ends = " ".join(text(end).replace("0.", ".", 1) for end in (low, high))
    return f"{text(value)} [{ends}]"


def chance(value: float, low: float, high: float) -> str:
    """A small probability with its interval.

    >>> chance(8.7e-10, 7.12e-10, 1.06e-9)
    '8.7e-10 [7.1e-10 1.1e-09]'
    """
    return "not reached" if math.isnan(value) else f"{value:.2g} [{low:.2g} {high:.2g}]"


def order_of_magnitude(value: float) -> str:
    """An order of magnitude.

    >>> order_of_magnitude(2.1e-15), order_of_magnitude(0.0), order_of_magnitude(math.nan)
    ('about 1e-15', 'not reached', 'not reached')
    """
    return f"about 1e{math.floor(math.log10(value) + 0.5):d}" if value > 0 else "not reached"


def agreement(gap: float) -> str:
    """What the p-value of the difference between two scores says: agree, disagree, or one only
    (NaN)."""
    return "one only" if math.isnan(gap) else "disagree" if gap < DISAGREE else "agree"


def amount(value: float, low: float, high: float) -> str:
    """A mean with its interval, to digits that the interval bears; one value where all agree.
    Ends that are not known are infinite.

    >>> amount(84.91, 84.02, 85.8)
    '84.9 [84.0 85.8]'
    >>> amount(96000.0, 96000.0, 96000.0), amount(3.25, -math.inf, math.inf)
    ('96,000', '3.25 [-inf inf]')
    """
    if not math.isfinite(value):
        return "-"
    width = high - low
    if not math.isfinite(width) or width <= 1e-9 * max(1.0, abs(value)):
        text = "{:,.4g}" if abs(value) < 1000 else "{:,.0f}"
        ends = "" if math.isfinite(width) else f" [{text} {text}]"
        return f"{text}{ends}".format(value, low, high)
    digits = min(max(0, 1 - math.floor(math.log10(width))), 6) if width < 10 else 0
    return f"{value:,.{digits}f} [{low:,.{digits}f} {high:,.{digits}f}]"


def crossed(value: float, low: float, high: float) -> str:
    """A threshold in per cent with its interval; how far it is known, where that has no end.

    >>> crossed(8.431, 8.302, 8.567), crossed(48.51, 46.04, math.inf)
    ('8.43 [8.30 8.57]', '48.5 [above 46]')
    >>> crossed(math.inf, 50.0, math.inf), crossed(-math.inf, -math.inf, 0.21)
    ('above 50', 'below 0.21')
    """
    bounds = {(True, False): f"below {high:.3g}", (False, True): f"above {low:.3g}"}
    bound = bounds.get((math.isinf(low), math.isinf(high)), "not known")
    if math.isfinite(value):
        known = math.isfinite(low) and math.isfinite(high)
        return amount(value, low, high) if known else f"{value:.3g} [{bound}]"
    return "-" if math.isnan(value) else bound


def rounds(value: float, low: float, high: float) -> str:
    """A median number of rounds with its interval; `never` where it lies among the censored.

    >>> rounds(46.7, 46, math.inf)
    '46.7 [46 inf]'
    """
    if math.isnan(value) or math.isinf(low):
        return "-" if math.isnan(value) else "never"

    def text(number: float) -> str:
        return f"{number:.0f}" if number >= 100 else f"{number:.3g}"  # infinity is inf

    return f"{'never' if math.isinf(value) else text(value)} [{text(low)} {text(high)}]"


def label(value) -> str:
    """A coordinate's value: text as it is, a number to six digits at most."""
    return str(value) if isinstance(value, str) else f"{value:g}"
