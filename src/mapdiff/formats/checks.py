"""What voxels must be to be a PET image, whatever the format they came in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mapdiff.errors import InputError
from mapdiff.volume import UNKNOWN, Acquisition, Array

#: Names that say FDG, lower case; any other tracer is warned about, since the method was made for FDG.
FDG_NAMES = ("fdg", "fluorodeoxyglucose", "fludeoxyglucose", "deoxyglucose")
#: F-18 lives 6586 s (109.77 min); headers round it.
F18_HALF_LIFE_RANGE_S = (6480.0, 6700.0)
#: Edges of a voxel, mm: below those of scanners for mice, above those of any.
VOXEL_MM = (0.05, 50.0)


def is_singular(affine: NDArray[np.float64]) -> bool:
    """Whether a 4 x 4 affine tells no place: not finite, or not to be inverted."""
    return not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9


def check_voxels(array: Array, path: Path) -> tuple[str, ...]:
    """Refuse voxels that cannot be a PET image; give back warnings about those that are odd.

    Raises:
        InputError: NaN or infinite voxels, all zero, or only zeros and ones (a mask).
    """
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(f"{bad} of its {array.size} voxels are NaN or infinite", path)
    if low == high == 0:
        raise InputError("all its voxels are zero", path)
    if low == high:
        raise InputError(f"all its voxels are {low:g}", path)
    if high <= 0:
        raise InputError("none of its voxels is above zero", path)
    if low == 0 and high == 1 and bool(((array == 0) | (array == 1)).all()):
        raise InputError("is a mask (only zeros and ones), not a PET image", path)
    warnings: tuple[str, ...] = ()
    if low < 0:
        share = float((array < 0).mean())
        warnings += (f"{100 * share:.3g} % of the voxels are negative, the lowest is {low:.4g}",)
    return warnings


def check_shape(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    """The three axes of an image whose further axes have length one.

    Raises:
        InputError: it is 2D, or has more than one frame.
    """
    if len(shape) < 3 or min(shape[:3]) <= 1:
        raise InputError(f"is not a 3D image: its shape is {' x '.join(map(str, shape))}", path)
    frames = int(np.prod(shape[3:], dtype=int))
    if frames != 1:
        raise InputError(f"holds {frames} frames ({' x '.join(map(str, shape))}); give one frame", path)
    return shape[0], shape[1], shape[2]


def check_spacing(affine: NDArray[np.float64], path: Path) -> None:
    """Refuse voxels that no PET scanner has, mm: mostly metres or micrometres that are not told as such.

    Raises:
        InputError: an edge is outside VOXEL_MM.
    """
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if edges.min() < VOXEL_MM[0] or edges.max() > VOXEL_MM[1]:
        raise InputError(f"voxels of {' x '.join(f'{edge:.4g}' for edge in edges)} mm are absurd", path)


def facts_warnings(unit: str, acquisition: Acquisition) -> tuple[str, ...]:
    """Warnings about the unit and the tracer."""
    warnings: tuple[str, ...] = ()
    if unit == UNKNOWN:
        reason = acquisition.missing.get("unit", "the file does not tell it; give --unit")
        warnings += (f"unknown unit: {reason}",)
    tracer, half_life = acquisition.tracer, acquisition.half_life_s
    if tracer is not None and not any(name in tracer.lower() for name in FDG_NAMES):
        warnings += (f"the tracer is {tracer}, not FDG",)
    elif half_life is not None and not F18_HALF_LIFE_RANGE_S[0] <= half_life <= F18_HALF_LIFE_RANGE_S[1]:
        warnings += (f"the half-life of {half_life:g} s is not that of F-18, so the tracer may not be FDG",)
    return warnings
