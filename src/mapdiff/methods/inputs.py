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

    Attributes:
        noise_scale: range of the factor that the noise of training scans is multiplied by.
        doses: dose fractions that the input is drawn from, with their probabilities.
    """

    noise_scale: tuple[float, float] = (0.6, 1.7)
    doses: tuple[tuple[float, float], ...] = (
        (1 / 2, 0.05),
        (1 / 4, 0.10),
        (1 / 10, 0.20),
        (1 / 20, 0.35),
        (1 / 50, 0.20),
        (1 / 100, 0.10),
    )

    def draw(self, size: int, generator: torch.Generator) -> Draws:
        """ "dose": (size,), wanted dose fraction of the input; "scale": (size,), the factor of its noise."""
        chances = torch.tensor([chance for _, chance in self.doses])
        drawn = torch.multinomial(chances, size, replacement=True, generator=generator)
        dose = torch.tensor([dose for dose, _ in self.doses])[drawn]
        low, high = (math.log(limit) for limit in self.noise_scale)
        scale = torch.exp(low + (high - low) * torch.rand(size, generator=generator))
        return {"dose": dose, "scale": scale}

    def of(self, batch: Batch, draws: Draws) -> Input:
        """The input of each patch: the nearest dose to the wanted that its subject has, its noise scaled."""
        distance = (batch.doses[None] - draws["dose"][:, None]).abs()
        index = distance.masked_fill(~batch.present, float("inf")).argmin(dim=1)
        dose = batch.doses[index]
        y = batch.scans[torch.arange(len(batch), device=index.device), index][:, None]
        u = batch.target + draws["scale"][COLUMN] * (y - batch.target)
        return Input(u, batch.level * draws["scale"] / dose.sqrt(), dose)

    def level_range(self, levels: Sequence[float]) -> tuple[float, float]:
        """From the highest input dose of the quietest subject to the lowest dose of the noisiest."""
        doses = [dose for dose, _ in self.doses]
        low, high = self.noise_scale
        return min(levels) * low / max(doses) ** 0.5, max(levels) * high / min(doses) ** 0.5


INPUTS = Inputs()
