"""Noise schedules of the Gaussian path, in the paper's notation.

    q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I),    t = 0 ... T,  abar_0 = 1.

sigma_t = sqrt((1 - abar_t) / abar_t) is the noise of the rescaled state x_t / sqrt(abar_t), the figure that
degradations are compared by.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mapdiff.errors import InputError

T = 1000
#: Ends of the logarithmic schedule: a fifth of a full-dose scan's noise, and far above any intensity.
SIGMA_MIN, SIGMA_MAX = 0.004, 80.0


@dataclass(frozen=True)
class Schedule:
    """A discrete schedule.

    Attributes:
        name: a name in SCHEDULES.
        abar: (T + 1,), float64, from 1 at t = 0 downwards.
    """

    name: str
    abar: Tensor

    def sigma(self, t: Tensor | int) -> Tensor:
        """sigma_t, float64, of whole timesteps in [0, T]."""
        abar = self.abar[t]
        return ((1 - abar) / abar).sqrt()

    def time_of(self, sigma: float) -> int:
        """The timestep in [1, T] whose sigma_t is the nearest to `sigma`, by its logarithm."""
        distance = (self.sigma(torch.arange(1, T + 1)).log() - math.log(max(sigma, 1e-12))).abs()
        return 1 + int(distance.argmin())


def _of_betas(name: str, betas: Tensor) -> Schedule:
    return Schedule(name, torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)]))


def linear() -> Schedule:
    """beta_t from 1e-4 to 0.02 (Ho et al. 2020). All doses of PET lie at its first few timesteps."""
    return _of_betas("linear", torch.linspace(1e-4, 0.02, T, dtype=torch.float64))


def cosine() -> Schedule:
    """abar_t ~ cos^2 (Nichol and Dhariwal 2021, Eq. 17), beta_t at most 0.999."""
    s = (torch.arange(T + 1, dtype=torch.float64) / T + 0.008) / 1.008
    abar = torch.cos(s * math.pi / 2) ** 2
    return _of_betas("cosine", (1 - abar[1:] / abar[:-1]).clamp(max=0.999))


def logarithmic() -> Schedule:
    """sigma_t even in its logarithm, so that a factor of the noise is the same number of timesteps anywhere.

    PET's degradations are small beside the usual schedules' noise: from 0.02 to 0.1 (a full-dose scan's noise
    on the transformed scale, and five times that) this one has 163 timesteps, the linear one 24.
    """
    t = torch.linspace(0, 1, T, dtype=torch.float64)
    sigma = SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** t
    abar = 1 / (1 + sigma**2)
    return Schedule("logarithmic", torch.cat([torch.ones(1, dtype=torch.float64), abar]))


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "logarithmic": logarithmic,
    "linear": linear,
    "cosine": cosine,
}


def schedule_named(name: str) -> Schedule:
    """The schedule of that name.

    Raises:
        InputError: there is none.
    """
    if name not in SCHEDULES:
        raise InputError(f"schedule '{name}' is unknown; there are {', '.join(SCHEDULES)}")
    return SCHEDULES[name]()


def diffuse(x_0: Tensor, noise: Tensor, abar: Tensor) -> Tensor:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise.

    Args:
        x_0: (B, 1, I, J, K).
        noise: standard normal, the same shape.
        abar: (B,), abar_t of each.
    """
    a = abar.to(x_0.dtype)[:, None, None, None, None]
    return a.sqrt() * x_0 + (1 - a).sqrt() * noise


def respaced(steps: int, start: int = T) -> list[int]:
    """Timesteps that a sampler visits, evenly from `start` down to 0 (which is x_0); at most steps + 1.

    Raises:
        InputError: no step.
    """
    if steps < 1:
        raise InputError(f"{steps} sampling steps: at least 1")
    times = [round(start * (steps - n) / steps) for n in range(steps + 1)]
    return sorted(set(times), reverse=True)
