"""The GAN among the rivals: the folded U-Net as the generator, MONAI's patch discriminator as its judge."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mapdiff.networks.denoiser import DenoiserConfig, DenoiserNet

GENERATOR, DISCRIMINATOR = "generator", "discriminator"


@dataclass(frozen=True)
class GanConfig:
    """What rebuilds a `GanNet`.

    Attributes:
        channels: of the generator, as in `DenoiserConfig`.
        blocks: the same.
        judge: the discriminator's channels at its finest resolution.
        layers: of the discriminator, each of which but the last halves its image again.
        local_mean: of the generator, as in `DenoiserConfig`.
        slope: the same.
    """

    channels: tuple[int, ...] = (48, 96, 128)
    blocks: tuple[int, ...] = (2, 2, 2)
    judge: int = 32
    layers: int = 2
    local_mean: int = DenoiserConfig.local_mean
    slope: float = DenoiserConfig.slope

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> "GanConfig":
        """The inverse of `as_dict`."""
        width, slope = int(facts.get("local_mean", 0)), float(facts.get("slope", 0))
        shape = tuple(facts["channels"]), tuple(facts["blocks"]), facts["judge"], facts["layers"]
        return cls(*shape, width, slope)


class GanNet(nn.Module):
    """Generator and discriminator. Called plainly it is the generator; a training step's turns are modes.

    All calls go through `forward`, and each touches all weights, since training in several processes counts
    on both.
    """

    def __init__(self, config: GanConfig = GanConfig()) -> None:
        """Build both, with untrained weights."""
        from monai.networks.nets import PatchDiscriminator  # takes seconds to import

        super().__init__()
        self.config = config
        self.generator = DenoiserNet(
            DenoiserConfig(config.channels, config.blocks, 1, config.local_mean, config.slope)
        )
        # Not batch statistics: a step must not depend on how its patches are cut into pieces.
        self.discriminator = PatchDiscriminator(
            spatial_dims=3,
            channels=config.judge,
            in_channels=2,
            out_channels=1,
            num_layers_d=config.layers,
            norm="INSTANCE",
        )

    @property
    def multiple(self) -> int:
        """Every axis of the input must be a multiple of this many voxels."""
        return self.generator.multiple

    def forward(self, state: Tensor, u: Tensor, condition: Tensor, turn: str | None = None) -> Any:
        """The estimate, and in a training step what the discriminator says of it.

        Args:
            state: not looked at, but in the discriminator's turn: there it is the real image.
            u: the input, (B, 1, I, J, K), transformed intensity.
            condition: (B, CONDITIONS).
            turn: None, "generator" or "discriminator".

        Returns:
            None: the estimate, as u. "generator": the estimate and its score, whose gradient passes through
            the discriminator but not to its weights. "discriminator": the scores of the real image and of
            the estimate, whose gradient goes to the discriminator alone.
        """
        if turn is None:
            return self.generator(u, u, condition)
        if turn == GENERATOR:
            image = self.generator(u, u, condition) + _touch(self.discriminator)
            frozen = {name: p.detach() for name, p in self.discriminator.named_parameters()}
            score = functional_call(self.discriminator, frozen, (torch.cat([u, image], dim=1),))[-1]
            return image, score
        with torch.no_grad():
            image = self.generator(u, u, condition)
        pairs = torch.cat([torch.cat([u, state], dim=1), torch.cat([u, image], dim=1)])
        scores = self.discriminator(pairs)[-1] + _touch(self.generator)
        return scores[: len(u)], scores[len(u) :]


def _touch(net: nn.Module) -> Tensor:
    """Zero, with a gradient of zero to every weight of `net`."""
    return 0 * torch.stack([p.sum() for p in net.parameters()]).sum()
