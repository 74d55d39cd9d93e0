"""MAP-Diff on the paper's path: Gaussian corruption, anchors at calibrated timesteps.

The reverse path starts from u itself, at the timestep t_ULD whose state is as degraded as u is, and goes by
DDIM through the anchors' calibrated timesteps to x_0. In training the state is the diffused x_0, u at t_ULD,
or a state of the network's own some way down from it; the estimate is held to x_0 and, by timestep-weighted
anchor losses, to the scans of the intermediate doses. At each anchor the path gives out
(d_u / d) u + (1 - d_u / d) z-hat, the best estimate of that dose's scan: doses are nested, so the scan holds
the input's own counts.

Registered as `map-diff-paper`, beside `map-diff`, the path through the doses themselves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from mapdiff.cohort.patches import Batch
from mapdiff.diffusion import dose_path
from mapdiff.diffusion.anchor_loss import (
    error_weight,
    level_weight,
    timestep_weights,
    weighted_square,
)
from mapdiff.diffusion.calibration import Calibration, nominal
from mapdiff.diffusion.gaussian_calibration import anchor_times, evenly_spaced, time_of_level
from mapdiff.diffusion.samplers import ddim
from mapdiff.diffusion.schedule import Schedule, T, diffuse, respaced, schedule_named
from mapdiff.diffusion.transform import invert, transform
from mapdiff.methods.base import Draws, Predict, Stage
from mapdiff.methods.inputs import COLUMN, Input, scaled_dose
from mapdiff.methods.prediction import GaussianPath, estimate_x_0

DIFFUSED, INPUT, OWN = 0, 1, 2


@dataclass(frozen=True)
class MapDiffPaper(GaussianPath):
    """The method's settings; the last four are for ablations.

    Attributes:
        kinds: probabilities of a training step whose state is the diffused x_0, u at t_ULD, an own state.
        anchor_weight: lambda, of the anchor loss in the total; 0 is no anchors.
        timestep_weighted: w_d(t) is a kernel round t_d; else every anchor counts at every timestep alike.
        calibrated: anchors at calibrated timesteps; else evenly between t_ULD and 0.
        start_from_noise: the path starts at T from pure noise; else at t_ULD from u.
        between: further DDIM steps between neighbouring anchors.
    """

    name: str = "map-diff-paper"
    kinds: tuple[float, float, float] = (0.3, 0.4, 0.3)
    anchor_weight: float = 0.1
    timestep_weighted: bool = True
    calibrated: bool = True
    start_from_noise: bool = False
    between: int = 0

    def draw(self, size: int, patch: int, generator: torch.Generator) -> Draws:
        """The input's draws, and those of the state.

        Returns:
            Beside the input's: "kind": (), what the state is; "fall": (size,), how far down from t_ULD it
            lies, from 0 (not at all) to 1 (x_0); "noise": (size, 1, P, P, P), normal.
        """
        return {
            **self.inputs.draw(size, generator),
            "kind": torch.multinomial(torch.tensor(self.kinds), 1, generator=generator)[0],
            "fall": torch.rand(size, generator=generator),
            "noise": torch.randn(size, 1, patch, patch, patch, generator=generator),
        }

    def loss(
        self, net: nn.Module, batch: Batch, calibration: Calibration, draws: Draws, turn: str = "denoiser"
    ) -> dict[str, Tensor]:
        """Diffusion loss plus anchor loss of one batch: scalars "loss", "diffusion", "anchor"."""
        draws = {name: values.to(batch.target.device) for name, values in draws.items()}
        start = self.inputs.of(batch, draws)
        schedule = schedule_named(self.schedule)
        x_t, t = self._state(net, batch, calibration, schedule, start, draws)
        x_hat = self._estimate(net, x_t, t, start, batch.spacing_mm, schedule)
        z_hat = invert(x_hat)
        weight, share = error_weight(start.u, batch.spacing_mm), level_weight(start.level)
        diffusion = (share * weighted_square(z_hat, start.target, weight)).mean()
        anchor = self._anchor_loss(batch, calibration, schedule, draws["scale"], start, t, z_hat, share)
        return {"loss": diffusion + self.anchor_weight * anchor, "diffusion": diffusion, "anchor": anchor}

    def _estimate(
        self, net: nn.Module, x_t: Tensor, t: Tensor, start: Input, spacing_mm: Tensor, schedule: Schedule
    ) -> Tensor:
        abar = schedule.abar.to(x_t.device)[t]
        u = transform(start.u)
        return estimate_x_0(net, self.prediction, x_t, u, abar, start.level, spacing_mm)[0]

    def _state(
        self,
        net: nn.Module,
        batch: Batch,
        calibration: Calibration,
        schedule: Schedule,
        start: Input,
        draws: Draws,
    ) -> tuple[Tensor, Tensor]:
        """x_t and t of each patch, of the kind that was drawn."""
        device = batch.target.device
        t_u = torch.tensor([time_of_level(calibration, schedule, float(v)) for v in start.level])
        if self.start_from_noise:
            t_u = torch.full_like(t_u, T)
        t = (t_u * (1 - draws["fall"].cpu())).round().long().clamp_min(1)
        abar = schedule.abar.to(device)
        kind = int(draws["kind"])
        if kind == DIFFUSED and not bool(batch.noise_free.all()):
            # A complement, diffused a little, shows the network its own noise, which it would learn to keep.
            kind = INPUT
        if kind == DIFFUSED:
            return diffuse(transform(start.target), draws["noise"], abar[t.to(device)]), t.to(device)
        t, t_u = t.to(device), t_u.to(device)
        root = abar.sqrt().to(batch.target.dtype)
        x_u = draws["noise"] if self.start_from_noise else root[t_u][COLUMN] * transform(start.u)
        if kind == INPUT:
            return x_u, t_u
        with torch.no_grad():
            x_hat = self._estimate(net, x_u, t_u, start, batch.spacing_mm, schedule)
        ratio = (schedule.sigma(t.cpu()) / schedule.sigma(t_u.cpu())).to(x_hat)[COLUMN]
        return root[t][COLUMN] * (x_hat + ratio * (x_u / root[t_u][COLUMN] - x_hat)), t

    def _anchor_loss(
        self,
        batch: Batch,
        calibration: Calibration,
        schedule: Schedule,
        scale: Tensor,
        start: Input,
        t: Tensor,
        z_hat: Tensor,
        share: Tensor,
    ) -> Tensor:
        """Sum over the anchors of w_d(t) rho(the stage at d, y_d), over those above the input's dose."""
        x = batch.target  # what the noise of the scans is scaled about
        weight = error_weight(start.u, batch.spacing_mm)
        weights = timestep_weights(t.to(x), self._anchor_times(calibration, schedule, start.level))
        anchor = torch.zeros((), device=x.device)
        for label, kernel in weights.items():
            y_d, present = batch.at(nominal(label))
            d = scaled_dose(torch.full_like(start.dose, nominal(label)), batch, scale)
            reached = (d > 1.1 * start.dose) & present
            if not bool(reached.any()):
                continue
            y_d = x + scale[COLUMN] * (y_d - x)
            stage = dose_path.step(start.u, z_hat, (start.dose / d).clamp(max=1)[COLUMN])
            w = kernel if self.timestep_weighted else torch.full_like(kernel, 1 / len(weights))
            anchor = anchor + (share * w * reached * weighted_square(stage, y_d, weight)).mean()
        return anchor

    def _anchor_times(self, calibration: Calibration, schedule: Schedule, level: Tensor) -> dict[str, Tensor]:
        """t_d of each anchor, by label, (B,): the same for all patches where calibrated."""
        if self.calibrated:
            times = [anchor_times(calibration, schedule)] * len(level)
        else:
            starts = [time_of_level(calibration, schedule, float(v)) for v in level]
            times = [evenly_spaced(calibration, schedule, t_u) for t_u in starts]
        return {label: torch.tensor([float(t[label]) for t in times]).to(level) for label in times[0]}

    def first_estimate(self, predict: Predict, u: Tensor, level: float, calibration: Calibration) -> Tensor:
        """The noise-free image as the first evaluation of the path sees it, linear."""
        x, t = self._start(u, level, calibration, None)
        return invert(predict(x, transform(u), t))

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
        """The reverse path from u; arguments as in `MapDiff.stages`.

        Without a generator the steps are DDIM's, with one they add the posterior's noise (eta = 1).

        Yields:
            A stage at each anchor above the input's dose, with the state there, rescaled; then the full dose.
        """
        schedule = schedule_named(self.schedule)
        x, t_u = self._start(u, level, calibration, generator)
        anchors = self._anchors(calibration, schedule, dose, t_u)
        times = self._times(t_u, list(anchors))
        given = transform(u)
        last: Tensor | None = None
        eta = 0.0 if generator is None else 1.0
        for visit in ddim(lambda x, t: predict(x, given, t), x, times, schedule, eta, generator):
            if visit.t in anchors:
                label, d = anchors[visit.t]
                stage = dose_path.step(u, invert(visit.x_0), dose / d)
                yield Stage(label, d, stage, invert(visit.x_t / float(schedule.abar[visit.t]) ** 0.5))
            last = visit.x_s
        assert last is not None
        yield Stage("full", 1.0, dose_path.step(u, invert(last), dose))

    def _start(
        self, u: Tensor, level: float, calibration: Calibration, generator: torch.Generator | None
    ) -> tuple[Tensor, int]:
        schedule = schedule_named(self.schedule)
        if self.start_from_noise:
            generator = generator or torch.Generator().manual_seed(0)
            return torch.randn(u.shape, generator=generator).to(u), T
        t = time_of_level(calibration, schedule, level)
        return float(schedule.abar[t]) ** 0.5 * transform(u), t

    def _anchors(
        self, calibration: Calibration, schedule: Schedule, dose: float, t_u: int
    ) -> dict[int, tuple[str, float]]:
        """Label and dose of each anchor on the way, by its timestep."""
        times = (
            anchor_times(calibration, schedule)
            if self.calibrated
            else evenly_spaced(calibration, schedule, t_u)
        )
        above = dose_path.anchors_above(dose)
        return {times[label]: (label, d) for label, d in above if times[label] < t_u}

    def _times(self, start: int, anchors: Sequence[int]) -> list[int]:
        """The timesteps to visit: start, anchors, `between` further ones in each gap, 0."""
        ends = [start, *sorted(anchors, reverse=True), 0]
        times = set(ends)
        for high, low in pairwise(ends):
            times |= {low + t for t in respaced(self.between + 1, high - low)}
        return sorted(times, reverse=True)
