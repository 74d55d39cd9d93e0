"""A scan made ready for the network: its body and its scale, and slabs of it as they are asked for."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from mapdiff.body import NEAR_MM, air_widths, body_blocks, body_scale
from mapdiff.volume import Volume


class Scan:
    """A volume in units of its body's mean. Nothing as large as the volume is held besides the volume.

    Attributes:
        volume: the scan.
        body: where the body is.
        near: the body and `NEAR_MM` round it.
        scale: how bright the body is, in the volume's unit.
    """

    def __init__(self, volume: Volume) -> None:
        """Find the body and its scale.

        Raises:
            InputError: there is no body in the image.
        """
        self.volume = volume
        self.body = body_blocks(volume.array, volume.spacing)
        self.scale = body_scale(volume.array, self.body)
        self.near = self.body.grown(NEAR_MM, volume.spacing)
        self._width = air_widths(volume.spacing)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        return self.volume.shape

    def __getitem__(self, box: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        """The voxels of a box, scaled; a copy."""
        return np.asarray(self.volume.array[box], np.float32) * np.float32(1 / self.scale)

    def air(self, box: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        """What stands for the noise-free image outside `near`: means over boxes of `NEAR_MM`."""
        spans = [span.indices(size)[:2] for span, size in zip(box, self.shape, strict=True)]
        halves = [width // 2 for width in self._width]
        low = [max(a - h, 0) for (a, _), h in zip(spans, halves, strict=True)]
        high = [min(b + h, n) for (_, b), h, n in zip(spans, halves, self.shape, strict=True)]
        i, j, k = (slice(a, b) for a, b in zip(low, high, strict=True))
        mean = uniform_filter(self[i, j, k], self._width, mode="nearest")
        i, j, k = (slice(a - o, b - o) for (a, b), o in zip(spans, low, strict=True))
        inner: NDArray[np.float32] = mean[i, j, k]
        return inner
