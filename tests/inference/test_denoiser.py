"""The denoiser people call: what may change its voxels and what must not."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

import mapdiff
from mapdiff.errors import InputError
from mapdiff.inference.denoiser import Denoiser, pretrained_path
from mapdiff.volume import Acquisition
from synthetic import FULL_LEVEL, low_dose_volume, nested_scans, smooth_body, volume_of


@pytest.fixture(scope="module")
def denoiser(small_model):
    return Denoiser.from_pretrained(small_model, "cpu")


@pytest.fixture(scope="module")
def scan():
    return low_dose_volume()


@pytest.fixture(scope="module")
def restored(denoiser, scan):
    return denoiser.denoise(scan)


def test_the_image_comes_back_on_its_grid_with_its_stages(restored, scan):
    assert restored.image.shape == scan.shape and restored.image.unit == scan.unit
    assert restored.image.array.dtype == np.float32
    np.testing.assert_array_equal(restored.image.affine, scan.affine)
    assert list(restored.stages) == ["1/10", "1/4", "1/2"] and restored.deviation is None
    assert restored.evaluations == 3 and restored.seconds > 0 and restored.peak_memory_mb > 0
    assert all(np.isfinite(image.array).all() for image in [restored.image, *restored.stages.values()])


def test_keeping_the_stages_changes_no_voxel(denoiser, scan, restored):
    alone = denoiser.denoise(scan, keep_stages=False)
    assert not alone.stages and restored.stages
    np.testing.assert_array_equal(alone.image.array, restored.image.array)


def test_noise_goes_at_every_stage(denoiser):
    """Inside a smooth body, where a blur is a fair denoiser, though each step blurs again."""
    z = gaussian_filter(smooth_body((32, 32, 32), hot=1.0), 2)
    inside = binary_erosion(z > 0.5, iterations=3)
    scan = volume_of(nested_scans(z)[Fraction(1, 20)])
    restored = denoiser.denoise(scan)
    images = [scan, *restored.stages.values(), restored.image]
    errors = [float(np.abs(image.array - z)[inside].mean()) for image in images]
    assert len(errors) == 5 and all(error < 0.6 * errors[0] for error in errors[1:])


@pytest.mark.parametrize("dose", [Fraction(1, 20), Fraction(1, 50), Fraction(1, 100)])
def test_the_level_of_the_input_is_found(denoiser, dose):
    """A blur's estimate is rough, so the level is right within a quarter, on a body without sharp edges."""
    z = gaussian_filter(smooth_body((32, 32, 32), hot=1.0), 2)
    volume = volume_of(nested_scans(z)[dose] * np.float32(7))
    found = denoiser.denoise(volume)
    assert found.level == pytest.approx(FULL_LEVEL / float(dose) ** 0.5, rel=0.25)
    assert found.dose == pytest.approx(float(dose), rel=0.6)


@pytest.mark.parametrize("gain", [3.7, 1e-4, 2.5e5])
def test_it_scales_with_the_image(denoiser, scan, restored, gain):
    scaled = denoiser.denoise(scan.with_array(scan.array * np.float32(gain)))
    assert scaled.level == pytest.approx(restored.level, rel=0.01)
    one, other = restored.image.array * gain, scaled.image.array
    assert np.abs(one - other).max() < 0.005 * np.abs(one).max()
    assert np.abs(one - other).sum() < 0.005 * np.abs(one).sum()


def test_the_header_changes_no_voxel(denoiser, scan, restored):
    facts = Acquisition(
        tracer="Ga-68 DOTATATE", weight_kg=700.0, injected_activity_bq=1.0, frame_s=1e6, suv_per_bqml=9.0
    )
    affine = scan.affine.copy()
    affine[:3, 3] = (500, -20, 3)
    affine[0, 0] *= -1  # the other side of the patient: a label, not another voxel size
    other = denoiser.denoise(
        replace(scan, unit="SUV", acquisition=facts, affine=affine, source=object(), warnings=("odd",))
    )
    assert other.image.array.tobytes() == restored.image.array.tobytes()
    assert other.image.unit == "SUV" and other.image.acquisition == facts and other.warnings[0] == "odd"


def test_the_same_again_is_the_same(denoiser, scan, restored):
    assert denoiser.denoise(scan).image.array.tobytes() == restored.image.array.tobytes()


@pytest.mark.parametrize("shape", [(97, 113, 61), (40, 36, 159), (64, 60, 47), (9, 30, 31), (25, 23, 2)])
def test_odd_shapes(denoiser, shape):
    z = smooth_body(shape)
    found = denoiser.denoise(volume_of(nested_scans(z)[Fraction(1, 20)]))
    for image in (found.image, *found.stages.values()):
        assert image.shape == shape and np.isfinite(image.array).all()
    assert np.corrcoef(found.image.array.ravel(), z.ravel())[0, 1] > 0.5


def test_the_size_of_the_tiles_hardly_matters(denoiser):
    volume = low_dose_volume((97, 61, 33))
    one, other = (denoiser.denoise(volume, tile=tile).image.array for tile in (48, 128))
    change = np.square(other - volume.array).mean() ** 0.5
    assert np.square(one - other).mean() ** 0.5 < 0.01 * change


def test_progress_ends_at_the_end(denoiser, scan):
    told = []
    denoiser.denoise(scan, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == len(told) and len({total for _, total in told}) == 1


def test_negative_voxels_are_allowed(denoiser, scan):
    shifted = scan.array + np.random.default_rng(0).normal(0, 300, scan.shape).astype(np.float32)
    assert (shifted < 0).any()
    found = denoiser.denoise(scan.with_array(shifted)).image.array
    assert np.isfinite(found).all()


def test_integer_voxels_are_allowed(denoiser, scan):
    whole = scan.array.clip(0).round()
    one = denoiser.denoise(scan.with_array(whole)).image.array
    other = denoiser.denoise(scan.with_array(whole.astype(np.int32))).image.array
    assert one.tobytes() == other.tobytes()


def test_warnings_tell_what_lies_outside_the_training(denoiser, scan):
    coarse = replace(scan, affine=np.diag([9.0, 9.0, 9.0, 1.0]))
    assert any("9.00 x 9.00 x 9.00 mm" in line for line in denoiser.denoise(coarse).warnings)
    loud = scan.with_array(scan.array + np.random.default_rng(0).normal(0, 20e3, scan.shape).astype("f4"))
    assert any("outside the trained range" in line for line in denoiser.denoise(loud).warnings)


def test_the_network_is_told_levels_that_it_was_trained_on(denoiser, scan, monkeypatch):
    loud = scan.with_array(scan.array + np.random.default_rng(0).normal(0, 20e3, scan.shape).astype("f4"))
    told = []
    plain = denoiser._estimate

    def noting(state, u, level_state, level, *rest):
        told.extend([level_state, level])
        return plain(state, u, level_state, level, *rest)

    monkeypatch.setattr(denoiser, "_estimate", noting)
    found = denoiser.denoise(loud)
    low, high = denoiser.model.level_range
    assert found.level > high and told and low <= min(told) <= max(told) <= high


def test_there_must_be_a_body(denoiser, scan):
    with pytest.raises(InputError, match="no voxel"):
        denoiser.denoise(scan.with_array(np.full(scan.shape, -1.0, np.float32)))
    with pytest.raises(InputError, match="samples"):
        denoiser.denoise(scan, samples=-1)


def test_seeds_repeat(denoiser, scan):
    one, again = (denoiser.denoise(scan, samples=2, seed=4) for _ in range(2))
    assert one.image.array.tobytes() == again.image.array.tobytes()
    assert one.deviation is not None and again.deviation is not None
    assert one.deviation.array.tobytes() == again.deviation.array.tobytes()


def test_samples_spread(denoiser, scan):
    one, other = (denoiser.denoise(scan, samples=3, seed=seed) for seed in (4, 5))
    assert one.deviation is not None
    assert (one.deviation.array >= 0).all() and one.deviation.array.mean() > 0
    assert one.image.array.tobytes() != other.image.array.tobytes()


def test_stages_of_samples_are_their_means(denoiser, scan):
    first = denoiser.denoise(scan, samples=1, seed=4)
    several = denoiser.denoise(scan, samples=4, seed=4)
    assert set(several.stages) == set(first.stages) != set()
    rough = {}
    for found in (first, several):
        for label, stage in {**found.stages, "full": found.image}.items():
            rough.setdefault(label, []).append(np.abs(np.diff(stage.array, axis=2)).mean())
    for label, (one, mean) in rough.items():
        assert mean < 0.97 * one, label  # noise that the paths add goes as they are averaged


def test_one_call_for_a_path_or_a_volume(small_model, scan, restored, tmp_path):
    mapdiff.write(scan, tmp_path / "scan.nii.gz")
    for given in (scan, tmp_path / "scan.nii.gz", str(tmp_path / "scan.nii.gz")):
        found = mapdiff.denoise(given, model=small_model, device="cpu")
        np.testing.assert_allclose(found.array, restored.image.array, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("name", ["no-such-model", "none.safetensors"])
def test_an_unknown_model_is_an_input_error(name):
    with pytest.raises(InputError, match=name):
        Denoiser.from_pretrained(name)


@pytest.mark.slow
def test_the_model_that_ships_restores_a_simulated_scan(tmp_path):
    """NMAE against the truth falls below 0.6 of the input's."""
    from mapdiff.body import body_mask
    from mapdiff.cohort.layout import doses_of, truth_path
    from mapdiff.dose import FULL
    from mapdiff.simulate.cohort import CohortPlan, simulate_cohort

    try:
        pretrained_path()
    except InputError as error:
        pytest.skip(str(error))
    low = Fraction(1, 20)
    plan = CohortPlan(1, "quadra", 11, (4.0, 4.0, 4.0), 48, (FULL, low))
    (subject,) = simulate_cohort(plan, tmp_path / "cohort")
    scan = mapdiff.read(doses_of(subject)[low])
    truth = mapdiff.read(truth_path(subject, subject.name, "noisefree"))
    body = body_mask(truth.array, truth.spacing)
    found = Denoiser.from_pretrained(device="cpu").denoise(scan)
    before, after = (
        float(np.abs(image.array - truth.array)[body].sum() / truth.array[body].sum())
        for image in (scan, found.image)
    )
    assert after < 0.6 * before
    assert found.image.array[body].mean() == pytest.approx(truth.array[body].mean(), rel=0.03)
