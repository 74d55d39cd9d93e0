"""What the user supplies feeds unit, SUV and manifest, and changes no voxel; the test set in kind."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mapdiff.cli.denoise import denoise
from mapdiff.errors import InputError, PartialFailure
from mapdiff.formats import read
from mapdiff.inference.supplied import Supplied
from synthetic import low_dose_volume

HEAD = (
    "SubjectID,DoseReductionFactor,NiftiFileName,PatientWeight_kg,ImageUnits,"
    "TimeFromInjectionToAcquisition_s,RadionuclideTotalDose_Bq,RadionuclideHalfLife_s,DecayCorrection\n"
)
NAMES = ("Anonymous-01_DRF-20.nii.gz", "Anonymous-02_DRF-20.nii.gz")
SUV_FACTOR = 55e3 / (203.5e6 * 2 ** (-3399 / 6588))


def bare_nifti(path: Path, seed: int = 0) -> Path:
    """An image as the test set has it: no sidecar, no word on its unit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = low_dose_volume(seed=seed)
    nib.save(nib.Nifti1Image(volume.array, volume.affine), path)
    return path


@pytest.fixture(scope="module")
def answers(tmp_path_factory, small_model):
    """The test set's folder denoised with the table and without it."""
    root = tmp_path_factory.mktemp("testset")
    bare_nifti(root / "test" / "Anonymous-01" / NAMES[0])
    bare_nifti(root / "test" / "Anonymous-02" / NAMES[1], seed=1)
    (root / "PET_info.csv").write_text(
        HEAD + f"Anonymous-01,20,{NAMES[0]},55,BQML,3399,203500000,6588,START\n", encoding="utf-8"
    )
    denoise(root / "test", root / "with", model=str(small_model), csv=root / "PET_info.csv")
    denoise(root / "test" / "Anonymous-01", root / "without" / "Anonymous-01", model=str(small_model))
    return root


def test_answers_keep_names_folders_and_grid(answers):
    for folder, name in zip(("Anonymous-01", "Anonymous-02"), NAMES, strict=True):
        source, answer = (nib.load(answers / top / folder / name) for top in ("test", "with"))
        assert answer.shape == source.shape
        np.testing.assert_allclose(answer.affine, source.affine)
    images = sorted(str(p.relative_to(answers / "with")) for p in (answers / "with").rglob("*.nii.gz"))
    assert images == [f"Anonymous-01/{NAMES[0]}", f"Anonymous-02/{NAMES[1]}"]


def test_the_table_changes_no_voxel(answers):
    one, two = (read(answers / top / "Anonymous-01" / NAMES[0]).array for top in ("with", "without"))
    np.testing.assert_array_equal(one, two)


def test_the_table_gives_unit_and_suv_to_manifest_and_result(answers):
    folder = answers / "with" / "Anonymous-01"
    manifest = json.loads((folder / "Anonymous-01_DRF-20_manifest.json").read_text())
    assert manifest["input"]["unit"] == "Bq/mL"
    facts = manifest["acquisition"]
    assert (facts["weight_kg"], facts["injected_activity_bq"], facts["uptake_s"]) == (55, 203.5e6, 3399)
    assert set(facts["supplied_by_user"]) == {"weight_kg", "injected_activity_bq", "uptake_s", "half_life_s"}
    result = read(folder / NAMES[0])
    assert result.unit == "Bq/mL"
    assert result.acquisition.suv_per_bqml == pytest.approx(SUV_FACTOR, rel=1e-6)


def test_a_scan_without_a_row_is_denoised_with_a_warning(answers):
    manifest = json.loads(
        (answers / "with" / "Anonymous-02" / "Anonymous-02_DRF-20_manifest.json").read_text()
    )
    assert f"the table has no row for {NAMES[1]}" in manifest["warnings"]
    assert manifest["acquisition"]["supplied_by_user"] == []


def test_flags_are_recorded_as_supplied(tmp_path, small_model):
    scan = bare_nifti(tmp_path / "scan.nii.gz")
    denoise(scan, tmp_path / "out.nii.gz", model=str(small_model), weight=71.0, injected_activity=310.0)
    facts = json.loads((tmp_path / "out_manifest.json").read_text())["acquisition"]
    assert facts["weight_kg"] == 71 and facts["injected_activity_bq"] == 310e6
    assert facts["supplied_by_user"] == ["weight_kg", "injected_activity_bq"]
    assert json.loads((tmp_path / "out.json").read_text())["SuppliedByUser"] == facts["supplied_by_user"]


@pytest.mark.parametrize(
    "flags",
    [
        {"weight_kg": 7100.0},
        {"weight_kg": -1.0},
        {"injected_activity_bq": 3.1e12},
        {"injection_time": "noon"},
    ],
)
def test_absurd_flags_are_refused_before_anything_is_read(flags):
    with pytest.raises(InputError):
        Supplied(**flags)


def test_an_injection_time_needs_the_time_of_the_scan(tmp_path, small_model):
    scan = bare_nifti(tmp_path / "in" / "scan.nii.gz")
    with pytest.raises(InputError, match=r"scan\.nii\.gz.*needs the time of the scan"):
        denoise(scan, tmp_path / "out.nii.gz", model=str(small_model), injection_time="09:41")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    with pytest.raises(PartialFailure):
        denoise(tmp_path / "in", tmp_path / "out", model=str(small_model), injection_time="09:41")
