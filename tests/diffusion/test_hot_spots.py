"""Small hot spots get the input's activity; vessels, sheets and organs are none."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion.hot_spots import (
    LENGTH_MM,
    hot_spots,
    keep_hot_spots,
    opened,
    spot_reach,
)

SPACING = (4.0, 4.0, 4.0)
EDGE = 32
MIDDLE = EDGE // 2


def distance_mm(shape: tuple[int, ...], spacing: tuple[float, float, float], axes: tuple[int, ...]):
    """From the middle voxel, along these axes only."""
    grid = np.meshgrid(
        *[(np.arange(n) - n // 2) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
    )
    return np.sqrt(sum(np.square(grid[axis]) for axis in axes))


def body_with(inside: np.ndarray, activity: float = 4.0) -> np.ndarray:
    """A warm body with something hotter in it, at about a scanner's resolution."""
    body = np.ones(inside.shape, np.float32)
    body[inside] = activity
    return gaussian_filter(body, 0.6)


def ball(radius_mm: float, spacing: tuple[float, float, float] = SPACING, edge: int = EDGE) -> np.ndarray:
    return distance_mm((edge,) * 3, spacing, (0, 1, 2)) <= radius_mm


@pytest.mark.parametrize("axis", range(3))
def test_vessels_and_sheets_are_no_spots(axis):
    others = tuple(a for a in range(3) if a != axis)
    vessel = body_with(distance_mm((EDGE,) * 3, SPACING, others) <= 5)
    sheet = body_with(distance_mm((EDGE,) * 3, SPACING, (axis,)) <= 5)
    assert not hot_spots(vessel, SPACING).any()
    assert not hot_spots(sheet, SPACING).any()


def test_an_organ_is_no_spot_up_to_its_rim():
    assert not hot_spots(body_with(ball(40)), SPACING).any()


@pytest.mark.parametrize("radius", [4, 6, 8])
def test_a_ball_smaller_than_the_segments_is_a_spot(radius):
    lesion = ball(radius)
    weight = hot_spots(body_with(lesion), SPACING)
    assert weight[lesion].min() > 0.99
    assert weight[distance_mm(weight.shape, SPACING, (0, 1, 2)) > radius + 14].max() < 1e-6


def test_faint_balls_and_balls_in_air_are_no_spots():
    assert not hot_spots(body_with(ball(6), 1.2), SPACING).any()
    assert not hot_spots(np.float32(0.15) * body_with(ball(6)), SPACING).any()


def test_a_spot_keeps_the_inputs_activity_and_the_rest_the_estimate():
    lesion = ball(6)
    z = body_with(lesion)
    rng = np.random.default_rng(0)
    u = z + gaussian_filter(rng.standard_normal(z.shape).astype(np.float32), 0.5) * np.float32(0.4)
    z_hat = np.float32(1) + np.float32(0.7) * (z - np.float32(1))  # a part of the lesion is lost
    kept = keep_hot_spots(z_hat, u, SPACING)
    lost = z_hat[lesion].mean() / u[lesion].mean() - 1
    assert lost < -0.15
    assert abs(kept[lesion].mean() / u[lesion].mean() - 1) < 0.15 * abs(lost)
    far = distance_mm(z.shape, SPACING, (0, 1, 2)) > 22
    np.testing.assert_array_equal(kept[far], z_hat[far])


def test_an_estimate_without_spots_stays_as_it_is():
    z_hat = body_with(ball(40))
    u = z_hat + np.random.default_rng(0).standard_normal(z_hat.shape).astype(np.float32)
    np.testing.assert_array_equal(keep_hot_spots(z_hat, u, SPACING), z_hat)


def test_a_spot_is_as_large_on_any_grid():
    def volume(spacing: tuple[float, float, float]) -> float:
        shape = tuple(round(96 / s) for s in spacing)
        d = distance_mm(shape, spacing, (0, 1, 2))
        z = (1 + 4 * np.exp(-0.5 * np.square(d / 4))).astype(np.float32)
        return float(hot_spots(z, spacing).sum() * np.prod(spacing))

    for spacing in ((2.0, 2.0, 2.0), (3.0, 3.0, 2.0), (2.0, 2.0, 4.0)):
        assert volume(spacing) == pytest.approx(volume(SPACING), rel=0.25)


def test_an_opening_is_below_the_values_and_a_second_one_changes_nothing():
    values = gaussian_filter(np.random.default_rng(1).standard_normal((20, 22, 24)).astype(np.float32), 1)
    once = opened(values, SPACING)
    assert (once <= values).all() and (once < values).mean() > 0.2
    np.testing.assert_array_equal(opened(once, SPACING), once)


def test_turned_images_have_the_same_spots_turned():
    rng = np.random.default_rng(2)
    z = np.exp(gaussian_filter(rng.standard_normal((20, 20, 20)), 1.2) * 4).astype(np.float32)
    weight = hot_spots(z, SPACING)
    assert 0.01 < (weight > 0.5).mean() < 0.5
    for axis in range(3):
        np.testing.assert_allclose(np.flip(hot_spots(np.flip(z, axis), SPACING), axis), weight, atol=1e-5)
    np.testing.assert_allclose(hot_spots(z.transpose(2, 0, 1), SPACING).transpose(1, 2, 0), weight, atol=1e-5)


@pytest.mark.parametrize("spacing", [SPACING, (2.0, 2.0, 3.0)])
def test_a_slab_with_its_reach_gives_what_the_whole_gives(spacing):
    rng = np.random.default_rng(3)
    z = np.exp(gaussian_filter(rng.standard_normal((24, 24, 80)), 1.2) * 4).astype(np.float32)
    u = z + rng.standard_normal(z.shape).astype(np.float32)
    whole = keep_hot_spots(z, u, spacing)
    halo = spot_reach(spacing, axis=2)
    low, high = 30, 50
    part = keep_hot_spots(z[:, :, low - halo : high + halo], u[:, :, low - halo : high + halo], spacing)
    np.testing.assert_allclose(part[:, :, halo:-halo], whole[:, :, low:high], rtol=1e-5, atol=1e-5)
    assert np.abs(whole[:, :, low:high] - z[:, :, low:high]).max() > 0.1


def test_an_image_smaller_than_a_segment_is_no_error():
    assert LENGTH_MM / 4 > 4
    assert hot_spots(np.ones((3, 3, 3), np.float32), SPACING).shape == (3, 3, 3)
