"""The projector: adjoint to rounding, loses no counts, blurs by what it says."""

import numpy as np
import pytest

from mapdiff.simulate import projector as projector_module
from mapdiff.simulate.projector import FWHM_TO_SIGMA, MergedPixels, Projector, gaussian_blur


def projector_of(spacing=(4.0, 3.0, 5.0), shape=(17, 20), angles=24, subsets=4, bin_mm=3.5) -> Projector:
    i, j = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return Projector(i**2 + j**2 < 0.95, spacing, angles, subsets, bin_mm)


@pytest.mark.parametrize("fwhm", [0.0, 6.0])
@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (4.0, 3.0, 5.0), (1.7, 2.5, 1.1)])
def test_back_is_the_adjoint_of_forward(fwhm, spacing):
    rng = np.random.default_rng(0)
    p = projector_of(spacing)
    image = rng.random((int(p.support.sum()), 5), np.float32)
    for subset in range(p.subsets):
        views = rng.random((p.angles // p.subsets, p.bins, 5), np.float32)
        one = np.vdot(p.forward(image, subset, fwhm).astype(float), views)
        other = np.vdot(image.astype(float), p.back(views, subset, fwhm))
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("angles", [24, 120])
@pytest.mark.parametrize("spacing", [(4.0, 3.0, 5.0), (1.65, 1.65, 1.65), (4.0, 4.0, 4.0)])
def test_no_weight_is_negative(angles, spacing):
    # One of -1e-13 was enough for NaN in slices of a few thousand counts.
    p = projector_of(spacing, angles=angles, subsets=angles, bin_mm=spacing[0])
    assert min(float(matrix.data.min()) for subset in range(angles) for _, matrix in p.blocks(subset)) > 0


@pytest.mark.parametrize("pixels", [1, 7, 10_000])
def test_blocks_of_pixels_make_up_the_whole(pixels, monkeypatch):
    rng = np.random.default_rng(4)
    p = projector_of()
    views = rng.random((p.angles // p.subsets, p.bins, 5), np.float32)
    for projector in (p, MergedPixels(p, 3)):
        whole = projector.back(views, 1, 6.0)
        monkeypatch.setattr(projector_module, "BLOCK", pixels)
        image = np.full_like(whole, np.nan)
        for at, matrix in projector.blocks(1):
            assert matrix.shape[0] <= pixels
            image[at] = matrix @ projector.rays(views, 6.0)
        np.testing.assert_array_equal(image, whole)
        np.testing.assert_array_equal(projector.back(views, 1, 6.0), whole)
        monkeypatch.undo()


@pytest.mark.parametrize("fwhm", [0.0, 6.0])
def test_every_pixel_gives_the_sum_one(fwhm):
    p = projector_of()
    pixels = int(p.support.sum())
    image = np.zeros((pixels, pixels), np.float32)  # a slice for each pixel, so the blur would mix them
    np.fill_diagonal(image, 1)
    if fwhm:
        image = np.zeros((pixels, 11), np.float32)
        image[[0, pixels // 2, pixels - 1], 5] = 1
    total = sum(p.forward(image, subset, fwhm).sum(axis=(0, 1), dtype=float) for subset in range(p.subsets))
    if fwhm:
        assert total.sum() == pytest.approx(3, rel=1e-4)
    else:
        np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_each_angle_sees_the_same_share():
    p = projector_of()
    image = np.random.default_rng(1).random((int(p.support.sum()), 2), np.float32)
    shares = np.concatenate([p.forward(image, s, 0.0).sum(axis=1) for s in range(p.subsets)])
    np.testing.assert_allclose(shares, np.broadcast_to(image.sum(0) / p.angles, shares.shape), rtol=1e-4)


def test_a_point_is_as_wide_as_the_resolution():
    """Variance of its profile: the detector's, plus the square pixel's and the bin's."""
    p = projector_of((1.0, 1.0, 1.0), (31, 31), 16, 2, 1.0)
    image = np.zeros((*p.support.shape, 41), np.float32)
    image[15, 15, 20] = 1
    views = p.forward(p.flatten(image), 1, 6.0)
    expected = 6.0 * FWHM_TO_SIGMA
    for view in views.astype(float):
        along_bins, along_slices = view.sum(axis=1), view.sum(axis=0)
        for profile, extra in ((along_bins, 1 / 12 + 1 / 12), (along_slices, 0)):
            x = np.arange(profile.size)
            mean = (x * profile).sum() / profile.sum()
            variance = ((x - mean) ** 2 * profile).sum() / profile.sum()
            assert np.sqrt(variance - extra) == pytest.approx(expected, rel=0.02)


def test_a_point_falls_where_geometry_says():
    p = projector_of((2.0, 2.0, 2.0), (31, 31), 8, 1, 2.0)
    for i, j in ((15, 15), (22, 9), (5, 18)):
        image = np.zeros((31, 31, 1), np.float32)
        image[i, j] = 1
        views = p.forward(p.flatten(image), 0, 0.0)[:, :, 0]
        s = (np.arange(p.bins) + 0.5 - p.bins / 2) * p.bin_mm
        found = (views * s).sum(axis=1) / views.sum(axis=1)
        phi = np.arange(8) * np.pi / 8
        expected = 2 * ((i - 15) * np.cos(phi) + (j - 15) * np.sin(phi))
        # a centroid over bins is as true as the bins are fine
        np.testing.assert_allclose(found, expected, atol=0.05 * p.bin_mm)


def test_flatten_and_unflatten_are_inverse_on_the_support():
    p = projector_of()
    volume = np.random.default_rng(2).random((*p.support.shape, 3), np.float32)
    back = p.unflatten(p.flatten(volume))
    np.testing.assert_array_equal(back, np.where(p.support[:, :, None], volume, 0))


def test_blur_of_nothing_is_nothing():
    array = np.random.default_rng(3).random((5, 6), np.float32)
    assert gaussian_blur(array, 0.0, 1.0, 0) is array


def test_merged_pixels_project_as_the_pixels_they_spread_to():
    rng = np.random.default_rng(2)
    p = projector_of()
    merged = MergedPixels(p, 3)
    squares = merged.mean(rng.random((int(p.support.sum()), 4), np.float32))
    assert len(squares) < p.support.sum() / 6
    spread = merged.spread(squares)
    np.testing.assert_allclose(merged.mean(spread), squares, rtol=1e-5)
    for subset in range(p.subsets):
        forward = merged.forward(squares, subset, 5.0)
        np.testing.assert_allclose(forward, p.forward(spread, subset, 5.0), rtol=1e-4, atol=1e-6)
        views = rng.random(forward.shape, np.float32)
        one = np.vdot(forward.astype(float), views)
        assert one == pytest.approx(np.vdot(squares.astype(float), merged.back(views, subset, 5.0)), rel=1e-5)
