"""The noise of the counts that the input never had, for stochastic paths.

A step from dose d to d' adds an independent scan of dose d' - d. Its mean is the noise-free image; its noise
is drawn here to look like the input's own: the same local strength, the same correlation length. Each slice
has random numbers of its own (Philox, Salmon et al. 2011, counted by the slice), so that any slab of a draw
can be made by itself and the draw is the same whatever the slabs.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, uniform_filter

from mapdiff.scratch import Scratch, slabs

#: Width over which the local strength of the noise is averaged, mm.
WIDTH_MM = 20.0
#: Gaussian filters end at that many standard deviations.
_TRUNCATE = 4.0


class ComplementNoise:
    """Draws noise like that of one input; its statistics are measured once, its strength is kept on disk.

    The correlation is modelled as that of white noise under a Gaussian filter, whose width along each axis
    is found from the correlation rho of neighbouring voxels: rho = exp(-h^2 / (4 s^2)) for a filter of
    standard deviation s and a voxel h apart.
    """

    def __init__(
        self,
        residual: Callable[[int, int], NDArray[np.float32]],
        shape: Sequence[int],
        spacing_mm: Sequence[float],
    ) -> None:
        """Measure the noise.

        Args:
            residual: u - z-hat, linear, of the slices [start, stop): (I, J, stop - start).
            shape: (I, J, K).
            spacing_mm: voxel size along i, j, k.
        """
        i, j, k = shape
        self.shape = (i, j, k)
        self._sigma_voxels = _sigmas(residual, self.shape)
        width = [2 * round(WIDTH_MM / s / 2) + 1 for s in spacing_mm]
        self._strength = Scratch(self.shape)
        half = width[2] // 2
        for start, stop in slabs(k):
            low, high = max(start - half, 0), min(stop + half, k)
            power = uniform_filter(np.square(residual(low, high)), width, mode="nearest")
            # The filter's running sums leave a little below zero where all is zero, as in cut-off air.
            self._strength.write(start, np.sqrt(np.maximum(power[:, :, start - low : stop - low], 0)))

    def draw(self, ratio: float, seed: Sequence[int]) -> Callable[[int, int], NDArray[np.float32]]:
        """One draw.

        Args:
            ratio: d_u / (d' - d), the input's dose over the complement's; the noise's variance is the input's
                times this.
            seed: decides the draw.

        Returns:
            The draw's slices [start, stop), linear, (I, J, stop - start).
        """
        key = np.random.SeedSequence(list(seed)).generate_state(2, np.uint64)
        i, j, k = self.shape
        gain = ratio**0.5
        for axis, size in enumerate(self.shape):  # what the filters leave of white noise's strength
            impulse = np.zeros(size)
            impulse[size // 2] = 1
            gain /= float(np.sqrt(np.square(self._smooth(impulse, axis, 0)).sum()))
        reach = int(_TRUNCATE * self._sigma_voxels[2] + 0.5)

        def white(index: int) -> NDArray[np.float32]:
            source = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index % k]))
            return source.standard_normal((j, i), np.float32).T

        def slab(start: int, stop: int) -> NDArray[np.float32]:
            noise = np.stack([white(n) for n in range(start - reach, stop + reach)], axis=2)
            for axis in (2, 1, 0):  # the first of them drops the slices that it needed
                noise = self._smooth(noise, axis, axis)
                if axis == 2:
                    noise = noise[:, :, reach : reach + stop - start]
            noise *= np.float32(gain)
            noise *= self._strength.read(start, stop)
            return noise

        return slab

    def _smooth(self, values: NDArray, axis: int, along: int) -> NDArray:  # type: ignore[type-arg]
        sigma = self._sigma_voxels[axis]
        smooth: NDArray = gaussian_filter1d(values, sigma, along, mode="wrap", truncate=_TRUNCATE)  # type: ignore[type-arg]
        return smooth


def _sigmas(residual: Callable[[int, int], NDArray[np.float32]], shape: tuple[int, int, int]) -> list[float]:
    """The filter's width along each axis, in voxels, from the correlation of neighbours."""
    power, together = 0.0, [0.0, 0.0, 0.0]
    for start, stop in slabs(shape[2]):
        values = residual(start, min(stop + 1, shape[2]))
        own = values[:, :, : stop - start]
        power += float(np.square(own).sum(dtype=np.float64))
        together[0] += float((own[1:] * own[:-1]).sum(dtype=np.float64))
        together[1] += float((own[:, 1:] * own[:, :-1]).sum(dtype=np.float64))
        together[2] += float((values[:, :, 1:] * values[:, :, :-1]).sum(dtype=np.float64))
    found = []
    for size, value in zip(shape, together, strict=True):
        mean = value / max(size - 1, 1) * size  # as many pairs as voxels
        rho = float(np.clip(mean / max(power, 1e-30), 0.02, 0.98))
        found.append(float(np.sqrt(-1 / (4 * np.log(rho)))))
    return found
