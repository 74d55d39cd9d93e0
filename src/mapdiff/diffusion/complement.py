"""The noise of the counts that the input never had, for stochastic paths.

A step from dose d to d' adds an independent scan of dose d' - d. Its mean is the noise-free image; its noise
is drawn here to look like the input's own: the same local strength, the same correlation length.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, uniform_filter
from torch import Tensor

#: Width over which the local strength of the noise is averaged, mm.
WIDTH_MM = 20.0


class ComplementNoise:
    """Draws noise like that of one input; its statistics are measured once.

    The correlation is modelled as that of white noise under a Gaussian filter, whose width along each axis
    is found from the correlation rho of neighbouring voxels: rho = exp(-h^2 / (4 s^2)) for a filter of
    standard deviation s and a voxel h apart.
    """

    def __init__(self, u: Tensor, z_hat: Tensor, spacing_mm: Sequence[float]) -> None:
        """Measure the noise u - z-hat; both (I, J, K), linear."""
        residual = (u - z_hat).numpy()
        power = np.square(residual)
        sigma_voxels = []
        for axis in range(3):
            first = [slice(None)] * 3
            second = [slice(None)] * 3
            first[axis], second[axis] = slice(None, -1), slice(1, None)
            together = float((residual[tuple(first)] * residual[tuple(second)]).mean(dtype=np.float64))
            rho = float(np.clip(together / max(float(power.mean(dtype=np.float64)), 1e-30), 0.02, 0.98))
            sigma_voxels.append(float(np.sqrt(-1 / (4 * np.log(rho)))))
        self._sigma_voxels = sigma_voxels
        width = [2 * round(WIDTH_MM / s / 2) + 1 for s in spacing_mm]
        self._strength = np.sqrt(uniform_filter(power, width, mode="nearest"))

    def draw(self, ratio: float, generator: torch.Generator) -> Tensor:
        """One draw, (I, J, K), linear.

        Args:
            ratio: d_u / (d' - d), the input's dose over the complement's; the noise's variance is the input's
                times this.
            generator: the source of randomness.
        """
        white = torch.randn(self._strength.shape, generator=generator).numpy()
        smooth = gaussian_filter(white, self._sigma_voxels, mode="wrap")
        smooth *= np.float32(ratio**0.5 / max(float(smooth.std()), 1e-12))
        return torch.from_numpy(smooth * self._strength)
