"""What is wrong with a cohort or a store, found before a training starts rather than in its third day."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from mapdiff.cohort.layout import subjects
from mapdiff.cohort.store import ARRAYS, META_FILE, StoredSubject, is_store, store_subjects
from mapdiff.cohort.subject import examine, hash_of, source_files
from mapdiff.dose import dose_label, parse_dose
from mapdiff.errors import InputError

#: A subject whose noise at a dose is this many times the cohort's median, or less than one over it, is odd.
#: Scanners, doses and body sizes spread the noise of one cohort by a factor of two.
ODD_NOISE = 3.0


@dataclass
class SubjectCheck:
    """One subject's figures and what is wrong (`faults`) or odd (`notes`) about it, one line each."""

    name: str
    doses: tuple[str, ...]
    noise: dict[str, float]
    hashes: dict[str, str]
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_cohort(
    path: Path, on_subject: Callable[[str, int, int], None] = lambda name, done, total: None
) -> list[SubjectCheck]:
    """Check a cohort folder, or a store against the hashes that were taken when it was packed.

    Reads every file. For a cohort: grids, units, NaN and infinite voxels, missing files, the order of the
    doses, other bodies, outliers of intensity and noise, doses that others have, equal files. For a store:
    that every file is what was packed; the rest was checked then.

    Args:
        path: a cohort folder or a store.
        on_subject: called after each subject with its name, how many are done and how many there are.

    Raises:
        InputError: it is neither.
    """
    checks: list[SubjectCheck] = []
    if is_store(path):
        stored = store_subjects(path)
        for subject in stored:
            checks.append(_of_stored(subject))
            checks[-1].faults += store_faults(subject, content=True)
            on_subject(subject.facts.name, len(checks), len(stored))
    else:
        folders = subjects(path)
        for folder in folders:
            checks.append(_of_folder(folder))
            on_subject(folder.name, len(checks), len(folders))
    compare(checks)
    return checks


def check_store(subjects: Sequence[StoredSubject]) -> list[SubjectCheck]:
    """The quick check before a training: every file is there in its size; nothing is read."""
    checks = [_of_stored(subject) for subject in subjects]
    for check, subject in zip(checks, subjects, strict=True):
        check.faults += store_faults(subject, content=False)
    compare(checks)
    return checks


def store_faults(subject: StoredSubject, content: bool) -> list[str]:
    """Files of a stored subject that are gone or changed; `content` compares hashes, not sizes alone."""
    faults = []
    for name in ARRAYS:  # which stores of before do not list
        path = subject.path / name / META_FILE
        if f"{name}/{META_FILE}" not in subject.facts.parts and not path.is_file():
            faults.append(str(InputError("is missing", path)))
    for name, (size, digest) in subject.facts.parts.items():
        path = subject.path / name
        if not path.is_file():
            faults.append(str(InputError("is missing", path)))
        elif path.stat().st_size != size:
            faults.append(str(InputError(f"has {path.stat().st_size} bytes, not {size}", path)))
        elif content and hash_of(path) != digest:
            faults.append(str(InputError("is not what was packed: its hash differs", path)))
    return faults


def compare(checks: Sequence[SubjectCheck]) -> None:
    """Add to each subject's notes what shows only beside the others; equal scans are a fault."""
    doses = {dose for check in checks for dose in check.doses}
    medians = {
        dose: median(values)
        for dose in doses
        if len(values := [check.noise[dose] for check in checks if dose in check.noise]) >= 3
    }
    seen: dict[str, str] = {}
    for check in checks:
        missing = sorted(map(parse_dose, doses - set(check.doses)), reverse=True)
        if missing and not check.faults:
            check.notes.append(f"lacks dose {', '.join(map(dose_label, missing))}, which others have")
        for dose, noise in check.noise.items():
            if dose in medians and not 1 / ODD_NOISE <= noise / medians[dose] <= ODD_NOISE:
                check.notes.append(
                    f"its noise at dose {dose} is {noise / medians[dose]:.2g} times the cohort's median"
                )
        for file, digest in check.hashes.items():
            if digest in seen:
                check.faults.append(f"{file} is the same file as {seen[digest]}")
            seen.setdefault(digest, f"{check.name}/{file}")


def _of_folder(folder: Path) -> SubjectCheck:
    scans, found = examine(folder)
    return SubjectCheck(
        folder.name,
        () if scans is None else tuple(map(dose_label, scans.doses)),
        {dose_label(dose): noise for dose, noise in found.noise.items()},
        _hashes(folder),
        [str(fault) for fault in found.faults],
        list(found.notes),
    )


def _hashes(folder: Path) -> dict[str, str]:
    """Of the subject's scans, by name; of none where `examine` has told what is wrong with the names."""
    with contextlib.suppress(InputError):
        return {
            path.name: hash_of(path) for path in source_files(folder) if path.name.endswith("_pet.nii.gz")
        }
    return {}


def _of_stored(subject: StoredSubject) -> SubjectCheck:
    facts = subject.facts
    hashes = {s["name"]: s["sha256"] for s in facts.sources if s["name"].endswith("_pet.nii.gz")}
    return SubjectCheck(subject.name, facts.doses, facts.noise, hashes, [], list(facts.notes))
