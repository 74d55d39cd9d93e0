"""The benchmark, subject by subject; what is done is kept in a file each, so a stopped run goes on.

UNITS/internal-4-mm/sub-001/1-20/ddpm-ddim-50.json     one restored scan: its figures
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from mapdiff.atomic import written_aside
from mapdiff.dose import FULL, dose_label, parse_dose
from mapdiff.errors import InputError
from mapdiff.evaluation.benchmark.measure import measure, spread_values
from mapdiff.evaluation.benchmark.plan import MAIN_DOSE, CohortSpec, Entry, Plan
from mapdiff.evaluation.benchmark.restore import Outcome, Restorer
from mapdiff.evaluation.benchmark.subjects import (
    TestSubject,
    load,
    name_of,
    prepare,
    scans_hash,
    spacing_of,
)
from mapdiff.evaluation.benchmark.tuning import Tuner
from mapdiff.methods.classical import CLASSICAL
from mapdiff.volume import Volume

UNITS = "units"
#: Rises when the same settings restore or measure a scan otherwise: what was kept before is done anew.
EDITION = 3
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


def units_of(
    plan: Plan, folders: dict[str, list[Path]], quick: bool, named: Collection[str] = ()
) -> Iterator[Unit]:
    """What a plan comes to, in the order that loads each subject once.

    Args:
        plan: the plan.
        folders: of each cohort, its subjects, by `CohortSpec.folder`.
        quick: the plan's named subjects and the quick entries, at the main dose.
        named: these subjects alone, as "internal-4-mm/sub-001"; () is all.
    """
    for cohort in plan.cohorts:
        for number, folder in enumerate(folders[cohort.folder]):
            name = name_of(folder, cohort)
            if quick and name not in cohort.quick:
                continue
            if named and f"{cohort.folder}/{name}" not in named:
                continue
            for dose in plan.fractions:
                for entry in plan.entries:
                    last = entry.first if dose == MAIN_DOSE else least(entry.first, cohort.doses_first)
                    if last is not None and number >= last:
                        continue
                    if entry.grids and cohort.grid not in entry.grids:
                        continue
                    if (entry.main_dose_only or quick) and dose != MAIN_DOSE:
                        continue
                    if quick and not entry.quick:
                        continue
                    yield Unit(cohort, folder, name, dose, entry)


def least(*limits: int | None) -> int | None:
    """The smallest of the limits that there are."""
    return min((limit for limit in limits if limit is not None), default=None)


def run(
    plan: Plan,
    work: Path,
    shared: Path | None,
    quick: bool,
    say: Say,
    jobs: int = 1,
    named: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Run what is not there yet.

    Args:
        plan: what to run.
        work: folder of cohorts, models and units; a quick run neither takes nor keeps any unit.
        shared: the folder that real scans are named in.
        quick: see `units_of`.
        say: takes a line of progress.
        jobs: processes that share the subjects; seconds are then those of a part of the machine. A quick
            run has one.
        named: see `units_of`.

    Returns:
        The units' records, as `record` makes them.

    Raises:
        InputError: a model or a scan is missing.
    """
    # A quick run makes no more subjects than it looks at.
    if quick:
        shorter = [replace(c, subjects=min(c.subjects, _most(c))) for c in plan.cohorts if c.quick]
        plan = replace(plan, cohorts=tuple(shorter))
    folders = {c.folder: prepare(c, work, shared, say, c.quick if quick else ()) for c in plan.cohorts}
    units = list(units_of(plan, folders, quick, named))
    if lost := set(named) - {f"{unit.cohort.folder}/{unit.subject}" for unit in units}:
        raise InputError(f"--subject {min(lost)}: the plan has no such subject")
    groups = [list(group) for _, group in groupby(units, key=lambda unit: unit.folder)]
    ready = partial(restorers_of, plan, work, shared, quick)
    records: list[dict[str, Any]] = []
    restorers = ready(say)  # says what is missing before any process starts
    if quick or jobs == 1:
        for group in groups:
            records += _restored(group, work, restorers, say, (len(records), len(units)), anew=quick)
        return records
    if any(entry.method in CLASSICAL for entry in plan.entries):
        for spec in plan.validation:  # not by each process
            prepare(spec, work, shared, say)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (ready, work, jobs)) as pool:
        # In the plan's order: the rows are the same whatever the number of processes.
        for group, found in zip(groups, pool.map(_restored_aside, groups), strict=True):
            records += found
            say(f"[{len(records)}/{len(units)}] {group[0].cohort.folder} {group[0].subject}")
    return records


#: What a process of the pool restores with, and where it keeps what it did.
_aside: tuple[dict[str, Restorer], Path] | None = None


def _begin(ready: Callable[[Say], dict[str, Restorer]], work: Path, jobs: int) -> None:
    global _aside
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    _aside = ready(lambda line: None), work


def _restored_aside(units: Sequence[Unit]) -> list[dict[str, Any]]:
    assert _aside is not None
    return _restored(units, _aside[1], _aside[0], lambda line: None)


def _restored(
    units: Sequence[Unit],
    work: Path,
    restorers: Mapping[str, Restorer],
    say: Say,
    done_of: tuple[int, int] = (0, 0),
    anew: bool = False,
) -> list[dict[str, Any]]:
    """The records of one subject's units; what is missing is restored now."""
    records: list[dict[str, Any]] = []
    loaded: TestSubject | None = None
    spacing, scans = spacing_of(units[0].folder), scans_hash(units[0].folder)
    for unit in units:
        restorer = restorers[unit.entry.key]
        fingerprint = _fingerprint(unit, restorer, spacing, scans)
        path = unit.path(work)
        known = None if anew else _known(path, fingerprint)
        if known is None:
            if loaded is None:
                loaded = load(unit.folder, unit.subject, tuple({u.dose for u in units}))
            known = record(unit, loaded, restorer(loaded, unit.dose), fingerprint)
            if not anew:
                with written_aside(path) as aside:
                    aside.write_text(json.dumps(known))
            number = done_of[0] + len(records) + 1
            say(
                f"[{number}/{done_of[1]}] {unit.cohort.folder} {unit.subject} {dose_label(unit.dose)} "
                f"{unit.entry.key}: {known['seconds']:.1f} s"
            )
        records.append(known)
    return records


def record(unit: Unit, subject: TestSubject, outcome: Outcome, fingerprint: str) -> dict[str, Any]:
    """All figures of one restored scan, for JSON."""
    low = subject.scans[unit.dose]
    main = unit.dose == MAIN_DOSE
    values = []
    for form, images in (("", outcome.images), ("rescaled state", outcome.states)):
        for stage, image in images.items():
            if main or parse_dose(stage) == FULL:
                values += _values(low.with_array(image), stage, subject, form, main)
    if outcome.deviation is not None:
        found = spread_values(outcome.images["full"], outcome.deviation, subject, unit.entry.samples)
        values += [{"stage": "full", "form": "", "reference": SCAN, **asdict(value)} for value in found]
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


def _values(image: Volume, stage: str, subject: TestSubject, form: str, main: bool) -> list[dict[str, Any]]:
    """Everything of the full dose from the main input dose; of the rest what the tables compare."""
    rows = []
    final = parse_dose(stage) == FULL
    for name, reference in ((SCAN, subject.scans.get(parse_dose(stage))), (TRUTH, subject.truth)):
        if reference is None or (name == TRUTH and not final):
            continue
        everything = main and final
        values = measure(
            image,
            reference,
            subject,
            conventions=everything and name == SCAN,
            parts=everything,
            similarity=final,
        )
        rows += [{"stage": stage, "form": form, "reference": name, **asdict(value)} for value in values]
    return rows


def restorers_of(plan: Plan, work: Path, shared: Path | None, quick: bool, say: Say) -> dict[str, Restorer]:
    """What a plan's entries restore with, by key; their models are loaded now.

    Raises:
        InputError: a model is missing, or is one of another method.
    """
    tuner = Tuner(plan, work, shared, say)
    return {e.key: Restorer(e, work, tuner, plan.folder) for e in plan.entries if e.quick or not quick}


def _most(cohort: CohortSpec) -> int:
    numbers = [int(name.rpartition("-")[2]) for name in cohort.quick]
    return max(numbers)


def _fingerprint(unit: Unit, restorer: Restorer, spacing: tuple[float, float, float], scans: str) -> str:
    """Of a unit, told by its settings, the subject's scans (`scans_hash`) and what restores them."""
    facts: dict[str, Any] = asdict(unit.cohort)
    for where in ("subjects", "quick", "doses_first"):
        facts.pop(where)
    by = restorer.fingerprint(unit.dose, spacing)
    text = json.dumps([EDITION, facts, unit.subject, scans, dose_label(unit.dose), by])
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
