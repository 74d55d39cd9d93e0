"""The mean over a box."""

import numpy as np
import torch
from scipy.ndimage import uniform_filter

from mapdiff.diffusion.local_mean import box_mean


def test_inside_it_is_scipys():
    images = torch.randn(2, 3, 12, 13, 14, generator=torch.Generator().manual_seed(0))
    mean = box_mean(images, (5, 3, 1))
    assert mean.shape == images.shape
    expected = uniform_filter(images.numpy(), size=(1, 1, 5, 3, 1), mode="nearest")
    inner = (slice(None), slice(None), slice(2, -2), slice(1, -1))
    np.testing.assert_allclose(mean.numpy()[inner], expected[inner], atol=1e-6)


def test_at_the_edge_it_is_the_mean_of_what_is_there():
    images = torch.zeros(1, 1, 6, 6, 6)
    images[0, 0, 0] = 1
    mean = box_mean(images, (5, 5, 5))
    assert torch.allclose(mean[0, 0, :, 2, 2], torch.tensor([1 / 3, 1 / 4, 1 / 5, 0, 0, 0]))
    assert torch.allclose(box_mean(torch.ones(1, 1, 1, 3, 9), (5, 5, 5)), torch.ones(1, 1, 1, 3, 9))
