"""Gaussian means over millimetres, with an end: what lies beyond `reach` voxels has no say."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Float = NDArray[np.float32]
FWHM_TO_SIGMA = 1 / 2.3548
_TRUNCATE = 3.0


def smooth(values: Float, width_mm: float, spacing_mm: Sequence[float]) -> Float:
    """The mean of (I, J, K) values over a Gaussian of `width_mm` (FWHM); the border continues outwards."""
    sigma = [width_mm * FWHM_TO_SIGMA / s for s in spacing_mm]
    found: Float = gaussian_filter(values, sigma, mode="nearest", truncate=_TRUNCATE)
    return found


def reach(width_mm: float, spacing_mm: float) -> int:
    """How many voxels away a voxel can still change a mean over a width (FWHM) of `width_mm`."""
    return int(_TRUNCATE * width_mm * FWHM_TO_SIGMA / spacing_mm + 0.5)
