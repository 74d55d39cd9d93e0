"""Tiles: a network's estimate over a whole volume, piece by piece, without seams and without holding it.

Tiles start at multiples of the network's pooling, counted from the volume's first voxel, so that the folding
and pooling fall on the same voxels whichever tile computes them. They cover the body only. Neighbours
overlap; a tile's outer `MARGIN` voxels, where it lacks context, count for nothing, and a ramp between blends
the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapdiff.body import BlockMask

#: Largest edges of a tile in voxels along i, j, k, and how far neighbours overlap; multiples of the network's
#: pooling. Few slices, so that few are held at once and short scans need hardly less memory than long ones;
#: wide in the plane, where a body often fits one or two.
EDGES = (208, 208, 96)
OVERLAP = 32
#: Voxels at a tile's inner faces that are computed but not used.
MARGIN = 10


@dataclass(frozen=True)
class Tile:
    """A box of voxels, start (included) and stop (excluded) along i, j, k.

    Attributes:
        start: first voxel.
        stop: behind the last.
        before: along which axes a neighbour overlaps it at its start.
        after: and at its stop.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    before: tuple[bool, bool, bool] = (False, False, False)
    after: tuple[bool, bool, bool] = (False, False, False)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing."""
        return self.within((0, 0, 0))

    def within(self, origin: Sequence[int]) -> tuple[slice, slice, slice]:
        """For indexing an array whose first voxel is the volume's voxel `origin`."""
        a, b, c = (slice(s - o, e - o) for s, e, o in zip(self.start, self.stop, origin, strict=True))
        return a, b, c

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        a, b, c = (e - s for s, e in zip(self.start, self.stop, strict=True))
        return a, b, c


def _spans(size: int, edge: int, overlap: int, multiple: int, full: bool) -> list[tuple[int, int]]:
    """Spans of equal length that cover [0, size), a multiple of `multiple`: `edge` where `full`, or less."""
    if size <= edge:
        return [(0, size)]
    count = int(np.ceil((size - overlap) / (edge - overlap)))
    length = edge if full else int(np.ceil((size + (count - 1) * overlap) / count / multiple)) * multiple
    starts = [min(n * (length - overlap), size - length) for n in range(count)]
    return [(start, start + length) for start in starts]


def _cells(body: BlockMask | NDArray[np.bool_], multiple: int) -> NDArray[np.bool_]:
    """Which cubes of `multiple` voxels hold body."""
    if not isinstance(body, BlockMask):
        body = BlockMask(body, (1, 1, 1), (body.shape[0], body.shape[1], body.shape[2]))
    cells = body.blocks
    for axis in (2, 1, 0):  # one axis after the other, so that no mask of all voxels is made
        size = body.shape[axis]
        cells = np.take(cells, np.arange(size) // body.factors[axis], axis=axis)
        cells = np.logical_or.reduceat(cells, np.arange(0, size, multiple), axis=axis)
    return cells


def _reach(flags: Any, context: int, least: int) -> tuple[int, int]:
    """First True and behind the last, widened by `context` and to `least` in all, where there is room."""
    found = np.flatnonzero(flags)
    low, high = max(int(found[0]) - context, 0), min(int(found[-1]) + 1 + context, len(flags))
    high = min(max(high, low + least), len(flags))
    return max(min(low, high - least), 0), high


def plan_tiles(
    body: BlockMask | NDArray[np.bool_],
    multiple: int,
    edges: tuple[int, int, int] = EDGES,
    overlap: int = OVERLAP,
    full: bool = False,
) -> list[Tile]:
    """Tiles that cover the body, in slabs of the same slices, from the first to the last.

    The body's bounding box is cut into slabs along k, the body's box in each slab into tiles; those without
    body are left out. Boxes reach one `multiple` beyond the body, for context.

    Args:
        body: (I, J, K), where an estimate is wanted, somewhere at least.
        multiple: the network's pooling; a tile's stop may lie short of a multiple at the volume's end only.
        edges: largest edges of a tile along i, j, k.
        overlap: of neighbours, at the least.
        full: all tiles have the largest edges, where the volume has room for them.
    """
    cells = _cells(body, multiple)
    if not cells.any():
        return []
    edges_k = max(edges[2] // multiple * multiple, overlap + multiple)
    least_k = edges_k // multiple if full else 0
    first, last = _reach(cells.any(axis=(0, 1)), 1, least_k)
    tiles = []
    for k0, k1 in _spans((last - first) * multiple, edges_k, overlap, multiple, full):
        k0, k1 = k0 + first * multiple, k1 + first * multiple
        slab = cells[:, :, k0 // multiple : k1 // multiple]
        if not slab.any():
            continue
        sides = []
        for axis in range(2):
            edge = max(edges[axis] // multiple * multiple, overlap + multiple)
            low, high = _reach(slab.any(axis=(1 - axis, 2)), 1, edge // multiple if full else 0)
            spans = _spans((high - low) * multiple, edge, overlap, multiple, full)
            sides.append([(a + low * multiple, b + low * multiple) for a, b in spans])
        for i0, i1 in sides[0]:
            for j0, j1 in sides[1]:
                inside = (slice(a // multiple, b // multiple) for a, b in ((i0, i1), (j0, j1)))
                if slab[tuple(inside)].any():
                    tiles.append(
                        Tile(
                            (i0, j0, k0),
                            (min(i1, body.shape[0]), min(j1, body.shape[1]), min(k1, body.shape[2])),
                            (i0 > sides[0][0][0], j0 > sides[1][0][0], k0 > first * multiple),
                            (i1 < sides[0][-1][1], j1 < sides[1][-1][1], k1 < last * multiple),
                        )
                    )
    return tiles


def bounds(tiles: Sequence[Tile]) -> Tile:
    """The box that holds them all."""
    i0, j0, k0 = (min(tile.start[axis] for tile in tiles) for axis in range(3))
    i1, j1, k1 = (max(tile.stop[axis] for tile in tiles) for axis in range(3))
    return Tile((i0, j0, k0), (i1, j1, k1))


def _ramp(length: int, before: bool, after: bool, overlap: int) -> Tensor:
    """Weights along one axis: 0 on the margin of inner faces, a smooth rise over the overlap, 1 inside."""
    rise = np.clip((np.arange(length) + 0.5 - MARGIN) / max(overlap - 2 * MARGIN, 1), 0, 1)
    smooth = np.sin(np.pi / 2 * rise) ** 2
    weight = np.ones(length)
    if before:
        weight *= smooth
    if after:
        weight *= smooth[::-1]
    return torch.from_numpy(weight.astype(np.float32))


def blend(
    tiles: Sequence[Tile], estimate: Callable[[Tile], Tensor], overlap: int = OVERLAP
) -> Iterator[tuple[Tile, Tensor, Tensor]]:
    """The tiles' estimates blended, slice by slice: what no further tile reaches is handed on and forgotten.

    When a slab is handed on, no tile still to come reads a slice of it.

    Args:
        tiles: from `plan_tiles`, in its order.
        estimate: gives a tile's values, shape as the tile.
        overlap: as the tiles were planned with.

    Yields:
        A box, the blended estimate in it and the weight that it has, of the box's shape; the weight is 0
        where no tile reaches. The boxes are as wide as `bounds(tiles)` and follow each other along k.
    """
    box = bounds(tiles)
    groups = [list(group) for _, group in groupby(tiles, key=lambda tile: tile.start[2])]
    depth = max(group[0].stop[2] - group[0].start[2] for group in groups)
    sums = torch.zeros(2, box.shape[0], box.shape[1], depth)
    starts = [group[0].start[2] for group in groups]
    reached = starts[0]
    for group, following in zip(groups, [*starts[1:], None], strict=True):
        first, last = group[0].start[2], max(group[0].stop[2], reached)
        origin = (box.start[0], box.start[1], first)
        for tile in group:
            ramps = [_ramp(*how, overlap) for how in zip(tile.shape, tile.before, tile.after, strict=True)]
            weight = ramps[0][:, None, None] * ramps[1][None, :, None] * ramps[2][None, None, :]
            into = sums[(slice(None), *tile.within(origin))]
            into[0].addcmul_(weight, estimate(tile).cpu())
            into[1].add_(weight)
        done = min(following, last) if following is not None else last
        ready = sums[..., : done - first]
        where = Tile((*box.start[:2], first), (*box.stop[:2], done))
        yield where, ready[0] / ready[1].clamp_min(1e-6), ready[1].clone()
        left = sums[..., done - first : last - first].clone()
        sums.zero_()
        sums[..., : left.shape[-1]] = left
        reached = last
