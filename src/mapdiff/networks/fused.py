"""The denoiser's forward pass for inference: the same weights and the same result, with less traffic.

What a forward pass of `DenoiserNet` spends outside its convolutions goes to memory: every addition, scale and
rectifier reads and writes a tensor that no cache holds. Here

- rectifier and residual addition are done by the convolution that comes before, where oneDNN can
  (`torch.ops.mkldnn`, the operators that torch.compile itself calls), with weights laid out once;
- the scale and shift of a block (FiLM) and its rectifier run over pieces that stay in a core's cache;
- weights and activations are of one type, bfloat16 or float32; the image itself stays in float32.

Where oneDNN is not there (CUDA, other processors) the same steps run as plain torch operators.
"""

import copy
import functools
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mapdiff.networks.denoiser import DenoiserNet, ResidualBlock, entry_planes, fold, rectified, unfold

#: Numbers in a piece of the FiLM step: about half of a core's second-level cache in bfloat16.
PIECE = 1 << 19


@functools.cache
def fuses(dtype: torch.dtype) -> bool:
    """Whether this torch's oneDNN does 3D convolutions with a step behind them, and rightly."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    layer = nn.Conv3d(16, 16, 3, padding=1)
    x = torch.linspace(-1, 1, 16 * 64).reshape(1, 16, 4, 4, 4)
    try:
        with torch.inference_mode():
            plain, fused = (_Convolution(layer, dtype, x.device, with_step) for with_step in (False, True))
            x = x.to(dtype).contiguous(memory_format=torch.channels_last_3d)
            for one, other in (
                (plain(x, slope=0.0), fused(x, slope=0.0)),
                (plain(x, slope=0.5), fused(x, slope=0.5)),
                (plain.add_to(x.clone(), x), fused.add_to(x.clone(), x)),
            ):
                if not torch.allclose(one.float(), other.float(), atol=0.02):
                    return False
    except (RuntimeError, AttributeError, TypeError):  # an older or newer torch, or a processor without it
        return False
    return True


class _Convolution:
    """A 3 x 3 x 3 convolution, with a rectifier or an addition behind it."""

    def __init__(self, layer: nn.Conv3d, dtype: torch.dtype, device: torch.device, fused: bool) -> None:
        weight, bias = layer.weight, cast(Tensor, layer.bias)
        self.weight = weight.detach().to(device, dtype).contiguous(memory_format=torch.channels_last_3d)
        self.bias = bias.detach().to(device, dtype)
        self.packed: Tensor | None = None
        if fused:
            ones = [1, 1, 1]
            shape = [1, self.weight.shape[1], 32, 32, 32]
            self.packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, ones, ones, ones, 1, shape
            )

    def __call__(self, x: Tensor, slope: float | None = None) -> Tensor:
        """conv(x), rectified where a slope is given."""
        if self.packed is None:
            out = functional.conv3d(x, self.weight, self.bias, padding=1)
            return out if slope is None else rectified(out, slope)
        ones = [1, 1, 1]
        step, numbers = ("none", []) if slope is None else ("leaky_relu", [slope]) if slope else ("relu", [])
        done: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.packed, self.bias, ones, ones, ones, 1, step, numbers, ""
        )
        return done

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """total + conv(x), in place."""
        if self.packed is None:
            return total.add_(functional.conv3d(x, self.weight, self.bias, padding=1))
        ones = [1, 1, 1]
        done: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            total, x, self.packed, self.bias, ones, ones, ones, 1, "add", 1.0, None, [], None
        )
        return done


class _Block:
    """A residual block; changes its input."""

    def __init__(self, block: ResidualBlock, *how: Any) -> None:
        _, device, _ = how
        self.film = copy.deepcopy(block.film).to(device, torch.float32)
        self.conv1, self.conv2 = _Convolution(block.conv1, *how), _Convolution(block.conv2, *how)
        self.slope = block.slope

    def __call__(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding)[0].chunk(2)
        h = self.conv1(_film_relu(x, 1 + scale, shift, self.slope), self.slope)
        return self.conv2.add_to(x, h)


def _film_relu(x: Tensor, scale: Tensor, shift: Tensor, slope: float) -> Tensor:
    """scale x + shift, rectified, over the channels of (1, C, I, J, K)."""
    out = torch.empty_like(x)
    if x.device.type != "cpu":
        scale, shift = (v.to(x.dtype)[:, None, None, None] for v in (scale, shift))
        return rectified(torch.addcmul(shift, x, scale, out=out), slope)
    # Inference's batch normalisation is a scale and a shift, and torch's fastest one.
    zero, one, none = torch.zeros_like(scale), torch.ones_like(scale), scale.new_empty(0)
    flat, into = (t.permute(0, 2, 3, 4, 1).reshape(-1, x.shape[1]) for t in (x, out))
    rows = max(1, PIECE * torch.get_num_threads() // x.shape[1])
    for start in range(0, len(flat), rows):
        piece = into[start : start + rows]
        given = flat[start : start + rows]
        torch.native_batch_norm(given, scale, shift, zero, one, False, 0, 0, out=(piece, none, none))
        rectified(piece, slope)
    return out


class FusedDenoiser:
    """`DenoiserNet.forward` for one image at a time, without gradients."""

    def __init__(self, net: DenoiserNet, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """Take a trained network's weights.

        Args:
            net: the network; left as it is.
            device: where to compute.
            dtype: of weights and activations, float32 or bfloat16.
        """
        self.dtype, self.device, self.config, self.multiple = dtype, device, net.config, net.multiple
        how = (dtype, device, device.type == "cpu" and fuses(dtype))
        self.embed = copy.deepcopy(net.embed).to(device, torch.float32)
        self.entry, self.exit = _Convolution(net.entry, *how), _Convolution(net.exit, *how)

        def blocks_of(levels: nn.ModuleList) -> list[list[_Block]]:
            return [
                [_Block(cast(ResidualBlock, block), *how) for block in cast(nn.ModuleList, blocks)]
                for blocks in levels
            ]

        def weights_of(layers: nn.ModuleList) -> list[tuple[Tensor, Tensor]]:
            pairs = ((cast(Tensor, layer.weight), cast(Tensor, layer.bias)) for layer in layers)
            return [(w.detach().to(device, dtype), b.detach().to(device, dtype)) for w, b in pairs]

        self.down_blocks, self.up_blocks = blocks_of(net.down_blocks), blocks_of(net.up_blocks)
        self.downs, self.ups = weights_of(net.downs), weights_of(net.ups)

    def __call__(self, state: Tensor, u: Tensor, condition: Tensor) -> Tensor:
        """As `DenoiserNet.forward`, (1, 1, I, J, K) each and (1, CONDITIONS); float32 in and out."""
        e = self.embed(condition)
        x = fold(entry_planes(state, u, self.config)).to(self.dtype)
        x = self.entry(x.contiguous(memory_format=torch.channels_last_3d))
        skips = []
        for level, blocks in enumerate(self.down_blocks):
            for block in blocks:
                x = block(x, e)
            if level < len(self.downs):
                skips.append(x)
                x = functional.conv3d(x, self.downs[level][0], self.downs[level][1], stride=2)
        for level in reversed(range(len(self.ups))):
            x = functional.conv_transpose3d(x, self.ups[level][0], self.ups[level][1], stride=2)
            x.add_(skips.pop())
            for block in self.up_blocks[level]:
                x = block(x, e)
        return unfold(self.exit(x)).add(state)
