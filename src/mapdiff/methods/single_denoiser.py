"""What methods that train one denoiser on the shared inputs have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from mapdiff.methods.base import SubjectNoise
from mapdiff.methods.inputs import INPUTS, Inputs
from mapdiff.networks.denoiser import DenoiserConfig, DenoiserNet


@dataclass(frozen=True)
class SingleDenoiser:
    """Base of such methods: MAP-Diff's network unless they build another, and one turn.

    Attributes:
        name: what `--method` calls it.
        inputs: how training inputs are drawn.
        smallest_patch: edge of the smallest patch that its training takes, voxels.
        usual_patches: edge of those that it takes where nothing is told, and how many a step. Many small ones
            teach more than few large ones of as many voxels (docs/training.md).
    """

    name: str = ""
    inputs: Inputs = INPUTS
    smallest_patch: ClassVar[int] = 16
    usual_patches: ClassVar[tuple[int, int]] = (32, 8)

    def build(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> nn.Module:
        """An untrained denoiser."""
        return DenoiserNet(DenoiserConfig(channels, blocks))

    def turns(self, net: nn.Module) -> dict[str, list[nn.Parameter]]:
        """One turn trains all weights."""
        return {"denoiser": list(net.parameters())}

    def level_range(self, subjects: Sequence[SubjectNoise]) -> tuple[float, float]:
        """Of the inputs that are drawn from these subjects, see `Inputs`."""
        return self.inputs.level_range(subjects)
