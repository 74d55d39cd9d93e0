"""The diffusion rival: a conditional 3D DDPM (Ho et al. 2020) on MAP-Diff's network, without anchors.

It diffuses MAP-Diff's target (the noise-free image, where a cohort has it) on the transformed scale and is
sampled from pure noise, given u. One sample is one possible image, with about twice the squared error of the
mean over many. Its last stage keeps the input's own counts as MAP-Diff's does: d u + (1 - d) z-hat.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mapdiff.cohort.patches import Batch
from mapdiff.diffusion import dose_path
from mapdiff.diffusion.calibration import Calibration
from mapdiff.diffusion.gaussian_calibration import anchor_times
from mapdiff.diffusion.samplers import Denoise, Visit, ancestral, ddim
from mapdiff.diffusion.schedule import T, diffuse, respaced, schedule_named
from mapdiff.diffusion.transform import invert, transform
from mapdiff.errors import InputError
from mapdiff.methods.base import Draws, Predict, Stage
from mapdiff.methods.prediction import GaussianPath, estimate_x_0

ANCESTRAL, DDIM = "ancestral", "ddim"


@dataclass(frozen=True)
class Ddpm(GaussianPath):
    """The method's settings; sampler and steps may differ from one use of a trained network to the next.

    Attributes:
        sampler: "ancestral" or "ddim" (deterministic but for the first noise).
        steps: network evaluations of a sample.
    """

    name: str = "ddpm"
    sampler: str = DDIM
    steps: int = 50

    def __post_init__(self) -> None:
        """Check the names.

        Raises:
            InputError: one is unknown.
        """
        super().__post_init__()
        if self.sampler not in (ANCESTRAL, DDIM):
            raise InputError(f"sampler '{self.sampler}' is unknown; there are {ANCESTRAL} and {DDIM}")

    def draw(self, size: int, patch: int, generator: torch.Generator) -> Draws:
        """The input's draws; "t": (size,), timesteps from 1 to T; "noise": (size, 1, P, P, P), normal."""
        return {
            **self.inputs.draw(size, generator),
            "t": torch.randint(1, T + 1, (size,), generator=generator),
            "noise": torch.randn(size, 1, patch, patch, patch, generator=generator),
        }

    def loss(
        self, net: nn.Module, batch: Batch, calibration: Calibration, draws: Draws, turn: str = "denoiser"
    ) -> dict[str, Tensor]:
        """The parametrisation's own mean squared error, "loss"."""
        draws = {name: values.to(batch.target.device) for name, values in draws.items()}
        start = self.inputs.of(batch, draws)
        x_0 = transform(start.target)
        abar = schedule_named(self.schedule).abar.to(x_0.device)[draws["t"]]
        x_t = diffuse(x_0, draws["noise"], abar)
        u = transform(start.u)
        x_hat, scale = estimate_x_0(net, self.prediction, x_t, u, abar, start.level, batch.spacing_mm)
        return {"loss": ((x_hat - x_0) / scale).square().mean()}

    def first_estimate(self, predict: Predict, u: Tensor, level: float, calibration: Calibration) -> Tensor:
        """The noise-free image as one evaluation at T sees it, linear: there the state tells nothing."""
        return invert(predict(self._pure_noise(u, None), transform(u), T))

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
        """A sample from pure noise; arguments as in `MapDiff.stages`.

        Without a generator the noise is that of seed 0.

        Yields:
            A stage at each anchor above the input's dose: x_0-hat at the visited timestep nearest to the
            calibrated one, mixed with the input's counts, and the state there, rescaled; then the full dose.
        """
        schedule = schedule_named(self.schedule)
        generator = generator or torch.Generator().manual_seed(0)
        times = respaced(self.steps)
        given = transform(u)

        def denoise(x: Tensor, t: int) -> Tensor:
            return predict(x, given, t)

        wanted = nearest_visits(calibration, self.schedule, dose, times[:-1])
        x_t = self._pure_noise(u, generator)
        last: Tensor | None = None
        for visit in self._sampled(denoise, x_t, times, generator):
            for label, d in wanted.get(visit.t, ()):
                mixed = dose_path.step(u, invert(visit.x_0), dose / d)
                yield Stage(label, d, mixed, invert(visit.x_t / float(schedule.abar[visit.t]) ** 0.5))
            last = visit.x_s
        assert last is not None
        yield Stage("full", 1.0, dose_path.step(u, invert(last), dose))

    def _sampled(
        self, denoise: Denoise, x: Tensor, times: Sequence[int], generator: torch.Generator
    ) -> Iterator[Visit]:
        schedule = schedule_named(self.schedule)
        if self.sampler == ANCESTRAL:
            return ancestral(denoise, x, times, schedule, generator)
        return ddim(denoise, x, times, schedule)

    def _pure_noise(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        generator = generator or torch.Generator().manual_seed(0)
        return torch.randn(u.shape, generator=generator).to(u)


def nearest_visits(
    calibration: Calibration, schedule: str, dose: float, times: Sequence[int]
) -> dict[int, list[tuple[str, float]]]:
    """The anchors above the input's dose, label and dose, by the visited timestep nearest to theirs."""
    calibrated = anchor_times(calibration, schedule_named(schedule))
    found: dict[int, list[tuple[str, float]]] = {}
    for label, d in dose_path.anchors_above(dose):
        t = min(times, key=lambda visited: abs(visited - calibrated[label]))
        found.setdefault(t, []).append((label, d))
    return found
