"""Training patches: all doses of a place at once, the same again for the same step."""

import dataclasses
import multiprocessing
import shutil
from fractions import Fraction

import nibabel
import numpy as np
import pytest
import torch
import zarr

from mapdiff.cohort.layout import dose_path, doses_of, subjects, truth_path, write_image
from mapdiff.cohort.pack import pack
from mapdiff.cohort.patches import PatchSampler, batches, dose_index
from mapdiff.cohort.store import BLOCK, CHUNK, store_subjects
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


@pytest.fixture(scope="module")
def stored(tiny_cohort, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "tiny"
    pack(tiny_cohort, path, jobs=1)
    return store_subjects(path)


def sampler_of(stored, patch=16, batch=3, seed=1) -> PatchSampler:
    return PatchSampler(stored, [0.1, 0.2, 0.3][: len(stored)], patch, batch, seed)


def assert_same(one, other) -> None:
    for field in dataclasses.fields(one):
        assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name


def test_the_step_decides_the_batch(stored):
    one, again = (sampler_of(stored).draw(5) for _ in range(2))
    later, other = sampler_of(stored).draw(6), sampler_of(stored, seed=2).draw(5)
    assert_same(one, again)
    assert not torch.equal(one.scans, later.scans) and not torch.equal(one.scans, other.scans)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_number_of_workers_changes_nothing(stored, workers):
    sampler = sampler_of(stored)
    found = list(batches(sampler, range(4, 9), workers=workers))
    assert len(found) == 5
    for step, batch in zip(range(4, 9), found, strict=True):
        assert_same(batch, sampler.draw(step))


def test_parts_make_the_whole(stored):
    sampler = sampler_of(stored, batch=4)
    whole = sampler.draw(3)
    for part in (slice(0, 2), slice(2, 4)):
        assert_same(sampler.draw(3, part), whole.part(part))


def test_a_patch_is_what_the_subject_has_there(stored, loaded):
    """Read from the store, mirrored and scaled: the same as from the subject in memory."""
    sampler = sampler_of(stored, batch=8)
    batch = sampler.draw(2)
    for n, place in enumerate(sampler.places(2)):
        scans = loaded[place.subject]
        box = tuple(slice(s, s + 16) for s in place.start)
        images = np.concatenate([scans.scans, scans.target[None]])[(slice(None), *box)].astype(np.float32)
        images = np.flip(images, [axis + 1 for axis in place.flipped]) * np.float32(place.gain)
        np.testing.assert_array_equal(batch.scans[n].numpy(), images[:-1])
        np.testing.assert_array_equal(batch.target[n, 0].numpy(), images[-1])


def test_shapes_and_nesting(stored):
    batch = sampler_of(stored, batch=4).draw(0)
    assert batch.scans.shape == (4, len(DOSES), 16, 16, 16) and batch.target.shape == (4, 1, 16, 16, 16)
    assert batch.scans.dtype == torch.float32 and len(batch) == 4 and batch.present.all()
    assert batch.doses.tolist() == pytest.approx([float(d) for d in DOSES])
    assert all(min(abs(level - v) for v in (0.1, 0.2, 0.3)) < 1e-6 for level in batch.level.tolist())
    assert torch.allclose(batch.spacing_mm, torch.full((4, 3), 4.0), rtol=1e-4)
    errors = (batch.scans - batch.target).abs().mean(dim=(0, 2, 3, 4))
    assert (errors.diff() > 0).all()  # all doses show the same place, flipped alike


def test_a_patch_larger_than_the_body_is_padded(stored):
    batch = sampler_of(stored, patch=32, batch=2).draw(0)
    assert batch.scans.shape[-3:] == (32, 32, 32) and torch.isfinite(batch.scans).all()


def test_places_cover_the_body_evenly(stored):
    """Patches of one voxel: all but the hot spots' share lie in the body, in proportion to its voxels."""
    (subject, *_) = stored
    sampler = PatchSampler([subject], [0.1], 1, 2000, 0)
    starts = np.array([place.start for place in sampler.places(0)])
    blocks = subject.body_blocks().astype(int)
    expected = np.zeros(blocks[:, :3].max(axis=0) + 1)
    expected[tuple(blocks[:, :3].T)] = blocks[:, 3] / blocks[:, 3].sum()
    found = np.zeros_like(expected)
    np.add.at(found, tuple((starts // BLOCK).T), 1 / len(starts))
    hot = np.zeros_like(expected)
    voxels = subject.hot_voxels().astype(int)
    np.add.at(hot, tuple((voxels // BLOCK).T), 1 / len(voxels))
    np.testing.assert_allclose(found, 0.85 * expected + 0.15 * hot, atol=0.03)


def test_lesions_and_hot_spots_are_sought(subject, tmp_path):
    labels = np.zeros(smooth_body().shape, np.uint8)
    labels[12, 12, 8] = 1
    nibabel.save(
        nibabel.Nifti1Image(labels, np.diag([4.0, 4, 4, 1])), truth_path(subject, "sub-001", "lesions")
    )
    (subject.parent / "cohort.json").write_text("{}")
    pack(subject.parent, tmp_path / "store", jobs=1)
    (marked,) = store_subjects(tmp_path / "store")
    scans = load_subject(subject)
    np.testing.assert_array_equal(marked.lesion_voxels(), scans.lesion_voxels)
    places = PatchSampler([marked], [0.1], 1, 3000, 0).places(0)
    at = [place.start for place in places]
    lesion = tuple(scans.lesion_voxels[0])
    assert at.count(lesion) / len(at) == pytest.approx(0.2, abs=0.03)
    hottest = set(map(tuple, marked.hot_voxels().tolist()))
    values = scans.target[tuple(marked.hot_voxels().T.astype(int))]
    assert values.min() >= np.quantile(scans.target[scans.body].astype(float), 0.989)
    assert sum(place in hottest for place in at) / len(at) == pytest.approx(0.15, abs=0.04)


def test_a_dose_that_a_subject_lacks_is_not_present(tiny_cohort, tmp_path):
    cohort = shutil.copytree(tiny_cohort, tmp_path / "cohort")
    dose_path(cohort / "sub-002", "sub-002", Fraction(1, 4)).unlink()
    pack(cohort, tmp_path / "store", jobs=1)
    sampler = sampler_of(store_subjects(tmp_path / "store"), batch=12)
    assert sampler.doses == DOSES
    batch, at = sampler.draw(0), dose_index(DOSES, Fraction(1, 4))
    lacking = torch.tensor([place.subject == 1 for place in sampler.places(0)])
    assert lacking.any() and not lacking.all()
    assert torch.equal(batch.present[:, at], ~lacking)
    assert batch.present.sum() == 12 * len(DOSES) - lacking.sum()
    assert not batch.scans[lacking, at].any()


def test_a_patch_reads_at_most_four_times_its_bytes(tmp_path):
    """Counted on a store: bytes of the chunks that random patches of 48 and 64 voxels touch."""
    for edge in (48, 64):
        rng = np.random.default_rng(0)
        starts = rng.integers(0, 400 - edge, (4000, 3))
        touched = np.prod((starts + edge - 1) // CHUNK - starts // CHUNK + 1, axis=1)
        assert touched.mean() * CHUNK**3 / edge**3 < 4


def test_files_that_are_gone_are_an_input_error(stored, tmp_path):
    copy = shutil.copytree(stored[0].path, tmp_path / "c" / "sub-001")
    (subject,) = store_subjects_in(tmp_path / "c")
    shutil.rmtree(copy / "scans")
    for workers in (0, 1):
        with pytest.raises(InputError, match=r"scans: cannot be read") as error:
            next(batches(PatchSampler([subject], [0.1], 16, 1, 0), range(1), workers=workers))
        assert "\n" not in str(error.value)
        assert not multiprocessing.active_children()  # though the error's traceback is still there


def store_subjects_in(path):
    zarr.create_group(path, attributes={"kind": "mapdiff store", "version": 1})
    return store_subjects(path)


class _TooLarge(PatchSampler):
    def draw(self, step, part=slice(None)):
        raise MemoryError


@pytest.mark.parametrize("workers", [0, 1])
def test_too_little_memory_for_reading_is_told(stored, workers):
    sampler = _TooLarge(stored[:1], [0.1], 8, 2, 0)
    with pytest.raises(InputError, match="out of memory while patches were read: fewer --workers"):
        list(batches(sampler, range(1), workers=workers))


def test_the_nearest_dose_is_found():
    assert DOSES[dose_index(DOSES, Fraction(1, 20))] == Fraction(1, 20)
    assert DOSES[dose_index(DOSES, Fraction(1, 25))] == Fraction(1, 20)
    assert DOSES[dose_index(DOSES, Fraction(1, 1000))] == Fraction(1, 100)


def test_patches_that_no_subject_fills_are_refused(stored):
    longest = max(max(subject.facts.shape) for subject in stored)
    with pytest.raises(InputError, match=f"--patch 4096: the largest subject's longest axis has {longest}"):
        sampler_of(stored, 4096)
