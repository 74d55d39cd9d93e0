"""Every way a cohort can be broken is found before a training starts, and told in one line."""

import json
import re
import shutil
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mapdiff.cohort.check import check_cohort, check_store
from mapdiff.cohort.layout import dose_path, sidecar_path, truth_path, write_image
from mapdiff.cohort.pack import pack
from mapdiff.cohort.store import store_subjects
from mapdiff.errors import InputError
from mapdiff.formats import read
from synthetic import nested_scans, smooth_body, volume_of


@pytest.fixture
def cohort(tiny_cohort, tmp_path) -> Path:
    return shutil.copytree(tiny_cohort, tmp_path / "cohort")


def path_of(cohort: Path, drf: int, name: str = "sub-002") -> Path:
    return dose_path(cohort / name, name, Fraction(1, drf))


def swap(cohort: Path, one: int, other: int) -> None:
    a, b = path_of(cohort, one), path_of(cohort, other)
    a.rename(a.with_name("x"))
    b.rename(a)
    a.with_name("x").rename(b)


def nan_voxel(cohort: Path) -> None:
    volume = read(path_of(cohort, 10))
    array = volume.array.copy()
    array[3, 4, 5] = np.nan
    path = path_of(cohort, 10)
    path.unlink()
    nibabel.save(nibabel.Nifti1Image(array, volume.affine), path)


def list_all_and_drop(cohort: Path) -> None:
    (cohort / "sub-002" / "subject.json").write_text('{"doses": ["full", "1/2", "1/20"]}')
    path_of(cohort, 20).unlink()


def shifted(cohort: Path) -> None:
    volume = read(path_of(cohort, 4))
    affine = volume.affine.copy()
    affine[0, 3] += 2
    write_image(type(volume)(volume.array, affine, volume.unit), path_of(cohort, 4))


def other_unit(cohort: Path) -> None:
    volume = read(path_of(cohort, 4))
    write_image(type(volume)(volume.array, volume.affine, "SUV"), path_of(cohort, 4))


def other_body(cohort: Path) -> None:
    scan = nested_scans(smooth_body(seed=50)[::-1].copy(), seed=5)[Fraction(1, 4)][:, ::-1].copy()
    scan[:12] *= 3
    write_image(volume_of(4000 * scan), path_of(cohort, 4))


def lesions(cohort: Path, affine: np.ndarray, shape: tuple[int, ...] = (24, 24, 16)) -> None:
    labels = np.zeros(shape, np.int16)
    labels[3:6, 3:6, 3:6] = 256
    nibabel.save(nibabel.Nifti1Image(labels, affine), truth_path(cohort / "sub-002", "sub-002", "lesions"))


BROKEN = {
    "swapped doses": (lambda c: swap(c, 4, 50), r"sub-002: wrong order of doses"),
    "full and lowest swapped": (lambda c: swap(c, 1, 100), r"sub-002: wrong order of doses"),
    "NaN": (nan_voxel, r"drf10.*1 of its 9216 voxels are NaN"),
    "missing file": (list_all_and_drop, r"drf20_pet\.nii\.gz: is missing"),
    "no full dose": (lambda c: path_of(c, 1).unlink(), r"sub-002: has no full-dose scan"),
    "another place": (shifted, r"drf4.*another grid.*2\.00 mm"),
    "another shape": (
        lambda c: write_image(volume_of(smooth_body((24, 24, 18))), path_of(c, 4)),
        r"drf4.*another grid.*24 x 24 x 18",
    ),
    "another unit": (other_unit, r"drf4.*is in SUV, the full dose in Bq/mL"),
    "another body": (other_body, r"sub-002: dose 1/4"),
    "empty file": (lambda c: path_of(c, 2).write_bytes(b""), r"drf2.*is empty"),
    "truncated": (lambda c: path_of(c, 2).write_bytes(path_of(c, 2).read_bytes()[:900]), r"drf2.*truncated"),
    "a copy": (lambda c: shutil.copy(path_of(c, 2, "sub-001"), path_of(c, 2)), r"sub-002"),
    "facts": (lambda c: (c / "sub-002" / "subject.json").write_text("no"), r"subject\.json: does not"),
    "truth": (
        lambda c: write_image(
            volume_of(smooth_body((24, 24, 18))), truth_path(c / "sub-002", "sub-002", "noisefree")
        ),
        r"noisefree.*another grid",
    ),
    "truth in another unit": (
        lambda c: write_image(
            type(volume_of(smooth_body()))(smooth_body(), volume_of(smooth_body()).affine, "SUV"),
            truth_path(c / "sub-002", "sub-002", "noisefree"),
        ),
        r"noisefree.*is in SUV, the full dose in Bq/mL",
    ),
    "truth of another activity": (
        lambda c: write_image(
            volume_of(8000 * smooth_body(seed=1)), truth_path(c / "sub-002", "sub-002", "noisefree")
        ),
        r"the noise-free image: its activity inside the body is",
    ),
    "lesions of another shape": (lambda c: lesions(c, np.eye(4), (24, 24, 18)), r"lesions.*24 x 24 x 18"),
    "lesions the other way round": (
        lambda c: lesions(c, np.diag([-4.0, 4, 4, 1])),
        r"lesions.*another grid.*mm apart",
    ),
    "too hot": (
        lambda c: write_image(
            volume_of(np.where(np.arange(16) == 3, np.float32(4e9), read(path_of(c, 4)).array)), path_of(c, 4)
        ),
        r"drf4.*times the body's mean",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_subject_is_told_in_one_line(cohort, kind):
    spoil, told = BROKEN[kind]
    spoil(cohort)
    checks = check_cohort(cohort)
    faults = {check.name: check.faults for check in checks}
    assert not faults["sub-001"] and not faults["sub-003"]
    assert faults["sub-002"] and all("\n" not in line for line in faults["sub-002"])
    assert any(re.search(told, line) for line in faults["sub-002"]), faults["sub-002"]


def test_a_sound_cohort_has_neither_faults_nor_notes(tiny_cohort):
    checks = check_cohort(tiny_cohort)
    assert [c.name for c in checks] == ["sub-001", "sub-002", "sub-003"]
    assert not any(c.faults or c.notes for c in checks)
    for check in checks:
        assert list(check.noise.values()) == sorted(check.noise.values())


def test_missing_doses_are_noted(cohort):
    path_of(cohort, 50).unlink()
    notes = {check.name: check.notes for check in check_cohort(cohort)}
    assert notes == {"sub-001": [], "sub-002": ["lacks dose 1/50, which others have"], "sub-003": []}


def test_a_subject_that_is_far_noisier_is_noted(cohort):
    for dose, scan in nested_scans(smooth_body(seed=2), level=0.3, seed=2).items():
        write_image(volume_of(4000 * scan), dose_path(cohort / "sub-002", "sub-002", dose))
    (noted,) = [check for check in check_cohort(cohort) if check.notes]
    assert noted.name == "sub-002" and "times the cohort's median" in noted.notes[0]


def test_an_unknown_unit_is_noted(cohort):
    for path in (cohort / "sub-001" / "pet").glob("*.nii.gz"):
        sidecar_path(path).unlink(missing_ok=True)
        volume = read(path)
        write_image(type(volume)(volume.array, volume.affine, "unknown"), path)
        sidecar_path(path).unlink(missing_ok=True)
    assert [check.notes for check in check_cohort(cohort)] == [["its unit is unknown"], [], []]


def test_a_subject_twice_is_a_fault(cohort):
    shutil.rmtree(cohort / "sub-003")
    copy = shutil.copytree(cohort / "sub-001", cohort / "sub-003")
    for path in copy.rglob("*sub-001*"):
        path.rename(path.with_name(path.name.replace("sub-001", "sub-003")))
    faults = {check.name: check.faults for check in check_cohort(cohort)}
    assert not faults["sub-001"] and not faults["sub-002"]
    assert "is the same file as sub-001/sub-001_rec-full_pet.nii.gz" in faults["sub-003"][0]


def test_a_store_is_checked_by_its_hashes(cohort, tmp_path):
    store = tmp_path / "s"
    pack(cohort, store, jobs=1)
    assert not any(check.faults for check in check_cohort(store) + check_store(store_subjects(store)))
    shard = next((store / "sub-002" / "scans" / "c").rglob("0/0/0/0"))
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    assert not any(check.faults for check in check_store(store_subjects(store)))  # sizes only
    (fault,) = [fault for check in check_cohort(store) for fault in check.faults]
    assert "sub-002" in fault and "hash" in fault
    shard.write_bytes(content[:-10])
    (fault,) = [fault for check in check_store(store_subjects(store)) for fault in check.faults]
    assert "bytes, not" in fault
    shard.unlink()
    (fault,) = [fault for check in check_store(store_subjects(store)) for fault in check.faults]
    assert fault.endswith("is missing")


def test_an_arrays_own_description_is_a_part_of_a_store(cohort, tmp_path):
    store = tmp_path / "s"
    pack(cohort, store, jobs=1)
    described = store / "sub-002" / "scans" / "zarr.json"
    text = described.read_text()
    described.write_text(text.replace('"float16"', '"float32"'))
    (fault,) = [fault for check in check_cohort(store) for fault in check.faults]
    assert "scans/zarr.json" in fault and "hash" in fault
    described.unlink()
    for found in (check_cohort(store), check_store(store_subjects(store))):
        (fault,) = [fault for check in found for fault in check.faults]
        assert fault.endswith("scans/zarr.json: is missing")
    # Stores of before do not list it.
    facts = json.loads((store / "sub-002" / "zarr.json").read_text())
    facts["attributes"]["subject"]["parts"].pop("scans/zarr.json")
    (store / "sub-002" / "zarr.json").write_text(json.dumps(facts))
    (fault,) = [fault for check in check_store(store_subjects(store)) for fault in check.faults]
    assert fault.endswith("scans/zarr.json: is missing")


def test_what_is_neither_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="not a cohort"):
        check_cohort(tmp_path)
