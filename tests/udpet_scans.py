"""Training trees of the UDPET challenge, with the folders' real names and a patient who must not leak."""

from collections.abc import Callable, Mapping
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mapdiff.dose import DOSES
from mapdiff.formats.dicom_series import new_study, series_of, write_series
from mapdiff.volume import Acquisition, Volume
from synthetic import SPACING_MM, nested_scans, smooth_body

IDENTITY = ("Quixote", "DULCINEA", "MRN-90210", "Anonymous_ANO", "121048", "170836", "Subject_115")
FULL, DRF = Fraction(1), {n: Fraction(1, n) for n in (2, 4, 10, 20, 50, 100)}

#: The names as they stand in the real trees (FIELD.md), by dose.
QUADRA_NAMES = {FULL: "Full_dose"} | {d: f"1-{n} dose" for n, d in DRF.items()}
UEXPLORER_NAMES = {FULL: "2.886 x 600 WB NORMAL"} | {d: f"2.886 x 600 WB D{n}" for n, d in DRF.items()}
UEXPLORER_DRF_NAMES = {FULL: "2.886 x 600 WB normal"} | {d: f"2.886 x 600 WB DRF_{n}" for n, d in DRF.items()}
QUADRA_FOLDER = "Subject_115-117/30122021_5_20211230_170836"
UEXPLORER_FOLDER = "uExplorerPART10/Anonymous_ANO_20220224_1744219_121048"
UEXPLORER_DRF_FOLDER = "uExplorerPART10/Anonymous_ANO_20220225_1744220_121049"

FACTS = Acquisition(
    tracer="FDG",
    half_life_s=6586.2,
    injected_activity_bq=2.5e8,
    uptake_s=3600.0,
    weight_kg=68.0,
    frame_s=600.0,
    manufacturer="SIEMENS",
    model="Biograph128_Vision Quadra Edge",
)
SHAPE = (20, 20, 12)
Scans = Mapping[Fraction, NDArray[np.float32]]


def small_scans(seed: int = 0, doses: tuple[Fraction, ...] = DOSES) -> dict[Fraction, NDArray[np.float32]]:
    """Nested scans of a small body, in Bq/mL."""
    body = smooth_body(SHAPE, seed)
    return {d: 4000 * scan for d, scan in nested_scans(body, seed=seed, doses=doses).items()}


def write_tree_subject(
    folder: Path,
    names: Mapping[Fraction, str],
    scans: Scans,
    facts: Acquisition = FACTS,
    ending: str = ".dcm",
    edit: Callable[[Dataset, Fraction], object] = lambda dataset, dose: None,
) -> Path:
    """Write the doses of a subject as DICOM series, each header after `edit(header, dose)`."""
    study = new_study(datetime(2022, 2, 24, 12, 10, 48), "QUIXOTE^DULCINEA", "MRN-90210", str(folder))
    affine = np.diag([*SPACING_MM, 1.0])
    for number, (dose, scan) in enumerate(scans.items()):
        datasets = series_of(Volume(scan, affine, "Bq/mL", facts), study, names[dose], number + 1)
        for dataset in datasets:
            dataset.PatientBirthDate, dataset.PatientAddress = "19610203", "12 Elm Street"
            edit(dataset, dose)
        write_series(datasets, folder / names[dose], ending)
    return folder
