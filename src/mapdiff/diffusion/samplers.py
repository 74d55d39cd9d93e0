"""Samplers of the Gaussian path: pure functions of a denoiser, a state and the timesteps to visit.

Between neighbouring visited timesteps t > s all of them take alpha_{t|s} = abar_t / abar_s of the pair,
never of the full schedule, so that they stay right however few steps are taken. Nothing is clipped.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from mapdiff.diffusion.schedule import Schedule

#: x_0-hat from (x_t, t).
Denoise = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Visit:
    """What a sampler has in hand at one timestep.

    Attributes:
        t: the timestep where the estimate was made.
        x_t: the state there.
        x_0: the estimate x_0-hat from it.
        s: the timestep the step leads to.
        x_s: the state there; where s = 0 it is the sample.
    """

    t: int
    x_t: Tensor
    x_0: Tensor
    s: int
    x_s: Tensor


def posterior(schedule: Schedule, t: int, s: int) -> tuple[float, float, float]:
    """q(x_s | x_t, x_0) for s < t (Ho et al. 2020, Eq. 6 and 7, for any pair of timesteps).

    Returns:
        The mean's factor of x_0, its factor of x_t, and the variance.
    """
    abar_t, abar_s = float(schedule.abar[t]), float(schedule.abar[s])
    alpha = abar_t / abar_s
    beta = 1 - alpha
    of_x_0 = abar_s**0.5 * beta / (1 - abar_t)
    of_x_t = alpha**0.5 * (1 - abar_s) / (1 - abar_t)
    return of_x_0, of_x_t, (1 - abar_s) / (1 - abar_t) * beta


def ancestral(
    denoise: Denoise, x: Tensor, times: Sequence[int], schedule: Schedule, generator: torch.Generator
) -> Iterator[Visit]:
    """Ancestral sampling (Ho et al. 2020, Algorithm 2) with the posterior's variance.

    Args:
        denoise: gives x_0-hat.
        x: the state at times[0].
        times: falling timesteps, the last is 0.
        schedule: abar.
        generator: of the noise that each step adds.
    """
    for t, s in pairwise(times):
        x_0 = denoise(x, t)
        of_x_0, of_x_t, variance = posterior(schedule, t, s)
        x_s = of_x_0 * x_0 + of_x_t * x
        if variance > 0:
            x_s = x_s + variance**0.5 * _normal(x, generator)
        yield Visit(t, x, x_0, s, x_s)
        x = x_s


def ddim(
    denoise: Denoise,
    x: Tensor,
    times: Sequence[int],
    schedule: Schedule,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[Visit]:
    """DDIM (Song et al. 2021, Eq. 12 and 16); eta = 0 is the deterministic path, eta = 1 is ancestral.

    Arguments as in `ancestral`; the generator is needed where eta is above 0.
    """
    for t, s in pairwise(times):
        x_0 = denoise(x, t)
        abar_t, abar_s = float(schedule.abar[t]), float(schedule.abar[s])
        noise = (x - abar_t**0.5 * x_0) / (1 - abar_t) ** 0.5
        variance = eta**2 * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)
        x_s = abar_s**0.5 * x_0 + max(1 - abar_s - variance, 0.0) ** 0.5 * noise
        if variance > 0:
            assert generator is not None
            x_s = x_s + variance**0.5 * _normal(x, generator)
        yield Visit(t, x, x_0, s, x_s)
        x = x_s


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Drawn where the generator lives, so that a seed gives the same on every device."""
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)
