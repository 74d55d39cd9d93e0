"""The denoiser f(x_t, t, u): a 3D U-Net that never looks further than its receptive field.

- Nothing takes statistics over space beyond a window of a few voxels (no GroupNorm, InstanceNorm or
  attention): the result at a voxel does not depend on the tile it was computed in. There is no normalisation
  at all; residual branches start at zero instead, which keeps the training stable.
- Voxels are folded 2 x 2 x 2 into channels at the entry and unfolded at the exit (as FFDNet does, Zhang et
  al. 2018): the trunk sees an eighth of the voxels with eight times the channels, where a processor's
  convolutions are fastest, and loses nothing, since the folding is invertible.
- The entry sees each image less its local mean, and the mean beside it, compressed: the rim of a bladder
  fifty times as hot as the body is then an edge like any other, though training hardly ever shows one, and
  bfloat16 spends its eight bits on what has to be told apart.
- Noise level and voxel size are conditions, by a scale and a shift of every block's channels (FiLM).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mapdiff.diffusion.local_mean import box_mean

#: Numbers in the condition: log noise level of the state and of the input, log voxel size along i, j, k.
CONDITIONS = 5


@dataclass(frozen=True)
class DenoiserConfig:
    """What rebuilds a `DenoiserNet`.

    Attributes:
        channels: of the trunk at each resolution, the finest (folded once) first.
        blocks: residual blocks at each resolution, on the way down and again on the way up.
        images: input images: 2, the state x_t and the input u; 1, the input alone (plain regression).
        local_mean: width in voxels of the mean that is taken off each image at the entry, odd; 0: none.
        slope: of the rectifiers below zero. At 0, the plain rectifier, whole layers died in training: nothing
            normalises their input, and a unit that is never active gets no gradient to come back by.
    """

    channels: tuple[int, ...] = (48, 96, 128)
    blocks: tuple[int, ...] = (2, 2, 2)
    images: int = 2
    local_mean: int = 5
    slope: float = 0.1

    @property
    def planes(self) -> int:
        """Images at the entry: those given, and their local means."""
        return self.images * (2 if self.local_mean else 1)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> "DenoiserConfig":
        """The inverse of `as_dict`; models of before local means and slopes name none, and have none."""
        width, slope = int(facts.get("local_mean", 0)), float(facts.get("slope", 0))
        return cls(tuple(facts["channels"]), tuple(facts["blocks"]), int(facts["images"]), width, slope)


def fold(x: Tensor) -> Tensor:
    """(B, C, 2I, 2J, 2K) to (B, 8C, I, J, K): each 2 x 2 x 2 cube of voxels becomes channels."""
    b, c, i, j, k = x.shape
    x = x.reshape(b, c, i // 2, 2, j // 2, 2, k // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, 8 * c, i // 2, j // 2, k // 2)


def unfold(x: Tensor) -> Tensor:
    """The inverse of `fold`."""
    b, c, i, j, k = x.shape
    x = x.reshape(b, c // 8, 2, 2, 2, i, j, k)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // 8, 2 * i, 2 * j, 2 * k)


def entry_planes(state: Tensor, u: Tensor, config: DenoiserConfig) -> Tensor:
    """What the entry sees: (B, planes, I, J, K) of state and input, (B, 1, I, J, K) each.

    A mean m is compressed to m / (1 + |m| / 2): the noise depends on it, but on its logarithm rather.
    """
    images = torch.cat([state, u][-config.images :], dim=1)
    if not config.local_mean:
        return images
    mean = box_mean(images, (config.local_mean,) * 3)
    return torch.cat([images - mean, mean / (1 + 0.5 * mean.abs())], dim=1)


def _begin(layer: nn.Conv3d | nn.ConvTranspose3d, inputs: int, gain: float = 1.0) -> None:
    """Untrained weights that keep the size of what comes in (He et al. 2015); no bias.

    Args:
        layer: the convolution.
        inputs: how many numbers each of its outputs is a sum of.
        gain: 2 behind a rectifier, which takes away half of the power.
    """
    nn.init.normal_(layer.weight, 0.0, (gain / inputs) ** 0.5)
    nn.init.zeros_(cast(Tensor, layer.bias))


def rectified(x: Tensor, slope: float) -> Tensor:
    """x where it is above zero, slope x below; in place."""
    return functional.leaky_relu(x, slope, inplace=True) if slope else functional.relu(x, inplace=True)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(scale x + shift)))), the scale and shift given by the condition, relu leaky."""

    def __init__(self, channels: int, embedding: int, slope: float) -> None:
        """Make a block of `channels`, conditioned by an embedding of that many numbers."""
        super().__init__()
        self.slope = slope
        self.film = nn.Linear(embedding, 2 * channels)
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        _begin(self.conv1, 27 * channels, gain=2.0)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, I, J, K) and (B, E) to (B, C, I, J, K)."""
        scale, shift = self.film(embedding)[:, :, None, None, None].chunk(2, dim=1)
        h = rectified(torch.addcmul(x + shift, x, scale), self.slope)
        h = rectified(self.conv1(h), self.slope)
        out: Tensor = x + self.conv2(h)
        return out


class DenoiserNet(nn.Module):
    """The U-Net; predicts a correction that is added to the state."""

    def __init__(self, config: DenoiserConfig = DenoiserConfig()) -> None:
        """Build it from its configuration, with untrained weights."""
        super().__init__()
        self.config = config
        width = config.channels
        embedding = 64
        self.embed = nn.Sequential(
            nn.Linear(CONDITIONS, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.entry = nn.Conv3d(8 * config.planes, width[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            nn.ModuleList(ResidualBlock(c, embedding, config.slope) for _ in range(n))
            for c, n in zip(width, config.blocks, strict=True)
        )
        pairs = list(pairwise(width))
        self.downs = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in pairs)
        self.ups = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in pairs)
        self.up_blocks = nn.ModuleList(
            nn.ModuleList(ResidualBlock(c, embedding, config.slope) for _ in range(n))
            for c, n in zip(width[:-1], config.blocks[:-1], strict=True)
        )
        self.exit = nn.Conv3d(width[0], 8, 3, padding=1)
        _begin(self.entry, 27 * 8 * config.planes)
        for (a, b), down, up in zip(pairs, self.downs, self.ups, strict=True):
            _begin(cast(nn.Conv3d, down), 8 * a)
            _begin(cast(nn.ConvTranspose3d, up), b)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)  # type: ignore[arg-type]

    @property
    def multiple(self) -> int:
        """Every axis of the input must be a multiple of this many voxels."""
        return int(2 ** len(self.config.channels))

    def forward(self, state: Tensor, u: Tensor, condition: Tensor) -> Tensor:
        """Predict the noise-free image.

        Args:
            state: x_t, (B, 1, I, J, K), transformed intensity.
            u: the low-dose input, the same shape and scale.
            condition: (B, CONDITIONS).

        Returns:
            The estimate in the same shape and scale.
        """
        e = self.embed(condition)
        x = fold(entry_planes(state, u, self.config))
        x = self.entry(x.contiguous(memory_format=torch.channels_last_3d))
        skips = []
        for level, blocks in enumerate(self.down_blocks):
            for block in cast(nn.ModuleList, blocks):
                x = block(x, e)
            if level < len(self.downs):
                skips.append(x)
                x = self.downs[level](x)
        for level in reversed(range(len(self.ups))):
            x = self.ups[level](x) + skips[level]
            for block in cast(nn.ModuleList, self.up_blocks[level]):
                x = block(x, e)
        out: Tensor = state + unfold(self.exit(x))
        return out


def condition_of(level_state: Tensor, level_u: Tensor, spacing_mm: Sequence[float] | Tensor) -> Tensor:
    """The condition of a batch.

    Args:
        level_state: (B,), noise level of the state (NMAE against the noise-free image, inside the body).
        level_u: (B,), the same of the input.
        spacing_mm: voxel size, (3,) or (B, 3).

    Returns:
        (B, CONDITIONS), centred on a noise level of 0.3 and a voxel of 3 mm.
    """
    spacing = torch.as_tensor(spacing_mm, dtype=level_u.dtype, device=level_u.device).expand(len(level_u), 3)
    levels = torch.log(torch.stack([level_state, level_u], dim=1) / 0.3)
    return torch.cat([levels, torch.log(spacing / 3.0)], dim=1)
