"""Where the body is in a PET image, and how bright it is, found from the image alone.

Both are equivariant to the intensity's scale: the mask of k x is the mask of x, the scale of k x is k times
the scale of x (k > 0, to rounding), so neither needs a unit, a weight or a dose.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mapdiff.errors import InputError
from mapdiff.volume import Array

#: Width of the smoothing that makes counts of a hundredth of the dose readable, mm.
SMOOTHING_FWHM_MM = 12.0
#: The mask is found on blocks of voxels no longer than this, mm: cheap, and finer than the smoothing.
BLOCK_MM = 4.0
#: Body is what lies above this part of the body's own median: below lung, above air.
THRESHOLD = 0.25
#: A piece of the body (a leg, an arm) has at least this part of the largest piece's volume.
SMALLEST_PIECE = 0.01
#: Percentiles of the block means between which `body_scale` winsorises.
WINSOR = (2.0, 95.0)
#: Block edge, in voxels, of the means that `body_scale` is taken over.
SCALE_BLOCK = 4
#: Linear attenuation of water at 511 keV, 1/mm: a body whose tissues are not known is taken as water.
MU_WATER = 0.0096
#: Air round the body that methods restore too, mm; beyond it the air is averaged over boxes as wide.
NEAR_MM = 15.0
_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
#: Slices that are taken at once, so that no copy of the whole image is made.
_SLAB = 32


@dataclass(frozen=True)
class BlockMask:
    """A mask on blocks of voxels: an eighth of the memory, or less, of a mask on voxels.

    Attributes:
        blocks: True inside, one value per block; the last block of an axis may be smaller.
        factors: a block's edges in voxels.
        shape: of the image, (I, J, K).
    """

    blocks: NDArray[np.bool_]
    factors: tuple[int, int, int]
    shape: tuple[int, int, int]

    def __getitem__(self, box: tuple[slice, slice, slice]) -> NDArray[np.bool_]:
        """The mask on the voxels of a box, as of an array of `shape`."""
        mask = self.blocks
        for axis, (span, size, factor) in enumerate(zip(box, self.shape, self.factors, strict=True)):
            mask = np.take(mask, np.arange(*span.indices(size)) // factor, axis=axis)
        return mask

    def box(self, multiple: int) -> tuple[slice, slice, slice]:
        """The smallest box of voxels that holds the mask, from multiple to multiple or the image end."""
        spans = []
        for axis, (size, factor) in enumerate(zip(self.shape, self.factors, strict=True)):
            found = np.flatnonzero(self.blocks.any(axis=tuple(other for other in range(3) if other != axis)))
            start = int(found[0]) * factor // multiple * multiple
            stop = -(-(int(found[-1]) + 1) * factor // multiple) * multiple
            spans.append(slice(start, min(stop, size)))
        return spans[0], spans[1], spans[2]

    def voxels(self) -> NDArray[np.bool_]:
        """The mask on all voxels, (I, J, K)."""
        return self[:, :, :]

    def grown(self, length_mm: float, spacing: Sequence[float]) -> "BlockMask":
        """Widened by about that length, in steps of a block to its six neighbours."""
        pitch = max(s * f for s, f in zip(spacing, self.factors, strict=True))
        near = ndimage.binary_dilation(self.blocks, iterations=max(1, round(length_mm / pitch)))
        return BlockMask(near, self.factors, self.shape)


def block_sums(array: Array, factors: Sequence[int]) -> NDArray[np.float32]:
    """Sums over blocks of `factors` voxels; the last block of an axis may be smaller."""
    thickness = -(-_SLAB // factors[2]) * factors[2]
    slabs = []
    for k in range(0, array.shape[2], thickness):
        sums = array[:, :, k : k + thickness].astype(np.float32, copy=False)
        for axis, factor in enumerate(factors):
            if factor == 2 and sums.shape[axis] % 2 == 0:  # the common case, several times as fast
                pairs = np.moveaxis(sums, axis, 0)
                sums = np.moveaxis(pairs[::2] + pairs[1::2], 0, axis)
            elif factor > 1:
                sums = np.add.reduceat(sums, np.arange(0, sums.shape[axis], factor), axis=axis)
        slabs.append(sums)
    return np.concatenate(slabs, axis=2)


def block_sizes(shape: Sequence[int], factors: Sequence[int]) -> NDArray[np.float32]:
    """Voxels in each block of `block_sums`, in a shape that broadcasts to it."""
    sizes = np.ones((1,) * len(shape), np.float32)
    for axis, (length, factor) in enumerate(zip(shape, factors, strict=True)):
        along = np.minimum(factor, length - np.arange(0, length, factor)).astype(np.float32)
        sizes = sizes * along.reshape([-1 if axis == other else 1 for other in range(len(shape))])
    return sizes


def body_blocks(array: Array, spacing: Sequence[float]) -> BlockMask:
    """The body in a PET image, on blocks of voxels.

    The image is smoothed (Gaussian, 12 mm FWHM); the body is what lies above a quarter of the body's own
    median, found by iteration from the level that half of the activity lies above; its largest pieces are
    kept and their holes filled.

    Args:
        array: PET image, shape (I, J, K), finite, any unit proportional to activity concentration.
        spacing: voxel size along i, j, k, mm.

    Returns:
        True inside the body, on blocks of up to 4 mm.

    Raises:
        InputError: nothing in the image is above zero, or the spacing is not three positive lengths.
    """
    if len(spacing) != 3 or not all(length > 0 for length in spacing):
        raise InputError(f"a voxel size of {tuple(spacing)} mm is not three positive lengths")
    i, j, k = (max(1, int(BLOCK_MM / length)) for length in spacing)
    factors = (i, j, k)
    coarse = block_sums(array, factors)
    coarse /= block_sizes(array.shape, factors)
    sigma = [
        SMOOTHING_FWHM_MM / _FWHM_PER_SIGMA / (length * factor)
        for length, factor in zip(spacing, factors, strict=True)
    ]
    smooth = ndimage.gaussian_filter(coarse, sigma, mode="nearest")
    above = smooth > _threshold(smooth)
    mask = np.asarray(ndimage.binary_fill_holes(_largest_pieces(above)), dtype=bool)
    return BlockMask(mask, factors, (array.shape[0], array.shape[1], array.shape[2]))


def body_mask(array: Array, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """The body in a PET image, on its voxels, shape (I, J, K); see `body_blocks`."""
    return body_blocks(array, spacing).voxels()


def near_body(body: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.bool_]:
    """A mask on voxels and about `NEAR_MM` of air round it; `BlockMask.grown` is that of a mask on blocks."""
    near: NDArray[np.bool_] = ndimage.binary_dilation(body, iterations=max(1, round(NEAR_MM / max(spacing))))
    return near


def air_widths(spacing: Sequence[float]) -> list[int]:
    """Edges, in voxels, of the boxes that the air beyond is averaged over: odd, `NEAR_MM` about."""
    return [2 * round(NEAR_MM / s / 2) + 1 for s in spacing]


def _threshold(smooth: NDArray[np.float32]) -> float:
    """A quarter of the median of what lies above the threshold, by iteration.

    Most of a field of view is air, so a percentile of the whole image is no robust level; the body's own
    median does not care how much air or how hot a bladder there is. The iteration starts inside the body,
    at the level that half of the activity lies above: from below it would settle in the air of a noisy scan
    without negative voxels.
    """
    values = np.sort(smooth[smooth > 0], axis=None)
    if values.size == 0:
        raise InputError("no voxel of the image is above zero, so there is no body in it")
    activity = np.cumsum(values, dtype=np.float64)
    threshold = THRESHOLD * float(values[np.searchsorted(activity, 0.5 * activity[-1])])
    for _ in range(50):
        first = int(np.searchsorted(values, threshold, side="right"))
        level = float(values[(first + values.size) // 2])
        if abs(THRESHOLD * level - threshold) <= 1e-6 * threshold:
            break
        threshold = THRESHOLD * level
    return threshold


def _largest_pieces(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected pieces with at least SMALLEST_PIECE of the largest one's voxels."""
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = sizes >= SMALLEST_PIECE * sizes.max()
    return np.asarray(keep[labels], dtype=bool)


def body_scale(array: Array, mask: NDArray[np.bool_] | BlockMask) -> float:
    """How bright the body is: the winsorised mean over it.

    Means over blocks of 4 x 4 x 4 voxels are clipped at their 2nd and 95th percentile before they are
    averaged: hot organs and tumours do not drive the figure, and since noise averages out within a block it
    hardly moves with the dose.

    Args:
        array: PET image, shape (I, J, K), any unit.
        mask: the body, same shape (`body_mask` or `body_blocks`).

    Returns:
        The scale, in the image's unit, above 0.

    Raises:
        InputError: the mask is empty or of another shape, or the mean in it is not above zero.
    """
    if mask.shape != array.shape:
        raise InputError(f"a mask of shape {mask.shape} does not fit an image of {array.shape}")
    if not isinstance(mask, BlockMask):
        mask = BlockMask(mask, (1, 1, 1), (array.shape[0], array.shape[1], array.shape[2]))
    factors = [SCALE_BLOCK] * array.ndim
    if not mask.blocks.any():
        raise InputError("the body mask is empty")
    box = mask.box(SCALE_BLOCK)
    slabs = []
    for first in range(box[2].start, box[2].stop, _SLAB):  # a multiple of SCALE_BLOCK
        where = (box[0], box[1], slice(first, min(first + _SLAB, box[2].stop)))
        part, inside = array[where], mask[where]
        slabs.append((block_sums(inside, factors), block_sums(np.where(inside, part, 0), factors)))
    counts, sums = (np.concatenate(parts, axis=2) for parts in zip(*slabs, strict=True))
    used = counts >= 0.5 * counts.max()  # a block at the edge holds few voxels, and more noise
    weights = counts[used].astype(np.float64)
    means = sums[used] / weights
    low, high = np.percentile(means, WINSOR)
    scale = float(np.average(np.clip(means, low, high), weights=weights))
    if not scale > 0:
        raise InputError("the mean over the body is not above zero")
    return scale
