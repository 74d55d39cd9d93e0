"""Training patches: all doses of a place at once, the same again for the same step."""

import dataclasses
import shutil
from fractions import Fraction

import nibabel
import numpy as np
import pytest
import torch

from mapdiff.cohort.layout import dose_path, doses_of, subjects, truth_path, write_image
from mapdiff.cohort.patches import PatchSampler
from mapdiff.cohort.subject import load_subject
from mapdiff.dose import DOSES, FULL
from mapdiff.errors import InputError
from synthetic import smooth_body, volume_of


@pytest.fixture(scope="module")
def loaded(tiny_cohort):
    return [load_subject(folder) for folder in subjects(tiny_cohort)]


@pytest.fixture
def subject(tiny_cohort, tmp_path):
    """A subject's own copy, to be spoiled."""
    return shutil.copytree(tiny_cohort / "sub-001", tmp_path / "sub-001")


def test_a_subject_is_scaled_by_its_body(loaded):
    for scans in loaded:
        assert scans.doses == DOSES and scans.scans.shape[1:] == scans.body.shape == scans.target.shape
        assert scans.spacing_mm == pytest.approx((4, 4, 4), rel=1e-4)
        assert scans.has_truth and len(scans.lesion_voxels) == 0
        assert float(scans.target[scans.body].astype(float).mean()) == pytest.approx(1, abs=0.25)
        errors = [
            float(np.abs(s[scans.body].astype(float) - scans.target[scans.body]).mean()) for s in scans.scans
        ]
        assert errors == sorted(errors)


def test_without_a_truth_the_full_dose_is_the_target(subject):
    truth_path(subject, "sub-001", "noisefree").unlink()
    scans = load_subject(subject)
    assert not scans.has_truth
    np.testing.assert_array_equal(scans.target, scans.scans[0])


def test_a_subject_without_full_dose_is_refused(subject):
    dose_path(subject, "sub-001", FULL).unlink()
    with pytest.raises(InputError, match=r"sub-001.*full-dose"):
        load_subject(subject)


def test_another_grid_is_refused_by_name(subject):
    path = doses_of(subject)[Fraction(1, 20)]
    write_image(volume_of(smooth_body((24, 24, 18))), path)
    with pytest.raises(InputError, match=r"drf20.*another grid"):
        load_subject(subject)


def test_the_step_decides_the_batch(loaded):
    def sampler(seed: int) -> PatchSampler:
        return PatchSampler(loaded, [0.1, 0.2, 0.3], 16, 3, seed)

    one, again, later, other = sampler(1).draw(5), sampler(1).draw(5), sampler(1).draw(6), sampler(2).draw(5)
    for field in dataclasses.fields(one):
        assert torch.equal(getattr(one, field.name), getattr(again, field.name))
    assert not torch.equal(one.scans, later.scans) and not torch.equal(one.scans, other.scans)


def test_shapes_and_nesting(loaded):
    batch = PatchSampler(loaded, [0.1, 0.2, 0.3], 16, 4, 0).draw(0)
    assert batch.scans.shape == (4, len(DOSES), 16, 16, 16) and batch.target.shape == (4, 1, 16, 16, 16)
    assert batch.scans.dtype == torch.float32
    assert batch.doses.tolist() == pytest.approx([float(d) for d in DOSES])
    assert all(min(abs(level - v) for v in (0.1, 0.2, 0.3)) < 1e-6 for level in batch.level.tolist())
    assert torch.allclose(batch.spacing_mm, torch.full((4, 3), 4.0), rtol=1e-4)
    errors = (batch.scans - batch.target).abs().mean(dim=(0, 2, 3, 4))
    assert (errors.diff() > 0).all()  # all doses show the same place, flipped alike


def test_a_patch_larger_than_the_body_is_padded(loaded):
    batch = PatchSampler(loaded, [0.1, 0.2, 0.3], 32, 2, 0).draw(0)
    assert batch.scans.shape[-3:] == (32, 32, 32) and torch.isfinite(batch.scans).all()


def test_lesions_are_sought(subject):
    shape = smooth_body().shape
    labels = np.zeros(shape, np.uint8)
    labels[12, 12, 8] = 1
    nibabel.save(
        nibabel.Nifti1Image(labels, np.diag([4.0, 4, 4, 1])), truth_path(subject, "sub-001", "lesions")
    )
    scans = load_subject(subject)
    assert scans.lesion_voxels.shape == (1, 3)
    marked = dataclasses.replace(scans, target=np.zeros_like(scans.target))
    marked.target[tuple(scans.lesion_voxels[0])] = 1
    sampler = PatchSampler([marked], [0.1], 8, 1, 0)
    hits = np.mean([bool(sampler.draw(n).target.any()) for n in range(200)])
    without = dataclasses.replace(marked, lesion_voxels=scans.lesion_voxels[:0])
    plain = np.mean([bool(PatchSampler([without], [0.1], 8, 1, 0).draw(n).target.any()) for n in range(200)])
    assert hits > plain + 0.1


def test_subjects_with_other_doses_do_not_mix(loaded):
    odd = dataclasses.replace(loaded[1], doses=loaded[1].doses[:-1])
    with pytest.raises(InputError, match=r"sub-002.*other doses"):
        PatchSampler([loaded[0], odd], [0.1, 0.1], 16, 1, 0)


def test_a_dose_is_found_by_name(loaded):
    sampler = PatchSampler(loaded, [0.1, 0.1, 0.1], 16, 1, 0)
    assert sampler.doses[sampler.dose_index(Fraction(1, 20))] == Fraction(1, 20)
    with pytest.raises(InputError, match="1/3"):
        sampler.dose_index(Fraction(1, 3))
