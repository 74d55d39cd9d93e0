"""A small DICOM PET series to bend, and the identity in it that must never leak."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

SHARED = Path(os.environ.get("MAPDIFF_SHARED", Path(__file__).parents[3] / "shared"))
IDENTITY = ("DOE", "JANE", "MRN-4711", "19610203", "12 Elm Street", "St. Elsewhere", "DrWatson", "ACC-99")


def make_headers(slices: int = 6, rows: int = 12, columns: int = 10) -> list[Dataset]:
    """Headers with pixels: each slice its own slope, voxels of a smooth body, SUV 1 = 5000 Bq/mL or so."""
    rng = np.random.default_rng(7)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    made = []
    for k in range(slices):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = PositronEmissionTomographyImageStorage, generate_uid()
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "PT", "ACME", "Ring 1"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "DOE^JANE", "MRN-4711", "19610203"
        ds.PatientAddress, ds.InstitutionName = "12 Elm Street", "St. Elsewhere"
        ds.ReferringPhysicianName, ds.AccessionNumber = "DrWatson", "ACC-99"
        ds.PatientSex, ds.PatientWeight, ds.PatientSize = "F", "60", "1.65"
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240506"
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "110000"
        ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "WB AC", 4, slices - k
        ds.SeriesType, ds.Units, ds.CountsSource = ["WHOLE BODY", "IMAGE"], "BQML", "EMISSION"
        ds.DecayCorrection, ds.CorrectedImage = "START", ["DECY", "ATTN", "SCAT", "NORM"]
        ds.FrameReferenceTime, ds.ActualFrameDuration, ds.NumberOfSlices = "0", 120000, slices
        drug = Dataset()
        drug.Radiopharmaceutical, drug.RadionuclideTotalDose = "FDG", "300000000"
        drug.RadionuclideHalfLife, drug.RadiopharmaceuticalStartTime = "6586.2", "100000"
        ds.RadiopharmaceuticalInformationSequence = [drug]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [-20, -30, -100 + 3 * k]
        ds.PixelSpacing, ds.SliceThickness = [4, 4.5], "3"
        ds.Rows, ds.Columns, ds.SamplesPerPixel = rows, columns, 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = f"{0.5 + 0.1 * k:g}", "0"
        ds.PixelData = rng.integers(1, 30000, (rows, columns)).astype("<i2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.append(ds)
    return made


def save_headers(headers: list[Dataset], folder: Path, ending: str = ".dcm") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, header in enumerate(headers):
        header.save_as(folder / f"slice{index:03d}{ending}", enforce_file_format=True)
    return folder


def errors_of(file: Path) -> set[str]:
    """What dciodvfy calls errors, less the UIDs that it quotes."""
    done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert any("PETImage" in line for line in lines), lines[:5]  # it knew what it looked at
    return {re.sub("<[0-9.]+>", "<UID>", line) for line in lines if line.startswith("Error")}
