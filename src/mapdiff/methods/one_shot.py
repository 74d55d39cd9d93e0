"""What the rivals that evaluate their network once have in common: regression from the input alone.

The network sees the input and estimates the noise-free image, by the same loss as MAP-Diff's diffusion term,
on the same inputs. Its intermediate doses are the same mixes of the input with that one estimate that
MAP-Diff's steps make, so a difference between the two is what the steps bring.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mapdiff.cohort.patches import Batch
from mapdiff.diffusion.anchor_loss import error_weight, level_weight, weighted_square
from mapdiff.diffusion.calibration import Calibration
from mapdiff.methods.base import Draws, Predict, Stage
from mapdiff.methods.inputs import Input
from mapdiff.methods.map_diff import MapDiff, estimate
from mapdiff.methods.single_denoiser import SingleDenoiser


@dataclass(frozen=True)
class OneShot(SingleDenoiser):
    """Base of the regression rivals; `build` is theirs."""

    def draw(self, size: int, patch: int, generator: torch.Generator) -> Draws:
        """The random part of a step: the input."""
        return self.inputs.draw(size, generator)

    def loss(
        self, net: nn.Module, batch: Batch, calibration: Calibration, draws: Draws, turn: str = "denoiser"
    ) -> dict[str, Tensor]:
        """The weighted squared error of one batch, "loss"."""
        start = self._start(batch, draws)
        z_hat = estimate(net, start.u, start.u, start.level, start.level, batch.spacing_mm)
        return {"loss": weighted_error(z_hat, batch, start)}

    def _start(self, batch: Batch, draws: Draws) -> Input:
        return self.inputs.of(batch, {name: values.to(batch.target.device) for name, values in draws.items()})

    def predictor(self, net: Any, level: float, spacing_mm: Sequence[float]) -> Predict:
        """The network over a whole image at once; the state plays no part."""

        def predict(state: Tensor, u: Tensor, level_state: float) -> Tensor:
            levels = torch.tensor([level], device=u.device)
            return estimate(net, u[None, None], u[None, None], levels, levels, spacing_mm)[0, 0]

        return predict

    def first_estimate(self, predict: Predict, u: Tensor, level: float, calibration: Calibration) -> Tensor:
        """The noise-free image as one evaluation sees it, linear."""
        return predict(u, u, level)

    def stages(
        self,
        predict: Predict,
        u: Tensor,
        level: float,
        dose: float,
        calibration: Calibration,
        spacing_mm: Sequence[float],
        generator: torch.Generator | None = None,
    ) -> Iterator[Stage]:
        """As `MapDiff.stages`, but the first estimate serves every step."""
        found: list[Tensor] = []

        def once(state: Tensor, given: Tensor, level_state: float) -> Tensor:
            if not found:
                found.append(predict(given, given, level))
            return found[0]

        return MapDiff().stages(once, u, level, dose, calibration, spacing_mm, generator)


def weighted_error(z_hat: Tensor, batch: Batch, start: Input) -> Tensor:
    """MAP-Diff's diffusion loss: the error on linear intensity, weighted by input and noise level."""
    weight = error_weight(start.u, batch.spacing_mm)
    return (level_weight(start.level) * weighted_square(z_hat, start.target, weight)).mean()
