"""The Transformer among the rivals: MONAI's SwinUNETR as a regression network.

A trap of MONAI's: its decoder normalises over space (InstanceNorm), so what it gives at a voxel depends on
the tile the voxel was computed in. It is kept as published; tiles at inference are as large as the patches of
its training (`MIN_EDGE` at least), where its statistics are those it was trained with. Constant planes (noise
level, voxel size) reach it through the Transformer's embedding; InstanceNorm takes them out of the skips.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: SwinUNETR halves its input five times; in training InstanceNorm needs more than one voxel at the bottom.
MULTIPLE, MIN_EDGE = 32, 64
#: The input u, its noise level, and the voxel size along i, j, k.
PLANES = 5


@dataclass(frozen=True)
class SwinUnetrConfig:
    """What rebuilds a `SwinUnetr`.

    Attributes:
        channels: the first is twice MONAI's feature size, which is rounded down to a multiple of 12.
        blocks: Swin blocks in each of the four stages; a shorter tuple is continued by its last entry.
        heads: attention heads of the first stage, which double from stage to stage. None: the most that leave
            each the 16 channels that MONAI's three have at feature size 48, one at the least. Swin keeps a
            head's channels as its width changes (Liu et al. 2021); three of 4 channels each, at feature size
            12, make a step 1.7 times as long.
    """

    channels: tuple[int, ...] = (96,)
    blocks: tuple[int, ...] = (2,)
    heads: int | None = None

    @property
    def feature_size(self) -> int:
        """MONAI's, a multiple of its first stage's heads."""
        return max(self.channels[0] // 2 // 12 * 12, 12)

    @property
    def heads_of_stages(self) -> tuple[int, ...]:
        """Attention heads in each of the four stages."""
        most = max(self.feature_size // 16, 1)
        first = self.heads or max(n for n in range(1, most + 1) if self.feature_size % n == 0)
        return tuple(first * 2**stage for stage in range(4))

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks in each of the four stages."""
        return (*self.blocks, *[self.blocks[-1]] * 4)[:4]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> "SwinUnetrConfig":
        """The inverse of `as_dict`; models of before name no heads, and have MONAI's three."""
        return cls(tuple(facts["channels"]), tuple(facts["blocks"]), facts.get("heads", 3))


class SwinUnetr(nn.Module):
    """Predicts a correction that is added to u; the state plays no part."""

    def __init__(self, config: SwinUnetrConfig = SwinUnetrConfig()) -> None:
        """Build it, with untrained weights; the correction starts at zero."""
        from monai.networks.nets import SwinUNETR  # takes seconds to import

        super().__init__()
        self.config = config
        self.net = SwinUNETR(
            in_channels=PLANES,
            out_channels=1,
            feature_size=config.feature_size,
            depths=config.depths,
            num_heads=config.heads_of_stages,
            spatial_dims=3,
            use_flash_attention=True,  # without gradients only: a third faster, the same to rounding
        )
        for parameter in self.net.out.parameters():
            nn.init.zeros_(parameter)

    @property
    def multiple(self) -> int:
        """Every axis of the input must be a multiple of this many voxels; the rest is padded here."""
        return 8

    def forward(self, state: Tensor, u: Tensor, condition: Tensor) -> Tensor:
        """Predict the noise-free image; arguments as in `DenoiserNet.forward`."""
        planes = condition[:, 1:, None, None, None].expand(-1, -1, *u.shape[2:])
        x = torch.cat([u, planes.to(u.dtype)], dim=1)
        i, j, k = u.shape[2:]
        short = [max(-(-n // MULTIPLE) * MULTIPLE, MIN_EDGE) - n for n in (i, j, k)]
        x = functional.pad(x, (0, short[2], 0, short[1], 0, short[0]), mode="replicate")
        out: Tensor = u + self.net(x)[:, :, :i, :j, :k]
        return out
