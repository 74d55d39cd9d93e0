"""A trained denoiser with more or fewer residual blocks, for a training that goes on with another depth."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from mapdiff.networks.denoiser import DenoiserNet, ResidualBlock


def with_blocks(net: DenoiserNet, blocks: Sequence[int], seed: int = 0) -> DenoiserNet:
    """The network with another number of residual blocks at each resolution.

    A block that is added begins as the identity, as an untrained one does: the result is the same to the
    last bit. Of a block that is left out its constant stays, the bias of its second convolution: all that
    it adds where its hidden units are dead (never above a plain rectifier's zero), so that the result is
    then the same but for rounding. Where they are not, the result is another.

    Args:
        net: the trained network; left as it is.
        blocks: how many at each resolution, the finest first; not fewer than now, or at a coarser one none.
        seed: of the added blocks' weights.

    Raises:
        ValueError: `blocks` asks for something else.
    """
    now, wanted = net.config.blocks, tuple(blocks)
    if len(wanted) != len(now) or any(
        n < m and (n or not level) for level, (n, m) in enumerate(zip(wanted, now, strict=True))
    ):
        raise ValueError(f"blocks {wanted}: {now} or more at each resolution, or none at a coarser one")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shaped = DenoiserNet(replace(net.config, blocks=wanted))
    for name in ("embed", "entry", "downs", "ups", "exit"):
        getattr(shaped, name).load_state_dict(getattr(net, name).state_dict())
    # The convolution that ends at a resolution, before its blocks, takes the constants of those left out: it
    # has stride 2 and no border that would show.
    for trained, ours, before in (
        (net.down_blocks, shaped.down_blocks, (None, *shaped.downs)),
        (net.up_blocks, shaped.up_blocks, (None, *list(shaped.ups)[1:])),
    ):
        for old, new, convolution in zip(_levels(trained), _levels(ours), before, strict=True):
            for one, other in zip(old, new, strict=False):
                other.load_state_dict(one.state_dict())
            if not len(new) and convolution is not None:
                _keep_constants(cast(Tensor, convolution.bias), old)
    return shaped.train(net.training)


def _levels(blocks: nn.ModuleList) -> list[nn.ModuleList]:
    return [cast(nn.ModuleList, level) for level in blocks]


def _keep_constants(bias: Tensor, left_out: nn.ModuleList) -> None:
    with torch.no_grad():
        for block in left_out:
            bias.add_(cast(Tensor, cast(ResidualBlock, block).conv2.bias))
