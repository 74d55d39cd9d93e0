"""The noise that a stochastic step adds: of the right strength, as coarse as the input's, and repeatable."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion.complement import ComplementNoise

SHAPE = (40, 40, 40)
SPACING = (4.0, 4.0, 4.0)


def noisy(width: float, strength: float = 0.5, shape=SHAPE) -> np.ndarray:
    """Correlated noise, three times as strong in one half."""
    white = np.random.default_rng(0).standard_normal(shape)
    noise = gaussian_filter(white, width, mode="wrap") if width else white
    noise *= strength / noise.std()
    noise[20:] *= 3
    return noise.astype(np.float32)


def source_of(noise: np.ndarray) -> ComplementNoise:
    return ComplementNoise(lambda start, stop: noise[:, :, start:stop], noise.shape, SPACING)


def neighbour_correlation(values: np.ndarray, axis: int = 1) -> float:
    values = np.moveaxis(values, axis, 0)
    return float(np.mean(values[1:] * values[:-1]) / np.mean(values**2))


@pytest.mark.parametrize("ratio", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("width", [0.0, 1.0])
def test_it_is_as_strong_and_as_coarse_as_the_inputs(width, ratio):
    noise = noisy(width)
    drawn = source_of(noise).draw(ratio, (1,))(0, SHAPE[2])
    for half in (slice(4, 16), slice(24, 36)):
        assert drawn[half].std() == pytest.approx(ratio**0.5 * noise[half].std(), rel=0.15)
    assert abs(drawn.mean()) < 0.1 * drawn.std()
    for axis in (1, 2):
        found, wanted = (neighbour_correlation(v[:16], axis) for v in (drawn, noise))
        assert found == pytest.approx(wanted, abs=0.1)


def test_draws_are_independent_and_repeat():
    noise = noisy(0.0)
    source = source_of(noise)
    one, other, again = (source.draw(1.0, seed)(0, SHAPE[2]) for seed in ((2, 0), (2, 1), (2, 0)))
    assert np.array_equal(one, again)
    for a, b in ((one, other), (one, noise)):
        a, b = a[:16].astype(float).ravel(), b[:16].astype(float).ravel()
        assert abs(float((a * b).mean() / (a.std() * b.std()))) < 0.05


@pytest.mark.parametrize("slices", [40, 70])
def test_a_draw_is_the_same_whatever_the_slabs(slices):
    noise = noisy(1.0, shape=(40, 24, slices))
    draw = source_of(noise).draw(0.5, (3, 1))
    whole = draw(0, slices)
    for thickness in (7, 32):
        parts = [draw(k, min(k + thickness, slices)) for k in range(0, slices, thickness)]
        np.testing.assert_allclose(np.concatenate(parts, axis=2), whole, rtol=1e-5, atol=1e-6)


def test_a_volume_thinner_than_the_filter_has_noise_of_the_right_strength():
    noise = noisy(2.0, shape=(40, 40, 2))
    drawn = source_of(noise).draw(1.0, (0,))(0, 2)
    assert drawn[24:36].std() == pytest.approx(noise[24:36].std(), rel=0.3)


def test_without_noise_nothing_is_added():
    drawn = source_of(np.zeros(SHAPE, np.float32)).draw(1.0, (0,))(0, SHAPE[2])
    assert np.isfinite(drawn).all() and np.abs(drawn).max() == 0


def test_air_that_is_exactly_zero_beside_hot_noise_stays_finite() -> None:
    rng = np.random.default_rng(0)
    residual = np.zeros((60, 60, 40), np.float32)
    residual[5:30, 5:30] = rng.standard_normal((25, 25, 40)) * np.exp(3 * rng.standard_normal((25, 25, 40)))
    noise = ComplementNoise(lambda a, b: residual[:, :, a:b], residual.shape, (2.0, 2.0, 2.0))
    assert np.isfinite(noise.draw(1.0, (0, 0))(0, 40)).all()
