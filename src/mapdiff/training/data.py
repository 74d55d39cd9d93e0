"""The cohorts of a run: opened or packed, checked, split, calibrated."""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mapdiff.cohort.check import SubjectCheck, check_store
from mapdiff.cohort.layout import subjects as subjects_of
from mapdiff.cohort.pack import PackEntry, pack
from mapdiff.cohort.store import StoredSubject, is_store, store_subjects
from mapdiff.cohort.subject import load_subject
from mapdiff.diffusion.calibration import Calibration, SubjectDegradation, calibrate, measure_subject
from mapdiff.dose import FULL, parse_dose
from mapdiff.errors import InputError
from mapdiff.methods.base import SubjectNoise

#: Below a run's folder: the stores of those cohorts that were given as folders.
STORES = "stores"
#: Most worker processes that are started unasked.
MOST_WORKERS = 8
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingData:
    """Subjects with their noise levels, and the cohorts' calibration.

    Attributes:
        train: subjects to train on.
        validation: those held out.
        train_levels: of each, the noise at full dose against the noise-free image (NMAE inside the body).
        validation_levels: the same.
        calibration: the path's.
        cohorts: of each cohort one line that no other cohort has: its name, subjects and a hash.
    """

    train: list[StoredSubject]
    validation: list[StoredSubject]
    train_levels: list[float]
    validation_levels: list[float]
    calibration: Calibration
    cohorts: list[str]

    def train_noise(self) -> list[SubjectNoise]:
        """What each subject to train on brings to the noise levels."""
        found = []
        for subject, level in zip(self.train, self.train_levels, strict=True):
            lower = [float(dose) for dose in map(parse_dose, subject.facts.doses) if dose < FULL]
            found.append(SubjectNoise(level, subject.facts.has_truth, max(lower), min(lower)))
        return found


def degradation_of(subject: StoredSubject, measure: str = "nmae") -> SubjectDegradation:
    """What was measured of a subject when it was packed."""
    facts = subject.facts.degradation[measure]
    real = {parse_dose(label): value for label, value in facts["real"].items()}
    gaussian = tuple(facts["gaussian"]) if facts.get("gaussian") else None  # older stores lack it
    return SubjectDegradation(real, tuple(facts["simulated"]), facts["grain_mm3"], gaussian)


def calibrate_cohorts(cohorts: Sequence[Path], measure: str, say: Say) -> Calibration:
    """The calibration of one or more cohorts (folders or stores), all their subjects together.

    Raises:
        InputError: a cohort is broken, or given twice, which would make an interval too narrow.
    """
    for number, cohort in enumerate(cohorts):
        if cohort.resolve() in [other.resolve() for other in cohorts[:number]]:
            raise InputError("is given twice", cohort)
    degradations = []
    for cohort in cohorts:
        if is_store(cohort):
            degradations += [degradation_of(subject, measure) for subject in store_subjects(cohort)]
            continue
        for folder in subjects_of(cohort):
            scans = load_subject(folder)
            degradations.append(measure_subject(scans.by_dose(), scans.body, measure, scans.spacing_mm))
            say(f"{cohort.name}/{scans.name} measured")
    return calibrate(degradations, measure)


def level_of(degradation: SubjectDegradation) -> float:
    """A subject's noise at full dose against the noise-free image, from that against the full dose."""
    return float(
        np.mean([value / math.sqrt(1 / float(dose) - 1) for dose, value in degradation.real.items()])
    )


def check_sizes(cohorts: Sequence[Path], held_out: int) -> None:
    """Refuse what is no cohort, or one that is too small to hold subjects out.

    Raises:
        InputError: one is.
    """
    for cohort in cohorts:
        subjects = len(store_subjects(cohort) if is_store(cohort) else subjects_of(cohort))
        if subjects <= held_out:
            raise InputError(f"has {subjects} subjects: more than the {held_out} held out are needed", cohort)


def prepare_stores(cohorts: Sequence[Path], run: Path, jobs: int | None, say: Say) -> list[Path]:
    """The store of each cohort: itself, or packed into the run's folder from a cohort folder.

    Raises:
        InputError: a cohort is broken; one line names the first fault.
    """
    stores = []
    for number, cohort in enumerate(cohorts, 1):
        store = cohort if is_store(cohort) else run / STORES / f"{number}-{cohort.resolve().name}"
        stores.append(store)
        if store == cohort:
            continue
        say(f"{cohort}: packing it into {store}")

        def told(entry: PackEntry, done: int, total: int) -> None:
            say(f"[{done}/{total}] {entry.subject} {entry.status}")

        entries = pack(cohort, store, jobs, told)
        broken = [(entry.subject, fault) for entry in entries for fault in entry.faults[:1]]
        _refuse(cohort, broken, len(entries))
    return stores


def open_stores(
    cohorts: Sequence[Path], stores: Sequence[Path], held_out: int, calibration: Calibration | None
) -> TrainingData:
    """Open the cohorts' stores, check them, hold subjects out, calibrate where no calibration is given.

    Raises:
        InputError: a cohort is broken.
    """
    train: list[StoredSubject] = []
    validation: list[StoredSubject] = []
    lines = []
    opened = [store_subjects(store) for store in stores]
    # All cohorts at once: a person held out of one must not be trained on in another.
    checks = iter(check_store([subject for subjects in opened for subject in subjects]))
    for cohort, subjects in zip(cohorts, opened, strict=True):
        _check(cohort, list(islice(checks, len(subjects))))
        train += subjects[:-held_out]
        validation += subjects[-held_out:]
        lines.append(f"{cohort.resolve().name} ({len(subjects)} subjects, {_fingerprint(subjects)})")
    measured = {id(subject): degradation_of(subject) for subject in (*train, *validation)}
    return TrainingData(
        train,
        validation,
        [level_of(measured[id(subject)]) for subject in train],
        [level_of(measured[id(subject)]) for subject in validation],
        calibration or calibrate(list(measured.values())),
        lines,
    )


def default_workers(processes: int) -> int:
    """Worker processes for each of the training processes on this machine; one core is the trainer's.

    torchrun tells how many processes there are, SLURM how many cores each of them has to itself.

    Args:
        processes: that the user asked for.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    own = os.environ.get("SLURM_CPUS_PER_TASK", "")
    cores = int(own) if own.isdigit() else len(os.sched_getaffinity(0)) // max(processes, 1)
    return max(1, min(MOST_WORKERS, cores - 1))


def _check(cohort: Path, checks: Sequence[SubjectCheck]) -> None:
    broken = [(check.name, fault) for check in checks for fault in check.faults[:1]]
    _refuse(cohort, broken, len(checks))


def _refuse(cohort: Path, broken: Sequence[tuple[str, str]], subjects: int) -> None:
    if not broken:
        return
    _, fault = broken[0]
    others = f"; {len(broken)} of {subjects} subjects have faults" if len(broken) > 1 else ""
    raise InputError(f"{fault}{others} (`mapdiff check {cohort}` tells all)")


def _fingerprint(subjects: Sequence[StoredSubject]) -> str:
    """A hash of the files that the subjects were made from."""
    digest = hashlib.sha256()
    for subject in subjects:
        digest.update(subject.facts.name.encode())
        for source in subject.facts.sources:
            digest.update(source["sha256"].encode())
    return digest.hexdigest()[:12]
