"""A PET series without the patient's identity: only attributes known to hold none are kept.

After PS3.15 Annex E, basic profile with the options "retain patient characteristics" (sex, age, size, weight,
which SUV needs), "retain device identity" in part (maker and model), and "retain longitudinal temporal
information with modified dates" (dates shifted alike, times of day kept, which decay correction needs).
"""

from __future__ import annotations

import copy
import hashlib
import os
import re
import uuid
from collections.abc import Sequence
from datetime import date, timedelta

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from mapdiff.formats.dicom_elements import parse_date
from mapdiff.formats.identity import impersonal, tells_date

#: The date that the study is shifted to.
STUDY_DAY = date(2000, 1, 1)
_KEPT = frozenset(
    {
        "SpecificCharacterSet",
        "ImageType",
        "InstanceCreationDate",
        "InstanceCreationTime",
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyDate",
        "SeriesDate",
        "AcquisitionDate",
        "ContentDate",
        "AcquisitionDateTime",
        "TimezoneOffsetFromUTC",
        "StudyTime",
        "SeriesTime",
        "AcquisitionTime",
        "ContentTime",
        "Modality",
        "Manufacturer",
        "ManufacturerModelName",
        "SoftwareVersions",
        "SeriesDescription",
        "PatientSex",
        "PatientAge",
        "PatientSize",
        "PatientWeight",
        "BodyPartExamined",
        "SliceThickness",
        "SpacingBetweenSlices",
        "PatientPosition",
        "CollimatorType",
        "FieldOfViewShape",
        "FieldOfViewDimensions",
        "ActualFrameDuration",
        "ConvolutionKernel",
        "ReconstructionDiameter",
        "GantryDetectorTilt",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SeriesNumber",
        "InstanceNumber",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
        "SliceLocation",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "Rows",
        "Columns",
        "PixelSpacing",
        "CorrectedImage",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "WindowCenter",
        "WindowWidth",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "PixelData",
        "LossyImageCompression",
        "BurnedInAnnotation",
        "EnergyWindowRangeSequence",
        "EnergyWindowLowerLimit",
        "EnergyWindowUpperLimit",
        "RadiopharmaceuticalInformationSequence",
        "Radiopharmaceutical",
        "RadiopharmaceuticalVolume",
        "RadiopharmaceuticalStartTime",
        "RadiopharmaceuticalStopTime",
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "RadionuclidePositronFraction",
        "RadiopharmaceuticalStartDateTime",
        "RadiopharmaceuticalStopDateTime",
        "RadionuclideCodeSequence",
        "RadiopharmaceuticalCodeSequence",
        "NumberOfSlices",
        "NumberOfTimeSlices",
        "NumberOfRRIntervals",
        "PatientOrientationCodeSequence",
        "PatientOrientationModifierCodeSequence",
        "PatientGantryRelationshipCodeSequence",
        "SeriesType",
        "Units",
        "SUVType",
        "CountsSource",
        "RandomsCorrectionMethod",
        "AttenuationCorrectionMethod",
        "DecayCorrection",
        "ReconstructionMethod",
        "ScatterCorrectionMethod",
        "AxialAcceptance",
        "AxialMash",
        "TransverseMash",
        "DetectorElementSize",
        "CoincidenceWindowWidth",
        "FrameReferenceTime",
        "PrimaryPromptsCountsAccumulated",
        "SliceSensitivityFactor",
        "DecayFactor",
        "DoseCalibrationFactor",
        "ScatterFractionFactor",
        "DeadTimeFactor",
        "ImageIndex",
        "TypeOfDetectorMotion",
        "AnatomicRegionSequence",
        "CodeValue",
        "CodingSchemeDesignator",
        "CodingSchemeVersion",
        "CodeMeaning",
        "DerivationDescription",
        "SourceImageSequence",
        "ReferencedSOPClassUID",
        "ReferencedSOPInstanceUID",
        "PurposeOfReferenceCodeSequence",
        "ContributingEquipmentSequence",
        "ContributionDateTime",
        "ContributionDescription",
        "ImageComments",
        "AcquisitionStartCondition",
        "AcquisitionTerminationCondition",
        "AcquisitionStartConditionData",
        "AcquisitionTerminationConditionData",
        "IntervalsAcquired",
        "IntervalsRejected",
    }
)
#: Kinds of elements that hold free text, or may in a damaged header.
_TEXT = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT")
_UIDS_KEPT = ("SOPClassUID", "ReferencedSOPClassUID")
#: Dates of the processing: moved as the others are, today's date would tell by how much that is.
_OF_TODAY = ("InstanceCreationDate", "ContentDate", "ContributionDateTime")
#: Where the day of the study is looked for first; after these in any other date.
_DAYS = ("StudyDate", "SeriesDate", "AcquisitionDate", "AcquisitionDateTime")
#: Codes that stand whoever the patient is: an ID of "START-001" must not take the decay correction away.
_CODES = frozenset({
    "ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "AXIAL", "WHOLE BODY", "STATIC", "DYNAMIC", "GATED",
    "IMAGE", "REPROJECTION", "NONE", "START", "ADMIN", "PT", "BQML", "CNTS", "CPS", "PROPCNTS", "GML",
    "NORM", "DTIM", "ATTN", "SCAT", "DECY", "RADL", "DCAL", "RAN", "MOTN",
    "CM2ML", "BW", "LBM", "BSA", "EMISSION", "TRANSMISSION", "MONOCHROME2", "YES", "NO", "M", "F", "O",
})  # fmt: skip
#: What free text must not quote either, though it tells of the clinic: who else is in the header.
_OTHERS = (
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "DeviceSerialNumber",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "StudyID",
)
#: Free text that tells of the maker alone, in which a clinic's name ("Siemens Demo Site") or a station's
#: ("QUADRA") is none.
_MAKERS = ("Manufacturer", "ManufacturerModelName")
_UID = re.compile(r"\d+(\.\d+){5,}")
#: Ages from here on are few enough to tell who somebody is (45 CFR 164.514): all are written as this.
_OLDEST = 90
#: Of this process: replaced UIDs and numbers are alike in all that it writes, and nobody can find the old.
_SECRET = os.urandom(32)


def deidentified(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The series without identity: attributes that are not known to be free of it go, UIDs are replaced
    alike throughout, dates are shifted so that the study is on STUDY_DAY.

    Private elements with a date-time (GE, Siemens) are shifted too; Philips' factors stay.
    """
    shift = STUDY_DAY - (_day_of(datasets) or STUDY_DAY)
    made = []
    for dataset in datasets:
        clean = _cleaned(dataset, shift, _Whole(dataset))
        if re.fullmatch(r"\d{3}Y", age := str(clean.get("PatientAge", ""))) and int(age[:3]) > _OLDEST:
            clean.PatientAge = f"{_OLDEST:03d}Y"
        who = [str(dataset.get(name, "") or "") for name in ("PatientID", "IssuerOfPatientID", "PatientName")]
        number = _replaced(*(who if any(who) else [str(dataset.get("StudyInstanceUID", ""))]))
        clean.PatientName, clean.PatientBirthDate = "Anonymous^", ""
        clean.PatientID = f"anonymous-{number.hex[:12]}"
        clean.ReferringPhysicianName, clean.AccessionNumber, clean.StudyID = "", "", "1"
        clean.PatientIdentityRemoved = "YES"
        clean.DeidentificationMethod = "mapdiff: attributes by allow list, dates shifted, UIDs replaced"
        clean.LongitudinalTemporalInformationModified = "MODIFIED"
        clean.file_meta = dataset.file_meta
        clean.file_meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
        made.append(clean)
    return made


def _day_of(datasets: Sequence[Dataset]) -> date | None:
    """The day of the study, by the first date that can be read."""
    for keyword in _DAYS:
        for dataset in datasets:
            if day := parse_date(str(dataset.get(keyword, "") or "")[:8]):
                return day
    dates = (e for s in datasets for e in s.iterall() if e.VR in ("DA", "DT") and e.keyword not in _OF_TODAY)
    born = ("PatientBirthDate", "PatientBirthDateInAlternativeCalendar")
    return next(
        (d for e in dates if e.keyword not in born if (d := parse_date(str(e.value or "")[:8]))), None
    )


def _replaced(*parts: str) -> uuid.UUID:
    """A number in place of others, the same for the same parts in one process."""
    digest = hashlib.sha256(_SECRET + chr(0).join(parts).encode()).digest()
    return uuid.UUID(bytes=digest[:16], version=4)


class _Whole:
    """A header, and which text quotes it."""

    def __init__(self, header: Dataset) -> None:
        self._header = header
        told = (str(e.value or "") for e in header.iterall() if e.VR in ("DA", "DT"))
        self._days = {day for text in told if (day := parse_date(text[:8]))}

    def is_quoted_in(self, element: DataElement) -> bool:
        """Whether an element's text quotes the patient, the clinic, a UID or a date of the header."""
        told = str(element.value)
        others = () if element.keyword in _MAKERS else _OTHERS
        if impersonal(self._header, told, others) is None or _UID.search(told):
            return True
        return any(tells_date(told, day) for day in self._days)


def _cleaned(dataset: Dataset, shift: timedelta, whole: _Whole) -> Dataset:
    """The dataset, or an item within `whole`, without what may tell who the patient is."""
    clean = Dataset()
    for element in dataset:
        if element.tag.is_private:
            if element.tag.group in (0x7053, 0x0009, 0x0071):  # the writer has let only safe ones through
                value = _shifted(str(element.value), shift) if element.VR == "DT" else element.value
                clean.add_new(element.tag, element.VR, value)
            continue
        if element.keyword not in _KEPT:
            continue
        if element.VR == "SQ":
            clean.add_new(element.tag, "SQ", [_cleaned(item, shift, whole) for item in element.value])
        elif element.VR == "UI" and element.keyword not in _UIDS_KEPT:
            clean.add_new(element.tag, "UI", f"2.25.{_replaced(str(element.value)).int}")
        elif element.keyword in _OF_TODAY:
            clean.add_new(element.tag, element.VR, STUDY_DAY.strftime("%Y%m%d") + str(element.value)[8:])
        elif element.VR in ("DA", "DT"):
            clean.add_new(element.tag, element.VR, _shifted(str(element.value or ""), shift))
        elif element.VR in _TEXT and not _is_code(element) and whole.is_quoted_in(element):
            clean.add_new(element.tag, element.VR, "")
        else:
            clean[element.tag] = copy.copy(element)
    return clean


def _is_code(element: DataElement) -> bool:
    """Whether an element holds nothing but defined terms."""
    values = element.value if element.VM > 1 else [element.value]
    return element.VR == "CS" and all(str(value) in _CODES for value in values)


def _shifted(text: str, shift: timedelta) -> str:
    """A DA or DT with its day moved; one without a readable day, or moved out of the calendar, is empty."""
    day = parse_date(text[:8])
    try:
        return "" if day is None else (day + shift).strftime("%Y%m%d") + text[8:]
    except OverflowError:
        return ""
