"""A PET series without the patient's identity: only attributes known to hold none are kept.

After PS3.15 Annex E, basic profile with the options "retain patient characteristics" (sex, age, size, weight,
which SUV needs), "retain device identity" in part (maker and model), and "retain longitudinal temporal
information with modified dates" (dates shifted alike, times of day kept, which decay correction needs).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import date, timedelta

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from mapdiff.formats.dicom_times import parse_date
from mapdiff.formats.identity import impersonal

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


def deidentified(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The series without identity: attributes that are not known to be free of it go, UIDs are replaced
    alike throughout, dates are shifted so that the study is on STUDY_DAY.

    Private elements with a date-time (GE, Siemens) are shifted too; Philips' factors stay.
    """
    uids: dict[str, str] = {}
    day = next((d for s in datasets if (d := parse_date(str(s.get("StudyDate", ""))))), None) or next(
        (d for s in datasets if (d := parse_date(str(s.get("SeriesDate", ""))))), STUDY_DAY
    )
    shift = STUDY_DAY - day
    made = []
    for dataset in datasets:
        clean = _cleaned(dataset, uids, shift, dataset)
        clean.PatientName, clean.PatientID, clean.PatientBirthDate = "Anonymous^", "Anonymous", ""
        clean.ReferringPhysicianName, clean.AccessionNumber, clean.StudyID = "", "", "1"
        clean.PatientIdentityRemoved = "YES"
        clean.DeidentificationMethod = "mapdiff: attributes by allow list, dates shifted, UIDs replaced"
        clean.LongitudinalTemporalInformationModified = "MODIFIED"
        clean.file_meta = dataset.file_meta
        clean.file_meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
        made.append(clean)
    return made


def _cleaned(dataset: Dataset, uids: dict[str, str], shift: timedelta, whole: Dataset) -> Dataset:
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
            clean.add_new(element.tag, "SQ", [_cleaned(item, uids, shift, whole) for item in element.value])
        elif element.VR == "UI" and element.keyword not in _UIDS_KEPT:
            uid = str(element.value)
            clean.add_new(element.tag, "UI", uids.setdefault(uid, generate_uid(prefix=None)))
        elif element.VR in ("DA", "DT"):
            clean.add_new(element.tag, element.VR, _shifted(str(element.value or ""), shift))
        elif element.VR in _TEXT and impersonal(whole, str(element.value)) is None:
            clean.add_new(element.tag, element.VR, "")
        else:
            clean[element.tag] = copy.copy(element)
    return clean


def _shifted(text: str, shift: timedelta) -> str:
    """A DA or DT with its day moved; one without a readable day becomes empty."""
    day = parse_date(text[:8])
    if day is None:
        return ""
    return (day + shift).strftime("%Y%m%d") + text[8:]
