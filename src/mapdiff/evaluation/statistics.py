"""Means over subjects with bootstrap intervals, and paired differences."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapdiff.bootstrap import LEAST_SUBJECTS, widened
from mapdiff.errors import InputError

RESAMPLES = 9999


@dataclass(frozen=True)
class Interval:
    """A mean over subjects.

    Attributes:
        mean: the mean.
        low: lower end of the interval; NaN where fewer than LEAST_SUBJECTS give none.
        high: upper end.
        n: subjects.
        confidence: such as 0.95.
        method: "BCa" or "percentile" bootstrap over subjects; "none" where there is no interval.
    """

    mean: float
    low: float
    high: float
    n: int
    confidence: float
    method: str

    def clear_of_zero(self) -> bool:
        """Whether zero lies outside the interval; false where there is none."""
        return self.low > 0 or self.high < 0


def mean_interval(
    values: Sequence[float], *, confidence: float = 0.95, method: str = "BCa", seed: int = 0
) -> Interval:
    """The mean of one figure per subject, with a bootstrap interval over subjects (`widened`: they are few).

    Args:
        values: one per subject, finite.
        confidence: of the interval.
        method: "BCa" (bias-corrected and accelerated, Efron 1987) or "percentile".
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        InputError: there is no value, one is not finite, or the method has another name.
    """
    from scipy.stats import bootstrap

    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise InputError("a mean over subjects needs one value or more")
    if not np.isfinite(sample).all():
        raise InputError("a mean over subjects needs finite values")
    if method not in ("BCa", "percentile"):
        raise InputError(f"bootstrap method '{method}' is neither BCa nor percentile")
    mean = float(sample.mean())
    if sample.size < LEAST_SUBJECTS:
        return Interval(mean, math.nan, math.nan, sample.size, confidence, "none")
    if np.ptp(sample) == 0:  # every resample is the same, and BCa divides by their spread
        return Interval(mean, mean, mean, sample.size, confidence, "percentile")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a degenerate BCa interval is found below
        found = bootstrap(
            (sample,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=widened(confidence, sample.size),
            method=method,
            rng=np.random.default_rng(seed),
            batch=1000,
        ).confidence_interval
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return mean_interval(values, confidence=confidence, method="percentile", seed=seed)
    return Interval(mean, float(found.low), float(found.high), sample.size, confidence, method)


def paired_difference(
    values: Sequence[float],
    others: Sequence[float],
    *,
    confidence: float = 0.95,
    method: str = "BCa",
    seed: int = 0,
) -> Interval:
    """The mean of `values` - `others` over the same subjects in the same order, with its interval.

    Arguments as in `mean_interval`.

    Raises:
        InputError: the two are not of one length, or as for `mean_interval`.
    """
    a, b = np.asarray(values, np.float64), np.asarray(others, np.float64)
    if a.shape != b.shape:
        raise InputError(f"paired values need the same subjects: {a.size} against {b.size}")
    return mean_interval((a - b).tolist(), confidence=confidence, method=method, seed=seed)
