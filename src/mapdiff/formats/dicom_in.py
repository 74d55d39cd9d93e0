"""A DICOM PET series read into a Volume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mapdiff.errors import InputError
from mapdiff.formats import bids
from mapdiff.formats.checks import check_voxels, facts_warnings
from mapdiff.formats.dicom_elements import instance, number, text
from mapdiff.formats.dicom_enhanced import frames_of
from mapdiff.formats.dicom_facts import facts_of
from mapdiff.formats.dicom_files import ENHANCED, Entry, load, opened, pet_series, quiet, where_is
from mapdiff.formats.dicom_grid import grid_of
from mapdiff.formats.identity import impersonal
from mapdiff.volume import UNKNOWN, Volume


@dataclass(frozen=True)
class DicomSource:
    """What a derived series is made from.

    Attributes:
        headers: the headers of the source's slices without pixels, in slice order.
        factor: per slice, from the file's rescaled values to the volume's unit; shape (K,).
        unit: the volume's unit as read.
    """

    headers: tuple[Dataset, ...]
    factor: NDArray[np.float64]
    unit: str


def read_dicom(path: Path, *, series: str | None = None, unit: str | None = None) -> Volume:
    """Read a PET series from a folder, a zip archive or one enhanced multi-frame file.

    Each slice's own RescaleSlope is applied. Units BQML stay Bq/mL; every kind of SUV becomes SUV by body
    weight; CNTS is scaled by Philips' factors. Slices without decay correction are corrected to the start of
    the first acquisition.

    Args:
        path: a folder, a .zip archive or a file.
        series: number, UID or a part of the description, where there are several series.
        unit: names the unit that the header does not tell.

    Raises:
        InputError: it is not one readable 3D PET series.
    """
    with quiet(), opened(path) as entries:
        if not entries:
            raise InputError("is empty: no file in it", path)
        chosen = pet_series(entries, path, series)
        _check_patient(chosen.headers, path)
        if str(chosen.headers[0].get("SOPClassUID", "")) in ENHANCED:
            headers, stacks = _enhanced(chosen.entries, path)
        else:
            _check_images(chosen.headers, path)
            headers, stacks = chosen.headers, None
        grid = grid_of(headers, path)
        ordered = tuple(headers[index] for index in grid.order)
        facts = facts_of(ordered, path)
        if stacks is None:
            entry_of = [chosen.entries[index] for index in grid.order]
            array = _slices(entry_of, ordered, facts.factor, path)
        else:
            array = _scaled([stacks[index] for index in grid.order], ordered, facts.factor, path)
    found, factor = facts.unit, facts.factor
    acquisition = facts.acquisition
    if unit is not None:
        named = bids.asked_unit(unit)
        if found not in (UNKNOWN, named[0]):
            raise InputError(f"its header says {found}, not {unit}", path)
        if found == UNKNOWN:
            found, factor = named[0], factor * named[1]
            array *= np.float32(named[1])
            told = {name: text for name, text in acquisition.missing.items() if name != "unit"}
            acquisition = replace(acquisition, missing=told)
    voxels = array.transpose(2, 1, 0)
    warnings = grid.warnings + facts.warnings + check_voxels(voxels, path)
    warnings += facts_warnings(found, acquisition)
    return Volume(voxels, grid.affine, found, acquisition, warnings, DicomSource(ordered, factor, found))


def _check_patient(headers: Sequence[Dataset], path: Path) -> None:
    patients = {(str(header.get("PatientID", "")), str(header.get("PatientName", ""))) for header in headers}
    if len(patients) > 1:
        raise InputError(f"mixes {len(patients)} patients in one series", path)


def _check_images(headers: Sequence[Dataset], path: Path) -> None:
    """Refuse what is no stack of emission images.

    Raises:
        InputError: reprojections, transmission images, colour, or several frames in a file.
    """
    for header in headers:
        if "REPROJECTION" in (header.get("SeriesType") or ()):
            raise InputError("holds reprojections (SeriesType (0054,1000)), not slices", path)
        if text(header, "CountsSource") == "TRANSMISSION":
            raise InputError("holds transmission images (CountsSource (0054,1002)), not PET", path)
        photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
        if header.get("SamplesPerPixel", 1) != 1 or not photometric.startswith("MONOCHROME"):
            kind = impersonal(header, photometric) or "unknown"
            raise InputError(f"holds colour images ({kind}), not PET slices", path)
        frames = number(header, "NumberOfFrames") or 1
        if frames > 1:
            raise InputError(f"holds a file with {frames:.0f} frames, which PET slices do not have", path)


def _slices(
    entries: Sequence[Entry], headers: Sequence[Dataset], factor: NDArray[np.float64], path: Path
) -> NDArray[np.float32]:
    """The pixels of the files, scaled; shape (K, rows, columns)."""
    pixels = (_pixels(entry, path) for entry in entries)
    return _scaled(pixels, headers, factor, path)


def _pixels(entry: Entry, path: Path) -> NDArray[np.float64]:
    where = where_is(entry, path)
    dataset = load(entry, path, pixels=True)
    assert dataset is not None  # the first pass has read it
    if "PixelData" not in dataset:
        raise InputError("is truncated: it has no pixels", where)
    try:
        return np.asarray(dataset.pixel_array, dtype=np.float64)
    except MemoryError as error:
        raise InputError("does not fit into memory", where) from error
    except Exception as error:  # each decoder raises its own kinds
        raise InputError("its pixels are truncated or cannot be decoded", where) from error


def _scaled(
    pixels: Iterable[NDArray[np.float64]], headers: Sequence[Dataset], factor: NDArray[np.float64], path: Path
) -> NDArray[np.float32]:
    first = headers[0]
    shape = (len(headers), int(first.Rows), int(first.Columns))
    array = np.empty(shape, dtype=np.float32)
    for k, stored in enumerate(pixels):
        header = headers[k]
        slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
        name = instance(header)
        if intercept is None and text(header, "RescaleIntercept") is not None:
            raise InputError(f"RescaleIntercept (0028,1052) is no number in a slice ({name})", path)
        if slope is None:
            raise InputError(f"RescaleSlope (0028,1053) is missing or no number in a slice ({name})", path)
        if slope < 0 or (slope == 0 and stored.any()):
            raise InputError(f"RescaleSlope (0028,1053) is {slope:g} in a slice ({name})", path)
        if stored.shape != shape[1:]:
            raise InputError(f"a slice has not the size that its header says ({name})", path)
        padding = number(header, "PixelPaddingValue")
        values = stored * slope + (intercept or 0.0)
        if padding is not None and (padding < 0 or stored[0, 0] == padding > 0):
            values[stored == padding] = 0  # the corners of a round image, which nobody measured
        array[k] = values * factor[k]
    return array


def _enhanced(entries: Sequence[Entry], path: Path) -> tuple[list[Dataset], list[NDArray[np.float64]]]:
    """Headers and pixels of every frame of enhanced multi-frame files, as if each frame were a slice."""
    headers: list[Dataset] = []
    stacks: list[NDArray[np.float64]] = []
    for entry in entries:
        dataset = load(entry, path, pixels=False)
        assert dataset is not None
        frames = frames_of(dataset, path)
        pixels = _pixels(entry, path)
        if pixels.ndim == 2:
            pixels = pixels[None]
        if len(pixels) != len(frames):
            raise InputError(f"holds {len(pixels)} frames, its header describes {len(frames)}", path)
        headers += frames
        stacks += list(pixels)
    return headers, stacks
