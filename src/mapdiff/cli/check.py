"""`mapdiff check`: what is wrong with a cohort or a store."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def check(
    cohort: Annotated[Path, typer.Argument(help="Folder of a multi-dose cohort, or a store of one.")],
) -> None:
    """Check a cohort before training on it: one line per fault and per oddity.

    Of a cohort: files, grids, units, NaN, the order of the doses (noise must rise as the dose falls), equal
    files, doses that are missing, outliers of intensity and noise. Of a store: that every file is what was
    packed. Exit code 0: it can be trained on; 2: it has faults.
    """
    from mapdiff.cohort.check import check_cohort
    from mapdiff.errors import InputError

    def told(name: str, done: int, total: int) -> None:
        print(f"[{done}/{total}] {name}", file=sys.stderr, flush=True)

    checks = check_cohort(cohort, told)
    for subject in checks:
        for line in subject.faults:
            print(f"{subject.name}: fault: {line}")
        for line in subject.notes:
            print(f"{subject.name}: note: {line}")
    faulty = [subject.name for subject in checks if subject.faults]
    if faulty:
        raise InputError(f"{len(faulty)} of {len(checks)} subjects have faults: {', '.join(faulty)}", cohort)
    print(f"{len(checks)} subjects, no fault")
