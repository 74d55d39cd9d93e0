"""Contours of a DICOM RTSTRUCT as masks on a scan's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.errors import InputError
from mapdiff.evaluation.masks import Lesion, cut
from mapdiff.formats.identity import impersonal

#: A contour is parallel to the slices if it leaves its plane by no more than this, in slices.
FLATNESS = 0.25
#: Contours so near to each other, in slices, are of one plane. Planes drawn on a CT lie as near as a tenth.
SAME_PLANE = 0.05
#: Slices so near to half way between two contours are taken as half way, which decimals may miss.
TIE = 0.05

Points = NDArray[np.float64]


def lesions_from_rtstruct(
    dataset: Any, shape: tuple[int, int, int], affine: NDArray[np.float64]
) -> tuple[list[Lesion], list[str]]:
    """Rasterise every ROI with closed planar contours.

    A voxel belongs to a ROI if its centre lies inside an odd number of the slice's contours, so that holes
    stay open. Each slice takes the contours of the plane nearest to it, up to half the distance between the
    ROI's planes, so contours drawn on coarser slices than the scan's fill the slices between.

    Args:
        dataset: pydicom dataset of an RT Structure Set.
        shape: the scan's voxels along i, j, k.
        affine: the scan's, to RAS+ mm.

    Returns:
        The lesions that have voxels, and notes on what was left out.

    Raises:
        InputError: contours run across the scan's slices.
    """
    rois = dataset.get("StructureSetROISequence") or []
    names = {int(roi.ROINumber): impersonal(dataset, str(roi.ROIName)) for roi in rois}
    to_voxels = np.linalg.inv(affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's LPS to RAS first
    lesions, notes = [], []
    for roi in dataset.get("ROIContourSequence") or []:
        name = names.get(int(roi.ReferencedROINumber)) or f"ROI {roi.ReferencedROINumber}"
        contours = []
        for contour in roi.get("ContourSequence") or []:
            if contour.ContourGeometricType == "CLOSED_PLANAR":
                points = np.asarray(contour.ContourData, np.float64).reshape(-1, 3)
                contours.append(points @ to_voxels[:3, :3].T + to_voxels[:3, 3])
        if not contours:
            notes.append(f"{name} has no closed planar contour and is left out")
            continue
        lesion = cut(name, rasterise(contours, shape, name))
        if lesion is None:
            notes.append(f"{name} encloses no voxel of the scan and is left out")
        else:
            lesions.append(lesion)
    return lesions, notes


def rasterise(contours: list[Points], shape: tuple[int, int, int], name: str = "ROI") -> NDArray[np.bool_]:
    """A mask from planar contours in voxel coordinates.

    Args:
        contours: each (N, 3), voxel coordinates i, j, k (a voxel's centre is at whole numbers), all in planes
            of one index axis.
        shape: of the mask.
        name: for the error's text.

    Returns:
        True inside, of the shape given.

    Raises:
        InputError: a contour is not parallel to the planes of one index axis.
    """
    thickness = np.array([np.ptp(points, axis=0) for points in contours]).max(axis=0)
    axis = int(thickness.argmin())
    if thickness[axis] > FLATNESS:
        raise InputError(f"the contours of {name} are not parallel to the scan's slices")
    across = [other for other in range(3) if other != axis]
    size = (shape[across[0]], shape[across[1]])
    # The contours of one slice are given to some decimals: none must win over another.
    planes: list[NDArray[np.bool_]] = []
    first: list[float] = []
    for points in sorted(contours, key=lambda points: float(points[:, axis].mean())):
        position = float(points[:, axis].mean())
        inside = polygon(points[:, across], size)
        if first and position - first[-1] <= SAME_PLANE:
            planes[-1] = planes[-1] ^ inside
        else:
            planes.append(inside)
            first.append(position)
    positions = np.array(first)
    gaps = np.diff(positions)
    reach = 0.5 * max(1.0, float(np.median(gaps)) if gaps.size else 1.0)
    mask = np.zeros(shape, bool)
    for number in range(shape[axis]):
        # Half way between two contours a slice belongs to the later one, at the ends too: else there are
        # more slices than the contours are thick.
        off = np.abs(positions - (number + TIE))
        nearest = int(off.argmin())
        if off[nearest] <= reach:
            mask[(slice(None),) * axis + (number,)] = planes[nearest]
    return mask


def polygon(points: Points, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre lies inside a polygon, by the even-odd rule.

    Args:
        points: (N, 2), pixel coordinates; the last joins the first.
        shape: pixels along the two axes.
    """
    inside = np.zeros(shape, bool)
    if len(points) < 3:
        return inside
    after = np.roll(points, -1, axis=0)
    low = max(0, int(np.floor(points[:, 0].min())))
    columns = np.arange(shape[1])
    for row in range(low, min(shape[0], int(np.ceil(points[:, 0].max())) + 1)):
        crossing = (points[:, 0] <= row) != (after[:, 0] <= row)
        a, b = points[crossing], after[crossing]
        at = a[:, 1] + (row - a[:, 0]) / (b[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
        inside[row] = (at[:, None] > columns).sum(axis=0) % 2 == 1
    return inside
