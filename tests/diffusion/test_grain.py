import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion.grain import grain_volume, neighbour_correlation

SHAPE = (48, 40, 56)


def grain_of(noise: np.ndarray, spacing: tuple[float, float, float]) -> float:
    mean, body = np.ones(SHAPE, np.float32), np.ones(SHAPE, bool)
    return grain_volume(neighbour_correlation(noise.astype(np.float32), mean, body), spacing)


def test_white_noise_has_the_volume_of_a_voxel() -> None:
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    assert grain_of(noise, (2.0, 3.0, 1.5)) == pytest.approx(9.0, rel=0.06)


def test_filtered_noise_has_the_volume_of_the_filters_autocorrelation() -> None:
    # Autocorrelation of a Gaussian filter of SD s: exp(-x^2 / (4 s^2)), whose integral is sqrt(4 pi) s.
    noise = gaussian_filter(np.random.default_rng(1).standard_normal(SHAPE), (1.5, 1.0, 2.0), mode="wrap")
    expected = (4 * np.pi) ** 1.5 * 1.5 * 1.0 * 2.0
    assert grain_of(noise, (1.0, 1.0, 1.0)) == pytest.approx(expected, rel=0.1)


def test_level_and_grain_together_do_not_change_under_a_filter() -> None:
    noise = gaussian_filter(np.random.default_rng(2).standard_normal(SHAPE), 1.0, mode="wrap")
    filtered = gaussian_filter(noise, 1.2, mode="wrap")
    before, after = (x.var() * grain_of(x, (1.0, 1.0, 1.0)) for x in (noise, filtered))
    assert after == pytest.approx(before, rel=0.1)


def test_the_body_alone_counts() -> None:
    rng = np.random.default_rng(3)
    noise, body = rng.standard_normal(SHAPE).astype(np.float32), np.zeros(SHAPE, bool)
    body[8:40, 8:32, 8:48] = True
    noise[~body] = 50.0  # as correlated as can be
    assert max(map(abs, neighbour_correlation(noise, np.ones(SHAPE, np.float32), body))) < 0.02
