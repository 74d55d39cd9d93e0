"""Validation with the method's own sampler, on the same boxes of the held-out subjects every time."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mapdiff.cohort.patches import Batch, PatchSampler, dose_index
from mapdiff.cohort.store import StoredSubject
from mapdiff.diffusion.calibration import Calibration
from mapdiff.dose import dose_label
from mapdiff.methods.base import Method

#: Input dose of the validation, the nearest that a subject has.
DOSE = Fraction(1, 20)
#: Edge of a box in voxels, and how many subjects are looked at.
EDGE, SUBJECTS = 64, 8
#: Where the boxes lie: the same for every run, whatever its seed, so that runs can be compared.
PLACES = 1


@dataclass(frozen=True)
class Validation:
    """The outcome.

    Attributes:
        psnr: mean over the boxes, dB: of the full-dose estimate against the target (the noise-free image
            where the cohort has it, else the full dose); peak = the target's maximum in the box.
        slices: of the first box: label and (I, J) image of the input, each stage and the target.
    """

    psnr: float
    slices: list[tuple[str, NDArray[np.float32]]]


class Validator:
    """Holds one box of each held-out subject, evenly chosen where there are many."""

    def __init__(self, subjects: Sequence[StoredSubject], levels: Sequence[float]) -> None:
        """Read the boxes."""
        chosen = np.unique(np.linspace(0, len(subjects) - 1, SUBJECTS).round().astype(int))
        self._boxes: list[tuple[Batch, Fraction]] = []
        for n in chosen:
            # No larger than the subject: a multiple of 16 voxels, which every network's pooling divides.
            edge = min(EDGE, -(-max(subjects[n].facts.shape) // 16) * 16)
            sampler = PatchSampler([subjects[n]], [levels[n]], edge, 1, PLACES)
            dose = sampler.doses[dose_index(sampler.doses, DOSE)]
            self._boxes.append((sampler.draw(0), dose))

    def run(
        self, method: Method, net: nn.Module, calibration: Calibration, device: torch.device
    ) -> Validation:
        """Restore every box through the method's stages."""
        values, slices = [], []
        for number, (box, dose) in enumerate(self._boxes):
            box = box.to(device)
            index = int((box.doses - float(dose)).abs().argmin())
            u, target = box.scans[0, index], box.target[0, 0]
            level = float(box.level[0]) / float(dose) ** 0.5
            spacing = box.spacing_mm[0].tolist()
            with torch.no_grad():
                predict = method.predictor(net, level, spacing)
                stages = list(method.stages(predict, u, level, float(dose), calibration, spacing, None))
            error = (stages[-1].image.float() - target).square().mean().clamp_min(1e-20)
            values.append(float(10 * torch.log10(target.max().square() / error)))
            if number == 0:
                shown = [(f"input, {dose_label(dose)}", u)]
                shown += [(stage.label, stage.image) for stage in stages] + [("target", target)]
                middle = target.shape[1] // 2
                slices = [(name, image[:, middle].float().cpu().numpy()) for name, image in shown]
        return Validation(float(np.mean(values)), slices)
