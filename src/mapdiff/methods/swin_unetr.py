"""The Transformer: MONAI's SwinUNETR as a regression network (see `networks.swin_unetr` for its trap).

Its patches are of 64 voxels where nothing is told: it pads smaller ones to that, which costs as much and
teaches less.
"""

from dataclasses import dataclass
from typing import ClassVar

from mapdiff.methods.one_shot import OneShot
from mapdiff.networks.swin_unetr import SwinUnetr, SwinUnetrConfig


@dataclass(frozen=True)
class SwinUnetrRegression(OneShot):
    """One evaluation of SwinUNETR."""

    name: str = "swin-unetr"
    usual_patches: ClassVar[tuple[int, int]] = (64, 2)

    def build(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> SwinUnetr:
        """An untrained network; of `channels` the first counts, about twice MONAI's feature size."""
        return SwinUnetr(SwinUnetrConfig(channels, blocks))
