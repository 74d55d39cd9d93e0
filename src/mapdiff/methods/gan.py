"""The GAN: a conditional least-squares GAN in 3D (Isola et al. 2017; Mao et al. 2017).

The generator is the `unet` rival's network with its loss, plus an adversarial term from a patch discriminator
that sees the input beside the image.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from mapdiff.cohort.patches import Batch
from mapdiff.diffusion.calibration import Calibration
from mapdiff.diffusion.transform import invert, transform
from mapdiff.methods.base import Draws
from mapdiff.methods.one_shot import OneShot, weighted_error
from mapdiff.networks.denoiser import condition_of
from mapdiff.networks.gan import DISCRIMINATOR, GENERATOR, GanConfig, GanNet


@dataclass(frozen=True)
class Gan(OneShot):
    """The method's settings.

    Attributes:
        adversarial_weight: of the adversarial term in the generator's loss.
    """

    name: str = "gan"
    adversarial_weight: float = 0.003
    # In smaller ones the discriminator's last kernel is wider than its image, and the library's gradient in
    # bfloat16 is then of memory that nobody wrote.
    smallest_patch: ClassVar[int] = 24

    def build(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> GanNet:
        """An untrained generator, as large as MAP-Diff's network, and its discriminator."""
        return GanNet(GanConfig(channels, blocks))

    def turns(self, net: nn.Module) -> dict[str, list[nn.Parameter]]:
        """First the generator, then the discriminator."""
        gan = cast(GanNet, net)
        return {
            GENERATOR: list(gan.generator.parameters()),
            DISCRIMINATOR: list(gan.discriminator.parameters()),
        }

    def loss(
        self, net: Any, batch: Batch, calibration: Calibration, draws: Draws, turn: str = GENERATOR
    ) -> dict[str, Tensor]:
        """The loss of a turn.

        Returns:
            The generator's "loss", "error" and "adversarial", or the discriminator's "loss" and the same
            again as "judge", since the log adds up what is called the same.
        """
        start = self._start(batch, draws)
        u = transform(start.u)
        condition = condition_of(start.level, start.level, batch.spacing_mm)
        if turn == DISCRIMINATOR:
            of_real, of_made = net(transform(start.target), u, condition, turn=DISCRIMINATOR)
            judge = ((of_real - 1).square().mean() + of_made.square().mean()) / 2
            return {"loss": judge, "judge": judge}
        image, score = net(u, u, condition, turn=GENERATOR)
        error = weighted_error(invert(image), batch, start)
        adversarial = (score - 1).square().mean()
        loss = error + self.adversarial_weight * adversarial
        return {"loss": loss, "error": error, "adversarial": adversarial}
