"""The path through the doses and its algebra."""

import numpy as np
import pytest
import torch

from mapdiff.diffusion import dose_path
from mapdiff.diffusion.dose_path import SIGMA_MAX, SIGMA_MIN, T, dose_at, noise_free, sigma, step, time_of


def images(*shape: int, count: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def test_time_and_dose_are_inverse():
    t = np.linspace(1, T, 500)
    np.testing.assert_allclose([time_of(float(d)) for d in dose_at(t)], t, rtol=1e-9)
    doses = np.geomspace(1 / 800, 0.98, 50)
    np.testing.assert_allclose([dose_at(time_of(d)) for d in doses], doses, rtol=1e-9)


def test_the_path_falls_from_the_full_dose():
    t = np.linspace(1, T, 500)
    assert (np.diff(dose_at(t)) < 0).all() and (np.diff(sigma(t)) > 0).all()
    assert sigma(1) == pytest.approx(SIGMA_MIN) and sigma(T) == pytest.approx(SIGMA_MAX)
    # sigma^2 is the variance of y_d - x_0 in units of the full dose's
    np.testing.assert_allclose(sigma(t) ** 2, 1 / dose_at(t) - 1)


@pytest.mark.parametrize(("dose", "t"), [(1.0, 1.0), (0.999, 1.0), (1.7, 1.0), (1e-6, T), (1e-12, T)])
def test_doses_beyond_the_path_are_clipped(dose, t):
    assert time_of(dose) == t


def test_a_step_to_the_same_dose_changes_nothing():
    y, z = images(4, 5, 6)
    torch.testing.assert_close(step(y, z, 1.0), y, rtol=1e-12, atol=1e-12)


def test_two_steps_equal_one():
    y, z = images(4, 5, 6)
    two = step(step(y, z, (1 / 20) / (1 / 4)), z, (1 / 4) / (1 / 2))
    torch.testing.assert_close(two, step(y, z, (1 / 20) / (1 / 2)), rtol=1e-12, atol=1e-12)


def test_a_ratio_for_each_patch():
    y, z = images(2, 1, 4, 5, 6)
    ratio = torch.tensor([0.1, 0.7], dtype=torch.float64)[:, None, None, None, None]
    both = step(y, z, ratio)
    for n, r in enumerate((0.1, 0.7)):
        torch.testing.assert_close(both[n], step(y[n], z[n], r))


def test_a_step_is_the_expected_higher_dose():
    """Over many complements, the mean of the scan at d' given the one at d is Eq. (step) with the true z."""
    d, d2, z = 0.1, 0.25, torch.full((2000,), 3.0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)

    def scan(dose: float) -> torch.Tensor:
        return z + (z / dose).sqrt() * torch.randn(2000, generator=generator, dtype=torch.float64)

    y = scan(d)
    repeats = torch.stack([(d / d2) * y + (1 - d / d2) * scan(d2 - d) for _ in range(400)])
    error = (repeats.mean(0) - step(y, z, d / d2)).std()
    assert error < 1.2 * repeats.std(0).mean() / 400**0.5
    # and its own noise is that of a scan at d'
    assert float((repeats - z).var()) == pytest.approx(3.0 / d2, rel=0.1)


@pytest.mark.parametrize("dose", [0.01, 0.05, 0.5])
def test_the_noise_free_image_is_had_back(dose):
    u, z = images(4, 5, 6)
    torch.testing.assert_close(noise_free(step(u, z, dose), u, dose), z, rtol=1e-9, atol=1e-9)


def test_anchors_above_come_in_rising_order():
    assert dose_path.anchors_above(0.05) == [("1/10", 0.1), ("1/4", 0.25), ("1/2", 0.5)]
    assert dose_path.anchors_above(0.097) == [("1/4", 0.25), ("1/2", 0.5)]  # 1/10 is the input itself
    assert dose_path.anchors_above(0.3) == [("1/2", 0.5)]
    assert dose_path.anchors_above(1.0) == []
