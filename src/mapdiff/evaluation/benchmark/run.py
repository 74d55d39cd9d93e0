"""The benchmark, subject by subject; what is done is kept in a file each, so a stopped run goes on.

UNITS/internal-4-mm/sub-001/1-20/ddpm-ddim-50.json     one restored scan: its figures
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from mapdiff.atomic import written_aside
from mapdiff.dose import FULL, dose_label, parse_dose
from mapdiff.errors import InputError
from mapdiff.evaluation.benchmark.measure import measure
from mapdiff.evaluation.benchmark.plan import MAIN_DOSE, CohortSpec, Entry, Plan
from mapdiff.evaluation.benchmark.restore import Outcome, Restorer
from mapdiff.evaluation.benchmark.subjects import TestSubject, load, name_of, prepare
from mapdiff.volume import Volume

UNITS = "units"
#: What an image is held against: the measured scan of its stage's dose, and the noise-free image.
SCAN, TRUTH = "full", "truth"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Unit:
    """One scan to restore by one entry."""

    cohort: CohortSpec
    folder: Path
    subject: str
    dose: Fraction
    entry: Entry

    def path(self, work: Path) -> Path:
        """Where its figures are kept."""
        dose = dose_label(self.dose).replace("/", "-")
        return work / UNITS / self.cohort.folder / self.subject / dose / f"{self.entry.key}.json"


def units_of(plan: Plan, folders: dict[str, list[Path]], quick: bool) -> Iterator[Unit]:
    """What a plan comes to, in the order that loads each subject once.

    Args:
        plan: the plan.
        folders: of each cohort, its subjects, by `CohortSpec.folder`.
        quick: the named subjects and the quick entries, at the main dose.
    """
    for cohort in plan.cohorts:
        for number, folder in enumerate(folders[cohort.folder]):
            name = name_of(folder, cohort)
            if quick and name not in cohort.quick:
                continue
            for dose in plan.fractions:
                for entry in plan.entries:
                    if entry.first is not None and number >= entry.first:
                        continue
                    if (entry.main_dose_only or quick) and dose != MAIN_DOSE:
                        continue
                    if quick and not entry.quick:
                        continue
                    yield Unit(cohort, folder, name, dose, entry)


def run(
    plan: Plan,
    work: Path,
    shared: Path | None,
    quick: bool,
    say: Say,
    restorers: Mapping[str, Restorer],
) -> list[dict[str, Any]]:
    """Run what is not there yet.

    Args:
        plan: what to run.
        work: folder of cohorts, models and units.
        shared: the folder that real scans are named in.
        quick: see `units_of`.
        say: takes a line of progress.
        restorers: of the plan's entries, from `restorers_of`.

    Returns:
        The units' records, as `record` makes them.

    Raises:
        InputError: a model or a scan is missing.
    """
    # A quick run simulates no more subjects than it looks at.
    cohorts = [replace(c, subjects=min(c.subjects, _most(c))) if quick else c for c in plan.cohorts]
    folders = {c.folder: prepare(c, work, shared, say) for c in cohorts}
    units = list(units_of(plan, folders, quick))
    records = []
    loaded: tuple[Path, TestSubject] | None = None
    for number, unit in enumerate(units, 1):
        restorer = restorers[unit.entry.key]
        fingerprint = _fingerprint(unit, restorer)
        path = unit.path(work)
        known = _known(path, fingerprint)
        if known is None:
            if loaded is None or loaded[0] != unit.folder:
                loaded = unit.folder, load(unit.folder, unit.subject, plan.fractions)
            known = record(unit, loaded[1], restorer(loaded[1], unit.dose), fingerprint)
            with written_aside(path) as aside:
                aside.write_text(json.dumps(known))
            say(
                f"[{number}/{len(units)}] {unit.cohort.folder} {unit.subject} {dose_label(unit.dose)} "
                f"{unit.entry.key}: {known['seconds']:.1f} s"
            )
        records.append(known)
    return records


def record(unit: Unit, subject: TestSubject, outcome: Outcome, fingerprint: str) -> dict[str, Any]:
    """All figures of one restored scan, for JSON."""
    low = subject.scans[unit.dose]
    values = []
    for stage, image in outcome.images.items():
        values += _values(low.with_array(image), stage, subject, "")
    for stage, image in outcome.states.items():
        values += _values(low.with_array(image), stage, subject, "rescaled state")
    return {
        "fingerprint": fingerprint,
        "cohort": unit.cohort.name,
        "grid": unit.cohort.grid,
        "subject": unit.subject,
        "method": unit.entry.method,
        "sampler": unit.entry.sampling,
        "input_dose": dose_label(unit.dose),
        "seconds": outcome.seconds,
        "evaluations": outcome.evaluations,
        "level": outcome.level,
        "values": values,
    }


def _values(image: Volume, stage: str, subject: TestSubject, form: str) -> list[dict[str, Any]]:
    rows = []
    scan = subject.scans.get(parse_dose(stage))
    for name, reference in ((SCAN, scan), (TRUTH, subject.truth)):
        if reference is None:
            continue
        parts = parse_dose(stage) == FULL
        rows += [
            {"stage": stage, "form": form, "reference": name, **asdict(value)}
            for value in measure(image, reference, subject, parts)
        ]
    return rows


def restorers_of(plan: Plan, work: Path, shared: Path | None, quick: bool, say: Say) -> dict[str, Restorer]:
    """What a plan's entries restore with, by key; their models are loaded now.

    Raises:
        InputError: a model is missing, or is one of another method.
    """
    subjects: list[TestSubject] = []

    def tuning(dose: Fraction) -> list[tuple[Volume, Volume]]:
        if not subjects:
            found = prepare(plan.validation, work, shared, say)
            subjects.extend(load(f, f.name, plan.fractions) for f in found)
        return [(s.scans[dose], s.scans[FULL]) for s in subjects]

    return {e.key: Restorer(e, work, tuning) for e in plan.entries if e.quick or not quick}


def _most(cohort: CohortSpec) -> int:
    numbers = [int(name.rpartition("-")[2]) for name in cohort.quick]
    return max(numbers, default=1)


def _fingerprint(unit: Unit, restorer: Restorer) -> str:
    facts: dict[str, Any] = asdict(unit.cohort)
    for where in ("subjects", "quick"):
        facts.pop(where)
    text = json.dumps([facts, unit.subject, dose_label(unit.dose), restorer.fingerprint])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _known(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """A record that was made by the same settings and weights; others are made anew."""
    if not path.is_file():
        return None
    try:
        known: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        raise InputError("is broken; remove it", path) from None
    return known if known.get("fingerprint") == fingerprint else None
