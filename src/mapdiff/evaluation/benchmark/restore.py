"""An entry of the plan, ready to restore scans. No dose is told to a method that finds it by itself."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mapdiff.dose import dose_label
from mapdiff.errors import InputError
from mapdiff.evaluation.benchmark.plan import INPUT, ORACLE, Entry, model_file
from mapdiff.evaluation.benchmark.subjects import TestSubject
from mapdiff.inference.denoiser import EVALUATIONS, Denoiser, pretrained_path
from mapdiff.methods.classical import CLASSICAL
from mapdiff.methods.ddpm import Ddpm
from mapdiff.methods.map_diff import MapDiff
from mapdiff.methods.map_diff_paper import MapDiffPaper
from mapdiff.methods.model_file import load_model
from mapdiff.volume import Array

#: Raised by hand where a method or a measure comes to give other figures: what was kept is then done anew.
VERSION = 5


@dataclass(frozen=True)
class Outcome:
    """What a method made of a scan.

    Attributes:
        images: by stage label, "full" among them.
        states: by stage label, a path's own state there.
        deviation: standard deviation over the samples, where they are draws of the full-dose scan.
        seconds: time taken.
        evaluations: of a network, in all.
        level: noise level that was found, or None.
    """

    images: dict[str, Array]
    states: dict[str, Array] = field(default_factory=dict)
    deviation: Array | None = None
    seconds: float = 0.0
    evaluations: int = 0
    level: float | None = None


class Restorer:
    """Loads what an entry needs once, and restores."""

    def __init__(
        self,
        entry: Entry,
        work: Path,
        tuned: Callable[[str, Fraction, tuple[float, float, float]], float],
        committed: Path = Path(),
    ) -> None:
        """Take an entry.

        Args:
            entry: what to run.
            work: where model files are looked for first.
            tuned: gives an untrained method its parameter, by method, input dose and voxel size.
            committed: where they are looked for then.

        Raises:
            InputError: the model is missing, or of another method.
        """
        self.entry, self._tuned = entry, tuned
        self._denoiser: Denoiser | None = None
        if entry.model is not None:
            path = pretrained_path(entry.model) if entry.shipped else model_file(entry.model, work, committed)
            model = load_model(path)
            if model.method != entry.method:
                raise InputError(f"is a model of {model.method}, not of {entry.method}", path)
            path_taken = MapDiff(chained=entry.path == "chained") if entry.path else None
            self._denoiser = Denoiser(model, path, method=path_taken)
            rival = self._denoiser.rival
            if rival is not None and isinstance(rival.method, Ddpm) and entry.sampler:
                rival.method = Ddpm(sampler=entry.sampler, steps=entry.steps)
            if rival is not None and isinstance(rival.method, MapDiffPaper) and entry.between:
                rival.method = replace(rival.method, between=entry.between)

    def fingerprint(self, dose: Fraction, spacing: tuple[float, float, float]) -> str:
        """Changes where the results would: with settings, parameter, weights or precision.

        Args:
            dose: of the input.
            spacing: voxel size of the scan.
        """
        facts: dict[str, Any] = asdict(self.entry)
        for where in ("model", "label", "first", "grids", "main_dose_only", "quick", "detection"):
            facts.pop(where)
        facts["version"] = VERSION
        if self._denoiser is not None:
            facts["weights"], facts["precision"] = self._denoiser.hash, self._denoiser.precision
        if self.entry.method in CLASSICAL:
            facts["parameter"] = self._tuned(self.entry.method, dose, spacing)
            facts["edition"] = CLASSICAL[self.entry.method].edition
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def __call__(self, subject: TestSubject, dose: Fraction) -> Outcome:
        """Restore the subject's scan of that dose."""
        low = subject.scans[dose]
        if self.entry.method == INPUT:
            return Outcome({"full": low.array})
        if self.entry.method == ORACLE:
            return Outcome(self._oracle(subject, dose))
        if self.entry.method in CLASSICAL:
            value = self._tuned(self.entry.method, dose, low.spacing)
            started = time.monotonic()
            image = CLASSICAL[self.entry.method].run(low, value)
            return Outcome({"full": image}, seconds=time.monotonic() - started)
        denoiser = self._denoiser
        assert denoiser is not None
        if denoiser.rival is None:
            found = denoiser.denoise(
                low,
                samples=self.entry.samples,
                evaluations=self.entry.evaluations or EVALUATIONS,
                corrected=self.entry.corrected is not False,
            )
            images = {label: volume.array for label, volume in found.stages.items()}
            images["full"] = found.image.array
            return Outcome(
                images,
                deviation=None if found.deviation is None else found.deviation.array,
                seconds=found.seconds,
                evaluations=found.evaluations * max(self.entry.samples, 1),
                level=found.level,
            )
        restored = denoiser.rival.restore(
            low, samples=self.entry.samples, corrected=self.entry.corrected is True
        )
        return Outcome(
            {**restored.stages, "full": restored.image},
            # A corrected image has no state, and the mean of samples none either: it is the first one's.
            {} if self.entry.corrected or self.entry.samples else dict(restored.states),
            # Its samples are d u + (1 - d) z with z a draw without noise: no draws of the scan, which the
            # benchmark would hold their spread against.
            deviation=None,
            seconds=restored.seconds,
            evaluations=restored.evaluations * max(self.entry.samples, 1),
            level=restored.level,
        )

    @staticmethod
    def _oracle(subject: TestSubject, dose: Fraction) -> dict[str, Array]:
        """The input's counts, the rest made up of the noise-free image, at every dose above the input's."""
        u, z = subject.scans[dose].array, subject.truth.array
        images: dict[str, Array] = {}
        for d in subject.scans:
            if d > dose:
                share = np.float32(dose / d)
                images[dose_label(d)] = share * u + (1 - share) * z
        return images
