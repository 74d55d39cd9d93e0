"""What a method is: a loss to train its network with, and a way from a low-dose image to a restored one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from mapdiff.cohort.patches import Batch
from mapdiff.diffusion.calibration import Calibration

#: Predicts the noise-free image from (state, u, level of the state); all linear, in units of the body's mean.
#: Over a whole volume it runs tile by tile, over a training patch at once: samplers do not know.
Predict = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Stage:
    """An image on the way: the dose fraction it stands for, that dose's label, and the estimate."""

    label: str
    dose: float
    image: Tensor


class Method(Protocol):
    """One method under the common protocol."""

    name: str

    def loss(
        self, net: nn.Module, batch: Batch, calibration: Calibration, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The training loss ("loss") and its named parts, scalars."""
        ...

    def stages(
        self,
        predict: Predict,
        u: Tensor,
        level: float,
        dose: float,
        calibration: Calibration,
        spacing_mm: Sequence[float],
        generator: torch.Generator | None,
    ) -> Iterator[Stage]:
        """From the input u of noise `level` and `dose` fraction, each stage and at last the full dose."""
        ...
