"""A DICOM PET series made from a Volume alone, as a scanner would have written it: for simulated scans."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, PositronEmissionTomographyImageStorage

from mapdiff.atomic import written_aside
from mapdiff.decay import mean_count_time
from mapdiff.errors import InputError
from mapdiff.formats.dicom_files import quiet
from mapdiff.formats.dicom_out import decimal_string, set_pixels, with_meta
from mapdiff.volume import Volume

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_UNITS = {"Bq/mL": "BQML", "SUV": "GML"}


@dataclass(frozen=True)
class Study:
    """What the series of one examination share.

    Attributes:
        began: start of the scan, which the images are decay corrected to.
        patient_name: DICOM's PatientName.
        patient_id: DICOM's PatientID.
        uid: StudyInstanceUID.
        frame_uid: FrameOfReferenceUID.
    """

    began: datetime
    patient_name: str
    patient_id: str
    uid: str
    frame_uid: str


def new_study(began: datetime, patient_name: str, patient_id: str, entropy: str | None = None) -> Study:
    """A study with UIDs of its own; the same `entropy` gives the same UIDs."""
    seed = entropy or uuid.uuid4().hex
    uids = [_uid(seed, word) for word in ("study", "frame of reference")]
    return Study(began, patient_name, patient_id, *uids)


def _uid(*parts: str) -> UID:
    """A UID of the parts alone, from a UUID (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(parts)).int}")


def series_of(volume: Volume, study: Study, description: str, number: int) -> list[Dataset]:
    """The datasets of a new series, one per slice k, each with its own slope (half a step of rounding).

    Args:
        volume: Bq/mL or SUV; i runs along the rows of an image, j along its columns.
        study: what the series belongs to.
        description: SeriesDescription.
        number: SeriesNumber.

    Raises:
        InputError: the unit is unknown, or the axes are not perpendicular.
    """
    if volume.unit not in _UNITS:
        raise InputError("a DICOM series needs an image in Bq/mL or SUV")
    facts = volume.acquisition
    lps = RAS_TO_LPS @ volume.affine[:3]
    axes = lps[:, :3] / np.array(volume.spacing)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise InputError("a DICOM series needs an image with perpendicular axes")
    shared = _shared(volume, study, description, number)
    shared.SeriesInstanceUID = _uid(study.uid, description, str(number))
    shared.ImageOrientationPatient = [decimal_string(float(x) + 0.0) for x in (*axes[:, 0], *axes[:, 1])]
    half_life = facts.half_life_s
    duration = facts.frame_s or 600.0
    shared.ActualFrameDuration = round(duration * 1000)
    middle = mean_count_time(duration, half_life) if half_life else duration / 2
    shared.FrameReferenceTime = decimal_string(middle * 1000)
    shared.DecayFactor = decimal_string(2.0 ** (middle / half_life)) if half_life else "1"
    datasets = []
    for k in range(volume.shape[2]):
        dataset = Dataset()
        dataset.update(shared)
        dataset.SOPInstanceUID = _uid(str(shared.SeriesInstanceUID), str(k))
        dataset.InstanceNumber = dataset.ImageIndex = k + 1
        place = lps @ np.array([0.0, 0.0, k, 1.0])
        dataset.ImagePositionPatient = [decimal_string(float(x)) for x in place]
        dataset.SliceLocation = decimal_string(float(place[2]))
        set_pixels(dataset, np.asarray(volume.array[:, :, k], dtype=np.float64).T)
        datasets.append(with_meta(dataset))
    return datasets


def _shared(volume: Volume, study: Study, description: str, number: int) -> Dataset:
    """The elements that all slices share (PS3.3 A.21)."""
    facts = volume.acquisition
    ds = Dataset()
    ds.SOPClassUID = PositronEmissionTomographyImageStorage
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.Modality = "PT"
    ds.Manufacturer, ds.ManufacturerModelName = facts.manufacturer or "", facts.model or ""
    ds.StudyInstanceUID, ds.FrameOfReferenceUID, ds.StudyID = study.uid, study.frame_uid, "1"
    ds.PositionReferenceIndicator = ds.AccessionNumber = ds.ReferringPhysicianName = ""
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = study.patient_name, study.patient_id, ""
    ds.PatientSex, ds.BodyPartExamined = facts.sex or "", "WHOLEBODY"
    ds.PatientOrientationCodeSequence, ds.PatientGantryRelationshipCodeSequence = [], []
    if facts.weight_kg is not None:
        ds.PatientWeight = decimal_string(facts.weight_kg)
    if facts.height_m is not None:
        ds.PatientSize = decimal_string(facts.height_m)
    for name in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{name}Date", study.began.strftime("%Y%m%d"))
        setattr(ds, f"{name}Time", study.began.strftime("%H%M%S.%f"))
    ds.SeriesDescription, ds.SeriesNumber = description, number
    ds.SeriesType, ds.CountsSource = ["WHOLE BODY", "IMAGE"], "EMISSION"
    ds.Units, ds.DecayCorrection = _UNITS[volume.unit], "START"
    ds.CorrectedImage = ["DECY", "ATTN", "SCAT", "RAN", "NORM"]
    ds.CollimatorType, ds.NumberOfSlices = "NONE", volume.shape[2]
    ds.PixelSpacing = [decimal_string(volume.spacing[1]), decimal_string(volume.spacing[0])]
    ds.SliceThickness = decimal_string(volume.spacing[2])
    ds.RadiopharmaceuticalInformationSequence = [_drug(volume, study)]
    return ds


def _drug(volume: Volume, study: Study) -> Dataset:
    facts = volume.acquisition
    drug = Dataset()
    drug.Radiopharmaceutical = facts.tracer or ""
    drug.RadionuclideCodeSequence = []
    if facts.injected_activity_bq is not None:
        drug.RadionuclideTotalDose = decimal_string(facts.injected_activity_bq)
    if facts.half_life_s is not None:
        drug.RadionuclideHalfLife = decimal_string(facts.half_life_s)
    if facts.uptake_s is not None and math.isfinite(facts.uptake_s):
        injected = study.began - timedelta(seconds=facts.uptake_s)
        drug.RadiopharmaceuticalStartTime = injected.strftime("%H%M%S.%f")
        drug.RadiopharmaceuticalStartDateTime = injected.strftime("%Y%m%d%H%M%S.%f")
    return drug


def write_series(datasets: Sequence[Dataset], folder: Path, ending: str = ".dcm") -> None:
    """Write a series into a new folder, a file per slice, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    with quiet(), written_aside(folder) as aside:
        aside.mkdir()
        for n, dataset in enumerate(datasets):
            dataset.save_as(aside / f"PT{n + 1:05d}{ending}", enforce_file_format=True)
