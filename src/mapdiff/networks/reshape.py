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
    then the same but for rounding and the outermost two voxels of the image. Where they are not, the result
    is another.

    Args:
        net: the trained network; left as it is.
        blocks: how many at each resolution, the finest first. At the finest the last ones are added or left
            out; at a coarser one there are not fewer than now, or none.
        seed: of the added blocks' weights.

    Raises:
        ValueError: `blocks` asks for something else.
    """
    now, wanted = net.config.blocks, tuple(blocks)
    fewer = [level for level, (n, m) in enumerate(zip(wanted, now, strict=False)) if n < m]
    if len(wanted) != len(now) or wanted[0] < 1 or any(wanted[level] for level in fewer if level):
        raise ValueError(f"blocks {wanted}: {now} or more at each resolution, or none at a coarser one")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shaped = DenoiserNet(replace(net.config, blocks=wanted))
    for name in ("embed", "entry", "downs", "ups", "exit"):
        getattr(shaped, name).load_state_dict(getattr(net, name).state_dict())
    with torch.no_grad():
        for trained, ours in ((net.down_blocks, shaped.down_blocks), (net.up_blocks, shaped.up_blocks)):
            for old, new in zip(trained, ours, strict=True):
                for one, other in zip(cast(nn.ModuleList, old), cast(nn.ModuleList, new), strict=False):
                    other.load_state_dict(one.state_dict())
        for level in fewer:
            _keep_constants(net, shaped, level)
    return shaped.train(net.training)


def _keep_constants(net: DenoiserNet, shaped: DenoiserNet, level: int) -> None:
    """Add the constants of the blocks that `shaped` lacks at a resolution to its convolutions' biases."""
    kept = shaped.config.blocks[level]
    if level:
        # All of them: the convolution that ends at this resolution comes just before, of stride 2, no border.
        _bias(shaped.downs[level - 1]).add_(_constant(net.down_blocks[level], kept))
        if level < len(shaped.ups):
            _bias(shaped.ups[level]).add_(_constant(net.up_blocks[level], kept))
        return
    # The last ones: what comes behind them takes the constants, which reach the way up by the skip too.
    down, up = _constant(net.down_blocks[0], kept), _constant(net.up_blocks[0], kept)
    _bias(shaped.downs[0]).add_(_through(shaped.downs[0], down))
    _bias(shaped.ups[0]).add_(down)
    _bias(shaped.exit).add_(_through(shaped.exit, up))


def _constant(blocks: nn.Module, kept: int) -> Tensor:
    """What the blocks behind the first `kept` add where their hidden units are dead, (C,)."""
    left_out = list(cast(nn.ModuleList, blocks))[kept:]
    return torch.stack([_bias(cast(ResidualBlock, block).conv2) for block in left_out]).sum(dim=0)


def _bias(layer: nn.Module) -> Tensor:
    return cast(Tensor, layer.bias)


def _through(layer: nn.Module, constant: Tensor) -> Tensor:
    """A constant image behind a convolution, away from the border."""
    return torch.einsum("oiabc,i->o", cast(Tensor, layer.weight), constant)
