"""The strongest plain rival: a 3D regression U-Net, MAP-Diff's own backbone without state and steps."""

from dataclasses import dataclass

from mapdiff.methods.one_shot import OneShot
from mapdiff.networks.denoiser import DenoiserConfig, DenoiserNet


@dataclass(frozen=True)
class UNet(OneShot):
    """One evaluation of the folded U-Net on the input alone."""

    name: str = "unet"

    def build(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> DenoiserNet:
        """An untrained network, as large as MAP-Diff's."""
        return DenoiserNet(DenoiserConfig(channels, blocks, images=1))
