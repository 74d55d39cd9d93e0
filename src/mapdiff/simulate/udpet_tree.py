"""A simulated cohort in the folder tree of the UDPET challenge: DICOM series, named as the real ones."""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from mapdiff import __version__
from mapdiff.atomic import check_target, locked, remove_asides, written_aside
from mapdiff.cohort.layout import doses_of
from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.formats.dicom_series import new_study, series_of, write_series
from mapdiff.formats.udpet import QUADRA, UEXPLORER, folder_of_dose
from mapdiff.simulate.cohort import LOCK_FILE, CohortPlan, bytes_per_subject, plan_facts, simulate_subject
from mapdiff.simulate.space import check_space
from mapdiff.volume import Volume

#: Hidden, so that nothing that reads such a tree sees it: the plan, by which a stopped run goes on.
MARKER = ".mapdiff-simulated.json"
#: Nobody's day; a subject is scanned every half hour from eight o'clock on.
FIRST_SCAN = datetime(2000, 1, 3, 8, 0)


def subject_folder(scanner: str, number: int) -> Path:
    """Where subject `number` lies below the tree's top, in the words of the real tree.

    Raises:
        InputError: the scanner has no such tree.
    """
    began = _began(number)
    if scanner == QUADRA:
        batch = (number - 1) // 3 * 3 + 1
        name = f"{began:%d%m%Y}_{number}_{began:%Y%m%d_%H%M%S}"
        return Path(f"Subject_{batch}-{batch + 2}") / name
    if scanner == UEXPLORER:
        part = (number - 1) // 20 + 1
        return Path(f"uExplorerPART{part}") / f"Anonymous_ANO_{began:%Y%m%d}_{number:07d}_{began:%H%M%S}"
    raise InputError(f"--layout udpet goes with --scanner {QUADRA} or {UEXPLORER}, not {scanner}")


def _began(number: int) -> datetime:
    return FIRST_SCAN + timedelta(days=(number - 1) // 20, minutes=30 * ((number - 1) % 20))


def simulate_tree(
    plan: CohortPlan,
    folder: Path,
    on_subject: Callable[[str, bool], None] = lambda name, made: None,
    on_slices: Callable[[int, int], None] = lambda done, of: None,
) -> Sequence[Path]:
    """Simulate a cohort as DICOM series in the real cohort's tree; subjects that are there are kept.

    The truth that only a simulation knows is not written: the real tree has none. All doses of a subject
    share the start of the scan; the real windows of lower doses begin up to half a minute later.

    Args:
        plan: what to simulate, for the quadra or the uexplorer.
        folder: top of the tree.
        on_subject: called with each subject's name and whether it was made now.
        on_slices: called within a subject, with how many slices of how many are done.

    Returns:
        The subjects' folders.

    Raises:
        InputError: the scanner has no such tree, the folder holds something else, another process simulates
            in it, or the disk is too small.
    """
    targets = [folder / subject_folder(plan.scanner, number) for number in range(1, plan.subjects + 1)]
    # A DICOM slice has 2 bytes a voxel, air and all, where the packed image has about a third of 4.
    missing = sum(not target.exists() for target in targets)
    check_space(folder, round(1.5 * missing * bytes_per_subject(plan)))
    facts = json.loads(json.dumps(plan_facts(plan)))
    marker = folder / MARKER
    if marker.exists():
        there = json.loads(marker.read_text())
        if {key: there.get(key) for key in facts} != facts:
            raise InputError("holds a tree simulated with other parameters; give another folder", folder)
    else:
        check_target(folder, overwrite=None)
        with written_aside(marker) as aside:
            aside.write_text(json.dumps({**facts, "mapdiff": __version__}, indent=1))
    # A tree that is whole may be read-only.
    with locked(folder / LOCK_FILE, "simulates") if missing else nullcontext():
        for number, target in enumerate(targets, 1):
            made = not target.exists()
            if made:
                remove_asides(target)
                with written_aside(target) as aside:
                    _write_subject(plan, number, aside, on_slices)
            on_subject(f"sub-{number:03d}", made)
    return targets


def _write_subject(
    plan: CohortPlan, number: int, target: Path, on_slices: Callable[[int, int], None]
) -> None:
    name = f"sub-{number:03d}"
    study = new_study(_began(number), f"Simulated^{name}", name, f"{plan.scanner} {plan.seed} {number}")
    ending = ".IMA" if plan.scanner == QUADRA else ".dcm"
    # Within the target, since the doses of a native scan may be larger than the system's temporary folder.
    work = target / ".simulated"
    work.mkdir(parents=True)
    simulate_subject(plan, number, name, work / name, on_slices)
    for n, (dose, path) in enumerate(doses_of(work / name).items(), 1):
        described = folder_of_dose(plan.scanner, dose)
        volume = _as_scanned(read(path))
        write_series(series_of(volume, study, described, n), target / described, ending)
    shutil.rmtree(work)


def _as_scanned(volume: Volume) -> Volume:
    """The same image with i to the patient's left and j to the back, as scanners write it."""
    turned = volume.affine.copy()
    for axis in (0, 1):
        turned[:3, 3] += turned[:3, axis] * (volume.shape[axis] - 1)
        turned[:3, axis] *= -1
    return replace(volume, array=np.ascontiguousarray(volume.array[::-1, ::-1]), affine=turned, source=None)
