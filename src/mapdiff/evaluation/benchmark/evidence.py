"""From a plan to the results' file and the docs' tables: what `mapdiff benchmark` does."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mapdiff import __version__
from mapdiff.dose import dose_label
from mapdiff.errors import InputError, PartialFailure
from mapdiff.evaluation.benchmark.document import tables, write_tables
from mapdiff.evaluation.benchmark.observing import observe
from mapdiff.evaluation.benchmark.plan import MAIN_DOSE, Entry, Plan, read_plan, runnable
from mapdiff.evaluation.benchmark.rows import Row, differences, largest_change, rows_of
from mapdiff.evaluation.benchmark.run import restorers_of, run
from mapdiff.evaluation.tables import write_json

#: A repeated value may differ by this much, dB.
TOLERANCE_DB = 0.02


def run_evidence(
    plan_file: Path,
    work: Path,
    results: Path,
    shared: Path | None,
    page: Path | None,
    quick: bool,
    say: Callable[[str], None],
    jobs: int = 1,
) -> str:
    """Run a plan, or the part of it that is quick.

    Args:
        plan_file: JSON, see `plan.Plan`.
        work: folder of cohorts, models and what is done so far.
        results: JSON file; a quick run compares with it and does not write it.
        shared: the folder that real scans are named in.
        page: the docs' page whose tables are written.
        quick: two named subjects per cohort, the quick entries.
        say: takes a line of progress.
        jobs: processes that share the subjects.

    Returns:
        One line that says what came out.

    Raises:
        InputError: plan, model, scan or page is missing or broken.
        PartialFailure: a quick run does not give the committed values.
    """
    plan, left_out = runnable(read_plan(plan_file), work)
    for entry in left_out:
        say(f"left out, not trained yet: {entry.key} ({entry.model})")
    committed = read_rows(results) if quick else []
    rows = rows_of(run(plan, work, shared, quick, say, jobs))
    if quick:
        return compared(committed, rows, results)
    paired = differences(rows)
    if plan.detection is not None:
        seen = replace(plan, entries=tuple(entry for entry in plan.entries if entry.detection))
        shown = {r.entry: r for r in restorers_of(seen, work, shared, quick, say).values()}
        for into, found in zip((rows, paired), observe(plan.detection, shown, work, say), strict=True):
            into += found
    write_json(content_of(plan, left_out, rows, paired), results)
    if page is not None:
        write_tables(page, tables(rows, paired))
    return f"{results}: {len(rows)} rows, {len(paired)} paired differences"


def compared(committed: Sequence[Row], rows: Sequence[Row], results: Path) -> str:
    """What a quick run says of the committed values.

    Raises:
        PartialFailure: a value is not among them, or differs by more than TOLERANCE_DB.
    """
    change, shared, missing = largest_change(committed, rows)
    if missing or not shared:
        raise PartialFailure(f"{results.name} lacks {', '.join(missing) or 'every value'}")
    line = f"largest PSNR difference from {results.name}: {change:.4f} dB over {shared} values"
    if change > TOLERANCE_DB:
        raise PartialFailure(f"{line}, above {TOLERANCE_DB} dB")
    return line


def content_of(
    plan: Plan, left_out: Sequence[Entry], rows: list[Row], paired: list[Row]
) -> dict[str, object]:
    """What the results' file holds."""
    return {
        "mapdiff": __version__,
        "main_input_dose": dose_label(MAIN_DOSE),
        "cohorts": [cohort.folder for cohort in plan.cohorts],
        "left out, not trained yet": [entry.key for entry in left_out],
        "interval": "95 % bootstrap over subjects, BCa",
        "rows": rows,
        "differences": paired,
    }


def read_rows(results: Path) -> list[Row]:
    """The rows of a results' file.

    Raises:
        InputError: it is not one.
    """
    try:
        rows: list[Row] = json.loads(results.read_text())["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"is not a benchmark's results: {error}", results) from None
    return rows
