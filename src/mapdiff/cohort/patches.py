"""Training patches of a cohort: all doses of a place at once, drawn so that a step is repeatable."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapdiff.cohort.subject import SubjectScans
from mapdiff.dose import dose_label
from mapdiff.errors import InputError

#: Part of the patches that are centred on a lesion, where a subject has any.
LESION_SHARE = 0.2
#: Part of the patches that are centred on the hottest of the body (bladder, heart, brain, kidneys), whose
#: few voxels hold most of a scan's squared error; and what part of the body that is.
HOT_SHARE, HOT_PART = 0.15, 0.01


@dataclass(frozen=True)
class Batch:
    """Patches of a training step; B patches of edge P.

    Attributes:
        scans: (B, doses, P, P, P), linear, in units of the body's mean.
        target: (B, 1, P, P, P).
        doses: (doses,) dose fractions.
        level: (B,), each subject's noise at full dose against the noise-free image (NMAE inside the body).
        spacing_mm: (B, 3).
    """

    scans: Tensor
    target: Tensor
    doses: Tensor
    level: Tensor
    spacing_mm: Tensor


class PatchSampler:
    """Draws the batch of any step from the step's number alone, so that a resumed run sees the same data."""

    def __init__(
        self, subjects: Sequence[SubjectScans], levels: Sequence[float], patch: int, batch: int, seed: int
    ) -> None:
        """Hold the subjects.

        Args:
            subjects: with the same doses each.
            levels: of each subject, as `Batch.level`.
            patch: edge of a patch in voxels.
            batch: patches per step.
            seed: with the step's number it decides the batch.

        Raises:
            InputError: the subjects have different doses.
        """
        self.subjects, self.levels, self.patch, self.batch, self.seed = subjects, levels, patch, batch, seed
        self.doses = subjects[0].doses
        for subject in subjects:
            if subject.doses != self.doses:
                raise InputError(f"{subject.name} has other doses than {subjects[0].name}")
        # Patches are drawn in proportion to the body's voxels, tempered so that no grid dominates.
        weight = np.sqrt([float(subject.body.sum()) for subject in subjects])
        self._weight = weight / weight.sum()
        self._inside = [np.flatnonzero(subject.body) for subject in subjects]
        self._hot = [
            inside[target >= np.quantile(target, 1 - HOT_PART)]
            for inside, target in (
                (inside, subject.target.ravel()[inside])
                for inside, subject in zip(self._inside, subjects, strict=True)
            )
        ]

    def dose_index(self, dose: Fraction) -> int:
        """Where a dose stands in `Batch.scans`."""
        if dose not in self.doses:
            raise InputError(f"the cohort has no dose {dose_label(dose)}")
        return self.doses.index(dose)

    def draw(self, step: int) -> Batch:
        """The batch of a step: random places, flipped at random, a tenth of jitter on the scale.

        Left-right flips mirror the organs; a patch of a few centimetres shows no more than its texture and
        edges, for which the mirror image is as plausible.
        """
        rng = np.random.default_rng([self.seed, step])
        scans, targets, levels, spacings = [], [], [], []
        for _ in range(self.batch):
            n = int(rng.choice(len(self.subjects), p=self._weight))
            scan, target = self._patch(n, rng)
            gain = np.float32(rng.uniform(0.9, 1.1))
            scans.append(scan * gain)
            targets.append(target * gain)
            levels.append(self.levels[n])
            spacings.append(self.subjects[n].spacing_mm)
        return Batch(
            scans=torch.from_numpy(np.stack(scans)),
            target=torch.from_numpy(np.stack(targets))[:, None],
            doses=torch.tensor([float(d) for d in self.doses]),
            level=torch.tensor(levels, dtype=torch.float32),
            spacing_mm=torch.tensor(spacings, dtype=torch.float32),
        )

    def _patch(self, n: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        subject, edge = self.subjects[n], self.patch
        kind = rng.random()
        if len(subject.lesion_voxels) and kind < LESION_SHARE:
            centre = subject.lesion_voxels[rng.integers(len(subject.lesion_voxels))]
        else:
            among = self._hot[n] if kind > 1 - HOT_SHARE else self._inside[n]
            centre = np.array(np.unravel_index(among[rng.integers(len(among))], subject.body.shape))
        start = centre - rng.integers(edge // 4, 3 * edge // 4 + 1, 3)
        shape = subject.body.shape
        start = [int(np.clip(s, 0, max(size - edge, 0))) for s, size in zip(start, shape, strict=True)]
        where = tuple(slice(s, s + edge) for s in start)
        images = np.concatenate([subject.scans[(slice(None), *where)], subject.target[where][None]])
        short = [(0, edge - size) for size in images.shape[1:]]
        if any(missing for _, missing in short):
            images = np.pad(images, [(0, 0), *short])
        axes = tuple(axis + 1 for axis in range(3) if rng.random() < 0.5)
        images = np.ascontiguousarray(np.flip(images, axes)).astype(np.float32)
        return images[:-1], images[-1]
