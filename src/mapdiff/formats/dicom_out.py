"""A derived DICOM PET series, written beside its source in the same study and frame of reference."""

from __future__ import annotations

import copy
import io
import re
import zipfile
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

from mapdiff import RESEARCH_USE, __version__
from mapdiff.atomic import check_target, written_aside
from mapdiff.decay import mean_count_time
from mapdiff.errors import InputError
from mapdiff.formats.deidentify import deidentified
from mapdiff.formats.dicom_elements import (
    GE,
    PHILIPS,
    SIEMENS,
    items,
    number,
    parse_date,
    private,
    private_number,
    text,
)
from mapdiff.formats.dicom_files import ENHANCED, copied, quiet
from mapdiff.formats.dicom_in import DicomSource
from mapdiff.formats.dicom_times import parse_datetime, parse_time
from mapdiff.formats.identity import impersonal
from mapdiff.volume import Acquisition, Volume

#: Derived, and PRIMARY since PS3.3 C.8.9.4.1.1 allows a PET image no other second value (dciodvfy checks it).
IMAGE_TYPE = ("DERIVED", "PRIMARY")
#: Names of the files that a written series holds; a folder of these, and nothing else, may be replaced.
SERIES_FILES = r"PT\d{5}\.dcm"
#: The greatest stored value: 16 bits, signed.
LARGEST = 32767
#: Private elements that SUV needs. All others are dropped: they may not hold any more, or tell who it is.
SAFE_PRIVATE = ((0x7053, PHILIPS, (0x00, 0x09)), (0x0009, GE, (0x0D, 0x3B)), (0x0071, SIEMENS, (0x22,)))
#: Attributes of the source's pixels or of their making that do not hold for the derived ones.
_DROPPED = (
    "PixelData",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "IconImageSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "OriginalAttributesSequence",
    "ModalityLUTSequence",
    "RealWorldValueMappingSequence",
    "EncryptedAttributesSequence",
    "InstanceCreatorUID",
    "PresentationLUTShape",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)


def write_dicom(
    volume: Volume,
    path: Path,
    *,
    description: str | None = None,
    model: str | None = None,
    deidentify: bool = False,
    overwrite: bool = False,
    number: int = 1000,
) -> None:
    """Write a volume as a series derived from the DICOM series it came from, whole or not at all.

    New series and instance UIDs; study, frame of reference, patient, units and everything SUV needs are the
    source's (SeriesTime too: with DecayCorrection START it is the time that the image is corrected to).
    ImageType is DERIVED\\PRIMARY, each slice refers to its source, its slope is its own and rounds by half
    a step at most. Figures that the user supplied replace the header's. Private elements are dropped, but
    for those that SUV needs.

    Args:
        volume: the image on its source's grid; its unit may be another than the source's.
        path: a folder, or a .zip archive by its ending.
        description: SeriesDescription, with the source's after it, and DerivationDescription.
        model: the model's name and version.
        deidentify: keep no identity, and shift the dates; see `deidentify.deidentified`.
        overwrite: replace what is there.
        number: what is added to the source's SeriesNumber, another for each result of one scan.

    Raises:
        InputError: `path` is there already, cannot be written, or the volume does not come from DICOM.
        UnitError: the volume's unit cannot be turned into the source's.
    """
    source = volume.source
    if not isinstance(source, DicomSource):
        raise InputError("the scan does not come from DICOM: give a name that ends in .nii or .nii.gz", path)
    check_target(path, overwrite, SERIES_FILES)
    if volume.unit != source.unit:
        volume = volume.to(source.unit)
    with quiet():
        datasets = derived(volume, source, description, model, number)
        if deidentify:
            datasets = deidentified(datasets)
        with written_aside(path) as aside:
            _save(datasets, aside, path.suffix.lower() == ".zip")


def _save(datasets: Sequence[Dataset], path: Path, zipped: bool) -> None:
    names = [f"PT{index + 1:05d}.dcm" for index in range(len(datasets))]
    if not zipped:
        path.mkdir()
        for name, dataset in zip(names, datasets, strict=True):
            _save_one(dataset, path / name)
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for name, dataset in zip(names, datasets, strict=True):
            buffer = io.BytesIO()  # pydicom seeks, which an archive's member cannot
            _save_one(dataset, buffer)
            archive.writestr(name, buffer.getvalue())


def _save_one(dataset: Dataset, target: Path | io.BytesIO) -> None:
    try:
        dataset.save_as(target, enforce_file_format=True)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        # an element of the source that was read as text but is none; the message may quote its value
        raise InputError("the source's header holds a value that DICOM cannot hold") from error


def derived(
    volume: Volume, source: DicomSource, description: str | None, model: str | None, number: int
) -> list[Dataset]:
    """The datasets of the derived series, one per slice, in slice order."""
    if volume.array.shape[2] != len(source.headers):
        raise InputError(f"{volume.array.shape[2]} slices do not fit a series of {len(source.headers)}")
    made = datetime.now()
    what = description or "Denoised"
    by = f"mapdiff {__version__}" + (f", model {model}" if model else "")
    series = generate_uid(prefix=None)
    injected = _injected(volume.acquisition, source.headers)
    numbers = _instance_numbers(source.headers)
    indices = np.argsort(np.argsort(numbers)) + 1
    datasets = []
    for k, header in enumerate(source.headers):
        dataset = _carried(header)
        _set_supplied(dataset, volume, injected)
        _set_frame_reference(dataset, volume.acquisition.half_life_s)
        _set_stack(dataset, numbers[k], indices[k], len(numbers))
        set_pixels(dataset, np.asarray(volume.array[:, :, k], dtype=np.float64).T / source.factor[k])
        dataset.SeriesInstanceUID = series
        dataset.SOPInstanceUID = generate_uid(prefix=None)
        dataset.SOPClassUID = PositronEmissionTomographyImageStorage
        dataset.ImageType = list(IMAGE_TYPE)
        of = impersonal(header, text(header, "SeriesDescription"))
        dataset.SeriesDescription = (f"{what}: {of}" if of else what)[:64]
        dataset.SeriesNumber = _series_number(header, number)
        dataset.DerivationDescription = f"{what} ({by})"[:1024]
        dataset.SourceImageSequence = [_reference(header)]
        before = items(dataset, "ContributingEquipmentSequence")
        dataset.ContributingEquipmentSequence = [*before, _equipment(by, made)]
        dataset.ImageComments = RESEARCH_USE
        dataset.BurnedInAnnotation = "NO"
        dataset.LossyImageCompression = header.get("LossyImageCompression") or "00"
        for name in ("InstanceCreation", "Content"):
            setattr(dataset, f"{name}Date", made.strftime("%Y%m%d"))
            setattr(dataset, f"{name}Time", made.strftime("%H%M%S.%f"))
        datasets.append(with_meta(dataset))
    return datasets


def _carried(header: Dataset) -> Dataset:
    """The source's header without what does not hold any more: pixels, overlays, signatures, most private."""
    dataset = Dataset()
    for element in header:
        tag = element.tag
        if tag.is_private or tag.group == 0x0002 or tag.element == 0 or 0x6000 <= tag.group <= 0x60FF:
            continue
        if element.keyword not in _DROPPED:
            dataset[tag] = copy.copy(element)
    for group, creator, elements in SAFE_PRIVATE:
        for offset in elements:
            told = private(header, group, offset, creator)
            if group == 0x7053:
                vr, safe = "DS", private_number(header, group, offset, creator) is not None
            else:
                vr, safe = "DT", parse_datetime(told) is not None
            if safe:
                dataset.private_block(group, creator, create=True).add_new(offset, vr, told)
    return dataset


def _instance_numbers(headers: Sequence[Dataset]) -> list[int]:
    """The source's instance numbers; its slices' order where they lack one or share it."""
    told = [number(header, "InstanceNumber") for header in headers]
    numbers = [int(one) for one in told if one is not None]
    return numbers if len(set(numbers)) == len(headers) else list(range(1, len(headers) + 1))


def _set_stack(dataset: Dataset, number: int, index: int, slices: int) -> None:
    """One static stack, whatever series it was a part of: counts and indices are its own (PS3.3 C.8.9.1)."""
    dataset.InstanceNumber, dataset.ImageIndex, dataset.NumberOfSlices = number, int(index), slices
    kind = dataset.get("SeriesType")
    if kind and not isinstance(kind, str) and kind[0] in ("DYNAMIC", "GATED"):
        dataset.SeriesType = ["STATIC", *kind[1:]]
        for keyword in ("NumberOfTimeSlices", "NumberOfRRIntervals", "NumberOfTimeSlots"):
            if keyword in dataset:
                delattr(dataset, keyword)


def _injected(facts: Acquisition, headers: Sequence[Dataset]) -> tuple[datetime, bool] | None:
    """When the tracer was injected, by a time that the user gave, and whether its date is known.

    The scan's own time of day is told without its date: it is on the day that is nearest to the first
    acquisition, which may be the other side of midnight, as later slices may.
    """
    if "uptake_s" not in facts.supplied or facts.uptake_s is None or facts.reference_clock_s is None:
        return None
    acquired = []
    for header in headers:
        day = parse_date(text(header, "AcquisitionDate")) or parse_date(text(header, "SeriesDate"))
        clock = parse_time(text(header, "AcquisitionTime"))
        if day is not None:
            told = timedelta(seconds=facts.reference_clock_s)
            acquired.append(datetime.combine(day, clock) if clock else datetime.combine(day, time()) + told)
    known = bool(acquired)
    first = min(acquired) if known else datetime(2000, 1, 2)
    midnight = datetime.combine(first.date(), time()) + timedelta(seconds=facts.reference_clock_s)
    days = [midnight + timedelta(days=n) for n in (-1, 0, 1)]
    reference = min(days, key=lambda moment: abs((moment - first).total_seconds())) if known else midnight
    return reference - timedelta(seconds=facts.uptake_s), known


def _set_frame_reference(dataset: Dataset, half_life_s: float | None) -> None:
    """FrameReferenceTime, ms, and DecayFactor: a classic image must have them, an enhanced one has not.

    The first is the mean count's offset from the series' start, to which a START image is decay corrected.
    """
    duration = number(dataset, "ActualFrameDuration")
    if "FrameReferenceTime" in dataset or not duration or not half_life_s:
        return
    moments = []
    for name in ("Series", "Acquisition"):
        day, clock = parse_date(text(dataset, f"{name}Date")), parse_time(text(dataset, f"{name}Time"))
        if day is None or clock is None:
            return
        moments.append(datetime.combine(day, clock))
    to_start = text(dataset, "DecayCorrection") == "START"
    after = (moments[1] - moments[0]).total_seconds() if to_start else 0.0
    mean = after + mean_count_time(duration / 1000, half_life_s)
    dataset.FrameReferenceTime = decimal_string(1000 * mean)
    if to_start and "DecayFactor" not in dataset:
        dataset.DecayFactor = decimal_string(2.0 ** (mean / half_life_s))


def _set_supplied(dataset: Dataset, volume: Volume, injected: tuple[datetime, bool] | None) -> None:
    """Figures that the user gave replace the header's, so that the output's SUV is the user's."""
    facts = volume.acquisition
    if not facts.supplied:
        return
    # An SUV by another measure than weight is told by the header's own: another weight would change it.
    by_measure = facts.stored_as is not None and re.fullmatch("(GML|CM2ML) (?!BW).+", facts.stored_as)
    if "weight_kg" in facts.supplied and facts.weight_kg is not None and not by_measure:
        dataset.PatientWeight = decimal_string(facts.weight_kg)
    sequence = items(dataset, "RadiopharmaceuticalInformationSequence")
    dataset.RadiopharmaceuticalInformationSequence = [
        _supplied_drug(drug, facts, injected) for drug in sequence or [Dataset()]
    ]
    to_bqml = private_number(dataset, 0x7053, 0x09, PHILIPS)
    if to_bqml is not None and private(dataset, 0x7053, 0x00, PHILIPS) is not None:
        block = dataset.private_block(0x7053, PHILIPS)  # its SUV factor is of the header's figures
        del block[0x00]
        if facts.suv_per_bqml is not None:
            block.add_new(0x00, "DS", decimal_string(to_bqml * facts.suv_per_bqml))


def _supplied_drug(told: Dataset, facts: Acquisition, injected: tuple[datetime, bool] | None) -> Dataset:
    """One item of several injections or the only one: where they differ, what was not supplied still does."""
    drug = copied(told)
    if "injected_activity_bq" in facts.supplied and facts.injected_activity_bq is not None:
        drug.RadionuclideTotalDose = decimal_string(facts.injected_activity_bq)
    if "half_life_s" in facts.supplied and facts.half_life_s is not None:
        drug.RadionuclideHalfLife = decimal_string(facts.half_life_s)
    if injected is not None:
        moment, dated = injected
        drug.RadiopharmaceuticalStartTime = moment.strftime("%H%M%S.%f")
        if dated:
            drug.RadiopharmaceuticalStartDateTime = moment.strftime("%Y%m%d%H%M%S.%f")
        elif "RadiopharmaceuticalStartDateTime" in drug:
            del drug.RadiopharmaceuticalStartDateTime
    return drug


def set_pixels(dataset: Dataset, values: NDArray[np.float64]) -> None:
    """Store a slice as 16 bits with its own slope: the largest value takes the largest number."""
    largest = float(np.abs(values).max())
    # The slope is written with 16 characters at most; rounding uses the slope as written.
    slope = float(decimal_string(largest / LARGEST)) if largest > 0 else 1.0
    stored = np.clip(np.round(values / slope), -LARGEST, LARGEST).astype("<i2")
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.RescaleSlope = decimal_string(slope)
    dataset.RescaleIntercept = "0"
    dataset.add_new("PixelData", "OW", stored.tobytes())


def decimal_string(value: float) -> str:
    """A number as a DICOM decimal string, 16 characters at most."""
    for digits in range(12, 3, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.4g}"


def _series_number(header: Dataset, added: int) -> int:
    try:
        return min(int(header.get("SeriesNumber") or 0) + added, 2**31 - 1)
    except (TypeError, ValueError):
        return added


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _reference(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = str(header.get("SOPClassUID", PositronEmissionTomographyImageStorage))
    item.ReferencedSOPInstanceUID = str(header.get("SOPInstanceUID", ""))
    stored = str(getattr(header, "file_meta", Dataset()).get("MediaStorageSOPClassUID", ""))
    if stored in ENHANCED:  # the header is told in a classic image's words
        item.ReferencedSOPClassUID, item.ReferencedFrameNumber = stored, int(header.InstanceNumber)
    purpose = _code("121322", "DCM", "Source image for image processing operation")
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _equipment(by: str, made: datetime) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [_code("109103", "DCM", "Modifying Equipment")]
    item.Manufacturer = "mapdiff"
    item.ManufacturerModelName = "mapdiff"
    item.SoftwareVersions = by[:64]
    item.ContributionDateTime = made.strftime("%Y%m%d%H%M%S.%f")
    item.ContributionDescription = "PET denoising, research use only"
    return item


def with_meta(dataset: Dataset) -> Dataset:
    """The dataset with the file meta information that it is saved with."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("2.25.231946280412768934650221784393210884531")
    meta.ImplementationVersionName = "MAPDIFF"
    dataset.file_meta = meta
    return dataset
