"""Whether the spread of the samples covers the error that it claims to cover."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from mapdiff.errors import InputError
from mapdiff.evaluation.metrics import Figure
from mapdiff.volume import Array

LEVELS = (0.5, 0.8, 0.9, 0.95)


def coverage(
    mean: Array,
    deviation: Array,
    reference: Array,
    *,
    samples: int,
    mask: NDArray[np.bool_] | None = None,
    levels: Sequence[float] = LEVELS,
    region: str = "volume",
) -> list[Figure]:
    """How often the interval that the samples give holds the reference, against how often it should.

    Samples of a stochastic path are possible full-dose scans; if they are drawn from the right distribution
    the scan itself is one more of them, and (scan - mean) / (deviation sqrt(1 + 1/K)) follows Student's t
    with K - 1 degrees of freedom, for Gaussian noise.

    Args:
        mean: of K samples, (I, J, K).
        deviation: their standard deviation (with K - 1 in the denominator), same shape and unit.
        reference: what they are held against, same shape and unit.
        samples: K.
        mask: voxels to look at; those without spread are left out. None: all.
        levels: nominal probabilities.
        region: what the mask is called.

    Returns:
        Per level "coverage" in %, and "spread over error": the root mean square of the spread over that of
        the error, 1 where the spread is right on average.

    Raises:
        InputError: shapes differ, there are fewer than two samples, or no voxel has any spread.
    """
    if not mean.shape == deviation.shape == reference.shape:
        raise InputError(f"the shapes differ: {mean.shape}, {deviation.shape}, {reference.shape}")
    if samples < 2:
        raise InputError(f"{samples} sample has no spread: at least 2")
    used = deviation > 0 if mask is None else mask & (deviation > 0)
    if not used.any():
        raise InputError("no voxel has any spread")
    error = np.abs(reference[used].astype(np.float64) - mean[used])
    spread = deviation[used].astype(np.float64) * np.sqrt(1 + 1 / samples)
    words = f"mean and spread of {samples} samples, Student's t; {used.sum()} voxels with spread"
    figures = []
    for level in levels:
        width = float(t.ppf((1 + level) / 2, samples - 1))
        inside = 100 * float((error <= width * spread).mean())
        figures.append(Figure(f"coverage of {100 * level:g} %", inside, "%", words, region=region))
    ratio = float(np.sqrt(np.square(spread).mean() / max(float(np.square(error).mean()), 1e-300)))
    figures.append(Figure("spread over error", ratio, "", f"RMS over RMS; {words}", region=region))
    return figures


def expected_coverage(level: float, ratio: float) -> float:
    """Coverage in % of a Gaussian interval whose spread is `ratio` times the true one, for many samples."""
    return 100 * float(2 * norm.cdf(ratio * norm.ppf((1 + level) / 2)) - 1)
