"""Enhanced multi-frame PET (PS3.3 A.56), told frame by frame in the words of the classic PET image."""

from __future__ import annotations

import copy
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import PositronEmissionTomographyImageStorage

from mapdiff.errors import InputError
from mapdiff.formats.dicom_facts import parse_datetime
from mapdiff.formats.dicom_files import copied

#: UCUM codes of the real-world unit, and the classic Units and SUVType that say the same.
_UNITS = {
    "bq/ml": ("BQML", None),
    "g/ml": ("GML", "BW"),
    "g/ml{suvbw}": ("GML", "BW"),
    "{suvbw}g/ml": ("GML", "BW"),
    "g/ml{suvlbm}": ("GML", "LBM"),
    "{suvlbm}g/ml": ("GML", "LBM"),
    "g/ml{suvlbm(james128)}": ("GML", "LBMJAMES128"),
    "{suvlbm(james128)}g/ml": ("GML", "LBMJAMES128"),
    "g/ml{suvlbm(janma)}": ("GML", "LBMJANMA"),
    "{suvlbm(janma)}g/ml": ("GML", "LBMJANMA"),
    "g/ml{suvibw}": ("GML", "IBW"),
    "{suvibw}g/ml": ("GML", "IBW"),
    "cm2/ml": ("CM2ML", "BSA"),
    "cm2/ml{suvbsa}": ("CM2ML", "BSA"),
    "{suvbsa}cm2/ml": ("CM2ML", "BSA"),
    "{counts}": ("CNTS", None),
}
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
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if not groups:
        raise InputError("PerFrameFunctionalGroupsSequence (5200,9230) is missing", path)
    common = Dataset()
    for element in dataset:
        if element.keyword not in _MULTI and not element.tag.is_private:
            common[element.tag] = copy.copy(element)
    common.SOPClassUID = PositronEmissionTomographyImageStorage
    common.file_meta = dataset.file_meta
    _set_times(common, dataset)
    return [_frame(common, shared, group, index, path) for index, group in enumerate(groups)]


def _first(dataset: Dataset, keyword: str) -> Dataset | None:
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else None


def _set_times(common: Dataset, dataset: Dataset) -> None:
    """DecayCorrected and DecayCorrectionDateTime, as the classic DecayCorrection and SeriesTime."""
    corrected = str(dataset.get("DecayCorrected", "")).upper()
    to = parse_datetime(str(dataset.get("DecayCorrectionDateTime", "") or ""))
    start = parse_datetime(str(dataset.get("AcquisitionDateTime", "") or ""))
    if corrected == "YES" and to is not None:
        common.DecayCorrection = "START"
        common.SeriesDate, common.SeriesTime = to.strftime("%Y%m%d"), to.strftime("%H%M%S.%f")
        start = start or to
        start = max(start, to)  # the reference holds even if it precedes or follows the acquisition
    elif corrected == "NO":
        common.DecayCorrection = "NONE"
    if start is not None:
        common.AcquisitionDate, common.AcquisitionTime = start.strftime("%Y%m%d"), start.strftime("%H%M%S.%f")


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
                frame[keyword] = source[keyword]
    frame.InstanceNumber = index + 1
    _set_units(frame, macro("RealWorldValueMappingSequence"))
    content = macro("FrameContentSequence")
    if content is not None:
        if content.get("FrameAcquisitionDuration"):
            frame.ActualFrameDuration = int(float(content.FrameAcquisitionDuration))
        began = parse_datetime(str(content.get("FrameAcquisitionDateTime", "") or ""))
        if began is not None and common.get("DecayCorrection") == "NONE":
            frame.AcquisitionDate = began.strftime("%Y%m%d")
            frame.AcquisitionTime = began.strftime("%H%M%S.%f")
    kind = macro("PETFrameTypeSequence")
    if kind is not None and "FrameType" in kind:
        frame.ImageType = list(kind.FrameType)[:3]
    return frame


def _set_units(frame: Dataset, mapping: Dataset | None) -> None:
    code = _first(mapping, "MeasurementUnitsCodeSequence") if mapping is not None else None
    text = str(code.get("CodeValue", "") if code is not None else frame.get("RescaleType", "") or "")
    named = _UNITS.get(text.replace(" ", "").lower())
    if named is None and text.upper() in ("BQML", "GML", "CM2ML", "CNTS"):
        named = (text.upper(), None)
    if named is not None:
        frame.Units = named[0]
        if named[1] is not None:
            frame.SUVType = named[1]
