"""Tiles cover the body, and blending them leaves no trace."""

import numpy as np
import pytest
import torch

from mapdiff.body import BlockMask
from mapdiff.inference.tiling import MARGIN, OVERLAP, blend, bounds, plan_tiles
from mapdiff.methods.map_diff import estimate
from synthetic import random_net, smooth_body

SHAPES = [(48, 48, 48), (96, 64, 32), (200, 136, 64), (56, 48, 320), (97, 113, 61), (152, 152, 159)]
EDGES = [(48, 48, 48), (64, 96, 56), (208, 208, 96)]


def body_of(shape, seed=0):
    """An ellipsoid somewhere in the volume."""
    rng = np.random.default_rng(seed)
    centre, radius = rng.uniform(0.3, 0.7, 3), rng.uniform(0.15, 0.5, 3)
    place = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape], indexing="ij")
    return sum(((p - c) / r) ** 2 for p, c, r in zip(place, centre, radius, strict=True)) < 1


def whole(tiles, shape, values):
    """What `blend` yields, put together, and its weight."""
    out, weight = torch.zeros(shape), torch.zeros(shape)
    reached = 0
    for box, part, share in blend(tiles, values):
        assert box.start[2] >= reached and part.shape == share.shape == box.shape
        reached = box.stop[2]
        out[box.slices], weight[box.slices] = part, share
    return out, weight


@pytest.mark.parametrize("multiple", [4, 8, 16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("edges", EDGES)
def test_the_plan_covers_the_body_with_weight(shape, edges, multiple):
    body = body_of(shape, edges[0] + multiple)
    tiles = plan_tiles(body, multiple, edges)
    for tile in tiles:
        for start, stop, size, edge in zip(tile.start, tile.stop, shape, edges, strict=True):
            assert 0 <= start < stop <= size and start % multiple == 0
            assert stop % multiple == 0 or stop == size
            assert stop - start <= max(edge, OVERLAP + multiple)
        assert body[tile.slices].any()
    assert [t.start[2] for t in tiles] == sorted(t.start[2] for t in tiles)
    one, weight = whole(tiles, shape, lambda tile: torch.ones(tile.shape))
    inside = torch.from_numpy(body)
    assert weight[inside].min() > 0.4
    torch.testing.assert_close(one[inside], torch.ones(int(body.sum())))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_full_tiles_have_the_largest_edges_where_there_is_room(shape, seed):
    body = body_of(shape, seed)
    tiles = plan_tiles(body, 8, (64, 64, 64), full=True)
    for tile in tiles:
        for start, stop, size in zip(tile.start, tile.stop, shape, strict=True):
            assert stop - start == 64 or (stop == size and stop - start > min(64, size) - 8)
    one, weight = whole(tiles, shape, lambda tile: torch.ones(tile.shape))
    inside = torch.from_numpy(body)
    assert weight[inside].min() > 0.4
    torch.testing.assert_close(one[inside], torch.ones(int(body.sum())))


@pytest.mark.parametrize("edges", EDGES)
def test_blending_the_image_itself_gives_it_back(edges):
    image = torch.randn(144, 72, 96, generator=torch.Generator().manual_seed(0))
    tiles = plan_tiles(np.ones(image.shape, bool), 8, edges)
    out, weight = whole(tiles, tuple(image.shape), lambda tile: image[tile.slices])
    assert (weight > 0.4).all()
    torch.testing.assert_close(out, image, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 2])
def test_neighbours_overlap_enough_for_a_smooth_ramp(axis):
    """No weight jumps from one voxel to the next: that is what draws a grid into the image."""
    shape = [48, 48, 48]
    shape[axis] = 320
    for edge in (48, 64, 96, 104, 128):
        tiles = plan_tiles(np.ones(shape, bool), 8, (edge, edge, edge))
        shares = []
        for chosen in tiles:
            share, _ = whole(tiles, shape, lambda t, c=chosen: torch.full(t.shape, float(t == c)))
            shares.append(share[:, 24, 24] if axis == 0 else share[24, 24])
        steps = torch.stack(shares).diff(dim=1).abs().max()
        assert steps < 0.15, edge
        torch.testing.assert_close(torch.stack(shares).sum(0), torch.ones(320))


def test_what_lies_at_an_inner_face_counts_for_nothing():
    tiles = plan_tiles(np.ones((320, 48, 48), bool), 8, (96, 96, 96))
    assert len(tiles) > 2

    def wrong_at_inner_faces(tile):
        values = torch.zeros(tile.shape)
        if tile.before[0]:
            values[:MARGIN] = 1e6
        if tile.after[0]:
            values[-MARGIN:] = 1e6
        return values

    out, _ = whole(tiles, (320, 48, 48), wrong_at_inner_faces)
    assert (out == 0).all()


def test_what_is_handed_on_is_read_no_more():
    """A state that is overwritten as slabs are handed on is still whole for every tile to come."""
    tiles = plan_tiles(np.ones((48, 48, 400), bool), 8, (64, 64, 64))
    handed = 0
    seen = []

    def values(tile):
        seen.append(tile.start[2] >= handed)
        return torch.zeros(tile.shape)

    for box, _, _ in blend(tiles, values):
        handed = box.stop[2]
    assert handed == 400 and all(seen) and len(seen) == len(tiles)


def test_a_small_volume_is_one_tile():
    (tile,) = plan_tiles(np.ones((48, 40, 32), bool), 8)
    assert tile.start == (0, 0, 0) and tile.stop == (48, 40, 32)
    assert not any((*tile.before, *tile.after))


def test_tiles_of_air_are_left_out():
    body = np.zeros((320, 96, 48), bool)
    body[8:30, 10:20, 10:20] = True
    tiles = plan_tiles(body, 8, (64, 64, 64))
    box = bounds(tiles)
    assert box.start == (0, 0, 0) and box.stop == (40, 32, 32)
    body[300:310, 80:90, 10:20] = True
    tiles = plan_tiles(body, 8, (64, 64, 64))
    assert all(body[tile.slices].any() for tile in tiles) and len(tiles) < 8
    assert plan_tiles(np.zeros((32, 32, 32), bool), 8) == []


def test_a_mask_on_blocks_gives_the_tiles_of_its_voxels():
    blocks = body_of((40, 36, 50), 3)
    mask = BlockMask(blocks, (2, 2, 1), (79, 71, 50))
    assert plan_tiles(mask, 8, (48, 48, 48)) == plan_tiles(mask.voxels(), 8, (48, 48, 48))


def test_two_tilings_of_a_network_agree():
    """A network of random weights, in small tiles against the whole at once: 0.5 % RMS of its correction.

    Its field of view (26 voxels) reaches beyond the margin, so they cannot agree exactly; the weights far
    from the centre are small, and the overlap's ramp hides what is left.
    """
    net = random_net(size=0.3)
    u = torch.from_numpy(smooth_body((96, 48, 96)) * np.random.default_rng(0).gamma(4, 0.25, (96, 48, 96)))
    u = u.float()
    level = torch.tensor([0.3])

    def at(tile):
        with torch.no_grad():
            x = u[tile.slices][None, None]
            return estimate(net, x, x, level, level, (4.0, 4.0, 4.0))[0, 0]

    body = np.ones(u.shape, bool)
    small, large = (plan_tiles(body, net.multiple, edges) for edges in ((64, 64, 64), (96, 96, 96)))
    assert len(small) > 1 and len(large) == 1
    one, other = (whole(tiles, tuple(u.shape), at)[0] for tiles in (small, large))
    correction = (other - u).square().mean().sqrt()
    assert correction > 0.01
    assert (one - other).square().mean().sqrt() < 0.005 * correction
