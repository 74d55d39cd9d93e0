"""The schedules: valid, resolved where PET needs it, and the forward marginal is what it says."""

import pytest
import torch

from mapdiff.diffusion.schedule import SCHEDULES, T, diffuse, logarithmic, respaced, schedule_named
from mapdiff.errors import InputError


@pytest.fixture(params=list(SCHEDULES))
def schedule(request):
    return schedule_named(request.param)


def test_a_schedule_falls_from_one_to_nearly_nothing(schedule):
    abar = schedule.abar
    assert abar.shape == (T + 1,) and abar[0] == 1
    assert bool((abar[1:] < abar[:-1]).all()) and 0 < float(abar[-1]) < 2e-4
    assert schedule.sigma(0) == 0


def test_times_are_found_again(schedule):
    for t in (1, 7, 250, 999, 1000):
        assert schedule.time_of(float(schedule.sigma(t))) == t
    assert schedule.time_of(0) == 1 and schedule.time_of(1e9) == T


def test_small_degradations_are_resolved():
    """From a full-dose scan's noise to five times that: 0.02 to 0.1 on the transformed scale."""

    def timesteps(name: str) -> int:
        schedule = schedule_named(name)
        return schedule.time_of(0.1) - schedule.time_of(0.02)

    assert timesteps("logarithmic") > 150 > 40 > timesteps("linear")


def test_the_linear_schedule_is_the_papers():
    """abar_T = prod(1 - beta_t), checked in another way: exp of a sum of logarithms."""
    betas = [1e-4 + (0.02 - 1e-4) * n / (T - 1) for n in range(T)]
    expected = torch.tensor(betas, dtype=torch.float64).neg().log1p().sum().exp()
    torch.testing.assert_close(schedule_named("linear").abar[-1], expected)


@pytest.mark.parametrize("t", [1, 300, 1000])
def test_the_forward_marginal(schedule, t):
    x_0 = torch.full((2, 1, 40, 40, 40), 1.7)
    noise = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(t))
    abar = schedule.abar[torch.tensor([t, t])]
    x_t = diffuse(x_0, noise, abar)
    a = float(abar[0])
    assert float(x_t.mean()) == pytest.approx(a**0.5 * 1.7, abs=5 * (1 - a) ** 0.5 / x_t.numel() ** 0.5)
    assert float(x_t.var()) == pytest.approx(1 - a, rel=0.03)


def test_stepping_forward_is_the_marginal():
    """x_t from x_{t-1} by beta_t, T times, has the variance that abar_T says."""
    abar = logarithmic().abar
    variance = torch.zeros((), dtype=torch.float64)
    for t in range(1, T + 1):
        alpha = abar[t] / abar[t - 1]
        variance = alpha * variance + 1 - alpha
    torch.testing.assert_close(variance, 1 - abar[-1])


def test_respacing():
    assert respaced(1) == [T, 0] and respaced(4, 100) == [100, 75, 50, 25, 0]
    assert respaced(T) == list(range(T, -1, -1)) and respaced(50, 3) == [3, 2, 1, 0]
    with pytest.raises(InputError, match="at least 1"):
        respaced(0)


def test_an_unknown_schedule_is_named():
    with pytest.raises(InputError, match="'sigmoid'"):
        schedule_named("sigmoid")
