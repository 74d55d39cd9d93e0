"""The training input and target, the same for every method.

Which dose the input is drawn from, how its noise is scaled, and what the network is to estimate: the
noise-free image z. A cohort of scanned people has no z. Its full dose is no stand-in: it holds the input's
own counts, so the best estimate of it is d u + (1 - d) z, and a path that takes this for z gives the input's
noise twice. But what is left of the full dose when the input's part is taken out,

    (x_0 - d u) / (1 - d),                                                            (complement)

is an independent scan whose mean is z (`diffusion.dose_path`): a network that is trained against it by
squared error on linear intensity (`map-diff`, `unet`, `swin-unetr`) has z as its best estimate. `ddpm` and
`gan` learn to draw such scans, with their noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mapdiff.cohort.patches import Batch
from mapdiff.diffusion import dose_path
from mapdiff.methods.base import Draws, SubjectNoise

#: Spreads a figure of each patch over its voxels.
COLUMN = (slice(None), None, None, None, None)


@dataclass(frozen=True)
class Input:
    """The input of a batch and its target, (B, 1, P, P, P); the input's noise level and dose, (B,).

    The target is the noise-free image, or the complement of the input, which is one draw of it.
    """

    u: Tensor
    target: Tensor
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
        scale = draws["scale"]
        doses = scaled_dose(batch.doses.expand(len(batch), -1), batch, scale)
        noise = batch.level * torch.where(batch.noise_free, scale, 1.0)
        levels = noise[:, None] / doses.sqrt()
        distance = (levels / draws["level"][:, None]).log().abs()
        lower = batch.present & (batch.doses < 1)[None]
        index = distance.masked_fill(~lower, float("inf")).argmin(dim=1)
        patches = torch.arange(len(batch), device=index.device)
        y = batch.scans[patches, index][:, None]
        u = batch.target + scale[COLUMN] * (y - batch.target)
        dose = doses[patches, index]
        complement = dose_path.noise_free(batch.target, u, dose[COLUMN])
        target = torch.where(batch.noise_free[COLUMN], batch.target, complement)
        return Input(u, target, levels[patches, index], dose)

    def level_range(self, subjects: Sequence[SubjectNoise]) -> tuple[float, float]:
        """The levels trained on: two standard deviations about the median, as far as the subjects reach."""
        low, high = self.noise_scale
        reach = math.exp(2 * self.spread)
        return (
            max(self.level / reach, min(_scaled_level(s, s.highest, low) for s in subjects)),
            min(self.level * reach, max(_scaled_level(s, s.lowest, high) for s in subjects)),
        )


def _scaled_level(subject: SubjectNoise, dose: float, scale: float) -> float:
    """The noise level of a subject's dose once its noise is scaled; see `scaled_dose`."""
    if subject.noise_free:
        return subject.level * scale / math.sqrt(dose)
    return subject.level * math.sqrt(1 + scale**2 * (1 / dose - 1))


def scaled_dose(dose: Tensor, batch: Batch, scale: Tensor) -> Tensor:
    """The doses that scans stand for once their noise about the batch's target is scaled.

    About the noise-free image they stay what they were, on a noisier or quieter scanner. About the full dose
    x_0, which shares their counts, x_0 + scale (y_d - x_0) is nested as a scan of the dose e is, where
    1 / e - 1 = scale^2 (1 / d - 1): y_d - x_0 has the variance 1 / d - 1 in units of x_0's noise and is not
    correlated with it.

    Args:
        dose: (B,) or (B, doses).
        batch: which of its targets are noise-free.
        scale: (B,), the factor of the noise.
    """
    patch = (slice(None), *[None] * (dose.dim() - 1))
    nested = 1 / (1 + scale[patch] ** 2 * (1 / dose - 1))
    return torch.where(batch.noise_free[patch], dose, nested)


INPUTS = Inputs()
