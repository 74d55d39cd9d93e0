"""The local mean of images, for weights of an error and for what a network is shown."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def box_mean(images: Tensor, width: Sequence[int]) -> Tensor:
    """Mean over a box round each voxel, of what of the box lies within the image.

    Args:
        images: (B, C, I, J, K), no shorter than the box along any axis.
        width: of the box along i, j, k in voxels, odd.

    Returns:
        The same shape.
    """
    for axis, size in enumerate(width):  # a box mean is the means along each axis in turn
        window = [size if a == axis else 1 for a in range(3)]
        padding = [w // 2 for w in window]
        images = functional.avg_pool3d(images, window, stride=1, padding=padding, count_include_pad=False)
    return images
