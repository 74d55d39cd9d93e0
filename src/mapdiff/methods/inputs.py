"""The training input, the same for every method: which dose it is drawn from, and how its noise is scaled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mapdiff.cohort.patches import Batch
from mapdiff.methods.base import Draws

#: Spreads a figure of each patch over its voxels.
COLUMN = (slice(None), None, None, None, None)


@dataclass(frozen=True)
class Input:
    """The input of a batch, (B, 1, P, P, P), its noise level and dose, (B,)."""

    u: Tensor
    level: Tensor
    dose: Tensor


@dataclass(frozen=True)
class Inputs:
    """How inputs are drawn.

    A patch is given a noise level to have, and of its subject's doses below full the one is taken that comes
    nearest to it: cohorts of quiet and of noisy scanners then teach the same levels.

    Attributes:
        noise_scale: range of the factor that the noise of training scans is multiplied by.
        level: median of the wanted noise levels (NMAE inside the body against the noise-free image); that of
            a Quadra scan at 1/20 is 0.15 to 0.3, by the voxel size.
        spread: standard deviation of their logarithm.
    """

    noise_scale: tuple[float, float] = (0.6, 1.7)
    level: float = 0.25
    spread: float = 0.85

    def draw(self, size: int, generator: torch.Generator) -> Draws:
        """ "level": (size,), wanted noise level of the input; "scale": (size,), the factor of its noise."""
        level = self.level * torch.exp(self.spread * torch.randn(size, generator=generator))
        low, high = (math.log(limit) for limit in self.noise_scale)
        scale = torch.exp(low + (high - low) * torch.rand(size, generator=generator))
        return {"level": level, "scale": scale}

    def of(self, batch: Batch, draws: Draws) -> Input:
        """The input of each patch: the dose of its subject nearest to the wanted level, its noise scaled."""
        levels = (batch.level * draws["scale"])[:, None] / batch.doses[None].sqrt()
        distance = (levels / draws["level"][:, None]).log().abs()
        lower = batch.present & (batch.doses < 1)[None]
        index = distance.masked_fill(~lower, float("inf")).argmin(dim=1)
        patches = torch.arange(len(batch), device=index.device)
        y = batch.scans[patches, index][:, None]
        u = batch.target + draws["scale"][COLUMN] * (y - batch.target)
        return Input(u, levels[patches, index], batch.doses[index])

    def level_range(self, levels: Sequence[float]) -> tuple[float, float]:
        """The levels trained on: two standard deviations about the median, as far as the subjects reach.

        Args:
            levels: of each subject, at full dose; 1/2 and 1/100 are taken for its highest and lowest input.
        """
        low, high = self.noise_scale
        reach = math.exp(2 * self.spread)
        return (
            max(self.level / reach, min(levels) * low * 2**0.5),
            min(self.level * reach, max(levels) * high * 10),
        )


INPUTS = Inputs()
