"""The untrained methods' parameters, tuned on the validation subjects and kept.

TUNED/gaussian-1-20-validation-4-mm.json     one parameter, and what it was tuned on
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

from mapdiff.atomic import written_aside
from mapdiff.dose import FULL, dose_label
from mapdiff.evaluation.benchmark.plan import CohortSpec, Plan
from mapdiff.evaluation.benchmark.subjects import TestSubject, load, prepare, scans_hash
from mapdiff.evaluation.metrics import psnr
from mapdiff.methods.classical import CLASSICAL, tune
from mapdiff.simulate.scanner import scanner_named

FOLDER = "tuned"
Say = Callable[[str], None]
Spacing = tuple[float, float, float]


class Tuner:
    """Gives each untrained method its parameter for an input dose and a voxel size."""

    def __init__(self, plan: Plan, work: Path, shared: Path | None, say: Say) -> None:
        """Take a plan; nothing is simulated or tuned before it is asked for."""
        self._plan, self._work, self._shared, self._say = plan, work, shared, say
        self._subjects: dict[str, list[TestSubject]] = {}
        self._scans: dict[str, list[str]] = {}

    def nearest(self, spacing: Spacing) -> CohortSpec:
        """The validation cohort whose voxels are nearest in volume."""

        def apart(spec: CohortSpec) -> float:
            own = spec.spacing_mm or scanner_named(spec.scanner).spacing_mm
            return abs(math.log(math.prod(own) / math.prod(spacing)))

        return min(self._plan.validation, key=apart)

    def __call__(self, method: str, dose: Fraction, spacing: Spacing) -> float:
        """The parameter: kept from an earlier run, or tuned now.

        Raises:
            InputError: there is no validation subject.
        """
        spec = self.nearest(spacing)
        name = f"{method}-{dose_label(dose).replace('/', '-')}-{spec.folder}.json"
        path = self._work / FOLDER / name
        by = CLASSICAL[method]
        facts = json.dumps([asdict(spec), by.grid, by.edition, self._scans_of(spec)], sort_keys=True)
        fingerprint = hashlib.sha256(facts.encode()).hexdigest()[:16]
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["fingerprint"] == fingerprint:
                return float(kept["value"])
        pairs = [(s.scans[dose], s.scans[FULL]) for s in self._subjects_of(spec)]
        value = tune(by, pairs, lambda x, y: psnr(x, y).value)
        with written_aside(path) as aside:
            aside.write_text(json.dumps({"fingerprint": fingerprint, "value": value, "unit": by.unit}))
        self._say(f"{method} for inputs of {dose_label(dose)}, {spec.grid}: {value:g} {by.unit}")
        return value

    def _scans_of(self, spec: CohortSpec) -> list[str]:
        if spec.folder not in self._scans:
            folders = prepare(spec, self._work, self._shared, self._say)
            self._scans[spec.folder] = [scans_hash(folder) for folder in folders]
        return self._scans[spec.folder]

    def _subjects_of(self, spec: CohortSpec) -> list[TestSubject]:
        if spec.folder not in self._subjects:
            folders = prepare(spec, self._work, self._shared, self._say)
            self._subjects = {spec.folder: [load(f, f.name, self._plan.fractions) for f in folders]}
        return self._subjects[spec.folder]
