"""What a bootstrap over few subjects can say."""

import math

#: Of fewer subjects no interval is given: of five even the widened one is off, and of two it means nothing.
LEAST_SUBJECTS = 6


def widened(confidence: float, n: int) -> float:
    """The level to ask a bootstrap for, so that its interval of n subjects holds the mean as often as told.

    A bootstrap knows neither that the spread of n subjects is sqrt((n - 1) / n) of the true one, nor that
    this spread is uncertain. Hesterberg's expanded interval (arXiv 1411.5279) mends both: alpha' / 2 =
    Phi(-sqrt(n / (n - 1)) t_(alpha / 2, n - 1)).

    Args:
        confidence: such as 0.95.
        n: subjects, two or more.

    >>> [round(widened(0.95, n), 4) for n in (6, 12, 1000)]
    [0.9951, 0.9785, 0.9504]
    """
    from scipy.stats import norm, t

    return float(1 - 2 * norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf((1 + confidence) / 2, n - 1)))


def percentiles(n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The percentiles of a bootstrap's draws that the `widened` interval of n subjects ends at."""
    outside = 50 * (1 - widened(confidence, n))
    return outside, 100 - outside
