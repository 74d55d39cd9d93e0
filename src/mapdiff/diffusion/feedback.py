"""What an estimate took for noise and was not: structure left in the residual is put back.

The residual u - z-hat of a perfect estimate is noise, and noise averages out over a few millimetres. Where
the smoothed residual stands out of its own spread there is structure that the network removed (the rim of a
hot bladder, say), and that part is added to the estimate again, with Wiener's gain. A network that removes
none gets next to nothing back. The thought is that of Tukey's twicing (1977). One strength of the noise is
measured for the whole body, on the transformed scale, where the noise of OSEM is nearly uniform; where it is
stronger than that, some of it comes back.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mapdiff.diffusion.transform import invert, transform

#: Width over which the residual is averaged, FWHM in mm: about the resolution of the scans.
WIDTH_MM = 5.0
#: How many standard deviations of the smoothed noise count as noise.
THRESHOLD = 2.0
_MEDIAN_TO_SIGMA = 1 / 0.6745


def restore_structure(
    z_hat: Tensor, u: Tensor, body: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> Tensor:
    """The estimate with the significant part of the smoothed residual added, on the transformed scale.

    Args:
        z_hat: (I, J, K), linear.
        u: the input, the same shape and scale.
        body: where the noise's strength is measured (median of the absolute smoothed residual).
        spacing_mm: voxel size.

    Returns:
        (I, J, K), linear.
    """
    x = transform(z_hat)
    sigma = [WIDTH_MM / 2.3548 / s for s in spacing_mm]
    smooth = gaussian_filter((transform(u) - x).numpy(), sigma, mode="nearest", truncate=3.0)
    noise = float(np.median(np.abs(smooth[body]))) * _MEDIAN_TO_SIGMA
    power = np.square(smooth)
    smooth *= np.clip(1 - (THRESHOLD * noise) ** 2 / np.maximum(power, 1e-12), 0, 1)
    return invert(x + torch.from_numpy(smooth))
