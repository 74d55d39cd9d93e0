"""Where the slices of a DICOM series lie: their order, the affine, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mapdiff.errors import InputError
from mapdiff.formats.checks import check_spacing
from mapdiff.formats.dicom_elements import instance

#: Slices nearer than this, mm, lie at the same place.
SAME_MM = 0.01
#: A gap may differ from the median gap by this share of it, and a slice from the even grid by a quarter.
UNEVEN = 0.1
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Grid:
    """Slices in order.

    Attributes:
        order: indices of the headers by position along the normal, ascending.
        affine: (i, j, k) = (column, row, slice) to RAS+ mm.
        warnings: one line each.
    """

    order: list[int]
    affine: NDArray[np.float64]
    warnings: tuple[str, ...]


def grid_of(headers: Sequence[Dataset], path: Path) -> Grid:
    """Sort slices along their normal and lay an even grid through them (PS3.3 C.7.6.2).

    Args:
        headers: one per slice, with ImagePositionPatient, ImageOrientationPatient, PixelSpacing.
        path: for errors.

    Raises:
        InputError: a single slice; slices that are missing (some, or evenly all but every n-th), repeated,
            uneven, shifted, or of different size, spacing or orientation.
    """
    orientation = _same(headers, "ImageOrientationPatient", 6, path, 1e-3)
    spacing = _same(headers, "PixelSpacing", 2, path, 1e-3)
    for keyword in ("Rows", "Columns"):
        if _same(headers, keyword, 1, path, 0)[0] < 1:
            raise InputError(f"{keyword} is zero", path)
    along_row, along_column = orientation[:3], orientation[3:]
    if abs(along_row @ along_row - 1) > 0.01 or abs(along_column @ along_column - 1) > 0.01:
        raise InputError("ImageOrientationPatient (0020,0037) does not hold unit vectors", path)
    if abs(along_row @ along_column) > 0.01:
        raise InputError("ImageOrientationPatient (0020,0037) holds vectors that are not perpendicular", path)
    if not (spacing > 0).all():
        raise InputError("PixelSpacing (0028,0030) is zero or negative", path)
    if len(headers) == 1:
        raise InputError("is a single 2D slice; give the folder that holds the series", path)
    normal = np.cross(along_row, along_column)
    positions = np.array([_vector(header, "ImagePositionPatient", 3, path) for header in headers])
    along = positions @ normal
    order = [int(index) for index in np.argsort(along, kind="stable")]
    places, positions = along[order], positions[order]
    instances = [instance(headers[index]).removeprefix("instance ") for index in order]
    _check_repeated(places, instances, path)
    step = _check_gaps(places, instances, path)
    column = (positions[-1] - positions[0]) / (len(order) - 1)
    even = positions[0] + np.arange(len(order))[:, None] * column
    off = np.abs(positions - even)
    if off.max() > 0.25 * step:
        raise InputError(f"conflicting spacing: slices lie up to {off.max():.2f} mm off an even grid", path)
    warnings: tuple[str, ...] = ()
    if off.max() > 0.002 * step:
        gaps = np.diff(places)
        warnings += (
            f"slice positions jitter: gaps from {gaps.min():.3f} to {gaps.max():.3f} mm, taken as even "
            f"{np.linalg.norm(column):.3f} mm (no slice moves by more than {off.max():.3f} mm)",
        )
    warnings += _count_warnings(headers[0], len(order), step, path)
    affine = np.eye(4)
    affine[:3, 0] = along_row * spacing[1]
    affine[:3, 1] = along_column * spacing[0]
    affine[:3, 2] = column
    affine[:3, 3] = positions[0]
    affine[:3] = LPS_TO_RAS @ affine[:3]
    check_spacing(affine, path)
    return Grid(order, affine, warnings)


def _vector(header: Dataset, keyword: str, length: int, path: Path) -> NDArray[np.float64]:
    try:
        value = np.atleast_1d(np.asarray(header.get(keyword), dtype=np.float64))
    except (TypeError, ValueError):
        value = np.empty(0)
    if value.shape != (length,) or not np.isfinite(value).all():
        raise InputError(f"{keyword} is missing or malformed in a slice ({instance(header)})", path)
    return value


def _same(
    headers: Sequence[Dataset], keyword: str, length: int, path: Path, most: float
) -> NDArray[np.float64]:
    values = np.array([_vector(header, keyword, length, path) for header in headers])
    if np.abs(values - values[0]).max() > most:
        odd = int(np.abs(values - np.median(values, axis=0)).max(axis=1).argmax())
        raise InputError(f"its slices differ in {keyword} (see {instance(headers[odd])})", path)
    return np.asarray(values[0])


def _check_repeated(places: NDArray[np.float64], instances: list[str], path: Path) -> None:
    same = np.diff(places) < SAME_MM
    if not same.any():
        return
    counts = Counter(int(n) for n in np.concatenate([[0], np.cumsum(~same)]))
    times = set(counts.values())
    if len(times) == 1:
        n = times.pop()
        raise InputError(f"holds {n} images at every slice position: {n} frames or copies; give one", path)
    first = int(np.argmax(same))
    raise InputError(
        f"{int(same.sum())} slices are repeated, the first at {places[first]:.2f} mm "
        f"(instances {instances[first]} and {instances[first + 1]})",
        path,
    )


def _check_gaps(places: NDArray[np.float64], instances: list[str], path: Path) -> float:
    gaps = np.diff(places)
    step = float(np.median(gaps))
    wide = np.flatnonzero(gaps > 1.5 * step)
    if wide.size:
        missing = sum(round(gaps[at] / step) - 1 for at in wide)
        at = int(wide[0])
        raise InputError(
            f"{missing} slices are missing, the first at {places[at] + step:.2f} mm (between instances "
            f"{instances[at]} and {instances[at + 1]})",
            path,
        )
    uneven = np.abs(gaps - step) > UNEVEN * step
    if uneven.any():
        at = int(np.argmax(uneven))
        raise InputError(
            f"conflicting spacing: slices lie {step:.3f} mm apart, at {places[at]:.2f} mm {gaps[at]:.3f} mm",
            path,
        )
    return step


def _count_warnings(header: Dataset, count: int, step: float, path: Path) -> tuple[str, ...]:
    """What the header tells of missing slices where no gap shows it: an error where all of it agrees."""
    warnings: tuple[str, ...] = ()
    stated, thickness = header.get("NumberOfSlices"), _length(header, "SliceThickness")
    if isinstance(stated, int) and stated > count:
        each = round(step / thickness) if thickness else 1
        if each > 1 and abs(step - each * thickness) < UNEVEN * thickness and stated > each * (count - 1):
            raise InputError(
                f"only one slice of every {each} is here: {count} of {stated}, {step:.3f} mm apart and "
                f"{thickness:.3f} mm thick",
                path,
            )
        warnings += (f"the header speaks of {stated} slices, {count} are here",)
    between = _length(header, "SpacingBetweenSlices")
    if between and abs(between - step) > UNEVEN * step:
        warnings += (f"slices lie {step:.3f} mm apart, the header says {between:.3f} mm; took the positions",)
    return warnings


def _length(header: Dataset, keyword: str) -> float:
    """A length of the header, mm; 0 where it is missing or malformed."""
    try:
        value = abs(float(header.get(keyword) or 0))
    except (TypeError, ValueError):
        return 0
    return value if np.isfinite(value) else 0
