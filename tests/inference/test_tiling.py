"""Tiles cover the body, and blending them leaves no trace."""

import numpy as np
import pytest
import torch

from mapdiff.inference.tiling import OVERLAP, blend, plan_tiles
from mapdiff.methods.map_diff import estimate
from synthetic import random_net, smooth_body

SHAPES = [(48, 48, 48), (96, 64, 32), (200, 136, 64), (56, 48, 320), (152, 152, 160)]


def body_of(shape, seed=0):
    """An ellipsoid somewhere in the volume."""
    rng = np.random.default_rng(seed)
    centre, radius = rng.uniform(0.3, 0.7, 3), rng.uniform(0.15, 0.5, 3)
    place = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape], indexing="ij")
    return sum(((p - c) / r) ** 2 for p, c, r in zip(place, centre, radius, strict=True)) < 1


@pytest.mark.parametrize("multiple", [4, 8, 16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("edge", [48, 64, 128])
def test_the_plan_covers_the_body_with_weight(shape, edge, multiple):
    shape = tuple(-(-n // multiple) * multiple for n in shape)
    body = body_of(shape, edge + multiple)
    tiles = plan_tiles(body, multiple, edge)
    for tile in tiles:
        for start, stop, size in zip(tile.start, tile.stop, shape, strict=True):
            assert 0 <= start < stop <= size and start % multiple == 0 and stop % multiple == 0
            assert stop - start <= max(edge, multiple)
        assert body[tile.slices].any()
    one, weight = blend(tiles, shape, lambda tile: torch.ones([s.stop - s.start for s in tile.slices]))
    # The denoiser takes air where the weight is below 0.01; a pooling of 16 leaves ramps too short for that.
    assert weight[torch.from_numpy(body)].min() > (0.01 if multiple < 16 else 0.001)
    torch.testing.assert_close(one[torch.from_numpy(body)], torch.ones(int(body.sum())))


@pytest.mark.parametrize("edge", [48, 64, 128])
def test_blending_the_image_itself_gives_it_back(edge):
    image = torch.randn(144, 72, 96, generator=torch.Generator().manual_seed(0))
    body = np.ones(image.shape, bool)
    tiles = plan_tiles(body, 8, edge)
    out, weight = blend(tiles, tuple(image.shape), lambda tile: image[tile.slices])
    assert (weight > 0.01).all()
    torch.testing.assert_close(out, image, rtol=1e-5, atol=1e-6)


def test_neighbours_overlap_enough_for_a_smooth_ramp():
    """No weight jumps from one voxel to the next: that is what draws a grid into the image."""
    shape = (320, 48, 48)
    for edge in (48, 64, 96, 128):
        tiles = plan_tiles(np.ones(shape, bool), 8, edge)
        shares = []
        for chosen in tiles:
            share, _ = blend(
                tiles,
                shape,
                lambda t, c=chosen: torch.full([s.stop - s.start for s in t.slices], float(t == c)),
            )
            shares.append(share[:, 24, 24])
        steps = torch.stack(shares).diff(dim=1).abs().max()
        assert steps < 0.5, edge
        torch.testing.assert_close(torch.stack(shares).sum(0), torch.ones(320))


def test_a_small_volume_is_one_tile():
    (tile,) = plan_tiles(np.ones((48, 40, 32), bool), 8)
    assert tile.start == (0, 0, 0) and tile.stop == (48, 40, 32)


def test_tiles_of_air_are_left_out():
    body = np.zeros((320, 48, 48), bool)
    body[8:30, 10:20, 10:20] = True
    tiles = plan_tiles(body, 8, 64)
    assert all(tile.start[0] < 30 for tile in tiles)
    _, weight = blend(tiles, body.shape, lambda tile: torch.zeros([s.stop - s.start for s in tile.slices]))
    assert (weight[200:] == 0).all()


def test_progress_counts_tiles():
    tiles = plan_tiles(np.ones((144, 48, 48), bool), 8, 64)
    told = []
    blend(
        tiles,
        (144, 48, 48),
        lambda tile: torch.zeros([s.stop - s.start for s in tile.slices]),
        on_tile=lambda: told.append(1),
    )
    assert len(told) == len(tiles) > 1


def test_two_tilings_of_a_network_agree():
    """A network of random weights, in tiles of 48 against the whole at once: 1 % RMS of its correction.

    Its field of view (26 voxels) reaches beyond the margin (6), so they cannot agree exactly; the weights far
    from the centre are small, and the overlap's ramp hides what is left.
    """
    net = random_net(size=0.3)
    u = torch.from_numpy(smooth_body((96, 48, 48)) * np.random.default_rng(0).gamma(4, 0.25, (96, 48, 48)))
    u = u.float()
    level = torch.tensor([0.3])

    def at(tile):
        with torch.no_grad():
            x = u[tile.slices][None, None]
            return estimate(net, x, x, level, level, (4.0, 4.0, 4.0))[0, 0]

    body = np.ones(u.shape, bool)
    results = []
    for edge in (48, 96):
        tiles = plan_tiles(body, net.multiple, edge)
        results.append(blend(tiles, tuple(u.shape), at)[0])
    assert len(plan_tiles(body, net.multiple, 48)) > 1 and OVERLAP > 12
    one, whole = results
    correction = (whole - u).square().mean().sqrt()
    assert correction > 0.01
    assert (one - whole).square().mean().sqrt() < 0.01 * correction
