"""Where a reconstruction is noisier than elsewhere, told from the image itself.

What counts tell of a voxel j is Fisher's information, the sum over lines i of a_ij^2 / y_i, with a_ij the
system's response and y_i the line's mean counts; the variance of the maximum-likelihood image is about one
over it (Fessler 1996, "Mean and variance of implicitly defined biased estimators"). A line through a hot
bladder and a wide pelvis tells little, one through a head much, though the brain is as hot. Here the lines
are those of the slices' own planes, the attenuation is that of water wherever the body is, and randoms and
scatter are even within a slice: enough to compare places with each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mapdiff.body import MU_WATER, block_sizes, block_sums
from mapdiff.scratch import SLAB, slabs

Float = NDArray[np.float32]
#: The map is made on blocks of about so many mm.
BLOCK_MM = 12.0
#: Views over half a turn.
VIEWS = 12
#: Randoms and scatter over trues, on a slice's mean line.
BACKGROUND = 0.5


@dataclass(frozen=True)
class NoiseMap:
    """One over the information that counts give of a voxel, up to a factor, on blocks.

    Attributes:
        variance: (I, J, K) blocks, above 0.
        activity: mean activity of each block.
        body: blocks that are body for the most part; of a body that fills none so far, those it fills most.
        factors: a block's edges in voxels.
    """

    variance: Float
    activity: Float
    body: NDArray[np.bool_]
    factors: tuple[int, int, int]

    def typical(self, low: float, high: float) -> float:
        """Geometric mean of the variance over the body's blocks from `low` to below `high` in activity.

        Where there is no such block, over the whole body.
        """
        chosen = self.body & (self.activity >= low) & (self.activity < high)
        return float(np.exp(np.log(self.variance[chosen if chosen.any() else self.body]).mean()))

    def at(self, voxels: NDArray[np.bool_], start: int) -> Float:
        """The variance at the marked voxels of a slab, interpolated; (marked,).

        Args:
            voxels: (I, J, slices).
            start: the slab's first slice.
        """
        places = np.nonzero(voxels)
        first = (0, 0, start)
        blocks = [
            (place + offset + 0.5) / factor - 0.5
            for place, offset, factor in zip(places, first, self.factors, strict=True)
        ]
        found: Float = ndimage.map_coordinates(self.variance, blocks, order=1, mode="nearest")
        return found


def noise_map(
    slices: Callable[[int, int], tuple[Float, NDArray[np.bool_]]],
    shape: Sequence[int],
    spacing_mm: Sequence[float],
) -> NoiseMap:
    """The map of an image that is given by slabs.

    Args:
        slices: slices [start, stop) of the activity, in any linear unit, and of the body's mask.
        shape: of the image, (I, J, K).
        spacing_mm: voxel size.
    """
    i, j, k = (max(1, round(BLOCK_MM / s)) for s in spacing_mm)
    factors = (i, j, k)
    activity, inside = [], []
    for start, stop in slabs(shape[2], max(SLAB // k, 1) * k):
        z, body = slices(start, stop)
        activity.append(block_sums(np.where(body, np.maximum(z, 0), np.float32(0)), factors))
        inside.append(block_sums(body, factors))
    sizes = block_sizes(shape, factors)
    means, shares = np.concatenate(activity, axis=2) / sizes, np.concatenate(inside, axis=2) / sizes
    edges = [s * f for s, f in zip(spacing_mm, factors, strict=True)]
    information = _information(means, shares, (edges[0] + edges[1]) / 2)
    return NoiseMap((1 / information).astype(np.float32), means, shares >= min(0.5, shares.max()), factors)


def _information(activity: Float, body: Float, edge_mm: float) -> Float:
    """The sum over the views of a^2 / y at each block."""
    i, j, k = activity.shape
    edge = int(np.ceil(np.hypot(i, j))) + 2
    corner = ((edge - i) // 2, (edge - j) // 2)
    where = (slice(corner[0], corner[0] + i), slice(corner[1], corner[1] + j))
    square = np.zeros((2, edge, edge, k), np.float32)
    square[0][where], square[1][where] = activity, body
    found = np.zeros((edge, edge, k), np.float32)
    for view in range(VIEWS):
        turn = 180 / VIEWS * view
        turned = ndimage.rotate(square, turn, axes=(1, 2), reshape=False, order=1)
        source, water = turned.sum(axis=1) * np.float32(edge_mm)  # (lines, slices)
        response = np.exp(-np.float32(MU_WATER) * water)
        trues = response * source
        lines = np.maximum((water > edge_mm / 2).sum(axis=0), 1)
        counts = trues + np.float32(BACKGROUND) * trues.sum(axis=0) / lines
        told = np.square(response) / np.maximum(counts, np.float32(1e-3) * max(float(counts.max()), 1e-12))
        spread = np.broadcast_to(told, (edge, edge, k))
        found += ndimage.rotate(spread, -turn, axes=(0, 1), reshape=False, order=1)
    information: Float = found[where]
    np.maximum(
        information, np.float32(1e-9) * information.max(), out=information
    )  # 0 beyond the turned square
    return information
