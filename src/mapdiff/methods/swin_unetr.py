"""The Transformer: MONAI's SwinUNETR as a regression network (see `networks.swin_unetr` for its trap).

Train it with `--patch 64`: it pads smaller patches to 64 voxels, which costs as much and teaches less.
"""

from dataclasses import dataclass

from mapdiff.methods.one_shot import OneShot
from mapdiff.networks.swin_unetr import SwinUnetr, SwinUnetrConfig


@dataclass(frozen=True)
class SwinUnetrRegression(OneShot):
    """One evaluation of SwinUNETR."""

    name: str = "swin-unetr"

    def build(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> SwinUnetr:
        """An untrained network; of `channels` the first counts, about twice MONAI's feature size."""
        return SwinUnetr(SwinUnetrConfig(channels, blocks))
