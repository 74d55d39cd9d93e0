"""Counting the units that never rise above zero."""

import torch
from activity import cubes, never_above_zero

from mapdiff.networks.denoiser import CONDITIONS
from synthetic import random_net


def inputs():
    generator = torch.Generator().manual_seed(3)
    for _ in range(2):
        yield torch.randn(1, 1, 16, 16, 16, generator=generator), torch.zeros(1, CONDITIONS)


def test_units_held_below_zero_are_counted_in_their_block():
    net = random_net()
    alive = never_above_zero(random_net(), inputs())
    assert set(alive.values()) == {(0, 8), (0, 16)}
    with torch.no_grad():
        net.down_blocks[1][0].conv1.bias[[2, 5, 11]] = -1e3
    found = never_above_zero(net, inputs())
    assert found == {**alive, "down_blocks.1.0": (3, 16)}


def test_the_cubes_of_a_body_fit_any_network(tiny_cohort):
    found = list(cubes(tiny_cohort / "sub-001"))
    assert len(found) >= 2
    for u, condition in found:
        assert all(n % 8 == 0 and n > 0 for n in u.shape[2:]) and condition.shape == (1, CONDITIONS)
        assert torch.isfinite(u).all()
