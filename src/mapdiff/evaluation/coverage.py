"""Whether the spread of the samples covers the error that it claims to cover."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import norm, t

from mapdiff.errors import InputError
from mapdiff.evaluation.metrics import Figure
from mapdiff.volume import Array

LEVELS = (0.5, 0.8, 0.9, 0.95)
#: Bins of the spread, each with the same number of voxels.
SPREAD_BINS = 12
#: Standard deviation of the Gaussian that the variance round a voxel is averaged by, mm.
SPREAD_MM = 8.0


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


def spread_by_bins(
    mean: Array,
    deviation: Array,
    reference: Array,
    *,
    samples: int,
    mask: NDArray[np.bool_],
    spacing_mm: Sequence[float],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The samples' spread against the error that it ought to tell, where it is low to where it is high.

    Voxels are sorted by the spread round them, not by their own: of a few samples one voxel's is mostly
    chance, and where it came out low the error is as large as elsewhere.

    Args:
        mean: of K samples, (I, J, K).
        deviation: their standard deviation, same shape and unit.
        reference: what they are held against, same shape and unit.
        samples: K, two at least.
        mask: voxels to look at.
        spacing_mm: voxel size.

    Returns:
        By bin, root mean squares: of deviation sqrt(1 + 1 / K), which the error of a mean of K has where the
        spread is right, and of the error.
    """
    sigma = [SPREAD_MM / s for s in spacing_mm]
    variance = np.where(mask, np.square(deviation, dtype=np.float32), np.float32(0))
    share = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    around = ndimage.gaussian_filter(variance, sigma)[mask] / share[mask]
    parts = np.array_split(np.argsort(around, kind="stable"), SPREAD_BINS)
    claimed = deviation[mask] * np.sqrt(1 + 1 / samples)
    error = reference[mask] - mean[mask]
    by_bin = [
        tuple(float(np.sqrt(np.mean(np.square(v[part], dtype=np.float64)))) for part in parts)
        for v in (claimed, error)
    ]
    return by_bin[0], by_bin[1]


def expected_coverage(level: float, ratio: float) -> float:
    """Coverage in % of a Gaussian interval whose spread is `ratio` times the true one, for many samples."""
    return 100 * float(2 * norm.cdf(ratio * norm.ppf((1 + level) / 2)) - 1)
