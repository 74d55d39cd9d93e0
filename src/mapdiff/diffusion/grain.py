"""The grain of an image's noise: over how large a volume its errors go together.

The noise level of a voxel falls as voxels grow and filters smooth, though no count was added. Level squared
times the volume of the grain does not: it is the noise of a fixed volume of tissue, and follows the counts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Keeps the noise of air from counting, in units of the body's mean.
FLOOR = 0.05
_LAGS = np.arange(1, 60)


def neighbour_correlation(
    noise: NDArray[np.float32], mean: NDArray[np.float32], body: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Correlation of the noise of neighbouring voxels along i, j and k, inside the body.

    Args:
        noise: (I, J, K), an image minus what it would be without noise.
        mean: (I, J, K), the image without noise, or an estimate; the noise is divided by its root, so that
            hot organs do not decide alone.
        body: (I, J, K).
    """
    even = noise / np.sqrt(np.maximum(mean, 0) + np.float32(FLOOR))
    found = []
    for axis in range(3):
        ahead = [slice(None)] * 3
        behind = [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        both = body[tuple(ahead)] & body[tuple(behind)]
        x, y = even[tuple(ahead)][both], even[tuple(behind)][both]
        power = np.sqrt(np.square(x).sum(dtype=np.float64) * np.square(y).sum(dtype=np.float64))
        found.append(float((x * y).sum(dtype=np.float64) / max(float(power), 1e-30)))
    return found[0], found[1], found[2]


def grain_volume(correlation: Sequence[float], spacing_mm: Sequence[float]) -> float:
    """Volume over which the noise is correlated, mm^3: the integral of its autocorrelation.

    The autocorrelation is taken as that of white noise under a Gaussian filter, rho^(n^2) at n voxels, rho
    being that of neighbours; white noise has the volume of a voxel.

    Args:
        correlation: from `neighbour_correlation`.
        spacing_mm: voxel size along i, j, k.
    """
    volume = 1.0
    for rho, size in zip(correlation, spacing_mm, strict=True):
        rho = float(np.clip(rho, 0.0, 0.98))
        volume *= size * (1 + 2 * float(np.sum(rho ** (_LAGS**2.0))))
    return volume
