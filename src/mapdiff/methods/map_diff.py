"""MAP-Diff on the dose path: from the ultra-low dose through the anchors to the full dose.

The network estimates the noise-free image z from the state, the input u and the noise levels of both. The
reverse path starts at the input's own dose, found from its noise, and steps to each anchor above it by
Eq. (step) of `diffusion.dose_path`, with fresh estimates on the way. In training the state is, in a part of
the steps, an earlier stage of the network's own, still supervised by the anchors.

Two ways to take the steps. `chained`: the network is shown the stage it has reached as its state; stochastic
paths are. Not chained: it is shown the input each time, in another orientation, and the noise-free image is
the mean of its estimates so far. docs/experiments.md has what each is worth.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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
from mapdiff.diffusion.complement import ComplementNoise
from mapdiff.diffusion.transform import invert, transform
from mapdiff.dose import ANCHORS, dose_label
from mapdiff.methods.base import Draws, Predict, Stage, Step
from mapdiff.methods.inputs import COLUMN, Input, scaled_dose
from mapdiff.methods.single_denoiser import SingleDenoiser
from mapdiff.networks.denoiser import condition_of


def estimate(
    net: Callable[[Tensor, Tensor, Tensor], Tensor],
    state: Tensor,
    u: Tensor,
    level_state: Tensor,
    level_u: Tensor,
    spacing_mm: Tensor | Sequence[float],
) -> Tensor:
    """z-hat = T^-1(f(T(x_t), t, T(u))), linear intensity in units of the body's mean, (B, 1, I, J, K)."""
    return invert(net(transform(state), transform(u), condition_of(level_state, level_u, spacing_mm)))


@dataclass(frozen=True)
class MapDiff(SingleDenoiser):
    """The method's settings.

    Attributes:
        anchor_weight: lambda, of the anchor loss in the total.
        own_stages: part of the training steps whose state is an own earlier stage, not the input.
        chained: whether the deterministic path shows the network the stage before, or the input each time.
    """

    name: str = "map-diff"
    anchor_weight: float = 0.1
    own_stages: float = 0.15
    chained: bool = False

    def predictor(self, net: nn.Module, level: float, spacing_mm: Sequence[float]) -> Predict:
        """The network over a whole image at once."""

        def predict(state: Tensor, u: Tensor, level_state: float) -> Tensor:
            levels = torch.tensor([[level_state], [level]], device=u.device)
            return estimate(net, state[None, None], u[None, None], levels[0], levels[1], spacing_mm)[0, 0]

        return predict

    def draw(self, size: int, patch: int, generator: torch.Generator) -> Draws:
        """The random part of a step.

        Returns:
            "level": (size,), wanted noise level of the input; "scale": (size,), the factor of its noise;
            "rise": (size, n), how far each of the n own stages before the state steps, from 0 (not at all) to
            1 (half the dose); n is 0, 1 or 2.
        """

        drawn = self.inputs.draw(size, generator)
        steps = 0
        if float(torch.rand((), generator=generator)) < self.own_stages:
            steps = 1 + int(torch.randint(2, (), generator=generator))
        rises = [torch.rand(size, generator=generator) for _ in range(steps)]
        rise = torch.stack(rises, dim=1) if rises else torch.zeros(size, 0)
        return {**drawn, "rise": rise}

    def loss(
        self, net: nn.Module, batch: Batch, calibration: Calibration, draws: Draws, turn: str = "denoiser"
    ) -> dict[str, Tensor]:
        """Diffusion loss plus anchor loss of one batch.

        Args:
            net: the denoiser.
            batch: linear patches.
            calibration: the anchors' times.
            draws: from `draw`, one entry for each patch of the batch.
            turn: there is one.

        Returns:
            Scalars "loss", "diffusion", "anchor".
        """
        draws = {name: values.to(batch.target.device) for name, values in draws.items()}
        start = self.inputs.of(batch, draws)
        u, z, level_u, d_u = start.u, start.target, start.level, start.dose
        state, d_s = self._own_stage(net, start, draws["rise"], batch.spacing_mm)
        z_hat = estimate(net, state, u, level_u * (d_u / d_s).sqrt(), level_u, batch.spacing_mm)
        weight = error_weight(u, batch.spacing_mm)
        share = level_weight(level_u)
        diffusion = (share * weighted_square(z_hat, z, weight)).mean()
        anchor = self._anchor_loss(batch, calibration, draws["scale"], state, d_s, z_hat, share, weight)
        return {"loss": diffusion + self.anchor_weight * anchor, "diffusion": diffusion, "anchor": anchor}

    def _own_stage(
        self, net: nn.Module, start: Input, rise: Tensor, spacing_mm: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The state and its dose: the input, or a stage of the network's own after one step or two.

        A stage lies anywhere between the state before it and half the dose: the anchors are three of them.
        """
        u, level_u, d_u = start.u, start.level, start.dose
        state, d_s = u, d_u
        for step in range(rise.shape[1]):
            d_next = torch.exp(rise[:, step] * (torch.log(d_s.clamp_min(0.5)) - torch.log(d_s))) * d_s
            with torch.no_grad():
                z_hat = estimate(net, state, u, level_u * (d_u / d_s).sqrt(), level_u, spacing_mm)
                state = dose_path.step(state, z_hat, (d_s / d_next)[COLUMN])
            d_s = d_next
        return state, d_s

    def _anchor_loss(
        self,
        batch: Batch,
        calibration: Calibration,
        scale: Tensor,
        state: Tensor,
        d_s: Tensor,
        z_hat: Tensor,
        share: Tensor,
        weight: Tensor,
    ) -> Tensor:
        """Sum over the anchors of w_d(t) rho(stage at d, y_d), over those that a subject has."""
        x = batch.target  # what the noise of the scans is scaled about
        told = scaled_dose(d_s, batch, 1 / scale)
        t = torch.tensor([dose_path.time_of(float(d)) for d in told], device=x.device)
        labels = [dose_label(dose) for dose in ANCHORS]
        weights = timestep_weights(t, {label: calibration.anchors[label].t for label in labels})
        anchor = torch.zeros((), device=x.device)
        for label in labels:
            # The anchor the state stands at, or the next above it; one already passed teaches nothing.
            dose = scaled_dose(torch.full_like(d_s, nominal(label)), batch, scale)
            y_d, present = batch.at(nominal(label))
            reached = (dose >= d_s) & present
            if not bool(reached.any()):
                continue
            y_d = x + scale[COLUMN] * (y_d - x)
            stage = dose_path.step(state, z_hat, (d_s / dose).clamp(max=1)[COLUMN])
            anchor = anchor + (share * weights[label] * reached * weighted_square(stage, y_d, weight)).mean()
        return anchor

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
        """The progressive reverse path from u alone.

        Args:
            predict: estimates the noise-free image; linear, in units of the body's mean.
            u: the input, (I, J, K).
            level: its noise level against the noise-free image (NMAE inside the body).
            dose: the dose fraction that this noise stands for on the calibrated scanners, where the path
                starts.
            calibration: the path.
            spacing_mm: voxel size along i, j, k.
            generator: None is the deterministic path; else the noise of the counts that each step adds is
                drawn with it, and the last stage is one possible full-dose scan.

        Yields:
            A stage at each anchor above the input's dose, then the full dose ("full", 1.0).
        """
        chained = self.chained or generator is not None
        state, z_bar = u, u
        noise: ComplementNoise | None = None
        seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator))
        for number, step in enumerate(self.steps(level, dose, chained=chained)):
            z_hat = predict(state if chained else u, u, step.level)
            if not chained:
                z_bar = z_hat if number == 0 else z_bar + (z_hat - z_bar) / (number + 1)
                yield Stage(step.label, step.dose, dose_path.step(u, z_bar, dose / step.dose))
                continue
            complement = z_hat
            if generator is not None and step.noise is not None:
                residual = (u - z_hat).numpy()
                noise = noise or ComplementNoise(lambda a, b, r=residual: r[:, :, a:b], u.shape, spacing_mm)  # type: ignore[misc]
                drawn = noise.draw(step.noise, (seed, number))(0, u.shape[2])
                complement = z_hat + torch.from_numpy(drawn)
            state = dose_path.step(state, complement, step.ratio)
            yield Stage(step.label, step.dose, state)

    def steps(
        self,
        level: float,
        dose: float,
        evaluations: int | None = None,
        chained: bool = True,
    ) -> list[Step]:
        """The steps of the path, in order; the last one ends at the full dose.

        Args:
            level: noise level of the input.
            dose: the dose fraction that it stands for.
            evaluations: how often the network is asked, spread over the steps; every step by default.
            chained: whether the state is the stage before or the input.
        """
        ends = [*dose_path.anchors_above(dose), ("full", 1.0)]
        asked = len(ends) if evaluations is None else max(1, min(evaluations, len(ends)))
        fresh = {round(n * len(ends) / asked) for n in range(asked)}
        steps, d_s = [], dose
        for number, (label, d_next) in enumerate(ends):
            noise = dose / (d_next - d_s) if d_next > d_s else None
            level_s = level * (dose / d_s) ** 0.5 if chained else level
            steps.append(Step(label, d_next, level_s, d_s / d_next, noise, number in fresh))
            d_s = d_next
        return steps
