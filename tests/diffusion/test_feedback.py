"""Structure that an estimate lost is put back, and local activity; noise is not."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion.feedback import (
    NARROWEST_MM,
    WIDEST_MM,
    keep_activity,
    kept_width,
    reach,
    residual_strength,
    restore_structure,
)
from mapdiff.diffusion.transform import invert, transform

SPACING = (4.0, 4.0, 4.0)


def scene(noise: float, hot: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    """A hot cube in a warm body, and a scan of it whose noise is uniform on the transformed scale."""
    z = np.ones((32, 32, 32), np.float32)
    z[12:20, 12:20, 12:20] = hot
    rng = np.random.default_rng(0)
    white = torch.from_numpy(rng.standard_normal(z.shape).astype(np.float32))
    return z, invert(transform(torch.from_numpy(z)) + noise * white).numpy()


def restored(z_hat: np.ndarray, u: np.ndarray) -> np.ndarray:
    strength = residual_strength(z_hat, u, np.ones(u.shape, bool), SPACING)
    return restore_structure(z_hat, u, strength, SPACING)


def test_a_blurred_hot_spot_is_restored():
    z, u = scene(0.1)
    blurred = gaussian_filter(z, 1.5)
    before, after = (np.square(image - z).mean() for image in (blurred, restored(blurred, u)))
    assert after < 0.3 * before


def test_a_perfect_estimate_gets_little_noise_back():
    z, u = scene(0.1)
    assert np.square(restored(z, u) - z).mean() < 0.1 * np.square(u - z).mean()


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
    width = kept_width(float(np.abs(u - z).mean() / z.mean()), float(np.prod(SPACING)))
    change = keep_activity(z, u, width, SPACING) - z
    # The noise of a mean over `width` is KEPT_NOISE of the signal.
    assert 0.02 < np.abs(change).mean() / z.mean() < 0.06


def test_noisier_inputs_keep_wider_means_within_limits():
    widths = [kept_width(level, 150.0) for level in (0.001, 0.1, 0.3, 1.0, 100.0)]
    assert widths == sorted(widths) and widths[0] == NARROWEST_MM and widths[-1] == WIDEST_MM
    assert kept_width(0.2, 8 * 150.0) == pytest.approx(2 * kept_width(0.2, 150.0))


def test_a_slab_with_its_reach_gives_what_the_whole_gives():
    z, u = scene(0.2)
    z = gaussian_filter(z, 1.0)
    halo = reach(16.0, SPACING[2])
    strength = residual_strength(z, u, np.ones(u.shape, bool), SPACING)

    def corrected(z_hat: np.ndarray, scan: np.ndarray) -> np.ndarray:
        return restore_structure(keep_activity(z_hat, scan, 16.0, SPACING), scan, strength, SPACING)

    low, high = max(14 - halo, 0), min(18 + halo, 32)
    assert low > 0 and high < 32
    part = corrected(z[:, :, low:high], u[:, :, low:high])[:, :, 14 - low : 18 - low]
    np.testing.assert_allclose(part, corrected(z, u)[:, :, 14:18], rtol=1e-4, atol=1e-5)
