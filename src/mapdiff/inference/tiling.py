"""Tiles: a network's estimate over a whole volume, piece by piece, without seams.

Tiles lie on a grid that belongs to the volume and start at multiples of the network's pooling, so that the
folding and pooling fall on the same voxels whichever tile computes them. Neighbours overlap; a tile's outer
`MARGIN` voxels, where it lacks context, count for nothing, and a ramp between blends the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Largest edge of a tile in voxels, and how far neighbours overlap; both multiples of the network's pooling.
EDGE = 128
OVERLAP = 24
#: Voxels at a tile's inner faces that are computed but not used.
MARGIN = 6


@dataclass(frozen=True)
class Tile:
    """A box of voxels, start (included) and stop (excluded) along i, j, k."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing."""
        a, b, c = (slice(s, e) for s, e in zip(self.start, self.stop, strict=True))
        return a, b, c


def _spans(size: int, edge: int, overlap: int, multiple: int) -> list[tuple[int, int]]:
    """Spans of nearly equal length that cover [0, size); `size` is a multiple of `multiple`."""
    if size <= edge:
        return [(0, size)]
    count = int(np.ceil((size - overlap) / (edge - overlap)))
    length = int(np.ceil((size + (count - 1) * overlap) / count / multiple)) * multiple
    starts = [
        min(round(n * (size - length) / (count - 1) / multiple) * multiple, size - length)
        for n in range(count)
    ]
    return [(start, start + length) for start in starts]


def plan_tiles(
    body: NDArray[np.bool_], multiple: int, edge: int = EDGE, overlap: int = OVERLAP
) -> list[Tile]:
    """Tiles that cover the body.

    Args:
        body: (I, J, K) where an estimate is wanted; every axis a multiple of `multiple`.
        multiple: the network's pooling.
        edge: largest edge of a tile.
        overlap: of neighbours.
    """
    spans = [_spans(size, edge, overlap, multiple) for size in body.shape]
    tiles = [Tile((a[0], b[0], c[0]), (a[1], b[1], c[1])) for a, b, c in product(*spans)]
    return [tile for tile in tiles if body[tile.slices].any()]


def _ramp(start: int, stop: int, size: int, overlap: int) -> NDArray[np.float32]:
    """Weights along one axis: 0 on the margin of inner faces, a smooth rise over the overlap, 1 inside."""
    n = stop - start
    rise = np.clip((np.arange(n) + 0.5 - MARGIN) / max(overlap - 2 * MARGIN, 1), 0, 1)
    smooth = np.sin(np.pi / 2 * rise) ** 2
    weight = np.ones(n)
    if start > 0:
        weight *= smooth
    if stop < size:
        weight *= smooth[::-1]
    return weight.astype(np.float32)


def blend(
    tiles: Sequence[Tile],
    shape: tuple[int, int, int],
    estimate: Callable[[Tile], Tensor],
    overlap: int = OVERLAP,
    on_tile: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Sum of the tiles' estimates with smooth weights.

    Args:
        tiles: from `plan_tiles`.
        shape: of the volume.
        estimate: gives a tile's values, shape as the tile.
        overlap: as the tiles were planned with.
        on_tile: called after each.

    Returns:
        The blended estimate and its weight, both of `shape`; the weight is 0 where no tile reaches.
    """
    total, weights = torch.zeros(shape), torch.zeros(shape)
    for tile in tiles:
        ramps = [
            torch.from_numpy(_ramp(start, stop, size, overlap))
            for start, stop, size in zip(tile.start, tile.stop, shape, strict=True)
        ]
        weight = ramps[0][:, None, None] * ramps[1][None, :, None] * ramps[2][None, None, :]
        total[tile.slices] += weight * estimate(tile).cpu()
        weights[tile.slices] += weight
        on_tile()
    return total.div_(weights.clamp_min(1e-6)), weights
