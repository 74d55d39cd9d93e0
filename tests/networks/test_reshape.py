"""Another number of residual blocks in a trained network."""

from dataclasses import replace

import pytest
import torch

from mapdiff.networks.denoiser import DenoiserConfig, DenoiserNet
from mapdiff.networks.fused import FusedDenoiser
from mapdiff.networks.reshape import with_blocks

CONFIG = DenoiserConfig((8, 16, 24), (1, 2, 2), slope=0.0)


def trained(config: DenoiserConfig = CONFIG, dead: bool = False) -> DenoiserNet:
    """All weights drawn; with `dead` no hidden unit of the coarser blocks is ever above zero."""
    torch.manual_seed(3)
    net = DenoiserNet(config)
    with torch.no_grad():
        for weights in net.parameters():
            weights.normal_(0, 0.1)
        if dead:
            for level in (*net.down_blocks[1:], *net.up_blocks[1:]):
                for block in level:
                    block.conv1.bias.fill_(-1e4)
    return net.eval()


def restored(net) -> torch.Tensor:
    torch.manual_seed(4)
    state, u = torch.randn(2, 1, 1, 16, 16, 24)
    with torch.inference_mode():
        return net(state, u, torch.randn(1, 5))


def test_added_blocks_change_nothing_until_they_are_trained():
    net = trained()
    grown = with_blocks(net, (3, 2, 4))
    assert grown.config.blocks == (3, 2, 4)
    assert torch.equal(restored(grown), restored(net))


def test_dead_blocks_can_be_left_out_at_the_coarser_resolutions():
    net = trained(dead=True)
    pruned = with_blocks(net, (2, 0, 0))
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in net.parameters())
    torch.testing.assert_close(restored(pruned), restored(net), rtol=0, atol=2e-5)
    # The constants of what was left out are not nothing.
    net.downs[0].bias.data += net.down_blocks[1][0].conv2.bias.data
    assert (restored(pruned) - restored(net)).abs().max() > 1e-3


def test_the_last_blocks_at_the_finest_can_be_left_out_where_they_are_dead():
    """The same away from the image's border, which the exit's convolution pads with zeros."""
    net = trained(replace(CONFIG, blocks=(3, 1, 1)))
    with torch.no_grad():
        for level in (net.down_blocks[0], net.up_blocks[0]):
            for block in list(level)[1:]:
                block.conv1.bias.fill_(-1e4)
    pruned = with_blocks(net, (1, 1, 1))
    inside = (..., *[slice(2, -2)] * 3)
    torch.testing.assert_close(restored(pruned)[inside], restored(net)[inside], rtol=0, atol=1e-4)


def test_live_blocks_that_are_left_out_show():
    net = trained()
    assert (restored(with_blocks(net, (1, 0, 2))) - restored(net)).abs().max() > 1e-3


def test_a_network_without_coarse_blocks_runs_fused():
    net = with_blocks(trained(dead=True), (2, 0, 0))
    fused = FusedDenoiser(net, torch.device("cpu"))
    torch.testing.assert_close(restored(fused), restored(net), rtol=0, atol=2e-5)


def test_the_same_seed_adds_the_same_blocks_and_leaves_the_generator_alone():
    net = trained()
    torch.manual_seed(9)
    one = with_blocks(net, (2, 2, 2), seed=1).state_dict()
    drawn = torch.rand(1)
    two, other = (with_blocks(net, (2, 2, 2), seed=seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["down_blocks.0.1.conv1.weight"], other["down_blocks.0.1.conv1.weight"])
    torch.manual_seed(9)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("blocks", [(1, 2), (0, 2, 2), (1, 1, 2), (1, 2, -1), (1, 2, 2, 2)])
def test_what_cannot_be_done_is_refused(blocks):
    with pytest.raises(ValueError, match="or more at each resolution, or none at a coarser one"):
        with_blocks(trained(), blocks)
