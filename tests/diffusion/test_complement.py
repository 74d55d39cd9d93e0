"""The noise that a stochastic step adds: of the right strength, as coarse as the input's, and repeatable."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion.complement import ComplementNoise

SHAPE = (40, 40, 40)
SPACING = (4.0, 4.0, 4.0)


def noisy(width: float, strength: float = 0.5) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """An image of 1 and the input with correlated noise on it, three times as strong in one half."""
    white = np.random.default_rng(0).standard_normal(SHAPE)
    noise = gaussian_filter(white, width, mode="wrap") if width else white
    noise *= strength / noise.std()
    noise[20:] *= 3
    z = torch.ones(SHAPE)
    return (z + torch.from_numpy(noise)).float(), z, noise


def neighbour_correlation(values: np.ndarray) -> float:
    return float(np.mean(values[:, 1:] * values[:, :-1]) / np.mean(values**2))


@pytest.mark.parametrize("ratio", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("width", [0.0, 1.0])
def test_it_is_as_strong_and_as_coarse_as_the_inputs(width, ratio):
    u, z, noise = noisy(width)
    drawn = ComplementNoise(u, z, SPACING).draw(ratio, torch.Generator().manual_seed(1)).numpy()
    for half in (slice(4, 16), slice(24, 36)):
        assert drawn[half].std() == pytest.approx(ratio**0.5 * noise[half].std(), rel=0.15)
    assert abs(drawn.mean()) < 0.1 * drawn.std()
    assert neighbour_correlation(drawn[:16]) == pytest.approx(neighbour_correlation(noise[:16]), abs=0.1)


def test_draws_are_independent_and_repeat():
    u, z, noise = noisy(0.0)
    source = ComplementNoise(u, z, SPACING)
    generator = torch.Generator().manual_seed(2)
    one, other = source.draw(1.0, generator), source.draw(1.0, generator)
    again = source.draw(1.0, torch.Generator().manual_seed(2))
    assert torch.equal(one, again)
    for a, b in ((one, other), (one, torch.from_numpy(noise))):
        a, b = a[:16].double().flatten(), b[:16].double().flatten()
        assert abs(float((a * b).mean() / (a.std() * b.std()))) < 0.05


def test_without_noise_nothing_is_added():
    z = torch.ones(SHAPE)
    drawn = ComplementNoise(z, z, SPACING).draw(1.0, torch.Generator().manual_seed(0))
    assert torch.isfinite(drawn).all() and drawn.abs().max() == 0
