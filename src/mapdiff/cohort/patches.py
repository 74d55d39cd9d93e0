"""Training patches of a cohort: all doses of a place at once, drawn so that a step is repeatable."""

from __future__ import annotations

import signal
from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import lru_cache
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mapdiff.cohort.store import BLOCK, StoredSubject
from mapdiff.errors import InputError

#: Part of the patches that are centred on a lesion, where a subject has any.
LESION_SHARE = 0.2
#: Part of the patches that are centred on the hottest of the body (bladder, heart, brain, kidneys), whose
#: few voxels hold most of a scan's squared error.
HOT_SHARE = 0.15
#: A subject with less noise at full dose is drawn less often: even its lowest dose has little to teach.
QUIET = 0.02
#: Subjects whose places are kept in memory by each process: some 0.5 MB each at native size.
CACHED_SUBJECTS = 128
#: Batches that each worker makes ahead.
AHEAD = 2
#: Doses that differ by less than this part of them are the same.
SAME_DOSE = 0.01


@dataclass(frozen=True)
class Batch:
    """Patches of a training step; B patches of edge P.

    Attributes:
        scans: (B, doses, P, P, P), linear, in units of the body's mean; zero where a subject lacks a dose.
        target: (B, 1, P, P, P), the noise-free image, or the full dose where the subject has none.
        noise_free: (B,) bool, which of the two it is.
        doses: (doses,) dose fractions.
        present: (B, doses) bool, which doses each subject has.
        level: (B,), each subject's noise at full dose against the noise-free image (NMAE inside the body).
        spacing_mm: (B, 3).
    """

    scans: Tensor
    target: Tensor
    noise_free: Tensor
    doses: Tensor
    present: Tensor
    level: Tensor
    spacing_mm: Tensor

    def __len__(self) -> int:
        """Patches."""
        return len(self.target)

    def at(self, dose: float) -> tuple[Tensor, Tensor]:
        """The scans of a dose, (B, 1, P, P, P), and which patches have it, (B,) bool; none where none has."""
        off = (self.doses / dose - 1).abs()
        index = int(off.argmin())
        return self.scans[:, index][:, None], self.present[:, index] & (off[index] < SAME_DOSE)

    def part(self, which: slice) -> Batch:
        """Some of the patches."""
        shared = ("doses",)
        return Batch(
            **{f.name: getattr(self, f.name)[... if f.name in shared else which] for f in fields(self)}
        )

    def to(self, device: torch.device) -> Batch:
        """On another device."""
        return Batch(**{f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)})


@dataclass(frozen=True)
class Place:
    """Where one patch lies, and how it is changed.

    Attributes:
        subject: its number.
        start: first voxel along i, j, k.
        flipped: axes (0, 1, 2) that it is mirrored along.
        gain: factor of the intensity.
    """

    subject: int
    start: tuple[int, int, int]
    flipped: tuple[int, ...]
    gain: float


class PatchSampler:
    """Draws the batch of any step from the step's number alone, so that a resumed run sees the same data."""

    def __init__(
        self, subjects: Sequence[StoredSubject], levels: Sequence[float], patch: int, batch: int, seed: int
    ) -> None:
        """Hold the subjects.

        Args:
            subjects: of one or more stores; they need not all have every dose.
            levels: of each subject, as `Batch.level`.
            patch: edge of a patch in voxels.
            batch: patches per step.
            seed: with the step's number it decides the batch.

        Raises:
            InputError: the patches are larger than every subject along every axis: air, and memory.
        """
        longest = max(max(subject.facts.shape) for subject in subjects)
        if patch > -(-longest // 16) * 16:
            raise InputError(f"--patch {patch}: the largest subject's longest axis has {longest} voxels")
        self.subjects, self.levels, self.patch, self.batch, self.seed = subjects, levels, patch, batch, seed
        self.doses = tuple(sorted({d for subject in subjects for d in subject.doses}, reverse=True))
        # Patches are drawn in proportion to the body's voxels, tempered so that no grid dominates.
        weight = np.sqrt([float(subject.facts.body_voxels) for subject in subjects])
        weight *= np.minimum(1.0, np.asarray(levels) / QUIET)
        self._weight = weight / weight.sum()

    def places(self, step: int) -> list[Place]:
        """Where the patches of a step lie: random places, flipped at random, a tenth of jitter on the scale.

        Left-right flips mirror the organs; a patch of a few centimetres shows no more than its texture and
        edges, for which the mirror image is as plausible.
        """
        rng = np.random.default_rng([self.seed, step])
        found = []
        for _ in range(self.batch):
            n = int(rng.choice(len(self.subjects), p=self._weight))
            start = self._start(self.subjects[n], rng)
            flipped = tuple(axis for axis in range(3) if rng.random() < 0.5)
            found.append(Place(n, start, flipped, float(rng.uniform(0.9, 1.1))))
        return found

    def draw(self, step: int, part: slice = slice(None)) -> Batch:
        """The batch of a step, or only a part of its patches.

        Raises:
            InputError: a subject's arrays cannot be read.
        """
        places = self.places(step)[part]
        images = np.zeros((len(places), len(self.doses) + 1, *[self.patch] * 3), np.float32)
        present = np.zeros((len(places), len(self.doses)), bool)
        for n, place in enumerate(places):
            index = [self.doses.index(dose) for dose in self.subjects[place.subject].doses]
            images[n, [*index, -1]] = self._read(place)
            present[n, index] = True
        subjects = [place.subject for place in places]
        return Batch(
            scans=torch.from_numpy(images[:, :-1]),
            target=torch.from_numpy(images[:, -1:]),
            noise_free=torch.tensor([self.subjects[n].facts.has_truth for n in subjects]),
            doses=torch.tensor([float(d) for d in self.doses]),
            present=torch.from_numpy(present),
            level=torch.tensor([self.levels[n] for n in subjects], dtype=torch.float32),
            spacing_mm=torch.tensor([self.subjects[n].facts.spacing_mm for n in subjects]),
        )

    def _start(self, subject: StoredSubject, rng: np.random.Generator) -> tuple[int, int, int]:
        edge, shape = self.patch, subject.facts.shape
        places = _places_of(subject)
        kind = rng.random()
        if len(places.lesions) and kind < LESION_SHARE:
            centre = places.lesions[rng.integers(len(places.lesions))].astype(int)
        elif kind > 1 - HOT_SHARE:
            centre = places.hot[rng.integers(len(places.hot))].astype(int)
        else:  # a voxel of the body: a block in proportion to its body voxels, and a voxel of it
            n = int(np.searchsorted(places.rises, rng.integers(places.rises[-1]), side="right"))
            centre = places.blocks[n].astype(int) * BLOCK + rng.integers(0, BLOCK, 3)
        start = centre - rng.integers(edge // 4, 3 * edge // 4 + 1, 3)
        i, j, k = (int(np.clip(s, 0, max(size - edge, 0))) for s, size in zip(start, shape, strict=True))
        return i, j, k

    def _read(self, place: Place) -> NDArray[np.float32]:
        subject, edge = self.subjects[place.subject], self.patch
        i, j, k = (slice(s, min(s + edge, n)) for s, n in zip(place.start, subject.facts.shape, strict=True))
        images = subject.read((i, j, k))
        short = [(0, edge - size) for size in images.shape[1:]]
        if any(missing for _, missing in short):
            images = np.pad(images, [(0, 0), *short])
        axes = tuple(axis + 1 for axis in place.flipped)
        return np.flip(images, axes).astype(np.float32) * np.float32(place.gain)


@dataclass(frozen=True)
class _Places:
    lesions: NDArray[np.uint16]
    hot: NDArray[np.uint16]
    blocks: NDArray[np.uint16]
    rises: NDArray[np.int64]


@lru_cache(maxsize=CACHED_SUBJECTS)
def _places_of(subject: StoredSubject) -> _Places:
    blocks = subject.body_blocks()
    return _Places(
        subject.lesion_voxels(),
        subject.hot_voxels(),
        blocks[:, :3],
        np.cumsum(blocks[:, 3], dtype=np.int64),
    )


class _Steps(Dataset[Batch | InputError]):
    """The batches by step. An error is handed over, not raised: a worker would bury it in its traceback."""

    def __init__(self, sampler: PatchSampler, part: slice) -> None:
        self.sampler, self.part = sampler, part

    def __getitem__(self, step: int) -> Batch | InputError:
        try:
            return self.sampler.draw(step, self.part)
        except InputError as error:
            return error
        except MemoryError:
            return InputError("out of memory while patches were read: fewer --workers take less, 0 the least")


def batches(
    sampler: PatchSampler, steps: range, part: slice = slice(None), workers: int = 0
) -> Generator[Batch, None, None]:
    """The batches of the steps, in order, made ahead by worker processes; their number changes no batch.

    Close it when done: the workers end then.

    Raises:
        InputError: a subject's arrays cannot be read.
    """
    loader = DataLoader(
        _Steps(sampler, part),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=AHEAD if workers else None,
        worker_init_fn=_outlive_one_signal if workers else None,
    )
    try:
        for batch in islice(loader, len(steps)):
            if isinstance(batch, InputError):
                raise batch
            yield batch
    finally:
        # Its workers end with it. A traceback that somebody keeps would keep it too, and workers left to the
        # interpreter's exit are sent SIGTERM once, which they outlive, and waited for without end.
        del loader


def _outlive_one_signal(number: int) -> None:
    """SIGTERM to the whole process group is the trainer's to answer: it saves its state, then ends these."""
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def dose_index(doses: Sequence[Fraction], dose: Fraction) -> int:
    """Where the dose nearest to `dose` stands in `doses`, by its logarithm."""
    return int(np.argmin([abs(np.log(float(d) / float(dose))) for d in doses]))
