"""What the residual u - z-hat of an estimate still tells: it should be noise, and noise averages out.

Three corrections, all local, so that any slab of a volume can be corrected by itself:

- `keep_activity`: over a few centimetres the input's own mean is known better than any network's guess, so
  the estimate is given that mean. Total activity then follows the counts. Organ means do not quite: an
  excess in lung or fat is taken from the hotter organ beside it too, some tenths of a per cent.
- `restore_structure`: where the residual, smoothed over a few millimetres, has more power than noise has,
  there is structure that the network took for noise (the brain's cortex, the rim of a hot bladder); that part
  is added again, with Wiener's gain. A network that removes none gets next to nothing back. The thought is
  that of Tukey's twicing (1977).
- `keep_hot_spots` (`diffusion/hot_spots.py`): a small hot spot gets the whole residual back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from mapdiff.diffusion.hot_spots import keep_hot_spots
from mapdiff.diffusion.noise_map import NoiseMap, noise_map
from mapdiff.diffusion.smoothing import FWHM_TO_SIGMA, smooth
from mapdiff.diffusion.transform import invert, transform

Float = NDArray[np.float32]
#: Limits of the mean's width, FWHM in mm, and of the factor that an estimate is corrected by.
NARROWEST_MM, WIDEST_MM = 6.0, 45.0
LARGEST_FACTOR = 1.25
#: The mean that is kept is taken over the width at which its own noise is this part of the signal: less than
#: the error of an estimate, and as narrow as that allows.
KEPT_NOISE = 0.015
#: Width over which the residual is averaged to find structure, FWHM in mm: about the resolution of scans.
STRUCTURE_MM = 4.5
#: Width over which the power of that average is told, FWHM in mm.
POWER_MM = 12.0
#: How many of the noise's standard deviations are taken for noise: of the activities that most of the body
#: has, and of those that few voxels have, where structure prevails. There the residual is no measure of
#: noise: that of the most active of the others is taken, times a power of the noise map's variance.
THRESHOLD, RARE_THRESHOLD, VARIANCE_POWER = 1.2, 0.85, 0.4
#: Activity below which a mean is no measure, in units of the body's mean.
FLOOR = 0.02
#: The residual's noise is measured in octaves of activity, from below 2^FIRST to above
#: 2^(FIRST + OCTAVES - 2) times the body's mean.
FIRST, OCTAVES = -3, 10
#: An octave with less than this part of the body's voxels is no measure of noise: there structure prevails.
#: One above the most common is a measure in part where its share is within DOUBTFUL of that, lest a rounding
#: decide for it.
LEAST_SHARE, DOUBTFUL = 0.03, 0.005
#: Cells of the histogram of |smoothed residual|, and where it ends, on the transformed scale.
_CELLS, _LARGEST = 8192, 2.0
_MEDIAN_TO_SIGMA = 1 / 0.6745


@dataclass(frozen=True)
class OctaveNoise:
    """Noise of the smoothed residual by the octaves that measure it, on the transformed scale.

    Attributes:
        activity: rising, in units of the body's mean.
        sigma: standard deviation at each.
        rare: activities from here on are those of few voxels.
        variance: what a noise map says of the most active voxels below, on its own scale.
    """

    activity: tuple[float, ...]
    sigma: tuple[float, ...]
    rare: float
    variance: float

    def limit(self, z_hat: Float, places: NoiseMap, start: int) -> Float:
        """The deviation that counts as noise, for each voxel.

        Args:
            z_hat: slices of the estimate.
            places: of the whole estimate.
            start: the first of these slices.
        """
        where = np.log(np.maximum(z_hat, np.float32(1e-3)))
        found: Float = np.interp(where, np.log(self.activity), self.sigma).astype(np.float32)
        rare = z_hat >= self.rare
        found *= np.where(rare, np.float32(RARE_THRESHOLD), np.float32(THRESHOLD))
        found[rare] *= (places.at(rare, start) / np.float32(self.variance)) ** np.float32(VARIANCE_POWER)
        return found


@dataclass(frozen=True)
class ResidualNoise:
    """Noise of the smoothed residual, on the transformed scale.

    Attributes:
        parts: weights, which add up to one, and the noise; more than one where an octave is in doubt.
    """

    parts: tuple[tuple[float, OctaveNoise], ...]

    def limit(self, z_hat: Float, places: NoiseMap, start: int) -> Float:
        """The deviation that counts as noise, for each voxel; see `OctaveNoise.limit`."""
        found = np.zeros_like(z_hat)
        for weight, noise in self.parts:
            found += np.float32(weight) * noise.limit(z_hat, places, start)
        return found


def kept_width(level: float, grain_mm3: float, kept_noise: float = KEPT_NOISE) -> float:
    """FWHM in mm of the mean that `keep_activity` keeps.

    A Gaussian filter of standard deviation s averages noise over (4 pi)^(3/2) s^3.

    Args:
        level: the input's noise level (NMAE inside the body).
        grain_mm3: volume of its grain (`diffusion.grain`).
        kept_noise: of the mean, as a part of the signal.
    """
    volume = grain_mm3 * (level / kept_noise) ** 2
    width = float((volume / (4 * np.pi) ** 1.5) ** (1 / 3)) / FWHM_TO_SIGMA
    return float(np.clip(width, NARROWEST_MM, WIDEST_MM))


def keep_activity(z_hat: Float, u: Float, width_mm: float, spacing_mm: Sequence[float]) -> Float:
    """The estimate, scaled so that its local mean is the input's.

    By LARGEST_FACTOR at most; where neither has a mean above FLOOR it stays as it is.

    Args:
        z_hat: (I, J, K), linear, in units of the body's mean.
        u: the input, the same shape and scale.
        width_mm: FWHM of the mean, from `kept_width`.
        spacing_mm: voxel size.
    """
    factor = np.maximum(smooth(u, width_mm, spacing_mm), np.float32(FLOOR))
    factor /= np.maximum(smooth(z_hat, width_mm, spacing_mm), np.float32(FLOOR))
    np.clip(factor, 1 / LARGEST_FACTOR, LARGEST_FACTOR, out=factor)
    factor *= z_hat
    return factor


def _residual(z_hat: Float, u: Float, spacing_mm: Sequence[float]) -> tuple[Float, Float]:
    """T(z-hat), and the smoothed residual on the transformed scale."""
    x = transform(torch.from_numpy(z_hat)).numpy()
    return x, smooth(transform(torch.from_numpy(u)).numpy() - x, STRUCTURE_MM, spacing_mm)


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


def residual_noise(counts: NDArray[np.int64], places: NoiseMap) -> ResidualNoise:
    """The noise of the smoothed residual by octaves, by its median, which structure hardly moves.

    Args:
        counts: from `residual_counts`, of a whole body.
        places: where that body is noisier than elsewhere.
    """
    shares = counts.sum(axis=1) / counts.sum()
    least, most = LEAST_SHARE - DOUBTFUL, LEAST_SHARE + DOUBTFUL
    above = shares[int(np.argmax(shares)) + 1 :]
    # As the mean over all shares from least to most that could be asked for.
    asked = [least, *sorted({float(s) for s in above if least < s < most}), most]
    return ResidualNoise(
        tuple(
            ((b - a) / (most - least), _octave_noise(counts, shares, b, places)) for a, b in pairwise(asked)
        )
    )


def _octave_noise(
    counts: NDArray[np.int64], shares: NDArray[np.float64], asked: float, places: NoiseMap
) -> OctaveNoise:
    """The noise where octaves above the most common one measure it with the share that is asked for."""
    common = int(np.argmax(shares))
    octaves = [n for n in range(OCTAVES) if shares[n] >= (LEAST_SHARE if n <= common else asked)]
    sigma = [_sigma(counts[n]) for n in octaves]
    # The noise of OSEM grows at most as the activity does, on the transformed scale as its root. What grows
    # faster is structure, in organs that few voxels have.
    for n in range(octaves.index(common) + 1, len(octaves)):
        sigma[n] = min(sigma[n], sigma[n - 1] * 2 ** (0.5 * (octaves[n] - octaves[n - 1])))
    middles = tuple(2.0 ** (FIRST - 0.5 + n) for n in octaves)
    rare = 2.0 ** (FIRST + octaves[-1])
    return OctaveNoise(middles, tuple(sigma), rare, places.typical(rare / 2, rare))


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
    places: NoiseMap,
    start: int = 0,
) -> Float:
    """The estimate with the significant part of the smoothed residual added, on the transformed scale.

    Args:
        z_hat: (I, J, K), linear; the whole image, or slices of it.
        u: the input, the same shape and scale.
        noise: of the smoothed residual.
        spacing_mm: voxel size.
        places: where the whole estimate is noisier than elsewhere.
        start: the first of these slices.
    """
    x, residual = _residual(z_hat, u, spacing_mm)
    power = smooth(np.square(residual), POWER_MM, spacing_mm)
    limit = noise.limit(z_hat, places, start)
    residual *= np.clip(1 - np.square(limit) / np.maximum(power, np.float32(1e-12)), 0, 1)
    x = x + residual
    return invert(torch.from_numpy(x)).numpy()


def corrected(
    z_hat: Float,
    u: Float,
    body: NDArray[np.bool_],
    level: float,
    grain_mm3: float,
    spacing_mm: Sequence[float],
) -> Float:
    """An estimate of a whole volume in memory, with all three corrections.

    Args:
        z_hat: (I, J, K), linear, in units of the body's mean.
        u: the input, the same shape and scale.
        body: where the residual is measured.
        level: the input's noise level, `kept_width`.
        grain_mm3: volume of its grain.
        spacing_mm: voxel size.
    """
    z = keep_activity(z_hat, u, kept_width(level, grain_mm3), spacing_mm)
    places = noise_map(lambda a, b: (z[:, :, a:b], body[:, :, a:b]), z.shape, spacing_mm)
    noise = residual_noise(residual_counts(z, u, body, spacing_mm), places)
    return keep_hot_spots(restore_structure(z, u, noise, spacing_mm, places), u, spacing_mm)
