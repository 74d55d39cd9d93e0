"""Training patches of a cohort: all doses of a place at once, drawn so that a step is repeatable."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapdiff.body import body_mask, body_scale
from mapdiff.cohort.layout import doses_of, truth_path
from mapdiff.dose import FULL, dose_label
from mapdiff.errors import InputError
from mapdiff.formats import read

#: Part of the patches that are centred on a lesion, where a subject has any.
LESION_SHARE = 0.2
#: Part of the patches that are centred on the hottest of the body (bladder, heart, brain, kidneys), whose
#: few voxels hold most of a scan's squared error; and what part of the body that is.
HOT_SHARE, HOT_PART = 0.15, 0.01


@dataclass(frozen=True)
class SubjectScans:
    """One subject in memory, cropped to the body.

    Attributes:
        name: the subject's.
        doses: from the highest to the lowest.
        scans: (doses, I, J, K) float16, in units of the body's mean at full dose.
        target: (I, J, K) float16, the noise-free image where the cohort has it, else the full dose.
        body: (I, J, K), where the body is.
        spacing_mm: voxel size.
        lesion_voxels: (n, 3) voxel indices inside lesions; n may be 0.
    """

    name: str
    doses: tuple[Fraction, ...]
    scans: NDArray[np.float16]
    target: NDArray[np.float16]
    body: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    lesion_voxels: NDArray[np.int64]
    has_truth: bool

    def by_dose(self) -> dict[Fraction, NDArray[np.float16]]:
        """The scans as a mapping."""
        return dict(zip(self.doses, self.scans, strict=True))


def load_subject(folder: Path, margin_mm: float = 25.0) -> SubjectScans:
    """Read one subject of a cohort.

    Args:
        folder: the subject's, `sub-001`.
        margin_mm: air that is kept round the body.

    Raises:
        InputError: the full dose is missing, or its scans differ in grid.
    """
    paths = doses_of(folder)
    if FULL not in paths:
        raise InputError("has no full-dose scan", folder)
    full = read(paths[FULL])
    body = body_mask(full.array, full.spacing)
    scale = np.float32(body_scale(full.array, body))
    box = _box(body, [int(np.ceil(margin_mm / s)) for s in full.spacing])

    def cropped(path: Path) -> NDArray[np.float16]:
        volume = full if path == paths[FULL] else read(path)
        if volume.shape != full.shape or not np.allclose(volume.affine, full.affine, atol=1e-3):
            raise InputError("lies on another grid than the full dose", path)
        return (volume.array[box] / scale).astype(np.float16)

    scans = np.stack([cropped(path) for path in paths.values()])
    truth = truth_path(folder, folder.name, "noisefree")
    lesions = truth_path(folder, folder.name, "lesions")
    lesion_voxels = np.zeros((0, 3), np.int64)
    if lesions.exists():
        lesion_voxels = np.argwhere(_labels(lesions)[box] > 0)
    return SubjectScans(
        name=folder.name,
        doses=tuple(paths),
        scans=scans,
        target=cropped(truth) if truth.exists() else scans[0],
        body=np.ascontiguousarray(body[box]),
        spacing_mm=full.spacing,
        lesion_voxels=lesion_voxels,
        has_truth=truth.exists(),
    )


def _labels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(nibabel.nifti1.Nifti1Image.from_filename(path).dataobj).astype(np.uint8)


def _box(mask: NDArray[np.bool_], margin: Sequence[int]) -> tuple[slice, ...]:
    box = []
    for axis in range(3):
        along = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = max(int(along[0]) - margin[axis], 0), int(along[-1]) + 1 + margin[axis]
        box.append(slice(low, min(high, mask.shape[axis])))
    return tuple(box)


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
