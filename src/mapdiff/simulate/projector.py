"""The projector: a sparse 2D parallel-beam system matrix, applied to many slices at once.

Each pixel is spread over the bins of every angle by the exact footprint of its rectangle (the trapezoid
that is its shadow), so that counts are conserved: a pixel that lies inside the field of view gives the sum 1
over all bins and angles. The detector response is a Gaussian along the bins and along the slices. Forward
and back projection are each other's adjoint to rounding. The blur along the slices is done on the rays, which
are far fewer than the pixels: it commutes with the projection.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Float = NDArray[np.float32]

FWHM_TO_SIGMA = 1 / np.sqrt(8 * np.log(2))
#: Places within a bin that a pixel's shadow may begin at; the nearest is taken.
_PLACES = 1024
#: Pixels of a block: with some 60 slices 1 MB, which stays in the cache between the steps of an update.
BLOCK = 4096


def gaussian_blur(array: Float, fwhm_mm: float, spacing_mm: float, axis: int) -> Float:
    """Gaussian blur along one axis with zeros beyond the ends; symmetric, so its own adjoint."""
    if fwhm_mm <= 0:
        return array
    sigma = fwhm_mm * FWHM_TO_SIGMA / spacing_mm
    out: Float = gaussian_filter1d(array, sigma, axis=axis, mode="constant", truncate=3.5)
    return out


def _footprints(w1: float, w2: float, bin_mm: float, width: int) -> Float:
    """Shares of a pixel in `width` bins, by where its shadow begins in the first: (_PLACES, width).

    The shadow of a rectangle is a trapezoid, the convolution of the shadows w1 and w2 of its sides.
    """
    half_sum, half_difference = (w1 + w2) / 2, abs(w1 - w2) / 2
    begins = (np.arange(_PLACES) + 0.5) / _PLACES
    edges = (np.arange(width + 1) - begins[:, None]) * bin_mm - half_sum

    def ramp(u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.square(np.maximum(u, 0)) / 2

    upto = ramp(edges + half_sum) - ramp(edges + half_difference)
    upto += ramp(edges - half_sum) - ramp(edges - half_difference)
    # Rounding leaves some at -1e-13; a negative weight lets a pixel fall below 0, from where OSEM diverges.
    return np.maximum(np.diff(upto, axis=1) / (w1 * w2), 0).astype(np.float32)


class BackProjection(ABC):
    """What the projections of pixels and of squares of them share: the way back, by blocks of pixels."""

    @abstractmethod
    def _matrix(self, subset: int) -> scipy.sparse.csr_array:
        """The subset's matrix from rays to pixels, (pixels, angles/subsets * bins)."""

    @abstractmethod
    def rays(self, views: Float, fwhm_mm: float) -> Float:
        """What `back` sums over a pixel: the views blurred, (angles/subsets * bins, slices)."""

    def blocks(self, subset: int) -> Iterator[tuple[slice, scipy.sparse.csr_array]]:
        """The matrix from `rays` to pixels, a block of pixels at a time: which they are, and their rows."""
        matrix = self._matrix(subset)
        for first in range(0, matrix.shape[0], BLOCK):
            last = min(first + BLOCK, matrix.shape[0])
            upto = matrix.indptr[first : last + 1]
            entries = slice(upto[0], upto[-1])
            rows = (matrix.data[entries], matrix.indices[entries], upto - upto[0])
            yield slice(first, last), scipy.sparse.csr_array(rows, shape=(last - first, matrix.shape[1]))

    def back(self, views: Float, subset: int, fwhm_mm: float) -> Float:
        """The adjoint of `forward`: (angles/subsets, bins, slices) to (pixels, slices)."""
        rays = self.rays(views, fwhm_mm)
        return np.concatenate([matrix @ rays for _, matrix in self.blocks(subset)])


@dataclass(frozen=True)
class Projector(BackProjection):
    """Parallel-beam projection of the pixels of `support`, for ordered subsets of angles.

    Attributes:
        support: bool (I, J), the pixels that are projected and reconstructed.
        spacing_mm: pixel size along i and j and slice thickness.
        angles: projection angles over 180 degrees, a multiple of `subsets`.
        subsets: ordered subsets; subset s holds the angles s, s + subsets, ...
        bin_mm: width of a bin.
        reach_mm: the bins reach this far from the middle of the plane; None is as far as the support does.
            Chunks of one scan share it, so that they share the bins.
    """

    support: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    angles: int
    subsets: int
    bin_mm: float
    reach_mm: float | None = None

    @cached_property
    def bins(self) -> int:
        """Bins per angle: enough for the support's pixels at every angle, with room for the blur."""
        x, y = self._coordinates
        reach = float(np.hypot(x, y).max()) if self.reach_mm is None else self.reach_mm
        return 2 * int(np.ceil((reach + max(self.spacing_mm[:2])) / self.bin_mm + 6))

    @cached_property
    def _coordinates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        i, j = np.nonzero(self.support)
        x = (i - (self.support.shape[0] - 1) / 2) * self.spacing_mm[0]
        y = (j - (self.support.shape[1] - 1) / 2) * self.spacing_mm[1]
        return x, y

    @cached_property
    def _matrices(self) -> list[scipy.sparse.csr_array]:
        """For each subset the matrix from rays to pixels, (pixels, angles/subsets * bins)."""
        return [self._build(subset) for subset in range(self.subsets)]

    def _build(self, subset: int) -> scipy.sparse.csr_array:
        x, y = self._coordinates
        phi = np.arange(subset, self.angles, self.subsets) * np.pi / self.angles
        w1 = np.maximum(self.spacing_mm[0] * np.abs(np.cos(phi)), 1e-3)
        w2 = np.maximum(self.spacing_mm[1] * np.abs(np.sin(phi)), 1e-3)
        width = int(np.ceil((w1 + w2).max() / self.bin_mm)) + 1
        columns = np.empty((x.size, phi.size, width), np.int32)
        weights = np.empty((x.size, phi.size, width), np.float32)
        for k, angle in enumerate(phi):
            begins = (
                x * np.cos(angle) + y * np.sin(angle) - (w1[k] + w2[k]) / 2
            ) / self.bin_mm + self.bins / 2
            first = np.floor(begins)
            place = ((begins - first) * _PLACES).astype(np.int32)
            shares = _footprints(w1[k], w2[k], self.bin_mm, width) / np.float32(self.angles)
            at = first.astype(np.int32)[:, None] + np.arange(width, dtype=np.int32)
            columns[:, k] = np.clip(at, 0, self.bins - 1) + k * self.bins
            weights[:, k] = shares[place]
        indptr = np.arange(x.size + 1, dtype=np.int32) * np.int32(phi.size * width)
        matrix = scipy.sparse.csr_array(
            (weights.ravel(), columns.ravel(), indptr), shape=(x.size, phi.size * self.bins)
        )
        matrix.eliminate_zeros()
        return matrix

    def forward(self, image: Float, subset: int, fwhm_mm: float) -> Float:
        """Project `image` (pixels of the support, slices) to (angles/subsets, bins, slices)."""
        return self._project(self._matrices[subset], image, fwhm_mm)

    def _project(self, matrix: scipy.sparse.csr_array, image: Float, fwhm_mm: float) -> Float:
        # The transpose of a CSR matrix is a CSC one: reads the image once, in order, and adds to few rays.
        rays = gaussian_blur(matrix.T @ image, fwhm_mm, self.spacing_mm[2], axis=1)
        views: Float = rays.reshape(self.angles // self.subsets, self.bins, -1)
        return gaussian_blur(views, fwhm_mm, self.bin_mm, axis=1)

    def _matrix(self, subset: int) -> scipy.sparse.csr_array:
        return self._matrices[subset]

    def rays(self, views: Float, fwhm_mm: float) -> Float:
        """What `back` sums over a pixel: the views blurred, (angles/subsets * bins, slices)."""
        blurred = gaussian_blur(views, fwhm_mm, self.bin_mm, axis=1)
        return gaussian_blur(blurred.reshape(-1, views.shape[2]), fwhm_mm, self.spacing_mm[2], axis=1)

    def flatten(self, volume: Float) -> Float:
        """The support's pixels of a volume (I, J, K): (pixels, K)."""
        return np.ascontiguousarray(volume[self.support], dtype=np.float32)

    def unflatten(self, image: Float) -> Float:
        """The volume (I, J, K) of the support's pixels (pixels, K); 0 elsewhere."""
        volume = np.zeros((*self.support.shape, image.shape[1]), np.float32)
        volume[self.support] = image
        return volume


class MergedPixels(BackProjection):
    """The same projection of squares of pixels that all have one value; fewer numbers, the same rays."""

    def __init__(self, projector: Projector, factor: int) -> None:
        """Merge `factor` x `factor` pixels of the projector's support."""
        self._projector = projector
        i, j = np.nonzero(projector.support)
        keys = (i // factor) * projector.support.shape[1] + j // factor
        _, self._square = np.unique(keys, return_inverse=True)
        ones = np.ones(keys.size, np.float32)
        merge = scipy.sparse.csr_array((ones, (self._square, np.arange(keys.size))))
        self._pixels = merge.sum(axis=1, dtype=np.float32)[:, None]
        self._merge = merge
        self._matrices = [merge @ matrix for matrix in projector._matrices]

    def forward(self, image: Float, subset: int, fwhm_mm: float) -> Float:
        """Project `image` (squares, slices) to (angles/subsets, bins, slices)."""
        return self._projector._project(self._matrices[subset], image, fwhm_mm)

    def _matrix(self, subset: int) -> scipy.sparse.csr_array:
        return self._matrices[subset]

    def rays(self, views: Float, fwhm_mm: float) -> Float:
        """The pixels' own: squares have the same rays."""
        return self._projector.rays(views, fwhm_mm)

    def mean(self, image: Float) -> Float:
        """The mean of each square of an image (pixels, slices): (squares, slices)."""
        means: Float = (self._merge @ image) / self._pixels
        return means

    def spread(self, image: Float) -> Float:
        """An image (squares, slices) on the pixels: (pixels, slices)."""
        return image[self._square]
