"""Where an image is noisier: told from its activity and its body."""

import numpy as np
import pytest

from mapdiff.diffusion.noise_map import NoiseMap, noise_map

SPACING = (6.0, 6.0, 6.0)
SHAPE = (64, 64, 8)
X, Y = (np.indices(SHAPE[:2]) - 31.5) * 6.0  # mm


def disc(radius_mm: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """A cylinder's mask, (I, J, K)."""
    inside = np.square(X - x) + np.square(Y - y) < radius_mm**2
    return np.repeat(inside[:, :, None], SHAPE[2], axis=2)


def map_of(activity: np.ndarray, body: np.ndarray, spacing: tuple[float, float, float] = SPACING) -> NoiseMap:
    z = activity.astype(np.float32)
    return noise_map(lambda a, b: (z[:, :, a:b], body[:, :, a:b]), z.shape, spacing)


def mean_in(places: NoiseMap, where: np.ndarray) -> float:
    return float(places.at(where, 0).mean())


def test_the_middle_of_water_is_noisier_and_a_wide_body_more_so():
    narrow, wide = disc(75), disc(150)
    thin, thick = map_of(narrow, narrow), map_of(wide, wide)
    assert mean_in(thick, disc(20)) > 1.5 * mean_in(thick, disc(12, x=130))
    # Water of that width takes e^-1.44 of a central line's counts, and a wide body gives each twice as many.
    assert mean_in(thick, disc(20)) / mean_in(thin, disc(20)) == pytest.approx(2 * np.exp(1.44), rel=0.35)


def test_a_hot_spot_is_noisier_than_the_warm_body_beside_it():
    body, hot = disc(150), disc(30, x=60)
    places = map_of(np.where(hot, 30.0, 1.0) * body, body)
    even = map_of(body, body)
    there, across = (mean_in(places, disc(12, x=x)) for x in (60, -60))
    assert there > 1.5 * across and mean_in(places, disc(12, x=60)) > 2 * mean_in(even, disc(12, x=60))
    # The body's width and a line's activity both count: a small hot head is about as noisy as a warm trunk.
    head = disc(85)
    assert mean_in(map_of(8.0 * head, head), disc(20)) == pytest.approx(mean_in(even, disc(20)), rel=0.5)


def test_the_unit_only_changes_the_scale():
    body = disc(120)
    z = body * (1 + 0.5 * np.cos(X / 40))[:, :, None]
    one, other = map_of(z, body), map_of(1000 * z, body)
    np.testing.assert_allclose(other.variance / one.variance, 1000, rtol=1e-3)
    ratio = other.typical(500, 1500) / one.typical(0.5, 1.5)
    assert ratio == pytest.approx(1000, rel=1e-3)


def test_the_voxel_size_hardly_matters():
    body = disc(120)
    z = body * np.where(disc(30, y=50), 5.0, 1.0)
    finer = [np.repeat(np.repeat(a, 2, axis=0), 2, axis=1) for a in (z, body)]
    fine = map_of(finer[0], finer[1], (3.0, 3.0, 6.0))
    where = np.repeat(np.repeat(disc(20), 2, axis=0), 2, axis=1)
    assert mean_in(fine, where) == pytest.approx(mean_in(map_of(z, body), disc(20)), rel=0.05)


def test_slices_are_told_apart_and_a_slab_gets_its_own():
    body = np.concatenate([disc(75), disc(150)], axis=2)
    places = map_of(body, body)
    centre = np.concatenate([disc(20), disc(20)], axis=2)
    whole = places.at(centre, 0)
    np.testing.assert_array_equal(places.at(centre[:, :, 11:], 11), whole[np.nonzero(centre)[2] >= 11])
    assert places.at(centre[:, :, 13:], 13).mean() > 2 * places.at(centre[:, :, :3], 0).mean()


def test_a_body_smaller_than_a_block():
    body = np.zeros((16, 16, 16), bool)
    body[7:9, 7:9, 7:9] = True
    places = map_of(5.0 * body, body, (2.0, 2.0, 2.0))
    assert places.body.any() and not places.body.all() and np.isfinite(places.typical(1.0, 2.0))


def test_no_block_of_an_activity_is_the_whole_bodys():
    body = disc(120)
    places = map_of(body, body)
    assert places.typical(5.0, 10.0) == pytest.approx(places.typical(0.0, 2.0))
