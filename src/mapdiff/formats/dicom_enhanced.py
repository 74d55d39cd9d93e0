"""Enhanced multi-frame PET (PS3.3 A.56), told frame by frame in the words of the classic PET image."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedPETImageStorage, PositronEmissionTomographyImageStorage

from mapdiff.decay import mean_count_time
from mapdiff.errors import InputError
from mapdiff.formats.dicom_elements import items, number, text
from mapdiff.formats.dicom_files import copied
from mapdiff.formats.dicom_times import parse_datetime, zone_of
from mapdiff.suv import MOST_MBQ

#: What a UCUM code of the real-world unit says (PS3.16 CID 84 and 85), without braces, brackets and blanks:
#: the classic Units and SUVType.
_UNITS = {
    "bq/ml": ("BQML", None),
    "g/ml": ("GML", "BW"),
    "g/mlsuvbw": ("GML", "BW"),
    "g/mlsuvlbm": ("GML", "LBM"),
    "g/mlsuvlbmjames128": ("GML", "LBMJAMES128"),
    "g/mlsuvlbmjanma": ("GML", "LBMJANMA"),
    "g/mlsuvibw": ("GML", "IBW"),
    "cm2/ml": ("CM2ML", "BSA"),
    "cm2/mlsuvbsa": ("CM2ML", "BSA"),
    "counts": ("CNTS", None),
}
#: Corrections: the enhanced file's flags (PS3.3 C.8.22.3) and the classic CorrectedImage (C.8.9.1.1.4).
_CORRECTED = (
    ("DecayCorrected", "DECY"),
    ("AttenuationCorrected", "ATTN"),
    ("ScatterCorrected", "SCAT"),
    ("RandomsCorrected", "RAN"),
    ("DeadTimeCorrected", "DTIM"),
    ("PatientMotionCorrected", "MOTN"),
)
#: Attributes that only a multi-frame file has.
_MULTI = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "NumberOfFrames",
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
    "PixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)


def frames_of(dataset: Dataset, path: Path) -> list[Dataset]:
    """A classic PET header for every frame of an enhanced PET file.

    Raises:
        InputError: a functional group that places or scales the frames is missing.
    """
    shared = _first(dataset, "SharedFunctionalGroupsSequence") or Dataset()
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")
    if not groups:
        raise InputError("PerFrameFunctionalGroupsSequence (5200,9230) is missing", path)
    common = Dataset()
    for element in dataset:
        if element.keyword not in _MULTI and not element.tag.is_private:
            common[element.tag] = copy.copy(element)
    _take_over(common, _first(shared, "UnassignedSharedConvertedAttributesSequence"))
    common.SOPClassUID = PositronEmissionTomographyImageStorage
    for keyword, value in (
        ("NumberOfSlices", len(groups)),
        ("SeriesType", ["STATIC", "IMAGE"]),
        ("CountsSource", "EMISSION"),
        ("CorrectedImage", _corrections(dataset)),
    ):
        if keyword not in common:
            setattr(common, keyword, value)
    common.file_meta = dataset.file_meta
    _set_times(common, dataset)
    if dataset.get("SOPClassUID") == EnhancedPETImageStorage:
        _set_dose(common)
    return [_frame(common, shared, group, index, path) for index, group in enumerate(groups)]


def _corrections(dataset: Dataset) -> list[str]:
    """Nothing where the attenuation's is not told: a list without it would say that there was none."""
    told = "AttenuationCorrected" in dataset
    return [code for flag, code in _CORRECTED if told and dataset.get(flag) == "YES"]


def _take_over(header: Dataset, converted: Dataset | None) -> None:
    """What the classic series said that a legacy converted file has no other place for (PS3.3 C.7.6.16.2)."""
    for element in converted or ():
        if element.tag not in header and not element.tag.is_private:
            header[element.tag] = copy.copy(element)


def _first(dataset: Dataset, keyword: str) -> Dataset | None:
    sequence = items(dataset, keyword)
    return sequence[0] if sequence else None


def _set_times(common: Dataset, dataset: Dataset) -> None:
    """DecayCorrected and DecayCorrectionDateTime, as the classic DecayCorrection and SeriesTime."""
    corrected = str(dataset.get("DecayCorrected", "")).upper()
    to = parse_datetime(text(dataset, "DecayCorrectionDateTime"), zone_of(dataset))
    start = parse_datetime(text(dataset, "AcquisitionDateTime"), zone_of(dataset))
    if corrected == "YES" and to is not None:
        common.DecayCorrection = "START"
        common.SeriesDate, common.SeriesTime = to.strftime("%Y%m%d"), to.strftime("%H%M%S.%f")
        start = start or to
        start = max(start, to)  # the reference holds even if it precedes or follows the acquisition
    elif corrected == "NO":
        common.DecayCorrection = "NONE"
    if start is not None:
        common.AcquisitionDate, common.AcquisitionTime = start.strftime("%Y%m%d"), start.strftime("%H%M%S.%f")


def _set_dose(common: Dataset) -> None:
    """RadionuclideTotalDose is in MBq in the enhanced image (PS3.3 C.8.22.4), in Bq in the classic (C.8.9.2).

    One that can only be in Bq, against the standard, stays.
    """
    sequence = items(common, "RadiopharmaceuticalInformationSequence")
    if not sequence:
        return
    drugs = [copied(drug) for drug in sequence]
    for drug in drugs:
        dose = number(drug, "RadionuclideTotalDose")
        if dose is not None and 0 < dose < MOST_MBQ:
            drug.RadionuclideTotalDose = f"{1e6 * dose:.10g}"
    common.RadiopharmaceuticalInformationSequence = drugs


def _frame(common: Dataset, shared: Dataset, group: Dataset, index: int, path: Path) -> Dataset:
    def macro(keyword: str) -> Dataset | None:
        return _first(group, keyword) or _first(shared, keyword)

    frame = copied(common)
    frame.file_meta = common.file_meta
    position, orientation = macro("PlanePositionSequence"), macro("PlaneOrientationSequence")
    measures, scale = macro("PixelMeasuresSequence"), macro("PixelValueTransformationSequence")
    if position is None or orientation is None or measures is None or scale is None:
        raise InputError(f"frame {index + 1} lacks its place, spacing or rescale slope", path)
    for source, keywords in (
        (position, ("ImagePositionPatient",)),
        (orientation, ("ImageOrientationPatient",)),
        (measures, ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")),
        (scale, ("RescaleSlope", "RescaleIntercept", "RescaleType")),
    ):
        for keyword in keywords:
            if keyword in source:
                frame[keyword] = copy.copy(source[keyword])  # else setting one sets all frames'
    _take_over(frame, _first(group, "UnassignedPerFrameConvertedAttributesSequence"))
    frame.InstanceNumber = frame.ImageIndex = index + 1
    _set_units(
        frame, items(group, "RealWorldValueMappingSequence") or items(shared, "RealWorldValueMappingSequence")
    )
    _set_frame_times(frame, macro("FrameContentSequence"))
    kind = macro("PETFrameTypeSequence")
    if kind is not None and "FrameType" in kind:
        told = kind.FrameType
        frame.ImageType = [told] if isinstance(told, str) else list(told or ())[:3]
    return frame


def _set_frame_times(frame: Dataset, content: Dataset | None) -> None:
    """ActualFrameDuration and, where decay still has to be corrected, the frame's own acquisition time.

    FrameReferenceDateTime is the frame's mean count; the classic header has the start of its acquisition.
    """
    content = content or Dataset()
    lasted = number(content, "FrameAcquisitionDuration")
    if lasted is not None and lasted > 0:
        frame.ActualFrameDuration = int(lasted)
    if frame.get("DecayCorrection") != "NONE":
        return
    began = parse_datetime(text(content, "FrameAcquisitionDateTime"), zone_of(frame))
    mean = parse_datetime(text(content, "FrameReferenceDateTime"), zone_of(frame))
    duration = number(frame, "ActualFrameDuration")
    half_life = number(
        _first(frame, "RadiopharmaceuticalInformationSequence") or Dataset(), "RadionuclideHalfLife"
    )
    if mean is not None and duration and half_life and half_life > 0:
        began = mean - timedelta(seconds=mean_count_time(duration / 1000, half_life))
    if "AcquisitionDateTime" in frame:  # that of the whole file
        del frame.AcquisitionDateTime
    for keyword, form in (("AcquisitionDate", "%Y%m%d"), ("AcquisitionTime", "%H%M%S.%f")):
        setattr(frame, keyword, "" if began is None else began.strftime(form))


def _set_units(frame: Dataset, mappings: Sequence[Dataset]) -> None:
    """Units and SUVType, and the slope from stored values to them; Bq/mL where a frame has several units."""
    found = []
    for mapping in mappings:
        code = _first(mapping, "MeasurementUnitsCodeSequence")
        named = _classic_units(text(code, "CodeValue") or text(code, "LongCodeValue")) if code else None
        if named is not None:
            found.append((named, mapping))
    if not found:
        named = _classic_units(text(frame, "RescaleType"))
    else:
        named, mapping = min(found, key=lambda one: one[0][0] != "BQML")
        slope, intercept = number(mapping, "RealWorldValueSlope"), number(mapping, "RealWorldValueIntercept")
        if slope is not None:  # it maps stored values, as RescaleSlope does, and may differ from it
            frame.RescaleSlope, frame.RescaleIntercept = f"{slope:.10g}", f"{intercept or 0.0:.10g}"
    if named is not None:
        frame.Units = named[0]
        if named[1] is not None:
            frame.SUVType = named[1]


def _classic_units(code: str | None) -> tuple[str, str | None] | None:
    if (code or "").upper() in ("BQML", "GML", "CM2ML", "CNTS"):
        return str(code).upper(), None
    annotations = re.findall(r"{(.*?)}", code or "")
    plain = re.sub(r"{.*?}", "", code or "") + "".join(annotations)
    return _UNITS.get(re.sub(r"[\s()]", "", plain).lower())
