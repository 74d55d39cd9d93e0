"""Lesion masks on a scan's grid: the types, and what is common to all the files they come from."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mapdiff.errors import InputError
from mapdiff.volume import Array

#: Two grids are one where no corner of the volume lies further apart than this, in voxels.
SAME_GRID_VOXELS = 0.1


@dataclass(frozen=True)
class Lesion:
    """One lesion, kept as a box of the scan.

    Attributes:
        name: as in the file, or "lesion 1", "label 3".
        box: where `mask` lies in the scan, a slice along each of i, j, k.
        mask: True inside the lesion, the box's shape; at least one voxel.
    """

    name: str
    box: tuple[slice, slice, slice]
    mask: NDArray[np.bool_]

    def voxels(self, array: Array) -> Array:
        """The values of `array`, a volume on the scan's grid, inside the lesion; shape (N,)."""
        return np.asarray(array[self.box][self.mask])


@dataclass(frozen=True)
class LesionMask:
    """The lesions of one scan; they may overlap.

    Attributes:
        shape: the scan's voxels along i, j, k.
        affine: the scan's, voxel indices to RAS+ mm.
        lesions: at least one.
        notes: what a reader of the figures should know, one line each (resampled, ROIs left out).
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    lesions: tuple[Lesion, ...]
    notes: tuple[str, ...] = ()

    def full(self, name: str) -> NDArray[np.bool_]:
        """One lesion as a mask of the whole scan, shape (I, J, K).

        Raises:
            InputError: no lesion has that name.
        """
        for lesion in self.lesions:
            if lesion.name == name:
                mask = np.zeros(self.shape, bool)
                mask[lesion.box] = lesion.mask
                return mask
        raise InputError(f"no lesion is called '{name}'; there are {', '.join(x.name for x in self.lesions)}")

    @property
    def anywhere(self) -> NDArray[np.bool_]:
        """Where any lesion is, shape (I, J, K)."""
        mask = np.zeros(self.shape, bool)
        for lesion in self.lesions:
            mask[lesion.box] |= lesion.mask
        return mask


def same_grid(
    shape: tuple[int, ...],
    affine: NDArray[np.float64],
    shape_b: tuple[int, ...],
    affine_b: NDArray[np.float64],
) -> bool:
    """Whether two grids have one shape and put every voxel within a tenth of a voxel of the same place."""
    if tuple(shape) != tuple(shape_b):
        return False
    corners = np.array(list(itertools.product(*[(0, length - 1) for length in shape])))
    there = _apply(np.linalg.inv(affine) @ affine_b, corners)
    return bool(np.abs(there - corners).max() <= SAME_GRID_VOXELS)


def cut(name: str, mask: NDArray[np.bool_], offset: tuple[int, int, int] = (0, 0, 0)) -> Lesion | None:
    """The lesion in `mask`, whose first voxel is the scan's voxel `offset`; None where the mask is empty."""
    # scipy finds nothing in a mask without True, and raises on one without voxels, as lies beside the scan.
    found = ndimage.find_objects(mask.astype(np.uint8)) if mask.size else []
    if not found:
        return None
    i, j, k = (slice(s.start + o, s.stop + o) for s, o in zip(found[0], offset, strict=True))
    return Lesion(name, (i, j, k), mask[found[0]].copy())


def from_labels(labels: Array, prefix: str = "label") -> list[Lesion]:
    """Lesions of a label map on the scan's grid: each label above 0, or each piece of a binary mask.

    Args:
        labels: shape (I, J, K); integers (or floats near them), or one value for all lesions.
        prefix: the lesions of a map with several labels are called "label 2" and so on.
    """
    numbers = np.rint(labels).astype(np.int32)
    kinds = np.unique(numbers[numbers > 0])
    if kinds.size == 1:
        prefix = "lesion"
        numbers, count = ndimage.label(numbers > 0, structure=np.ones((3, 3, 3)))
        kinds = np.arange(1, count + 1)
    boxes = ndimage.find_objects(numbers)
    lesions = []
    for number in kinds:
        i, j, k = boxes[number - 1]
        lesions.append(Lesion(f"{prefix} {number}", (i, j, k), numbers[i, j, k] == number))
    return lesions


def aligned(shape: tuple[int, ...], affine: NDArray[np.float64], to: NDArray[np.float64]) -> bool:
    """Whether a grid's voxels coincide with voxels of another, so that `pull` only crops and turns."""
    index = np.linalg.inv(to) @ affine
    corners = np.array(list(itertools.product(*[(0, length - 1) for length in shape])))
    there = _apply(index, corners)
    turned = np.allclose(np.abs(index[:3, :3]).sum(axis=0), 1, atol=0.01)
    return bool(turned and np.abs(there - np.rint(there)).max() <= SAME_GRID_VOXELS)


def pull(
    labels: Array, affine: NDArray[np.float64], shape: tuple[int, int, int], to: NDArray[np.float64]
) -> tuple[Array, tuple[int, int, int]]:
    """A label map on another grid, nearest neighbour in world coordinates.

    Args:
        labels: shape (A, B, C), on the grid of `affine`.
        affine: of the labels, to RAS+ mm.
        shape: of the grid wanted.
        to: affine of the grid wanted.

    Returns:
        The labels on the part of the wanted grid that the label map covers, and that part's first voxel.
    """
    corners = np.array(list(itertools.product(*[(-0.5, length - 0.5) for length in labels.shape])))
    reach = _apply(np.linalg.inv(to) @ affine, corners)
    first = np.clip(np.floor(reach.min(axis=0)).astype(int), 0, shape)
    last = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 1, first, shape)
    out = np.zeros(tuple(last - first), labels.dtype)
    step = np.linalg.inv(affine) @ to
    plane = np.stack(np.meshgrid(*map(np.arange, first[1:], last[1:]), indexing="ij"), axis=-1)
    for number, i in enumerate(range(first[0], last[0])):
        here = np.concatenate([np.full((*plane.shape[:2], 1), i), plane], axis=-1)
        source = np.rint(_apply(step, here)).astype(int)
        inside = ((source >= 0) & (source < labels.shape)).all(axis=-1)
        out[number][inside] = labels[tuple(source[inside].T)]
    return out, (int(first[0]), int(first[1]), int(first[2]))


def _apply(affine: NDArray[np.float64], points: Array) -> NDArray[np.float64]:
    """Points (..., 3) through a 4 x 4 affine."""
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])
