"""The local mean of images, for weights of an error and for what a network is shown."""

from collections.abc import Sequence

import torch
from torch import Tensor


def box_mean(images: Tensor, width: Sequence[int]) -> Tensor:
    """Mean over a box round each voxel, of what of the box lies within the image.

    Sums of shifted images: faster than torch's pooling, which also wants images no shorter than the box.

    Args:
        images: (B, C, I, J, K).
        width: of the box along i, j, k in voxels, odd.

    Returns:
        The same shape.
    """
    for axis, size in enumerate(width, start=2):  # a box mean is the means along each axis in turn
        images = _mean_along(images, axis, size // 2)
    return images


def _mean_along(images: Tensor, axis: int, half: int) -> Tensor:
    length = images.shape[axis]
    total = images.clone()
    for shift in range(1, min(half, length - 1) + 1):
        kept = length - shift
        total.narrow(axis, 0, kept).add_(images.narrow(axis, shift, kept))
        total.narrow(axis, shift, kept).add_(images.narrow(axis, 0, kept))
    place = torch.arange(length, device=images.device)
    count = place.clamp(max=half) + (length - 1 - place).clamp(max=half) + 1
    return total.div_(count.view([-1 if a == axis else 1 for a in range(images.ndim)]))
