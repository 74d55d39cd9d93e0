"""The samplers against Gaussian data, whose optimum denoiser and ODE are known in closed form.

x_0 ~ N(m, s^2): E[x_0 | x_t] = m + sqrt(abar) s^2 / (abar s^2 + 1 - abar) (x_t - sqrt(abar) m), and along the
ODE (x_t - sqrt(abar) m) / sqrt(abar s^2 + 1 - abar) does not change.
"""

import pytest
import torch

from mapdiff.diffusion.samplers import ancestral, ddim, posterior
from mapdiff.diffusion.schedule import SCHEDULES, T, logarithmic, respaced, schedule_named

M, S = 0.8, 0.5
SHAPE = (30_000,)


def optimum(schedule):
    def denoise(x, t):
        a = float(schedule.abar[t])
        return M + a**0.5 * S**2 / (a * S**2 + 1 - a) * (x - a**0.5 * M)

    return denoise


def start(schedule, seed=0):
    """The state at T, drawn from its true marginal."""
    a = float(schedule.abar[T])
    normal = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a**0.5 * M + (a * S**2 + 1 - a) ** 0.5 * normal


def last(visits):
    *_, visit = visits
    assert visit.s == 0
    return visit.x_s


@pytest.fixture(params=list(SCHEDULES))
def schedule(request):
    return schedule_named(request.param)


def test_ancestral_sampling_gives_mean_and_variance_back(schedule):
    x = start(schedule)
    found = last(ancestral(optimum(schedule), x, respaced(T), schedule, torch.Generator().manual_seed(1)))
    assert float(found.mean()) == pytest.approx(M, abs=0.012)
    assert float(found.std()) == pytest.approx(S, rel=0.02)


def test_ddim_gives_mean_and_variance_back_in_few_steps():
    schedule = logarithmic()
    found = last(ddim(optimum(schedule), start(schedule), respaced(50), schedule))
    assert float(found.mean()) == pytest.approx(M, abs=0.012)
    assert float(found.std()) == pytest.approx(S, rel=0.05)


def test_ddim_with_all_steps_is_the_ode(schedule):
    x = start(schedule)
    a = float(schedule.abar[T])
    exact = M + S * (x - a**0.5 * M) / (a * S**2 + 1 - a) ** 0.5
    found = last(ddim(optimum(schedule), x, respaced(T), schedule))
    assert float((found - exact).abs().max()) < 0.02
    coarse = last(ddim(optimum(schedule), x, respaced(100), schedule))
    assert float((found - exact).abs().mean()) < 0.2 * float((coarse - exact).abs().mean())


def test_ddim_with_eta_one_is_ancestral(schedule):
    x, times = start(schedule), respaced(20)
    one = last(ddim(optimum(schedule), x, times, schedule, 1.0, torch.Generator().manual_seed(2)))
    other = last(ancestral(optimum(schedule), x, times, schedule, torch.Generator().manual_seed(2)))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("t", "s"), [(1000, 999), (1000, 980), (500, 1), (40, 20), (20, 0)])
def test_the_posterior_of_respaced_timesteps(schedule, t, s):
    """Bayes: the precision of x_s is that of its prior given x_0 plus that of the observation x_t."""
    abar_t, abar_s = float(schedule.abar[t]), float(schedule.abar[s])
    of_x_0, of_x_t, variance = posterior(schedule, t, s)
    if s == 0:
        assert (of_x_0, of_x_t, variance) == pytest.approx((1, 0, 0))
        return
    alpha = abar_t / abar_s
    precision = 1 / (1 - abar_s) + alpha / (1 - alpha)
    assert variance == pytest.approx(1 / precision)
    assert of_x_0 == pytest.approx(abar_s**0.5 / (1 - abar_s) / precision)
    assert of_x_t == pytest.approx(alpha**0.5 / (1 - alpha) / precision)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_with_the_truth_known_each_state_has_its_marginal_noise(sampler):
    """x_0 known: after any respaced step the residual noise is the schedule's, at t = 20 of 50 steps too."""
    schedule = logarithmic()
    x_0 = torch.full(SHAPE, M, dtype=torch.float64)
    a = float(schedule.abar[T])
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x, times = a**0.5 * x_0 + (1 - a) ** 0.5 * noise, respaced(50)
    generator = torch.Generator().manual_seed(4)
    visits = (
        ancestral(lambda *_: x_0, x, times, schedule, generator)
        if sampler == "ancestral"
        else ddim(lambda *_: x_0, x, times, schedule)
    )
    for visit in visits:
        a = float(schedule.abar[visit.s])
        residual = visit.x_s - a**0.5 * x_0
        assert float(residual.std()) == pytest.approx((1 - a) ** 0.5, rel=0.03, abs=1e-9)


def test_the_same_seed_gives_the_same_sample():
    schedule = logarithmic()

    def sample(seed):
        generator = torch.Generator().manual_seed(seed)
        return last(ancestral(optimum(schedule), start(schedule), respaced(10), schedule, generator))

    assert torch.equal(sample(1), sample(1)) and not torch.equal(sample(1), sample(2))
