"""Volumes made small enough to travel inside a page: cut to the body, averaged over blocks, int16, gzip."""

import base64
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.body import body_mask
from mapdiff.errors import InputError
from mapdiff.report.figure import MARGIN_MM, to_ras
from mapdiff.volume import Volume

#: Largest int16.
TOP = 32767


@dataclass(frozen=True)
class Layer:
    """One image of a page.

    Attributes:
        key: "input", a dose such as "1/10", "result", "reference" or "deviation".
        label: what the page calls it.
        load: gives the volume; called when it is needed, so that one volume is in memory at a time.
    """

    key: str
    label: str
    load: Callable[[], Volume]


@dataclass(frozen=True)
class PageGrid:
    """The grid of the volumes in a page, on RAS+ axes.

    Attributes:
        box: the part of the scan that is kept, in voxels of the scan turned to RAS+.
        factors: voxels of the scan averaged into one, per axis.
        shape: voxels of the page, per axis.
        spacing: their size, mm.
        affine: 4 x 4, from the page's voxel indices to RAS+ mm (centres of the blocks).
        source_shape: voxels of the scan turned to RAS+.
        source_spacing: their size, mm.
        source_affine: 4 x 4, from their indices to RAS+ mm.
    """

    box: tuple[slice, slice, slice]
    factors: tuple[int, int, int]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    source_shape: tuple[int, int, int]
    source_spacing: tuple[float, float, float]
    source_affine: NDArray[np.float64]


def body_or_all(volume: Volume) -> NDArray[np.bool_]:
    """The body in a scan, shape (I, J, K); all of it where none is found."""
    try:
        return body_mask(volume.array, volume.spacing)
    except InputError:
        return np.ones(volume.shape, dtype=bool)


def plan_grid(volume: Volume, most_voxels: int, body: NDArray[np.bool_] | None = None) -> PageGrid:
    """Cut to the body and choose the smallest blocks that leave at most `most_voxels`.

    The axis with the finest voxels is thinned first. Up to one block's width of air is lost at an edge.

    Args:
        volume: the scan.
        most_voxels: of one volume in the page.
        body: what is kept, shape of the scan; by default the body found in it (`body_or_all`).
    """
    body, spacing = to_ras(body_or_all(volume) if body is None else body, volume.affine)
    array = body  # of the scan's shape, on RAS+ axes
    ends: list[tuple[int, int]] = []
    for axis, step in enumerate(spacing):
        found = np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = int(np.ceil(MARGIN_MM / step))
        ends.append((max(0, int(found[0]) - margin), min(array.shape[axis], int(found[-1]) + 1 + margin)))
    lengths = [stop - start for start, stop in ends]
    factors = [1, 1, 1]
    while np.prod([max(n // f, 1) for n, f in zip(lengths, factors, strict=True)]) > most_voxels:
        factors[_finest(spacing, factors)] += 1
    factors = [min(f, n) for f, n in zip(factors, lengths, strict=True)]
    n0, n1, n2 = array.shape
    return _grid([start for start, _ in ends], lengths, factors, (n0, n1, n2), spacing, _ras_affine(volume))


def _finest(spacing: Sequence[float], factors: Sequence[int]) -> int:
    return int(np.argmin([s * f for s, f in zip(spacing, factors, strict=True)]))


def _grid(
    starts: Sequence[int],
    lengths: Sequence[int],
    factors: Sequence[int],
    source_shape: tuple[int, int, int],
    source_spacing: tuple[float, float, float],
    source_affine: NDArray[np.float64],
) -> PageGrid:
    """Whole blocks from `starts` on, in voxels of the scan turned to RAS+."""
    box = [slice(s, s + n // f * f) for s, n, f in zip(starts, lengths, factors, strict=True)]
    to_blocks = np.eye(4)
    to_blocks[:3, :3] = np.diag(factors)
    to_blocks[:3, 3] = [b.start + (f - 1) / 2 for b, f in zip(box, factors, strict=True)]
    i, j, k = ((b.stop - b.start) // f for b, f in zip(box, factors, strict=True))
    a, b, c = (float(s * f) for s, f in zip(source_spacing, factors, strict=True))
    return PageGrid(
        box=(box[0], box[1], box[2]),
        factors=(factors[0], factors[1], factors[2]),
        shape=(i, j, k),
        spacing=(a, b, c),
        affine=source_affine @ to_blocks,
        source_shape=source_shape,
        source_spacing=source_spacing,
        source_affine=source_affine,
    )


def coarser(grid: PageGrid) -> tuple[PageGrid, int]:
    """The grid with its finest axis halved, and that axis; `halved` brings volumes on it."""
    axis = _finest(grid.source_spacing, grid.factors)
    if grid.shape[axis] < 2:
        axis = int(np.argmax(grid.shape))
    factors = list(grid.factors)
    factors[axis] *= 2
    starts, lengths = [b.start for b in grid.box], [b.stop - b.start for b in grid.box]
    made = _grid(starts, lengths, factors, grid.source_shape, grid.source_spacing, grid.source_affine)
    return made, axis


def halved(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Means of neighbouring pairs along an axis; an odd voxel at the end is dropped."""
    values = values.swapaxes(0, axis)
    pairs = values[: values.shape[0] // 2 * 2].reshape(values.shape[0] // 2, 2, *values.shape[1:])
    return np.asarray(pairs.mean(axis=1).swapaxes(0, axis), np.float32)


def _ras_affine(volume: Volume) -> NDArray[np.float64]:
    """The affine of the volume's array after `to_ras`."""
    from nibabel import orientations

    untyped: Any = orientations
    turn = untyped.io_orientation(volume.affine)
    return np.asarray(volume.affine @ untyped.inv_ornt_aff(turn, volume.shape), np.float64)


def reduced(volume: Volume, grid: PageGrid) -> NDArray[np.float32]:
    """The volume on the page's grid: means over the grid's blocks.

    Raises:
        InputError: the volume's grid is not the one the page was planned for.
    """
    array, spacing = to_ras(volume.array, volume.affine)
    if array.shape != grid.source_shape or not np.allclose(spacing, grid.source_spacing, rtol=0.01):
        raise InputError(
            f"the images of a page need one grid: one has {array.shape} voxels, another {grid.source_shape}"
        )
    part = array[grid.box].astype(np.float32, copy=False)
    (i, j, k), (f, g, h) = grid.shape, grid.factors
    return np.asarray(part.reshape(i, f, j, g, k, h).mean(axis=(1, 3, 5)), np.float32)


def encode(values: NDArray[np.float32], step: float) -> str:
    """Values as text: multiples of `step` as int16, the low bytes before the high ones, gzip, base64.

    The first axis runs fastest. The two planes of bytes compress better apart than mixed.

    Args:
        values: shape (I, J, K), at most 32767 steps in size.
        step: the value of one count, above zero.
    """
    counts = np.clip(np.rint(values / np.float32(step)), -TOP, TOP).astype("<i2")
    planes = counts.ravel(order="F").view(np.uint8).reshape(-1, 2).T
    return base64.b64encode(gzip.compress(planes.tobytes(), 6, mtime=0)).decode("ascii")


def decode(text: str, shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """What `encode` took, in counts of its step: shape (I, J, K)."""
    planes = np.frombuffer(gzip.decompress(base64.b64decode(text)), np.uint8).reshape(2, -1)
    counts = np.ascontiguousarray(planes.T).view("<i2").ravel()
    return counts.reshape(shape, order="F").astype(np.int16)


def step_for(wanted: float, largest: float) -> float:
    """The value of one count: what is wanted, or more where int16 needs it for the largest value."""
    return max(wanted, largest / TOP, 1e-30)
