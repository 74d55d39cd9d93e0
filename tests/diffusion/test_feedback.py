"""Structure that an estimate lost is put back, and local activity; noise is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion.feedback import (
    DOUBTFUL,
    FLOOR,
    LEAST_SHARE,
    NARROWEST_MM,
    OCTAVES,
    POWER_MM,
    RARE_THRESHOLD,
    STRUCTURE_MM,
    THRESHOLD,
    VARIANCE_POWER,
    WIDEST_MM,
    ResidualNoise,
    corrected,
    keep_activity,
    kept_width,
    residual_counts,
    residual_noise,
    restore_structure,
)
from mapdiff.diffusion.noise_map import NoiseMap
from mapdiff.diffusion.smoothing import reach
from mapdiff.diffusion.transform import invert, transform

SPACING = (4.0, 4.0, 4.0)
ONE = np.ones((1, 1, 1), np.float32)
#: As noisy everywhere.
EVEN = NoiseMap(ONE, ONE, ONE > 0, (100, 100, 100))


def scene(noise: float, hot: float = 40.0, edge: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """A hot cube in a warm body, and a scan of it whose noise is uniform on the transformed scale."""
    z = np.ones((edge, edge, edge), np.float32)
    z[12:20, 12:20, 12:20] = hot
    rng = np.random.default_rng(0)
    white = torch.from_numpy(rng.standard_normal(z.shape).astype(np.float32))
    return z, invert(transform(torch.from_numpy(z)) + noise * white).numpy()


def restored(z_hat: np.ndarray, u: np.ndarray) -> np.ndarray:
    noise = residual_noise(residual_counts(z_hat, u, np.ones(u.shape, bool), SPACING), EVEN)
    return restore_structure(z_hat, u, noise, SPACING, EVEN)


def test_a_blurred_hot_spot_is_restored():
    z, u = scene(0.1, edge=48)  # less than a hundredth of the voxels, as a bladder's in a body
    blurred = gaussian_filter(z, 1.5)
    before, after = (np.square(image - z).mean() for image in (blurred, restored(blurred, u)))
    assert after < 0.3 * before


def test_a_perfect_estimate_gets_little_noise_back():
    z, u = scene(0.1)
    assert np.square(restored(z, u) - z).mean() < 0.05 * np.square(u - z).mean()


def test_noise_that_differs_by_activity_is_measured_at_each():
    rng = np.random.default_rng(3)
    z = np.full((48, 48, 48), 0.6, np.float32)
    z[24:] = 6.0
    sigma = np.where(z > 1, 0.3, 0.1).astype(np.float32)
    white = rng.standard_normal(z.shape).astype(np.float32)
    u = invert(transform(torch.from_numpy(z)) + torch.from_numpy(sigma * white)).numpy()
    noise = residual_noise(residual_counts(z, u, np.ones(z.shape, bool), SPACING), EVEN)
    ((_, octaves),) = noise.parts
    assert octaves.activity == pytest.approx((0.707, 5.657), rel=0.01)
    assert octaves.sigma[1] / octaves.sigma[0] == pytest.approx(3, rel=0.1)
    # By the darker half's figure for both, the noise of the brighter passes for structure.
    one = ResidualNoise(((1.0, replace(octaves, sigma=(octaves.sigma[0],) * 2)),))
    errors = [np.square(restore_structure(z, u, n, SPACING, EVEN) - z)[32:].mean() for n in (noise, one)]
    assert errors[0] < 0.1 * errors[1]


def test_the_rare_hot_voxels_are_restored_sooner():
    z, u = scene(0.1)
    noise = residual_noise(residual_counts(z, u, np.ones(z.shape, bool), SPACING), EVEN)
    # The cube holds 1.6 % of the voxels, and no measure of noise.
    assert [octaves.rare for _, octaves in noise.parts] == [2.0]
    activities = np.array([[[1.0, 1.9, 2.1, 40.0]]], np.float32)
    limit = noise.limit(activities, EVEN, 0)[0, 0]
    assert limit[1] / limit[2] == pytest.approx(THRESHOLD / RARE_THRESHOLD, rel=0.01)
    assert limit[3] == limit[2]
    # Not so soon where the map says that it is noisier than the body is; of the others it has no say.
    noisier = replace(EVEN, variance=4 * ONE)
    there = noise.limit(activities, noisier, 0)[0, 0]
    np.testing.assert_allclose(there[2:] / limit[2:], 4**VARIANCE_POWER, rtol=1e-5)
    assert np.array_equal(there[:2], limit[:2])


def test_the_histograms_of_slabs_add_up():
    z, u = scene(0.2)
    body = np.ones(z.shape, bool)
    body[:4] = False
    whole = residual_counts(z, u, body, SPACING)
    assert whole.sum() == body.sum()
    halves = sum(residual_counts(z[:, h], u[:, h], body[:, h], SPACING) for h in (slice(16), slice(16, 32)))
    assert isinstance(halves, np.ndarray) and halves.sum() == whole.sum()
    sigmas = [residual_noise(counts, EVEN).parts[0][1].sigma for counts in (halves, whole)]
    np.testing.assert_allclose(*sigmas, rtol=0.05)


def test_no_single_voxel_decides_what_is_rare():
    """The deviation at a hot voxel goes over by steps of nothing from a rare activity's to a common one's."""
    z = np.full((1, 1, 1), 6.0, np.float32)
    total, limits = 100_000, []
    shares = np.arange(0.0248, 0.0353, 0.0002)
    for share in shares:
        counts = np.zeros((OCTAVES, 8192), np.int64)
        counts[4, 400] = total - round(share * total)  # of 1 to 2 times the body's mean
        counts[6, 1500] = round(share * total)  # of 4 to 8 times
        noise = residual_noise(counts, EVEN)
        assert sum(weight for weight, _ in noise.parts) == pytest.approx(1)
        limits.append(float(noise.limit(z, EVEN, 0)[0, 0, 0]))
    assert limits[1] == limits[0] and limits[-1] == limits[-2] and limits[-1] > 1.5 * limits[0]
    inside = (shares > LEAST_SHARE - DOUBTFUL) & (shares < LEAST_SHARE + DOUBTFUL)
    steps = np.diff(np.array(limits)[inside])
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-2)


def test_all_corrections_bring_a_wrong_estimate_nearer():
    z, u = scene(0.05, hot=8.0)
    wrong = 0.93 * gaussian_filter(z, 1.0)
    after = corrected(wrong, u, np.ones(z.shape, bool), 0.1, float(np.prod(SPACING)), SPACING)
    assert np.abs(after - z).mean() < 0.6 * np.abs(wrong - z).mean()


def test_the_input_is_kept():
    z, u = scene(0.1)
    kept = u.copy()
    restored(z, u)
    keep_activity(z, u, 20.0, SPACING)
    assert np.array_equal(u, kept)


@pytest.mark.parametrize("error", [0.9, 1.1])
def test_an_estimate_whose_means_are_off_gets_the_inputs(error):
    z, u = scene(0.05, hot=3.0)
    corrected = keep_activity(z * np.float32(error), u, 20.0, SPACING)
    inner = (slice(4, -4),) * 3
    assert abs(corrected[inner].mean() / z[inner].mean() - 1) < 0.01 < abs(error - 1)
    assert np.abs(corrected - z)[inner].mean() < 0.25 * np.abs(z * error - z)[inner].mean()


def test_a_perfect_estimate_hardly_changes_by_its_mean():
    z, _ = scene(0.0, hot=3.0)  # unlike the scene's, this noise has no bias
    u = z + 0.3 * np.sqrt(z) * np.random.default_rng(1).standard_normal(z.shape).astype(np.float32)
    width = kept_width(float(np.abs(u - z).mean() / z.mean()), float(np.prod(SPACING)), kept_noise=0.04)
    change = keep_activity(z, u, width, SPACING) - z
    # The noise of a mean over `width` is that part of the signal.
    assert 0.02 < np.abs(change).mean() / z.mean() < 0.06


def test_air_that_the_estimate_has_right_is_not_darkened():
    z = np.full((24, 24, 24), 0.4 * FLOOR, np.float32)
    z[16:] = 1.0
    kept = keep_activity(z, z, 20.0, SPACING)
    np.testing.assert_allclose(kept, z, rtol=1e-5)


def test_noisier_inputs_keep_wider_means_within_limits():
    widths = [kept_width(level, 150.0) for level in (0.001, 0.1, 0.3, 1.0, 100.0)]
    assert widths == sorted(widths) and widths[0] == NARROWEST_MM and widths[-1] == WIDEST_MM
    assert kept_width(0.1, 8 * 150.0) == pytest.approx(2 * kept_width(0.1, 150.0))


def test_a_slab_with_its_reach_gives_what_the_whole_gives():
    z, u = scene(0.2)
    z = gaussian_filter(z, 1.0)
    halo = sum(reach(width, SPACING[2]) for width in (16.0, STRUCTURE_MM, POWER_MM))
    noise = residual_noise(residual_counts(z, u, np.ones(u.shape, bool), SPACING), EVEN)

    def both(z_hat: np.ndarray, scan: np.ndarray) -> np.ndarray:
        return restore_structure(keep_activity(z_hat, scan, 16.0, SPACING), scan, noise, SPACING, EVEN)

    low, high = max(14 - halo, 0), min(18 + halo, 32)
    assert low > 0 and high < 32
    part = both(z[:, :, low:high], u[:, :, low:high])[:, :, 14 - low : 18 - low]
    np.testing.assert_allclose(part, both(z, u)[:, :, 14:18], rtol=1e-4, atol=1e-5)
