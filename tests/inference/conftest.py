"""What the tests of inference share."""

from pathlib import Path

import pytest

import mapdiff
from mapdiff.inference.denoiser import Denoiser
from synthetic import low_dose_volume


@pytest.fixture(scope="module")
def denoiser(small_model):
    return Denoiser.from_pretrained(small_model, "cpu")


@pytest.fixture
def scans(tmp_path) -> Path:
    """A folder of three scans, one of them broken, one in a folder of its own."""
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True)
    mapdiff.write(low_dose_volume(seed=1), folder / "a.nii.gz")
    (folder / "b.nii.gz").write_text("not an image")
    mapdiff.write(low_dose_volume(seed=2), folder / "deep" / "c.nii")
    return folder
