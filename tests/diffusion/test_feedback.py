"""Structure that an estimate lost is put back; noise is not."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from mapdiff.diffusion.feedback import restore_structure
from mapdiff.diffusion.transform import invert, transform

SPACING = (4.0, 4.0, 4.0)


def scene(noise: float) -> tuple[np.ndarray, torch.Tensor]:
    """A hot cube in a warm body, and a scan of it whose noise is uniform on the transformed scale."""
    z = np.ones((32, 32, 32), np.float32)
    z[12:20, 12:20, 12:20] = 40
    rng = np.random.default_rng(0)
    white = torch.from_numpy(rng.standard_normal(z.shape).astype(np.float32))
    return z, invert(transform(torch.from_numpy(z)) + noise * white)


def test_a_blurred_hot_spot_is_restored():
    z, u = scene(0.1)
    blurred = torch.from_numpy(gaussian_filter(z, 1.5))
    restored = restore_structure(blurred, u, np.ones(z.shape, bool), SPACING)
    before, after = (float((image - torch.from_numpy(z)).square().mean()) for image in (blurred, restored))
    assert after < 0.3 * before


def test_a_perfect_estimate_gets_little_noise_back():
    z, u = scene(0.1)
    perfect = torch.from_numpy(z)
    restored = restore_structure(perfect, u, np.ones(z.shape, bool), SPACING)
    assert float((restored - perfect).square().mean()) < 0.1 * float((u - perfect).square().mean())


def test_it_is_repeatable_and_keeps_the_input():
    z, u = scene(0.1)
    kept = u.clone()
    first, second = (restore_structure(torch.from_numpy(z), u, z > 0, SPACING) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(u, kept)
