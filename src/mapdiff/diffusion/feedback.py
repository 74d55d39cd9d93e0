"""What the residual u - z-hat of an estimate still tells: it should be noise, and noise averages out.

Two corrections, both local, so that any slab of a volume can be corrected by itself:

- `keep_activity`: over a centimetre or so the input's own mean is known better than any network's guess, so
  the estimate is given that mean. Organ means and total activity then follow the counts.
- `restore_structure`: where the residual, smoothed over a few millimetres, stands out of its own spread there
  is structure that the network took for noise (the rim of a hot bladder, say); that part is added again, with
  Wiener's gain. A network that removes none gets next to nothing back. The thought is that of Tukey's
  twicing (1977).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion.transform import invert, transform

Float = NDArray[np.float32]
FWHM_TO_SIGMA = 1 / 2.3548
#: The mean that is kept is taken over the width at which its own noise is this part of the signal: less than
#: the error of an estimate, and so narrow that small organs count by themselves.
KEPT_NOISE = 0.04
#: Limits of that width, FWHM in mm, and of the factor that an estimate is corrected by.
NARROWEST_MM, WIDEST_MM = 6.0, 45.0
LARGEST_FACTOR = 1.25
#: Width over which the residual is averaged to find structure, FWHM in mm: about the resolution of scans.
STRUCTURE_MM = 6.0
#: How many standard deviations of the smoothed noise count as noise.
THRESHOLD = 2.0
#: Activity below which a mean is no measure, in units of the body's mean.
FLOOR = 0.02
_MEDIAN_TO_SIGMA = 1 / 0.6745
_TRUNCATE = 3.0


def kept_width(level: float, grain_mm3: float) -> float:
    """FWHM in mm of the mean that `keep_activity` keeps.

    A Gaussian filter of standard deviation s averages noise over (4 pi)^(3/2) s^3.

    Args:
        level: the input's noise level (NMAE inside the body).
        grain_mm3: volume of its grain (`diffusion.grain`).
    """
    volume = grain_mm3 * (level / KEPT_NOISE) ** 2
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


def residual_strength(z_hat: Float, u: Float, body: NDArray[np.bool_], spacing_mm: Sequence[float]) -> float:
    """Standard deviation of the smoothed residual's noise, on the transformed scale, by its median.

    One figure serves the whole body: on that scale the noise of OSEM is nearly uniform.

    Args:
        z_hat: (I, J, K), linear.
        u: the input, the same shape and scale.
        body: where to measure.
        spacing_mm: voxel size.
    """
    return float(np.median(np.abs(_residual(z_hat, u, spacing_mm)[1][body]))) * _MEDIAN_TO_SIGMA


def restore_structure(z_hat: Float, u: Float, strength: float, spacing_mm: Sequence[float]) -> Float:
    """The estimate with the significant part of the smoothed residual added, on the transformed scale.

    Args:
        z_hat: (I, J, K), linear.
        u: the input, the same shape and scale.
        strength: of the smoothed residual's noise, from `residual_strength`.
        spacing_mm: voxel size.
    """
    x, smooth = _residual(z_hat, u, spacing_mm)
    power = np.square(smooth)
    smooth *= np.clip(1 - (THRESHOLD * strength) ** 2 / np.maximum(power, 1e-12), 0, 1)
    x = x + smooth
    return invert(torch.from_numpy(x)).numpy()


def corrected(
    z_hat: Float,
    u: Float,
    body: NDArray[np.bool_],
    level: float,
    grain_mm3: float,
    spacing_mm: Sequence[float],
) -> Float:
    """An estimate of a whole volume in memory, with both corrections.

    Args:
        z_hat: (I, J, K), linear, in units of the body's mean.
        u: the input, the same shape and scale.
        body: where the residual is measured.
        level: the input's noise level, `kept_width`.
        grain_mm3: volume of its grain.
        spacing_mm: voxel size.
    """
    z = keep_activity(z_hat, u, kept_width(level, grain_mm3), spacing_mm)
    return restore_structure(z, u, residual_strength(z, u, body, spacing_mm), spacing_mm)
