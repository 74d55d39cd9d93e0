"""x_0-hat of the Gaussian path from the denoiser's output, in the parametrisations that are in use."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mapdiff.diffusion.schedule import schedule_named
from mapdiff.errors import InputError
from mapdiff.methods.base import Predict
from mapdiff.methods.inputs import COLUMN
from mapdiff.methods.single_denoiser import SingleDenoiser
from mapdiff.networks.denoiser import condition_of

EPSILON, V, POSTERIOR = "epsilon", "v", "posterior"
PREDICTIONS = (POSTERIOR, V, EPSILON)
#: Noise of u on the transformed scale per NMAE: sqrt(pi / 2) sigma per NMAE of Gaussian noise, times the
#: transform's slope at the body's mean, 1 / (2 sqrt(1.05)).
NOISE_PER_LEVEL = 0.61


def check_prediction(name: str) -> None:
    """Refuse an unknown parametrisation.

    Raises:
        InputError: it is none of PREDICTIONS.
    """
    if name not in PREDICTIONS:
        raise InputError(f"prediction '{name}' is unknown; there are {', '.join(PREDICTIONS)}")


def estimate_x_0(
    net: nn.Module,
    prediction: str,
    x_t: Tensor,
    u: Tensor,
    abar: Tensor,
    level_u: Tensor,
    spacing_mm: Tensor,
) -> tuple[Tensor, Tensor]:
    """x_0-hat, and the scale that its error is measured in.

    With F the network's output less the image it adds itself to:

    - "epsilon" (Ho et al. 2020): F is the noise, x_0 = (x_t - sqrt(1 - abar) F) / sqrt(abar);
    - "v" (Salimans and Ho 2022): x_0 = sqrt(abar) x_t - sqrt(1 - abar) F;
    - "posterior": x_t / sqrt(abar) and u are two measurements of x_0, with noise sigma_t and s; F corrects
      their precision-weighted mean, in units of its standard deviation. It is the preconditioning of Karras
      et al. (2022) with the conditioning image as the prior.

    Args:
        net: the denoiser, two images.
        prediction: one of PREDICTIONS.
        x_t: (B, 1, I, J, K), transformed.
        u: the input, the same shape and scale.
        abar: (B,), below 1.
        level_u: (B,), noise level of u.
        spacing_mm: (3,) or (B, 3).

    Returns:
        x_0-hat (B, 1, I, J, K), and the scale (B, 1, 1, 1, 1): the mean of ((x_0-hat - x_0) / scale)^2 is the
        parametrisation's own loss.
    """
    root, noise = abar.sqrt().to(x_t)[COLUMN], (1 - abar).sqrt().to(x_t)[COLUMN]
    sigma = ((1 - abar) / abar).sqrt().to(level_u)
    condition = condition_of(sigma, level_u, spacing_mm)
    if prediction == POSTERIOR:
        s = (NOISE_PER_LEVEL * level_u).to(x_t)[COLUMN]
        wide = sigma.to(x_t)[COLUMN]
        share = s**2 / (s**2 + wide**2)
        centre = share * (x_t / root) + (1 - share) * u
        scale = s * wide / torch.sqrt(s**2 + wide**2)
        return centre + scale * (net(centre, u, condition) - centre), scale
    correction = net(x_t, u, condition) - x_t
    if prediction == EPSILON:
        return (x_t - noise * correction) / root, noise / root
    return root * x_t - noise * correction, noise


@dataclass(frozen=True)
class GaussianPath(SingleDenoiser):
    """Base of the methods whose states are Gaussian corruptions of x_0, on the transformed scale.

    Attributes:
        schedule: a name in `diffusion.schedule.SCHEDULES`.
        prediction: a name in PREDICTIONS.
    """

    schedule: str = "logarithmic"
    prediction: str = POSTERIOR

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            InputError: one is unknown.
        """
        schedule_named(self.schedule)
        check_prediction(self.prediction)

    def predictor(self, net: nn.Module, level: float, spacing_mm: Sequence[float]) -> Predict:
        """x_0-hat over a whole image at once, all on the transformed scale; the state's level is t."""
        abar = schedule_named(self.schedule).abar
        spacing = torch.tensor(spacing_mm, dtype=torch.float32)

        def predict(state: Tensor, u: Tensor, t: float) -> Tensor:
            x_hat, _ = estimate_x_0(
                net,
                self.prediction,
                state[None, None],
                u[None, None],
                abar[[int(t)]].to(u.device),
                torch.tensor([level], device=u.device),
                spacing.to(u.device),
            )
            return x_hat[0, 0]

        return predict
