"""One subject of a cohort: read, cropped to the body, brought to one scale, and examined for faults."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mapdiff.body import body_mask, body_scale
from mapdiff.cohort.layout import SUBJECT_FILE, dose_path, doses_of, truth_path
from mapdiff.cohort.oddities import Body, Measure, body_faults, grid_fault, order_faults
from mapdiff.dose import FULL, parse_dose
from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.volume import UNKNOWN, Array, Volume

#: Air that is kept round the body, mm.
MARGIN_MM = 25.0
#: Largest value that float16 holds, in units of the body's mean.
LARGEST = float(np.finfo(np.float16).max)
#: A hot bladder reaches some hundred times the body's mean; what lies above this is worth a look.
ODD_PEAK = 1000.0


@dataclass(frozen=True)
class SubjectScans:
    """One subject in memory, cropped to the body.

    Attributes:
        name: the subject's.
        doses: from the highest to the lowest.
        scans: (doses, I, J, K) float16, in units of the body's mean at full dose.
        target: (I, J, K) float16, the noise-free image where the cohort has it, else the full dose.
        body: (I, J, K), where the body is.
        spacing_mm: voxel size.
        lesion_voxels: (n, 3) voxel indices inside lesions; n may be 0.
        has_truth: the target is the noise-free image.
        scale: the body's mean at full dose, in the unit of the files.
        unit: of the files.
        origin: index of the crop's first voxel in the files.
    """

    name: str
    doses: tuple[Fraction, ...]
    scans: NDArray[np.float16]
    target: NDArray[np.float16]
    body: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    lesion_voxels: NDArray[np.int64]
    has_truth: bool
    scale: float
    unit: str
    origin: tuple[int, int, int]

    def by_dose(self) -> dict[Fraction, NDArray[np.float16]]:
        """The scans as a mapping."""
        return dict(zip(self.doses, self.scans, strict=True))


@dataclass
class Findings:
    """What is wrong with a subject, and what is odd about it.

    Attributes:
        faults: why it cannot be used; each names a file or the folder.
        notes: what a reader should know of a subject that can be used.
        noise: by dose, standard deviation of (dose - full dose) over the mean, inside the body.
    """

    faults: list[InputError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    noise: dict[Fraction, float] = field(default_factory=dict)


def load_subject(folder: Path) -> SubjectScans:
    """Read one subject of a cohort.

    Args:
        folder: the subject's, `sub-001`.

    Raises:
        InputError: it has a fault; the first one is told.
    """
    scans, findings = examine(folder)
    if scans is None:
        raise findings.faults[0]
    return scans


def examine(folder: Path) -> tuple[SubjectScans | None, Findings]:
    """Read one subject and look for faults: missing files, grids, units, NaN, order of doses, other bodies.

    All doses go to float16 in units of the body's mean at full dose, cropped to the body and 25 mm of air.
    Rounding to float16 errs by 2^-11 of the value at most (0.049 %), or by 3e-8 of the body's mean where
    that is more (values below 6.1e-5 of it).

    Returns:
        The scans, or None where there is a fault; and the findings.
    """
    found = Findings()
    try:
        paths = _listed_doses(folder, found)
        if FULL not in paths:
            raise InputError("has no full-dose scan", folder)
        if len(paths) < 2:
            raise InputError("has no scan of a lower dose", folder)
        full = _read(paths[FULL])
        body = body_mask(full.array, full.spacing)
        scale = np.float32(body_scale(full.array, body))
        measuring = Body(full)
    except InputError as error:
        found.faults.append(error if error.path else InputError(error.cause, folder))
        return None, found

    box = _box(body, [int(np.ceil(MARGIN_MM / s)) for s in full.spacing])
    kept = np.empty((len(paths), *body[box].shape), np.float16)
    measures: dict[Fraction, Measure] = {}
    for n, (dose, path) in enumerate(paths.items()):
        try:
            volume = full if dose == FULL else _beside(path, full)
            measures[dose] = measuring.measure(volume.array)
            kept[n] = _half(volume.array[box], scale, path, found)
        except InputError as error:
            found.faults.append(error)
    found.noise = {dose: measure.residual for dose, measure in measures.items() if dose != FULL}
    found.faults += [InputError(fault, folder) for fault in order_faults(measures)]
    if full.unit == UNKNOWN:
        found.notes.append("its unit is unknown")
    truth, lesions = (truth_path(folder, folder.name, kind) for kind in ("noisefree", "lesions"))
    target, lesion_voxels = kept[0], np.zeros((0, 3), np.int64)
    try:
        if truth.exists():
            noise_free = _beside(truth, full).array
            target = _half(noise_free[box], scale, truth, found)
            others = body_faults("the noise-free image", measuring.measure(noise_free))
            found.faults += [InputError(fault, folder) for fault in others]
        if lesions.exists():
            lesion_voxels = np.argwhere(_marked(lesions, full)[box])
    except InputError as error:
        found.faults.append(error)
    if found.faults:
        return None, found
    scans = SubjectScans(
        name=folder.name,
        doses=tuple(paths),
        scans=kept,
        target=target,
        body=np.ascontiguousarray(body[box]),
        spacing_mm=full.spacing,
        lesion_voxels=lesion_voxels,
        has_truth=truth.exists(),
        scale=float(scale),
        unit=full.unit,
        origin=(box[0].start, box[1].start, box[2].start),
    )
    return scans, found


def source_files(folder: Path) -> list[Path]:
    """The files that `examine` reads, in order."""
    extra = [truth_path(folder, folder.name, kind) for kind in ("noisefree", "lesions")]
    return [*doses_of(folder).values(), *(path for path in extra if path.exists())]


def hash_of(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed_doses(folder: Path, found: Findings) -> dict[Fraction, Path]:
    """The doses that are there; a fault for each that `subject.json` lists and that is not."""
    paths = doses_of(folder)
    try:
        facts: dict[str, Any] = json.loads((folder / SUBJECT_FILE).read_text())
        listed = [parse_dose(label) for label in facts.get("doses", ())]
    except (OSError, ValueError, AttributeError, TypeError):
        raise InputError("does not describe a subject", folder / SUBJECT_FILE) from None
    for dose in listed:
        if dose not in paths:
            path = dose_path(folder, folder.name, dose)
            found.faults.append(InputError(f"is missing, though {SUBJECT_FILE} lists its dose", path))
    return paths


def _read(path: Path) -> Volume:
    try:
        return read(path)
    except OSError as error:  # a worn disk, or a file that went away
        raise InputError(f"cannot be read: {error.strerror or error}", path) from None


def _beside(path: Path, full: Volume) -> Volume:
    """Another image of the subject, which must lie on the full dose's grid and be in its unit."""
    volume = _read(path)
    _check_grid(volume.shape, volume.affine, full, path)
    if volume.unit != full.unit:
        raise InputError(f"is in {volume.unit}, the full dose in {full.unit}", path)
    return volume


def _check_grid(shape: Sequence[int], affine: NDArray[np.float64], full: Volume, path: Path) -> None:
    fault = grid_fault(shape, affine, full)
    if fault:
        raise InputError(f"lies on {fault}", path)


def _half(array: Array, scale: np.float32, path: Path, found: Findings) -> NDArray[np.float16]:
    values = array / scale
    peak = float(np.abs(values).max())
    if peak >= LARGEST:
        raise InputError(f"has a voxel of {peak:.3g} times the body's mean", path)
    if peak > ODD_PEAK:
        found.notes.append(f"{path.name}: its hottest voxel is {peak:.0f} times the body's mean")
    return np.asarray(values.astype(np.float16))


def _marked(path: Path, full: Volume) -> NDArray[np.bool_]:
    """Where a mask or a map of labels is above zero."""
    try:
        image = nibabel.nifti1.Nifti1Image.from_filename(path)
        marked = np.asarray(image.dataobj) > 0
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError):
        raise InputError("cannot be read as NIfTI labels", path) from None
    _check_grid(marked.shape, np.asarray(image.affine, np.float64), full, path)
    return marked


def _box(mask: NDArray[np.bool_], margin: Sequence[int]) -> tuple[slice, slice, slice]:
    box = []
    for axis in range(3):
        along = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = max(int(along[0]) - margin[axis], 0), int(along[-1]) + 1 + margin[axis]
        box.append(slice(low, min(high, mask.shape[axis])))
    return box[0], box[1], box[2]
