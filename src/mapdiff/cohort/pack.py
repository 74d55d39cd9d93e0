"""A cohort folder into a cohort store: subject by subject, in parallel processes, resumable."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mapdiff.atomic import locked, written_aside
from mapdiff.cohort.layout import COHORT_FILE, subjects
from mapdiff.cohort.store import META_FILE, StoredSubject, create_store, write_subject
from mapdiff.cohort.subject import Findings, examine, hash_of, source_files
from mapdiff.diffusion.calibration import MEASURES, measure_subject
from mapdiff.dose import dose_label
from mapdiff.errors import InputError

LOCK_FILE = ".packing"
PACKED, KEPT, LEFT_OUT = "packed", "was there", "left out"
#: Memory of one process that packs a subject of 440 x 440 x 644 at seven doses, bytes, rounded up.
MEMORY_PER_JOB = 4 * 2**30


@dataclass(frozen=True)
class PackEntry:
    """What became of one subject: "packed", "was there" or "left out", why, and what is odd about it."""

    subject: str
    status: str
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def default_jobs() -> int:
    """As many processes as there are cores and memory for."""
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(len(os.sched_getaffinity(0)), memory // MEMORY_PER_JOB))


def pack(
    cohort: Path,
    store: Path,
    jobs: int | None = None,
    on_subject: Callable[[PackEntry, int, int], None] = lambda entry, done, total: None,
) -> list[PackEntry]:
    """Write a cohort's subjects into a store; those that are there, from the same files, are kept.

    A subject appears whole or not at all, so a run that was stopped goes on with the rest. One with faults is
    left out, and tried again the next time.

    Args:
        cohort: the cohort's folder.
        store: the store's, new or of the same cohort.
        jobs: processes; None takes what cores and memory allow.
        on_subject: called after each subject with how many are done, and how many there are.

    Returns:
        What became of each subject, in order.

    Raises:
        InputError: the cohort is none, the store is another's or holds subjects that the cohort has not, it
            cannot be written, or another process packs into it.
    """
    folders = subjects(cohort)
    create_store(store, cohort.resolve().name, _facts(cohort / COHORT_FILE))
    with locked(store / LOCK_FILE, "packs"):
        return _packed(cohort, folders, store, jobs, on_subject)


def _packed(
    cohort: Path,
    folders: Sequence[Path],
    store: Path,
    jobs: int | None,
    on_subject: Callable[[PackEntry, int, int], None],
) -> list[PackEntry]:
    names = {folder.name for folder in folders}
    strange = [p.parent.name for p in store.glob(f"sub-*/{META_FILE}") if p.parent.name not in names]
    if strange:
        raise InputError(f"holds {min(strange)}, which {cohort} has not; remove it, or pack anew", store)
    jobs = default_jobs() if jobs is None else max(1, jobs)
    entries: dict[str, PackEntry] = {}
    for entry in _run(folders, store, min(jobs, len(folders))):
        entries[entry.subject] = entry
        on_subject(entry, len(entries), len(folders))
    return [entries[folder.name] for folder in folders]


def _run(folders: Sequence[Path], store: Path, jobs: int) -> Iterator[PackEntry]:
    if jobs == 1:
        yield from (pack_subject(folder, store) for folder in folders)
        return
    # Fresh processes: a fork would copy the threads' locks of whatever the caller runs.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [pool.submit(pack_subject, folder, store) for folder in folders]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise InputError(
                f"a process was killed, most likely out of memory: fewer than {jobs} --jobs", store
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def pack_subject(folder: Path, store: Path) -> PackEntry:
    """Read, examine and write one subject.

    Raises:
        InputError: the store cannot be written.
    """
    target = store / folder.name
    scans, found, before = None, Findings(), []
    try:
        if target.exists() and is_current(StoredSubject(target), folder):
            return PackEntry(folder.name, KEPT, notes=StoredSubject(target).facts.notes)
        before = _sources(folder)
        scans, found = examine(folder)
    except InputError as error:  # a file whose name tells no dose, say
        found.faults.append(error)
    if scans is None:
        if target.exists():
            shutil.rmtree(target)  # of files that are no longer what they were
        return PackEntry(folder.name, LEFT_OUT, [str(fault) for fault in found.faults], found.notes)
    facts: dict[str, Any] = {
        "noise": {dose_label(dose): noise for dose, noise in found.noise.items()},
        "degradation": {},
        "notes": found.notes,
        "sources": [
            {**source, "sha256": hash_of(path)}
            for source, path in zip(before, source_files(folder), strict=True)
        ],
    }
    grain = None
    for measure in MEASURES:
        # The grain does not depend on the measure.
        spacing = scans.spacing_mm if grain is None else None
        degradation = measure_subject(scans.by_dose(), scans.body, measure, spacing)
        grain = grain or degradation.grain_mm3
        facts["degradation"][measure] = {
            "real": {dose_label(dose): value for dose, value in degradation.real.items()},
            "simulated": list(degradation.simulated),
            "grain_mm3": grain,
            "gaussian": list(degradation.gaussian or ()),
        }
    with written_aside(target) as aside:
        write_subject(aside, scans, facts)
    return PackEntry(folder.name, PACKED, notes=found.notes)


def is_current(stored: StoredSubject, folder: Path) -> bool:
    """Whether a stored subject was made from the files that are in the folder now.

    Files of the same size and time are taken to be the same; of others the content decides.
    """
    recorded = stored.facts.sources
    paths, now = source_files(folder), _sources(folder)
    if [(s["name"], s["bytes"]) for s in recorded] != [(s["name"], s["bytes"]) for s in now]:
        return False
    return all(
        old["mtime_ns"] == new["mtime_ns"] or old["sha256"] == hash_of(path)
        for old, new, path in zip(recorded, now, paths, strict=True)
    )


def _sources(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in source_files(folder):
        status = path.stat()
        found.append({"name": path.name, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns})
    return found


def _facts(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"does not describe a cohort: {error}", path) from None
