"""Formats: read a scan into a Volume, write it back in kind."""

from __future__ import annotations

from pathlib import Path

from mapdiff.errors import InputError
from mapdiff.formats.bids import acquisition_from_sidecar, sidecar
from mapdiff.formats.dicom_files import holds_dicom, leads_up
from mapdiff.formats.dicom_in import DicomSource, read_dicom
from mapdiff.formats.dicom_out import write_dicom
from mapdiff.formats.nifti import is_nifti, read_nifti, write_nifti
from mapdiff.volume import Volume

__all__ = ["acquisition_from_sidecar", "discover", "read", "sidecar", "write"]


def read(path: str | Path, *, series: str | None = None, unit: str | None = None) -> Volume:
    """Read a PET scan.

    Args:
        path: a NIfTI file (.nii, .nii.gz), a folder or .zip of a DICOM PET series (nested folders and any
            file ending will do), or one enhanced multi-frame DICOM file.
        series: which of several series: its number, UID, or a part of its description.
        unit: "Bq/mL", "kBq/mL" or "SUV", for a NIfTI whose own unit is missing or wrong.

    Returns:
        The scan: array float32, axes i, j, k; affine to RAS+ mm; unit "Bq/mL", "SUV" (by body weight) or
        "unknown".

    Raises:
        InputError: it is not a readable 3D PET scan; one line names the path and the cause.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise InputError("is not there", path)
        if not path.is_file() and not path.is_dir():
            raise InputError("is neither a file nor a folder", path)  # a pipe would be waited for
        if path.is_file() and is_nifti(path):
            return read_nifti(path, unit)
        return read_dicom(path, series=series, unit=unit)
    except PermissionError as error:
        raise InputError("no permission to read it", error.filename or path) from error


def write(
    volume: Volume,
    path: str | Path,
    *,
    description: str | None = None,
    model: str | None = None,
    deidentify: bool = False,
    overwrite: bool = False,
    number: int = 1000,
) -> None:
    """Write a scan in kind: NIfTI where the name says so, else a DICOM series derived from its source.

    Args:
        volume: the scan, mostly `source.with_array(...)`.
        path: a .nii or .nii.gz file; any other name is a folder of DICOM files, or with .zip an archive.
        description: what was done, for the header.
        model: the model that did it, with its version.
        deidentify: remove the patient's identity from header and sidecar; without it, it is kept.
        overwrite: replace what is there.
        number: of DICOM, what is added to the source's SeriesNumber, another for each result of one scan.

    Raises:
        InputError: `path` is there already or cannot be written, or a DICOM series is asked for and the
            volume does not come from one.
    """
    path = Path(path)
    if is_nifti(path):
        write_nifti(
            volume, path, description=description, model=model, deidentify=deidentify, overwrite=overwrite
        )
    elif isinstance(volume.source, DicomSource):
        write_dicom(
            volume,
            path,
            description=description,
            model=model,
            deidentify=deidentify,
            overwrite=overwrite,
            number=number,
        )
    else:
        raise InputError("the scan does not come from DICOM: give a name that ends in .nii or .nii.gz", path)


def discover(path: str | Path) -> list[Path]:
    """The scans at a path: itself if it is a file or directly holds a DICOM series, else all those below.

    Scans are NIfTI files, .zip archives and folders that directly hold DICOM files, sorted by path; hidden
    names are passed over. Nothing is opened further: what is broken or not PET shows when it is read.

    Raises:
        InputError: there is nothing at the path.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("is not there", path)
    try:
        if not path.is_dir() or holds_dicom(path):
            return [path]
        entries = sorted(path.iterdir())
    except PermissionError:
        return [path]  # reading it says why
    found: list[Path] = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if not leads_up(entry):
                found += discover(entry)
        elif entry.is_file() and (is_nifti(entry) or entry.suffix.lower() == ".zip"):
            found.append(entry)
    return found
