"""Which scans of a folder are to be restored."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import pydicom

from mapdiff.errors import InputError
from mapdiff.formats import discover
from mapdiff.formats.bids import is_bids_pet
from mapdiff.formats.dicom_files import quiet
from mapdiff.formats.nifti import is_nifti

PET = "PT"
_TAGS = ("Modality", "SeriesInstanceUID", "SOPInstanceUID", "DerivationDescription")
#: What the description of every result of `denoise` begins with, in a NIfTI header and a DICOM derivation.
OURS = "mapdiff "


class _Told(NamedTuple):
    """What a DICOM file says of its series."""

    modality: str
    series: str
    instance: str
    derivation: str


def scans_in(
    path: Path, output: Path | None = None, say: Callable[[str], None] = lambda line: None
) -> list[Path]:
    """The scans at a path: itself, or those in a folder of many.

    A series whose files are spread over several folders is one scan, at their common parent. Folders of
    other modalities beside PET are passed over, and so are results of mapdiff beside scans, and masks, maps
    and other modalities that BIDS names beside a scan that it names PET.

    Args:
        path: a file, a series' folder or a folder of many scans.
        output: where the results go.
        say: takes a line for each folder or file that is passed over.

    Raises:
        InputError: there is nothing there, or nothing that looks like a scan, or a series is spread over
            folders that hold others too.
    """
    if not path.exists():
        raise InputError("is not there", path)
    if path.is_file():
        return [path]
    found = discover(path)
    if output is not None and output.resolve() != path.resolve():
        apart = [scan for scan in found if not scan.resolve().is_relative_to(output.resolve())]
        if found and not apart:
            raise InputError(
                f"holds the scans themselves ({path}); give another place for the results", output
            )
        found = apart
    if not found:
        raise InputError("holds no NIfTI file and no DICOM series", path)
    if len(found) == 1:
        return found
    told = {scan: _first(scan) for scan in found if scan.is_dir()}
    results = [scan for scan in found if is_result(scan, told.get(scan))]
    if len(results) < len(found):  # restored twice, they would take the names of the scans' own results
        for scan in results:
            say(f"{scan}: is a result of mapdiff, passed over")
        found = [scan for scan in found if scan not in results]
    if any(is_bids_pet(scan) for scan in found):
        named = [scan for scan in found if _named_otherwise(scan)]
        for scan in named:
            say(f"{scan}: is no PET by its BIDS name, passed over")
        found = [scan for scan in found if scan not in named]
    # Where no modality is told the header is broken: reading the scan says so.
    other = [scan for scan, first in told.items() if first and first.modality not in (PET, "")]
    if len(other) == len(found):
        return found  # and here what they are
    for scan in other:
        say(f"{scan}: holds no PET, passed over")
    kept = [scan for scan in found if scan not in other]
    return _joined(kept, {scan: first.series for scan, first in told.items() if first and scan in kept})


def _joined(scans: Sequence[Path], series: dict[Path, str]) -> list[Path]:
    """The scans, with the folders of one series replaced by their common parent."""
    joined = list(scans)
    for uid in sorted(set(series.values()) - {""}):
        parts = [scan for scan, own in series.items() if own == uid]
        if len(parts) == 1:
            continue
        instances = [told.instance for part in parts for told in _files(part)]
        if len(set(instances)) < len(instances):  # copies of one series
            continue
        parent = Path(os.path.commonpath(parts))
        if any(scan not in parts and scan.is_relative_to(parent) for scan in series):
            names = " and ".join(str(part.relative_to(parent)) for part in parts[:2])
            raise InputError(
                f"{names} hold parts of one series beside others: give it a folder alone", parent
            )
        joined[joined.index(parts[0])] = parent
        joined = [scan for scan in joined if scan not in parts]
    return joined


def _named_otherwise(scan: Path) -> bool:
    """Whether BIDS names it something else than PET: sub-001_T1w.nii.gz, sub-001_organs.nii.gz."""
    return is_nifti(scan) and scan.name.startswith("sub-") and "_" in scan.name and not is_bids_pet(scan)


def is_result(scan: Path, first: _Told | None = None) -> bool:
    """Whether `denoise` made it, by the header of a NIfTI file or the `first` of a series."""
    if first is not None:
        return first.derivation.startswith(OURS)
    if not is_nifti(scan):
        return False
    with contextlib.suppress(Exception):  # reading it says what is wrong
        header: Any = nibabel.load(scan).header
        return bytes(header["descrip"].item()).startswith(OURS.encode())
    return False


def _first(folder: Path) -> _Told | None:
    """The first PET file of a folder, else its first DICOM file; None where there is none."""
    first: _Told | None = None
    for told in _files(folder):
        if told.modality == PET:
            return told
        first = first or told
    return first


def _files(folder: Path) -> Iterator[_Told]:
    for file in sorted(folder.rglob("*")):
        if file.name.startswith(".") or not file.is_file():
            continue
        with quiet():
            try:
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
                yield _Told(*(str(header.get(tag, "") or "") for tag in _TAGS))
            except Exception:  # no DICOM, or broken: reading the scan says so
                continue
