"""A BIDS-PET dataset in, a BIDS derivative dataset out: names, sidecars, dataset_description.json."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import mapdiff
from mapdiff.cli.denoise import denoise
from mapdiff.inference.run import beside, output_path
from synthetic import low_dose_volume

FACTS = {
    "Modality": "PT",
    "Units": "kBq/mL",
    "TracerName": "FDG",
    "TimeZero": "09:00:00",
    "BodyPart": "chest",
}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset of one subject, told in kBq/mL; and a scan that is not called by BIDS."""
    root = tmp_path / "dataset"
    pet = root / "sub-01" / "ses-a" / "pet"
    pet.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    scan = low_dose_volume()
    mapdiff.write(scan.with_array(scan.array / 1000), pet / "sub-01_ses-a_trc-FDG_pet.nii.gz")
    (pet / "sub-01_ses-a_trc-FDG_pet.json").write_text(json.dumps(FACTS))
    mapdiff.write(scan, root / "extra.nii.gz")
    return root


def test_a_dataset_becomes_a_derivative_dataset(
    dataset: Path, tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "derivatives"
    denoise(dataset, out, model=str(small_model), save_stages=True)
    pet = out / "sub-01" / "ses-a" / "pet"
    name = "sub-01_ses-a_trc-FDG_desc-denoised_pet"
    assert {str(pet / f"{name}.nii.gz"), str(out / "extra.nii.gz")} == set(capsys.readouterr().out.split())
    stages = {path.name for path in pet.glob("*.nii.gz")} - {f"{name}.nii.gz"}
    assert stages and all(re.fullmatch(r"sub-01_ses-a_trc-FDG_desc-drf\d+_pet.nii.gz", i) for i in stages)
    told = json.loads((pet / f"{name}.json").read_text())
    assert {field: told[field] for field in FACTS} == FACTS  # unit and facts as they were
    assert told["GeneratedBy"][-1]["Name"] == "mapdiff" and "Model" in told["GeneratedBy"][-1]
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative" and described["GeneratedBy"][0]["Name"] == "mapdiff"
    source = dataset / "sub-01" / "ses-a" / "pet" / "sub-01_ses-a_trc-FDG_pet.nii.gz"
    restored, scan = mapdiff.read(pet / f"{name}.nii.gz"), mapdiff.read(source)
    assert restored.unit == scan.unit == "Bq/mL" and restored.shape == scan.shape
    np.testing.assert_allclose(restored.affine, scan.affine)
    # the file itself is in kBq/mL, as its source: no factor of 1000 between them
    assert 0.5 < restored.array.mean() / scan.array.mean() < 2


def test_names(tmp_path: Path) -> None:
    (tmp_path / "sub-1_pet.nii.gz").write_text("")
    (tmp_path / "Anonymous-01_DRF-10.nii.gz").write_text("")
    by_bids = tmp_path / "out" / "sub-1_desc-denoised_pet.nii.gz"
    assert output_path(tmp_path / "sub-1_pet.nii.gz", tmp_path / "out") == by_bids
    assert output_path(tmp_path / "sub-1_pet.nii.gz", tmp_path / "x.nii") == tmp_path / "x.nii"
    kept = tmp_path / "out" / "Anonymous-01_DRF-10.nii.gz"
    assert output_path(tmp_path / "Anonymous-01_DRF-10.nii.gz", tmp_path / "out") == kept
    assert beside(by_bids, "dose-1-10").name == "sub-1_desc-drf10_pet.nii.gz"
    assert beside(by_bids, "deviation").name == "sub-1_desc-deviation_pet.nii.gz"
