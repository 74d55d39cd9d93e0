"""Read lesions from an RTSTRUCT, a DICOM SEG or a NIfTI mask onto a scan's grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.errors import InputError
from mapdiff.evaluation.contours import lesions_from_rtstruct
from mapdiff.evaluation.masks import Lesion, LesionMask, aligned, cut, from_labels, pull, same_grid
from mapdiff.formats.checks import is_singular
from mapdiff.formats.dicom_files import quiet
from mapdiff.formats.identity import impersonal
from mapdiff.volume import Array, Volume

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
#: Frames of a segmentation this many thicknesses apart have empty ones between them.
FAR = 4
#: Largest label of a mask, and how near to whole numbers its voxels lie (they may be scaled).
#: An image has neither.
MOST_LABEL, WHOLE = 65535, 0.01
#: Regions that figures are told of beside the lesions (evaluation/compare.py).
REGIONS = ("volume", "body")


def read_lesions(path: str | Path, scan: Volume) -> LesionMask:
    """Lesions on the grid of a scan.

    Args:
        path: an RTSTRUCT or SEG file, or a NIfTI mask (.nii, .nii.gz): its labels above 0 are lesions; with
            only one label, each connected piece is one.
        scan: the scan whose grid is wanted.

    Returns:
        One lesion or more, with notes on resampling and on what was left out.

    Raises:
        InputError: the file is none of these, or holds no lesion inside the scan.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("is not there" if not path.exists() else "is a folder; give the file itself", path)
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            lesions, notes = _from_nifti(path, scan)
        else:
            lesions, notes = _from_dicom(path, scan)
    except InputError as error:
        raise error if error.path is not None else InputError(error.cause, path) from error
    if not lesions:
        why = f" ({'; '.join(notes)})" if notes else ""
        raise InputError(f"holds no lesion inside the scan{why}", path)
    return LesionMask(scan.shape, scan.affine, tuple(_unique(lesions)), tuple(notes))


def _unique(lesions: list[Lesion]) -> list[Lesion]:
    """Names that are there twice, or are those of other regions, get a number."""
    seen = dict.fromkeys(REGIONS, 1)  # whose figures a lesion of that name must not take the place of
    out = []
    for lesion in lesions:
        seen[lesion.name] = seen.get(lesion.name, 0) + 1
        count = seen[lesion.name]
        out.append(lesion if count == 1 else Lesion(f"{lesion.name} ({count})", lesion.box, lesion.mask))
    return out


def _from_nifti(path: Path, scan: Volume) -> tuple[list[Lesion], list[str]]:
    import nibabel as nib

    try:
        image: Any = nib.load(path)
        labels = np.asarray(image.dataobj)
    except Exception as error:
        raise InputError("cannot be read as NIfTI") from error
    while labels.ndim > 3 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.ndim != 3:
        raise InputError(f"a mask needs three axes, this one has shape {labels.shape}")
    if labels.dtype.kind not in "biuf":
        raise InputError("a mask needs one number per voxel (its voxels are colours or complex)")
    if not np.isfinite(labels).all():
        raise InputError("a mask cannot have voxels that are not finite numbers")
    if labels.max() > MOST_LABEL or np.abs(labels - np.rint(labels)).max() > WHOLE:
        raise InputError(f"is no mask: its voxels are not whole numbers up to {MOST_LABEL}")
    affine = np.asarray(image.affine, np.float64)
    if is_singular(affine):
        raise InputError("its affine is singular or not finite, so where the mask lies is not known")
    lesions: list[Lesion] = []
    notes: list[str] = []
    if int(image.header["qform_code"]) == 0 and int(image.header["sform_code"]) == 0:
        if labels.shape != scan.shape:
            raise InputError(
                "tells no orientation (qform and sform codes are 0) and has another shape than the scan, so "
                "where the mask lies is not known"
            )
        if not same_grid(scan.shape, scan.affine, labels.shape, affine):
            notes.append("the mask tells no orientation (qform and sform codes are 0): taken voxel by voxel")
            affine = scan.affine
    if same_grid(scan.shape, scan.affine, labels.shape, affine):
        return from_labels(labels), notes
    # Labels are found before resampling, so that a small piece cannot break in two.
    if not aligned(labels.shape, affine, scan.affine):
        notes.append("the mask was resampled onto the scan's grid (nearest neighbour)")
    for lesion in from_labels(labels):
        moved = affine.copy()
        moved[:3, 3] = affine[:3, :3] @ [s.start for s in lesion.box] + affine[:3, 3]
        part, offset = pull(lesion.mask, moved, scan.shape, scan.affine)
        found = cut(lesion.name, part, offset)
        if found is not None:
            lesions.append(found)
        else:
            notes.append(f"{lesion.name} has no voxel in the scan and is left out")
    return lesions, notes


def _from_dicom(path: Path, scan: Volume) -> tuple[list[Lesion], list[str]]:
    import pydicom

    with quiet():
        try:
            dataset = pydicom.dcmread(path)
        except Exception as error:
            raise InputError("is no RTSTRUCT, DICOM SEG or NIfTI mask") from error
        kind = str(dataset.get("SOPClassUID", ""))
        modality = impersonal(dataset, str(dataset.get("Modality", "")))
        if kind not in (RTSTRUCT_CLASS, SEG_CLASS):
            raise InputError(f"is DICOM {modality or 'of unknown kind'}, not an RTSTRUCT or SEG")
        try:
            if kind == RTSTRUCT_CLASS:
                return lesions_from_rtstruct(dataset, scan.shape, scan.affine)
            return _from_seg(dataset, scan)
        except InputError:
            raise
        except Exception as error:  # elements that are missing or malformed strike where they are used
            raise InputError("its contours or segments are malformed or cannot be decoded") from error


def _from_seg(dataset: Any, scan: Volume) -> tuple[list[Lesion], list[str]]:
    """Every segment of a DICOM SEG; fractional ones from one half up."""
    frames = np.asarray(dataset.pixel_array)
    frames = frames[None] if frames.ndim == 2 else frames
    if dataset.get("SegmentationType") == "FRACTIONAL":
        frames = frames >= 0.5 * float(dataset.get("MaximumFractionalValue", 255))
    by_segment: dict[int, list[int]] = {}
    for number, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        segment = int(_group(dataset, groups, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        by_segment.setdefault(segment, []).append(number)
    labels = {int(s.SegmentNumber): impersonal(dataset, str(s.SegmentLabel)) for s in dataset.SegmentSequence}
    lesions, notes, resampled = [], [], False
    distance = _distance(dataset)
    for segment, numbers in sorted(by_segment.items()):
        name = labels.get(segment) or f"segment {segment}"
        mask, affine = _segment(dataset, frames, numbers, distance)
        part, offset = pull(mask, affine, scan.shape, scan.affine)
        resampled = resampled or not aligned(mask.shape, affine, scan.affine)
        lesion = cut(name, part, offset)
        if lesion is None:
            notes.append(f"{name} has no voxel in the scan and is left out")
        else:
            lesions.append(lesion)
    if resampled:
        notes.append("the segmentation was resampled onto the scan's grid (nearest neighbour)")
    return lesions, notes


def _group(dataset: Any, frame: Any, name: str) -> Any:
    """A functional group of a frame, or the one shared by all frames."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    found = frame.get(name) or shared.get(name)
    if not found:
        raise InputError(f"the segmentation's frames have no {name}")
    return found[0]


def _planes(
    dataset: Any, groups: Sequence[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of frames: their orientation (6,), corners (n, 3) and places along the normal (n,), LPS mm."""
    orientation = np.array(
        _group(dataset, groups[0], "PlaneOrientationSequence").ImageOrientationPatient, np.float64
    )
    corners = np.array(
        [_group(dataset, frame, "PlanePositionSequence").ImagePositionPatient for frame in groups], np.float64
    )
    return orientation, corners, corners @ np.cross(orientation[:3], orientation[3:])


def _distance(dataset: Any) -> float:
    """Between neighbouring slices, mm: told, or the smallest gap between the frames of all segments.

    A slice's thickness is not it, but stands in where the frames lie so far apart that those between them,
    empty, must have been left out.
    """
    groups = dataset.PerFrameFunctionalGroupsSequence
    measures = _group(dataset, groups[0], "PixelMeasuresSequence")
    told, thickness = measures.get("SpacingBetweenSlices"), float(measures.get("SliceThickness") or 0)
    if told:
        return float(told)
    gaps = np.diff(np.unique(np.round(_planes(dataset, groups)[2], 2)))
    if gaps.size and (not thickness or gaps.min() <= FAR * thickness):
        return float(gaps.min())
    return thickness or 1.0


def _segment(
    dataset: Any, frames: Array, numbers: list[int], distance: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """One segment's frames as a volume (column, row, plane), with the affine to RAS+ mm."""
    groups = [dataset.PerFrameFunctionalGroupsSequence[number] for number in numbers]
    measures = _group(dataset, groups[0], "PixelMeasuresSequence")
    orientation, corners, depth = _planes(dataset, groups)
    places = np.rint((depth - depth.min()) / distance).astype(int)
    mask = np.zeros((frames.shape[2], frames.shape[1], int(places.max()) + 1), bool)
    for number, place in zip(numbers, places, strict=True):
        mask[:, :, place] |= frames[number].T > 0
    row_step, column_step = (float(step) for step in measures.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * column_step
    affine[:3, 1] = orientation[3:] * row_step
    affine[:3, 2] = np.cross(orientation[:3], orientation[3:]) * distance
    affine[:3, 3] = corners[int(depth.argmin())]
    return mask, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
