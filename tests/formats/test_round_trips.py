"""From every format to every format and back in memory: voxels, place, unit and SUV stay."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from mapdiff.formats import read, write
from mapdiff.formats.dicom_in import DicomSource
from mapdiff.formats.dicom_series import new_study, series_of, write_series
from mapdiff.volume import Volume
from udpet_scans import FACTS

NAMES = {
    "nii": "scan.nii",
    "nii.gz": "scan.nii.gz",
    "BIDS": "sub-1_pet.nii.gz",
    "DICOM": "series",
    "DICOM zip": "series.zip",
}
#: Voxel axes to RAS+ mm: as scanners write it, and a coronal stack that is tilted by asin 0.28.
AXIAL = np.array([[-2.0, 0, 0, 31], [0, -2.5, 0, 12.25], [0, 0, 3, -700], [0, 0, 0, 1]])
TILTED = np.array([[-2.0, 0, 0, 31], [0, 0.7, -2.88, 12.25], [0, -2.4, -0.84, -700], [0, 0, 0, 1]])


def stored(volume: Volume, path: Path) -> Volume:
    """The volume written to a path and read back; DICOM from elsewhere starts as a new series."""
    path.parent.mkdir()
    if "nii" not in path.name and not isinstance(volume.source, DicomSource):
        fresh = path.with_name("fresh")
        study = new_study(datetime(2022, 2, 24, 12, 10), "Doe^Jane", "7")
        write_series(series_of(volume, study, "WB", 1), fresh)
        if path.suffix != ".zip":
            return read(fresh)
        volume = read(fresh)
    write(volume, path)
    return read(path)


@pytest.mark.parametrize("affine", [AXIAL, TILTED], ids=["axial", "tilted"])
@pytest.mark.parametrize("second", NAMES)
@pytest.mark.parametrize("first", NAMES)
def test_voxels_place_unit_and_suv_stay(first: str, second: str, affine: np.ndarray, tmp_path: Path) -> None:
    array = np.random.default_rng(5).gamma(1.0, 900.0, (7, 9, 5)).astype(np.float32)
    start = Volume(array, affine, "Bq/mL", FACTS)
    one = stored(start, tmp_path / "1" / NAMES[first])
    two = stored(one, tmp_path / "2" / NAMES[second])
    steps = (
        sum("DICOM" in name for name in (first, second)) + (first == "DICOM zip") + (second == "DICOM zip")
    )
    half_a_step = array.max(axis=(0, 1)) / 32767 / 2
    assert (np.abs(two.array - array).max(axis=(0, 1)) <= steps * half_a_step * 1.01).all()
    np.testing.assert_allclose(two.affine, affine, atol=1e-4)
    assert two.unit == "Bq/mL"
    expected = 68e3 / (2.5e8 * 2 ** (-3600 / 6586.2))
    assert two.acquisition.suv_per_bqml == pytest.approx(expected, rel=1e-6)
