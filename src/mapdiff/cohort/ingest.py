"""Real multi-dose data as it lies on disk into a cohort: checked, neutral names, resumable.

Nothing that tells who a patient is gets into the cohort, the report or the log: no name from a header, no
name of a folder or file. Subjects are numbered in the order of their folders' paths.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from mapdiff import __version__
from mapdiff.atomic import check_target, locked, written_aside
from mapdiff.cohort.layout import COHORT_FILE, SUBJECT_FILE, dose_path, write_image
from mapdiff.cohort.oddities import (
    Body,
    Measure,
    differing_facts,
    grid_fault,
    order_faults,
    scan_faults,
    scan_notes,
)
from mapdiff.dose import DOSES, FULL, dose_label
from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.formats.udpet import SubjectFolder, find_subjects
from mapdiff.volume import Acquisition, Volume

REPORT_FILE = "ingest_report.json"
NAMES_FILE = "source_names.json"
#: What keeps two processes out of one cohort.
LOCK_FILE = ".ingesting"
INGESTED, LEFT_OUT = "ingested", "left out"


@dataclass
class Entry:
    """What became of one subject.

    Attributes:
        subject: its neutral name in the cohort, "sub-001".
        status: "ingested" or "left out".
        key: a fingerprint that knows the subject again in a later run: SHA-256 of the first file of its
            highest dose, which nobody can guess; None where there is no such file.
        scanner: "quadra" or "uexplorer", by the names of the folders.
        doses: the doses found.
        noise: by dose, standard deviation of (dose - full dose) over the mean, inside the body.
        faults: why it was left out, one line each.
        notes: what is odd but no reason to leave it out.
        earlier: an earlier run did it.
    """

    subject: str
    status: str
    key: str | None
    scanner: str
    doses: list[str]
    noise: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    earlier: bool = False

    def lines(self) -> list[str]:
        """The entry as text: what became of the subject, then what is odd about it."""
        head = f"{self.subject}: {self.status}" + (" by an earlier run" if self.earlier else "")
        return [head, *(f"  fault: {t}" for t in self.faults), *(f"  note: {t}" for t in self.notes)]


class _Faulty(Exception):
    """The subject at hand cannot be used; carries its faults."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = list(faults)


def ingest(
    source: Path,
    cohort: Path,
    doses: Sequence[Fraction] = DOSES,
    keep_names: bool = False,
    on_subject: Callable[[Entry, int, int], None] = lambda entry, done, total: None,
) -> list[Entry]:
    """Read the training tree of the UDPET challenge (either scanner, or both) into a cohort, Bq/mL kept.

    A subject that is there from an earlier run is kept; one that was left out is tried again. The report is
    written anew after every subject, so a stopped run loses at most the subject at hand.

    Args:
        source: a folder at any height above the subjects' folders.
        cohort: the cohort's folder; new, or made by an earlier run with the same doses.
        doses: those that every subject must have; others are passed over.
        keep_names: write which folder became which subject. That file may tell who the patients are.
        on_subject: called after each subject, with how many are done, and how many there are.

    Returns:
        What became of each subject, in order.

    Raises:
        InputError: the source holds no subject, or the cohort's folder holds something else.
    """
    doses = sorted(set(doses), reverse=True)
    if FULL not in doses or len(doses) < 2:
        raise InputError("a cohort needs the full dose and one lower dose at least")
    here, there = source.resolve(), cohort.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise InputError(f"lies in the source {source}, or holds it; give another folder", cohort)
    folders = find_subjects(source)
    _open_cohort(cohort, doses)
    with locked(cohort / LOCK_FILE, "ingests"):
        return _ingested(source, folders, cohort, doses, keep_names, on_subject)


def _ingested(
    source: Path,
    folders: Sequence[SubjectFolder],
    cohort: Path,
    doses: Sequence[Fraction],
    keep_names: bool,
    on_subject: Callable[[Entry, int, int], None],
) -> list[Entry]:
    before = _earlier(cohort)
    names = _named(folders, before)
    # Of other sources in the same cohort, and of what is still to come.
    earlier = _load(cohort / NAMES_FILE) if (cohort / NAMES_FILE).exists() else {}
    entries: list[Entry] = []
    for n, (folder, (name, key)) in enumerate(zip(folders, names, strict=True)):
        entry = before.get(key or "")
        # A copy that is broken does not keep a whole one of the same subject out.
        same = (e.subject for e in entries if e.status == INGESTED and key is not None and e.key == key)
        twin = next(same, None)
        if twin is not None:
            entry = _entry(folder, name, None)
            entry.faults = [f"holds the same scans as {twin}"]
        elif entry is None or entry.status != INGESTED or not (cohort / name / SUBJECT_FILE).exists():
            entry = _ingest_subject(folder, _entry(folder, name, key), cohort, doses)
        else:
            entry.earlier = True
        entries.append(entry)
        gone = [e for e in before.values() if e.status == INGESTED and e.key not in {k for _, k in names}]
        pending = [before[k] for later, k in names[n + 1 :] if k in before and before[k].subject == later]
        _write_report(cohort, [*entries, *pending, *gone])
        if keep_names:
            paths = {
                e.subject: str(f.path.relative_to(source)) for e, f in zip(entries, folders, strict=False)
            }
            _write_json(cohort / NAMES_FILE, {**earlier, **paths})
        on_subject(entry, n + 1, len(folders))
    return entries


def _entry(folder: SubjectFolder, name: str, key: str | None) -> Entry:
    return Entry(name, LEFT_OUT, key, folder.scanner, [dose_label(dose) for dose in folder.doses])


def _open_cohort(cohort: Path, doses: Sequence[Fraction]) -> None:
    facts: dict[str, Any] = {
        "kind": "mapdiff cohort",
        "simulated": False,
        "source": "UDPET",
        "doses": [dose_label(dose) for dose in doses],
    }
    marker = cohort / COHORT_FILE
    if marker.exists():
        there = _load(marker)
        if {key: there.get(key) for key in facts} != facts:
            raise InputError("holds another cohort, or one of other doses; give another folder", cohort)
        return
    check_target(cohort, overwrite=None)
    _write_json(marker, {**facts, "mapdiff": __version__})


def _earlier(cohort: Path) -> dict[str, Entry]:
    """The entries of an earlier run by key; what has no key is not known again.

    A subject that is whole counts even if the run stopped before it wrote its report.
    """
    found: dict[str, Entry] = {}
    for path in sorted(cohort.glob(f"sub-*/{SUBJECT_FILE}")):
        facts = _load(path)
        parts = {name: facts.get(name) for name in ("subject", "key", "doses", "noise", "notes")}
        scanner = (facts.get("scanner") or {}).get("name")
        entry = Entry(status=INGESTED, scanner=scanner, **parts)  # type: ignore[arg-type]
        if entry.key is not None and entry.subject == path.parent.name:
            found[entry.key] = entry
    path = cohort / REPORT_FILE
    try:
        for fields in _load(path).get("subjects", ()) if path.exists() else ():
            if fields.get("key") is not None:
                found.setdefault(fields["key"], Entry(**fields))
    except (AttributeError, TypeError):
        raise InputError("is no report of mapdiff ingest; remove it", path) from None
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text())
    except ValueError:
        raise InputError("is no readable JSON", path) from None
    if not isinstance(loaded, dict):
        raise InputError("is not a JSON object", path)
    return loaded


def _named(folders: Sequence[SubjectFolder], before: dict[str, Entry]) -> list[tuple[str, str | None]]:
    """Name and key of each subject: the earlier name where there was one, else the next free number."""
    taken = {entry.subject for entry in before.values()}
    given: dict[str, str] = {key: entry.subject for key, entry in before.items()}
    number = 0
    named: list[tuple[str, str | None]] = []
    for folder in folders:
        key = _key(folder)
        used = {name for name, _ in named}
        if key is not None and key in given and given[key] not in used:
            named.append((given[key], key))
            continue
        while (name := f"sub-{(number := number + 1):03d}") in taken:
            pass
        named.append((name, key))
        if key is not None:
            given.setdefault(key, name)
    return named


def _key(folder: SubjectFolder) -> str | None:
    for paths in folder.doses.values():
        files = sorted(file for path in paths for file in path.rglob("*") if file.is_file())
        for file in files:
            if file.name.startswith("."):
                continue
            try:
                content = file.read_bytes()
            except OSError:
                continue
            if content:
                return hashlib.sha256(content).hexdigest()
    return None


def _ingest_subject(folder: SubjectFolder, entry: Entry, cohort: Path, doses: Sequence[Fraction]) -> Entry:
    """Read, check and write one subject; the entry tells what became of it."""
    target = cohort / entry.subject
    try:
        paths = _dose_folders(folder, doses, entry)
        with written_aside(target) as aside:
            facts = _write_subject(paths, entry, aside)
            entry.status = INGESTED
            _write_json(aside / SUBJECT_FILE, facts)
    except _Faulty as faulty:
        entry.status, entry.faults = LEFT_OUT, faulty.faults
    return entry


def _dose_folders(folder: SubjectFolder, doses: Sequence[Fraction], entry: Entry) -> dict[Fraction, Path]:
    faults = []
    if FULL not in folder.doses:
        faults.append("the full dose is missing")
    absent = [dose_label(dose) for dose in doses if dose not in folder.doses and dose != FULL]
    if absent:
        faults.append(f"missing doses: {', '.join(absent)}")
    faults += [
        f"{len(paths)} folders claim to be dose {dose_label(dose)}"
        for dose, paths in folder.doses.items()
        if len(paths) > 1 and dose in doses
    ]
    if folder.strange:
        entry.notes.append(f"{folder.strange} more folders beside the doses, of names that tell no dose")
    if faults:
        raise _Faulty(faults)
    return {dose: folder.doses[dose][0] for dose in doses}


def _write_subject(paths: dict[Fraction, Path], entry: Entry, aside: Path) -> dict[str, Any]:
    """Write the doses of a subject, in order from the full dose; return its facts.

    Raises:
        _Faulty: it cannot be used.
    """
    faults: list[str] = []
    notes: dict[str, list[str]] = {}
    measures: dict[Fraction, Measure] = {}
    acquisitions: dict[Fraction, Acquisition] = {}
    full: Volume | None = None
    body: Body | None = None
    for dose, path in paths.items():
        label = dose_label(dose)
        try:
            volume = read(path)
            if dose == FULL:
                full, body = volume, Body(volume)
        except InputError as error:
            faults.append(f"dose {label}: {_cause(error, path)}")
            continue
        except OSError as error:  # a worn disk must not stop the batch
            faults.append(f"dose {label}: cannot be read: {error.strerror or 'input/output error'}")
            continue
        found = scan_faults(volume)
        if full is None or body is None:
            faults += [f"dose {label}: {fault}" for fault in found]
            continue
        wrong_grid = grid_fault(volume.shape, volume.affine, full)
        found += [wrong_grid] if wrong_grid else []
        faults += [f"dose {label}: {fault}" for fault in found]
        for note in scan_notes(volume):
            notes.setdefault(note, []).append(label)
        acquisitions[dose] = volume.acquisition
        if wrong_grid is None:
            measures[dose] = body.measure(volume.array)
        if not faults:
            facts = _without_identity(volume.acquisition)
            # All doses get the full dose's affine: headers round, and training wants one grid.
            image = Volume(volume.array, full.affine, volume.unit, facts)
            write_image(
                image, dose_path(aside, entry.subject, dose), {"DoseReductionFactor": float(1 / dose)}
            )
    entry.notes += [
        note if len(labels) == len(paths) else f"dose {', '.join(labels)}: {note}"
        for note, labels in notes.items()
    ]
    entry.notes += differing_facts(acquisitions)
    entry.noise = {dose_label(d): round(m.residual, 4) for d, m in measures.items() if d != FULL}
    faults += order_faults(measures)
    if faults or full is None:
        raise _Faulty(faults)
    facts = full.acquisition
    return {
        "subject": entry.subject,
        "source": "UDPET",
        "key": entry.key,
        "scanner": {"name": entry.scanner, "manufacturer": facts.manufacturer, "model": facts.model},
        "spacing_mm": full.spacing,
        "shape": full.shape,
        "person": {
            "weight_kg": facts.weight_kg,
            "injected_activity_bq": facts.injected_activity_bq,
            "uptake_s": facts.uptake_s,
        },
        "doses": [dose_label(dose) for dose in paths],
        "noise": entry.noise,
        "notes": entry.notes,
        "mapdiff": __version__,
    }


def _without_identity(facts: Acquisition) -> Acquisition:
    """The facts less the time of day, and less the reasons for what is missing, which may quote a header."""
    return replace(facts, reference_clock_s=None, missing={}, supplied=())


def _cause(error: InputError, folder: Path) -> str:
    """An error's cause without the folder and the file that it names: they may be called like the patient."""
    cause = error.cause.replace(str(folder), "...")
    for name in (*folder.parts[-3:-1], error.path.name if error.path else ""):
        if len(name) > 5:
            cause = cause.replace(name, "...")
    return cause


def _write_report(cohort: Path, entries: Sequence[Entry]) -> None:
    ingested = sum(entry.status == INGESTED for entry in entries)
    subjects = sorted((asdict(entry) | {"earlier": False} for entry in entries), key=lambda e: e["subject"])
    counts = {"ingested": ingested, "left_out": len(entries) - ingested}
    _write_json(cohort / REPORT_FILE, {**counts, "subjects": subjects, "mapdiff": __version__})


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(fields, indent=1))
