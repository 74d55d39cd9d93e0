"""Names and folders of a cohort on disk."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mapdiff.cohort.layout import (
    dose_path,
    doses_of,
    sidecar_path,
    subjects,
    truth_path,
    write_image,
)
from mapdiff.dose import DOSES
from mapdiff.errors import InputError
from mapdiff.formats import read
from synthetic import smooth_body, volume_of


def test_names_are_bids_like():
    subject = Path("c/sub-001")
    assert dose_path(subject, "sub-001", Fraction(1)) == Path("c/sub-001/pet/sub-001_rec-full_pet.nii.gz")
    assert dose_path(subject, "sub-001", Fraction(1, 20)).name == "sub-001_rec-drf20_pet.nii.gz"
    assert truth_path(subject, "sub-001", "mumap") == Path("c/sub-001/truth/sub-001_mumap.nii.gz")
    assert sidecar_path(Path("a/scan.nii.gz")) == Path("a/scan.json")
    assert sidecar_path(Path("a/v1.2.nii")) == Path("a/v1.2.json")


def test_doses_are_found_from_the_highest_to_the_lowest(tiny_cohort):
    for subject in subjects(tiny_cohort):
        assert tuple(doses_of(subject)) == DOSES


def test_only_complete_subjects_count(tmp_path):
    with pytest.raises(InputError, match="not a cohort"):
        subjects(tmp_path)
    (tmp_path / "cohort.json").write_text("{}")
    with pytest.raises(InputError, match="no complete subject"):
        subjects(tmp_path)
    for name in ("sub-002", "sub-001", "sub-003", "other"):
        (tmp_path / name).mkdir()
    for name in ("sub-002", "sub-001", "other"):
        (tmp_path / name / "subject.json").write_text("{}")
    assert [s.name for s in subjects(tmp_path)] == ["sub-001", "sub-002"]


def test_an_image_and_its_sidecar(tmp_path):
    path = tmp_path / "pet" / "scan.nii.gz"
    volume = volume_of(smooth_body())
    write_image(volume, path, {"DoseReductionFactor": 20.0})
    np.testing.assert_array_equal(read(path).array, volume.array)
    sidecar = json.loads(sidecar_path(path).read_text())
    assert sidecar["DoseReductionFactor"] == 20.0
