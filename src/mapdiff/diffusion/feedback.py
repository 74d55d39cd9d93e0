"""What the residual u - z-hat of an estimate still tells: it should be noise, and noise averages out.

Two corrections, both local, so that any slab of a volume can be corrected by itself:

- `keep_activity`: over a few centimetres the input's own mean is known better than any network's guess, so
  the estimate is given that mean. Total activity then follows the counts. Organ means do not quite: an
  excess in lung or fat is taken from the hotter organ beside it too, some tenths of a per cent.
- `restore_structure`: where the residual, smoothed over a few millimetres, stands out of its own spread there
  is structure that the network took for noise (the rim of a hot bladder, say); that part is added again, with
  Wiener's gain. A network that removes none gets next to nothing back. The thought is that of Tukey's
  twicing (1977).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion.transform import invert, transform

Float = NDArray[np.float32]
FWHM_TO_SIGMA = 1 / 2.3548
#: Limits of the mean's width, FWHM in mm, and of the factor that an estimate is corrected by.
NARROWEST_MM, WIDEST_MM = 6.0, 45.0
LARGEST_FACTOR = 1.25
#: Width over which the residual is averaged to find structure, FWHM in mm: about the resolution of scans.
STRUCTURE_MM = 6.0
#: Activity below which a mean is no measure, in units of the body's mean.
FLOOR = 0.02
#: The residual's noise is measured in octaves of activity, from below 2^FIRST to above
#: 2^(FIRST + OCTAVES - 2) times the body's mean.
FIRST, OCTAVES = -3, 10
#: An octave with less than this part of the body's voxels is no measure of noise: there structure prevails.
LEAST_SHARE = 0.005
#: Cells of the histogram of |smoothed residual|, and where it ends, on the transformed scale.
_CELLS, _LARGEST = 8192, 2.0
_MEDIAN_TO_SIGMA = 1 / 0.6745
_TRUNCATE = 3.0


@dataclass(frozen=True)
class Corrections:
    """How a model's estimates are corrected; a model's file names it.

    Attributes:
        kept_noise: the mean that is kept is taken over the width at which its own noise is this part of the
            signal: less than the error of an estimate, and as narrow as that allows.
        threshold: how many standard deviations of the smoothed residual count as noise.
        by_activity: whether that deviation is measured for each octave of activity, and one is enough for
            activities that few voxels have; else one figure serves the whole body.
    """

    kept_noise: float = 0.015
    threshold: float = 2.5
    by_activity: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


CORRECTIONS = Corrections()
#: Those of models whose files name none, which are of before 2026-11-28.
CORRECTIONS_BEFORE = Corrections(kept_noise=0.04, threshold=2.0, by_activity=False)


@dataclass(frozen=True)
class ResidualNoise:
    """Noise of the smoothed residual, on the transformed scale.

    Attributes:
        activity: rising, in units of the body's mean.
        sigma: standard deviation at each.
        rare: activities from here on are those of few voxels.
    """

    activity: tuple[float, ...]
    sigma: tuple[float, ...]
    rare: float = float("inf")

    def limit(self, z_hat: Float, threshold: float) -> Float:
        """The deviation that counts as noise, for each voxel."""
        where = np.log(np.maximum(z_hat, np.float32(1e-3)))
        sigma = np.interp(where, np.log(self.activity), np.asarray(self.sigma) * threshold)
        found: Float = sigma.astype(np.float32)
        found[z_hat >= self.rare] /= threshold
        return found


def kept_width(level: float, grain_mm3: float, kept_noise: float = Corrections.kept_noise) -> float:
    """FWHM in mm of the mean that `keep_activity` keeps.

    A Gaussian filter of standard deviation s averages noise over (4 pi)^(3/2) s^3.

    Args:
        level: the input's noise level (NMAE inside the body).
        grain_mm3: volume of its grain (`diffusion.grain`).
        kept_noise: of the mean, see `Corrections`.
    """
    volume = grain_mm3 * (level / kept_noise) ** 2
    width = float((volume / (4 * np.pi) ** 1.5) ** (1 / 3)) / FWHM_TO_SIGMA
    return float(np.clip(width, NARROWEST_MM, WIDEST_MM))


def reach(width_mm: float, spacing_mm: float) -> int:
    """How many voxels away a voxel can still change the corrected estimate."""
    return sum(int(_TRUNCATE * w * FWHM_TO_SIGMA / spacing_mm + 0.5) for w in (width_mm, STRUCTURE_MM))


def _smooth(values: Float, width_mm: float, spacing_mm: Sequence[float]) -> Float:
    sigma = [width_mm * FWHM_TO_SIGMA / s for s in spacing_mm]
    smooth: Float = gaussian_filter(values, sigma, mode="nearest", truncate=_TRUNCATE)
    return smooth


def keep_activity(z_hat: Float, u: Float, width_mm: float, spacing_mm: Sequence[float]) -> Float:
    """The estimate, scaled so that its local mean is the input's.

    Args:
        z_hat: (I, J, K), linear, in units of the body's mean.
        u: the input, the same shape and scale.
        width_mm: FWHM of the mean, from `kept_width`.
        spacing_mm: voxel size.
    """
    factor = _smooth(u, width_mm, spacing_mm)
    factor /= np.maximum(_smooth(z_hat, width_mm, spacing_mm), np.float32(FLOOR))
    np.clip(factor, 1 / LARGEST_FACTOR, LARGEST_FACTOR, out=factor)
    factor *= z_hat
    return factor


def _residual(z_hat: Float, u: Float, spacing_mm: Sequence[float]) -> tuple[Float, Float]:
    """T(z-hat), and the smoothed residual on the transformed scale."""
    x = transform(torch.from_numpy(z_hat)).numpy()
    return x, _smooth(transform(torch.from_numpy(u)).numpy() - x, STRUCTURE_MM, spacing_mm)


def residual_counts(
    z_hat: Float, u: Float, body: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> NDArray[np.int64]:
    """Histograms of the smoothed residual's size, on the transformed scale; those of slabs may be added up.

    Args:
        z_hat: (I, J, K), linear.
        u: the input, the same shape and scale.
        body: where to measure.
        spacing_mm: voxel size.

    Returns:
        (OCTAVES, cells), voxels.
    """
    size = np.abs(_residual(z_hat, u, spacing_mm)[1][body])
    cell = np.minimum(size * np.float32(_CELLS / _LARGEST), _CELLS - 1).astype(np.int64)
    octave = np.floor(np.log2(np.maximum(z_hat[body], np.float32(1e-6)))).astype(np.int64) - (FIRST - 1)
    flat = np.clip(octave, 0, OCTAVES - 1) * _CELLS + cell
    return np.bincount(flat, minlength=OCTAVES * _CELLS).reshape(OCTAVES, _CELLS)


def residual_noise(counts: NDArray[np.int64], by_activity: bool = Corrections.by_activity) -> ResidualNoise:
    """The noise of the smoothed residual, by its median, which structure hardly moves.

    Args:
        counts: from `residual_counts`, of a whole body.
        by_activity: whether for each octave, or for all together: with a square root for the transform the
            noise of OSEM is nearly uniform.
    """
    if not by_activity:
        return ResidualNoise((1.0,), (_sigma(counts.sum(axis=0)),))
    voxels = counts.sum(axis=1)
    octaves = [n for n in range(OCTAVES) if voxels[n] >= LEAST_SHARE * voxels.sum()]
    sigma = [_sigma(counts[n]) for n in octaves]
    # The noise of OSEM grows at most as the activity does, on the transformed scale as its root. What grows
    # faster is structure, in organs that few voxels have.
    for n in range(int(np.argmax(voxels[octaves])) + 1, len(octaves)):
        sigma[n] = min(sigma[n], sigma[n - 1] * 2 ** (0.5 * (octaves[n] - octaves[n - 1])))
    middles = tuple(2.0 ** (FIRST - 0.5 + n) for n in octaves)
    return ResidualNoise(middles, tuple(sigma), 2.0 ** (FIRST + octaves[-1]))


def _sigma(counts: NDArray[np.int64]) -> float:
    """Standard deviation by the median of the sizes in a histogram."""
    below = np.cumsum(counts)
    half = below[-1] / 2
    cell = int(np.searchsorted(below, half))
    within = (half - (below[cell] - counts[cell])) / counts[cell]
    return float((cell + within) * _LARGEST / _CELLS) * _MEDIAN_TO_SIGMA


def restore_structure(
    z_hat: Float,
    u: Float,
    noise: ResidualNoise,
    spacing_mm: Sequence[float],
    threshold: float = Corrections.threshold,
) -> Float:
    """The estimate with the significant part of the smoothed residual added, on the transformed scale.

    Args:
        z_hat: (I, J, K), linear.
        u: the input, the same shape and scale.
        noise: of the smoothed residual.
        spacing_mm: voxel size.
        threshold: see `Corrections`.
    """
    x, smooth = _residual(z_hat, u, spacing_mm)
    power = np.square(smooth)
    limit = np.square(noise.limit(z_hat, threshold))
    smooth *= np.clip(1 - limit / np.maximum(power, np.float32(1e-12)), 0, 1)
    x = x + smooth
    return invert(torch.from_numpy(x)).numpy()


def corrected(
    z_hat: Float,
    u: Float,
    body: NDArray[np.bool_],
    level: float,
    grain_mm3: float,
    spacing_mm: Sequence[float],
    corrections: Corrections = CORRECTIONS,
) -> Float:
    """An estimate of a whole volume in memory, with both corrections.

    Args:
        z_hat: (I, J, K), linear, in units of the body's mean.
        u: the input, the same shape and scale.
        body: where the residual is measured.
        level: the input's noise level, `kept_width`.
        grain_mm3: volume of its grain.
        spacing_mm: voxel size.
        corrections: which.
    """
    z = keep_activity(z_hat, u, kept_width(level, grain_mm3, corrections.kept_noise), spacing_mm)
    noise = residual_noise(residual_counts(z, u, body, spacing_mm), corrections.by_activity)
    return restore_structure(z, u, noise, spacing_mm, corrections.threshold)
