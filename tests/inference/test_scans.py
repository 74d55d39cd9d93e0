"""Which scans of a folder are restored: whole series, no other modality, no result of before."""

import shutil
from datetime import datetime
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

import mapdiff
from mapdiff.errors import InputError
from mapdiff.formats.dicom_series import new_study, series_of, write_series
from mapdiff.inference.batch import denoise_many
from mapdiff.inference.run import DenoiseOptions, denoise_file
from mapdiff.inference.scans import scans_in
from synthetic import low_dose_volume


@pytest.fixture
def series(tmp_path):
    """`series(name)` writes a PET series of 16 slices into a folder of that name."""

    def make(name: str) -> Path:
        study = new_study(datetime(2024, 5, 6, 11), "A^B", "1", name)
        folder = tmp_path / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_series(series_of(low_dose_volume(), study, "WB", 1), folder)
        return folder

    return make


def split(folder: Path, into: int) -> None:
    for number, file in enumerate(sorted(folder.iterdir())):
        part = folder / f"part{number % into}"
        part.mkdir(exist_ok=True)
        file.rename(part / file.name)


def spoil(folder: Path, **values: str) -> None:
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        for keyword, value in values.items():
            setattr(header, keyword, value)
        header.save_as(file)


def test_scans_are_found(scans, tmp_path):
    assert [p.name for p in scans_in(scans)] == ["a.nii.gz", "b.nii.gz", "c.nii"]
    assert scans_in(scans / "a.nii.gz") == [scans / "a.nii.gz"]
    (tmp_path / "void").mkdir()
    for path in (tmp_path / "void", tmp_path / "none"):
        with pytest.raises(InputError, match=path.name):
            scans_in(path)


def test_a_series_in_several_folders_is_one_scan(series, tmp_path):
    """As media hold them; each part alone has its own body, scale and noise."""
    one, other = series("in/one"), series("in/other")
    split(one, 3)
    assert scans_in(one) == [one]
    assert scans_in(tmp_path / "in") == [one, other]
    assert mapdiff.read(one).shape == low_dose_volume().shape


def test_copies_of_a_series_are_scans_each(series, tmp_path):
    one = series("in/one")
    copy = shutil.copytree(one, tmp_path / "in" / "backup" / "one")
    assert scans_in(tmp_path / "in") == [copy, one]


def test_parts_among_others_are_refused(series, tmp_path):
    one = series("in/one")
    split(one, 2)
    (one / "part0").rename(tmp_path / "in" / "a")
    (one / "part1").rename(tmp_path / "in" / "z")
    series("in/other")
    with pytest.raises(InputError, match="a and z hold parts of one series beside others"):
        scans_in(tmp_path / "in")


def test_other_modalities_are_passed_over(series, tmp_path):
    pet, ct = series("in/pet"), series("in/ct")
    spoil(ct, Modality="CT")
    said: list[str] = []
    assert scans_in(tmp_path / "in", say=said.append) == [pet]
    assert said == [f"{ct}: holds no PET, passed over"]
    assert scans_in(ct) == [ct]  # reading it says that it is CT
    spoil(pet, Modality="CT")
    assert scans_in(tmp_path / "in") == [ct, pet]


def test_results_in_the_folder_are_not_restored_again(denoiser, scans):
    out = scans / "restored"
    for _ in range(2):
        found = scans_in(scans, out)
        assert [path.name for path in found] == ["a.nii.gz", "b.nii.gz", "c.nii"]
        denoise_many(denoiser, scans, found, out, DenoiseOptions(), lambda _: lambda *_: None, lambda _: None)
    assert not (out / "restored").exists()


def test_results_beside_the_scans_are_passed_over(denoiser, scans):
    """A result restored again would take the name of the scan's own, by BIDS."""
    scan = scans / "sub-1_pet.nii.gz"
    (scans / "a.nii.gz").rename(scan)
    result = scans / "sub-1_desc-denoised_pet.nii.gz"
    denoise_file(denoiser, scan, result, DenoiseOptions(save_stages=True, deidentify=True))
    said: list[str] = []
    assert [path.name for path in scans_in(scans, say=said.append)] == ["b.nii.gz", "c.nii", scan.name]
    assert f"{result}: is a result of mapdiff, passed over" in said
    image = nibabel.load(result)  # NIfTI-2 too
    nibabel.save(nibabel.Nifti2Image(np.asarray(image.dataobj), None, image.header), scans / "two.nii")
    assert "two.nii" not in [path.name for path in scans_in(scans)]
    assert scans_in(result) == [result]


def test_what_bids_names_otherwise_is_passed_over(scans):
    """The organs and the attenuation map beside a simulated scan are no scans."""
    (scans / "a.nii.gz").rename(scans / "sub-1_rec-drf20_pet.nii.gz")
    for name in ("sub-1_organs.nii.gz", "sub-1_T1w.nii", "sub-2_rec-full_pet.nii", "sub_3.nii"):
        shutil.copy(scans / "b.nii.gz", scans / name)
    said: list[str] = []
    found = [path.name for path in scans_in(scans, say=said.append)]
    assert found == ["b.nii.gz", "c.nii", "sub-1_rec-drf20_pet.nii.gz", "sub-2_rec-full_pet.nii", "sub_3.nii"]
    assert said == [
        f"{scans / name}: is no PET by its BIDS name, passed over"
        for name in ("sub-1_T1w.nii", "sub-1_organs.nii.gz")
    ]
    for name in found[2:4]:
        (scans / name).unlink()
    assert len(scans_in(scans)) == 5  # no name says PET: reading them tells


@pytest.mark.parametrize("deidentify", [False, True])
def test_series_that_are_results_are_passed_over(denoiser, series, tmp_path, deidentify):
    one = series("in/one")
    denoise_file(denoiser, one, tmp_path / "in" / "restored", DenoiseOptions(deidentify=deidentify))
    said: list[str] = []
    assert scans_in(tmp_path / "in", say=said.append) == [one]
    assert said == [f"{tmp_path / 'in' / 'restored'}: is a result of mapdiff, passed over"]


def test_results_into_a_folder_that_holds_the_scans_are_refused_by_name(scans, tmp_path):
    with pytest.raises(InputError, match=r"holds the scans themselves .*another place"):
        scans_in(scans, scans.parent)
