"""The losses: of the estimate of the noise-free image, and of the stages against the anchors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mapdiff.diffusion.local_mean import box_mean

#: Width of the mean of u that the squared errors are weighted by, mm.
WEIGHT_WIDTH_MM = 14.0
WEIGHT_FLOOR = 0.1
#: OSEM's noise grows faster with the activity than the root of it: its variance about as this power.
WEIGHT_POWER = 1.25
#: The error of an estimate grows with the input's noise level, but not below that of the network itself.
LEVEL_FLOOR = 0.1
#: Width of the kernel round each anchor's time, in steps of the T = 1000.
KERNEL_WIDTH = 60.0


def error_weight(u: Tensor, spacing_mm: Tensor) -> Tensor:
    """Weights of the squared error: a power of one over the local mean of the input.

    The noise's variance grows with the activity, so this evens out what bright and faint tissue tell. The
    weight depends on the input alone, never on the target: the minimiser stays the conditional mean of the
    linear intensity, so means (organs, total activity) are not biased as they are by an error on a root.

    Args:
        u: (B, 1, I, J, K), the input, linear.
        spacing_mm: (B, 3).

    Returns:
        (B, 1, I, J, K).
    """
    rows = []
    for image, spacing in zip(u, spacing_mm, strict=True):
        width = [2 * max(round(WEIGHT_WIDTH_MM / float(size) / 2), 1) + 1 for size in spacing]
        mean = box_mean(image[None], width)
        rows.append((mean.clamp_min(0) + WEIGHT_FLOOR) ** -WEIGHT_POWER)
    return torch.cat(rows)


def level_weight(level_u: Tensor) -> Tensor:
    """Weights of the patches of a batch, (B,): one over the squared error to expect; each level then counts.

    Without them the lowest doses would drown the others. A level of 0.3 has the weight 1.
    """
    return (0.3**2 + LEVEL_FLOOR**2) / (level_u.square() + LEVEL_FLOOR**2)


def weighted_square(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """rho: the weighted squared error of each patch, (B,)."""
    return (weight * (prediction - target).square()).flatten(1).mean(dim=1)


def timestep_weights(
    t: Tensor, anchors: Mapping[str, float | Tensor], width: float = KERNEL_WIDTH
) -> dict[str, Tensor]:
    """w_d(t): a Gaussian kernel round each anchor's calibrated time.

    Args:
        t: (B,), the times of the states.
        anchors: calibrated time of each anchor, by label; one for all states, or (B,).
        width: standard deviation of the kernel, in timesteps.

    Returns:
        By label, (B,) weights in (0, 1].
    """
    return {label: torch.exp(-((t - time) ** 2) / (2 * width**2)) for label, time in anchors.items()}
