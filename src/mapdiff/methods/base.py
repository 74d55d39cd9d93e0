"""What a method is: a loss to train its network with, and a way from a low-dose image to a restored one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from mapdiff.cohort.patches import Batch
from mapdiff.diffusion.calibration import Calibration

#: Predicts the noise-free image from (state, u, level of the state); all linear, in units of the body's mean.
#: On the Gaussian path all are on the transformed scale, and the level of the state is its timestep.
#: Over a whole volume it runs tile by tile, over a training patch at once: samplers do not know.
Predict = Callable[[Tensor, Tensor, float], Tensor]

#: What a step draws at random, by name. Tensors with an axis have one entry for each patch of the whole
#: batch, those without serve all patches.
Draws = dict[str, Tensor]


@dataclass(frozen=True)
class Stage:
    """An image on the way.

    Attributes:
        label: of the dose it stands for.
        dose: that dose fraction.
        image: the estimate.
        state: the path's own state there, where that is another image (the Gaussian path's, rescaled).
    """

    label: str
    dose: float
    image: Tensor
    state: Tensor | None = None


def part_of(draws: Draws, which: slice) -> Draws:
    """The draws of some of the patches of a batch."""
    return {name: values[which] if values.ndim else values for name, values in draws.items()}


@dataclass(frozen=True)
class Step:
    """A step of a reverse path, the same at every voxel: state' = z + ratio (state - z), z = z-hat + noise.

    Attributes:
        label: of the dose where it ends.
        dose: that dose fraction.
        level: noise level of the state where it starts.
        ratio: part of the state that is kept, d / d'.
        noise: variance of the complement's noise over that of the input's, for stochastic paths; None where
            the step adds no counts.
        fresh: whether the network is asked anew, or the estimate of the step before serves again.
    """

    label: str
    dose: float
    level: float
    ratio: float
    noise: float | None
    fresh: bool


@dataclass(frozen=True)
class SubjectNoise:
    """What a subject brings to the noise levels of a training.

    Attributes:
        level: its noise at full dose against the noise-free image (NMAE inside the body).
        noise_free: whether it has its noise-free image.
        highest: of its doses below the full one, the highest, as a fraction.
        lowest: the lowest.
    """

    level: float
    noise_free: bool
    highest: float
    lowest: float


class Method(Protocol):
    """One method under the common protocol.

    A training step draws everything random for the whole batch at once (`draw`); processes and pieces of a
    batch then take their part of the draws, so that their number changes nothing but rounding.
    """

    @property
    def name(self) -> str:
        """What `--method` calls it."""
        ...

    @property
    def smallest_patch(self) -> int:
        """Edge of the smallest patch that its training takes, voxels."""
        ...

    @property
    def usual_patches(self) -> tuple[int, int]:
        """Edge of the patches that its training takes where nothing is told, voxels, and how many a step."""
        ...

    def build(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> nn.Module:
        """An untrained network of that many channels and blocks at each resolution."""
        ...

    def turns(self, net: nn.Module) -> dict[str, list[nn.Parameter]]:
        """Whose turn it is in a step, in order, and the weights it trains, each with an optimiser of its own.

        Most methods have one; a GAN has its generator and its discriminator.
        """
        ...

    def draw(self, size: int, patch: int, generator: torch.Generator) -> Draws:
        """Everything random of a step with `size` patches of edge `patch`."""
        ...

    def loss(
        self, net: nn.Module, batch: Batch, calibration: Calibration, draws: Draws, turn: str
    ) -> dict[str, Tensor]:
        """The training loss ("loss") of a turn and its named parts, scalars, means over the patches."""
        ...

    def level_range(self, subjects: Sequence[SubjectNoise]) -> tuple[float, float]:
        """Noise levels of the input that training on these subjects covers."""
        ...

    def predictor(self, net: nn.Module, level: float, spacing_mm: Sequence[float]) -> Predict:
        """A `Predict` for (I, J, K) images whose input has the noise `level`, the whole image at once."""
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
