"""The noise figure that the UDPET cohort was described with (KUL-recon-lab/2025_ud_pet_kul, data_stats.csv).

The SUV is resampled to voxels of 1.65 mm by linear interpolation, as that repository does before it takes the
logarithm. For v = log(1 + SUV) there, and G = v smoothed by a Gaussian of sigma 2 voxels: the sum of
|v - G| over all voxels divided by the number of voxels with G > 0.1. It holds edges and textures as well as
noise: at full dose it is mostly structure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mapdiff.errors import InputError
from mapdiff.volume import Array

#: The figure's voxel size, mm, the smoothing's sigma in such voxels, and the level of what counts.
VOXEL_MM = 1.65
SIGMA = 2.0
LEVEL = 0.1


@dataclass(frozen=True)
class NoiseSums:
    """What the figure of a scan is made of; those of several slabs add up.

    Attributes:
        inside: sum of |v - G| within the body.
        outside: the same in the air.
        bright: number of voxels with G > 0.1, wherever they are.
    """

    inside: float
    outside: float
    bright: int

    def __add__(self, other: "NoiseSums") -> "NoiseSums":
        """Sums of two slabs together."""
        return NoiseSums(self.inside + other.inside, self.outside + other.outside, self.bright + other.bright)

    @property
    def figure(self) -> float:
        """The noise figure."""
        return (self.inside + self.outside) / self.bright

    @property
    def inside_share(self) -> float:
        """The part of the figure that comes from within the body, 0 to 1."""
        return self.inside / (self.inside + self.outside)


def resampled(array: NDArray[np.float32], spacing: Sequence[float]) -> NDArray[np.float32]:
    """The array (I, J, K) on voxels of VOXEL_MM, by linear interpolation from the first voxel's centre on."""
    for axis, step in enumerate(spacing):
        if abs(step - VOXEL_MM) < 1e-3:
            continue
        count = int((array.shape[axis] - 1) * step / VOXEL_MM) + 1
        at = np.arange(count) * (VOXEL_MM / step)
        below = np.minimum(at.astype(int), array.shape[axis] - 2)
        weight = (at - below).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        array = np.take(array, below, axis) * (1 - weight) + np.take(array, below + 1, axis) * weight
    return array


def noise_sums(
    suv: Array, spacing: Sequence[float], body: NDArray[np.bool_], ends_mm: float = 0.0
) -> NoiseSums:
    """Measure a scan or a slab of one.

    Args:
        suv: (I, J, K), SUV.
        spacing: voxel size along i, j, k, mm.
        body: (I, J, K), where the body is.
        ends_mm: depth at both ends of k that is left out, where a slab's smoothing lacks its neighbours.

    Raises:
        InputError: the shapes differ, or the ends leave nothing.
    """
    if suv.shape != body.shape:
        raise InputError(f"a body of shape {body.shape} does not fit an image of {suv.shape}")
    v = np.log1p(resampled(np.maximum(suv, 0).astype(np.float32), spacing))
    where = resampled(body.astype(np.float32), spacing) >= 0.5
    smooth = gaussian_filter(v, SIGMA, mode="nearest")
    ends = round(ends_mm / VOXEL_MM)
    kept = slice(ends, v.shape[2] - ends)
    rest = np.abs(v - smooth)[:, :, kept]
    if rest.size == 0:
        raise InputError(f"{ends_mm:g} mm left out at both ends leave nothing of {v.shape[2]} slices")
    inside = float(rest[where[:, :, kept]].sum(dtype=np.float64))
    whole = float(rest.sum(dtype=np.float64))
    return NoiseSums(inside, whole - inside, int((smooth[:, :, kept] > LEVEL).sum()))
