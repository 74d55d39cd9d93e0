"""From a plan to the results' file and the docs' tables: what `mapdiff benchmark` does."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mapdiff import __version__
from mapdiff.dose import dose_label
from mapdiff.errors import InputError, PartialFailure
from mapdiff.evaluation.benchmark.document import tables, write_tables
from mapdiff.evaluation.benchmark.observing import observe
from mapdiff.evaluation.benchmark.plan import INPUT, MAIN_DOSE, Entry, Plan, read_plan, runnable
from mapdiff.evaluation.benchmark.rows import (
    Row,
    anew,
    differences,
    largest_change,
    merged,
    renewed,
    rows_of,
)
from mapdiff.evaluation.benchmark.run import restorers_of, run
from mapdiff.evaluation.tables import write_json

#: A repeated value may differ by this much, dB.
TOLERANCE_DB = 0.02
INTERVAL = "95 % bootstrap over subjects, BCa, widened for their number"


def run_evidence(
    plan_file: Path,
    work: Path,
    results: Path,
    shared: Path | None,
    page: Path | None,
    quick: bool,
    say: Callable[[str], None],
    jobs: int = 1,
    only: Sequence[str] = (),
    named: Sequence[str] = (),
) -> str:
    """Run a plan, the part of it that is quick, or some of its entries beside the rows that are there.

    Args:
        plan_file: JSON, see `plan.Plan`.
        work: folder of cohorts, models and what is done so far.
        results: JSON file; a quick run compares with it and does not write it.
        shared: the folder that real scans are named in.
        page: the docs' page whose tables are written.
        quick: two named subjects per cohort, the quick entries.
        say: takes a line of progress.
        jobs: processes that share the subjects.
        only: keys of entries; the results' rows of all others stay as they are.
        named: subjects, as "internal-4-mm/sub-001"; the results' values of all others stay as they are.

    Returns:
        One line that says what came out.

    Raises:
        InputError: plan, model, scan or page is missing or broken; or the results are of other subjects than
            those that `only` was run on.
        PartialFailure: a quick run does not give the committed values.
    """
    plan, left_out = runnable(read_plan(plan_file), work)
    for entry in left_out:
        say(f"left out, not trained yet: {entry.key} ({entry.model})")
    committed = read_rows(results) if quick or only or named else []
    part = _chosen(plan, left_out, only) if only else plan
    if named:
        part = _of_subjects(plan, named)
    rows = rows_of(run(part, work, shared, quick, say, jobs, named))
    if quick:
        return compared(committed, rows, results)
    if only:
        check_subjects(committed, rows, results)
        rows = merged(committed, rows)
    if named:
        rows = renewed(committed, rows)
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


def rewrite(results: Path, page: Path | None) -> str:
    """Means, intervals, differences and tables anew from the subjects' values that the results hold.

    Args:
        results: JSON file of a run; replaced.
        page: the docs' page.

    Returns:
        One line that says what was written.

    Raises:
        InputError: either is missing or broken.
    """
    content = _content(results)
    rows = anew(content["rows"])
    # The observer's are not of subjects but of pairs, which the results do not hold.
    paired = differences(rows) + [d for d in content["differences"] if not d["subjects"]]
    text = tables(rows, paired)
    if page is not None:
        write_tables(page, text)
    write_json({**content, "interval": INTERVAL, "rows": rows, "differences": paired}, results)
    return f"{results}: {len(rows)} rows, {len(paired)} paired differences"


def _chosen(plan: Plan, left_out: Sequence[Entry], only: Sequence[str]) -> Plan:
    """The plan with these entries, their cohorts, and the input, by which the subjects are known.

    Raises:
        InputError: it has no such entry, or no model for it; or an observer looks at all of them together.
    """
    if plan.detection is not None:
        raise InputError("--only: the plan's observer looks at all entries together; run it whole")
    for key in only:
        if key in {entry.key for entry in left_out}:
            raise InputError(f"--only {key}: its model is not there")
        if key not in {entry.key for entry in plan.entries}:
            known = ", ".join(entry.key for entry in plan.entries)
            raise InputError(f"--only {key}: the plan has no such entry; it has {known}")
    chosen = [entry for entry in plan.entries if entry.key in only]
    # No others: cohorts that are not there are simulated, which takes hours of some.
    cohorts = tuple(c for c in plan.cohorts if any(not e.grids or c.grid in e.grids for e in chosen))
    entries = tuple(entry for entry in plan.entries if entry in chosen or entry.method == INPUT)
    return replace(plan, cohorts=cohorts, entries=entries)


def _of_subjects(plan: Plan, named: Sequence[str]) -> Plan:
    """The plan with the cohorts of these subjects.

    Raises:
        InputError: it has no such cohort; or an observer looks at all subjects together.
    """
    if plan.detection is not None:
        raise InputError("--subject: the plan's observer looks at all subjects together; run it whole")
    folders = [name.rpartition("/")[0] for name in named]
    for name, folder in zip(named, folders, strict=True):
        if folder not in {cohort.folder for cohort in plan.cohorts}:
            known = ", ".join(cohort.folder for cohort in plan.cohorts)
            raise InputError(f"--subject {name}: COHORT/SUBJECT is wanted, with a cohort of {known}")
    return replace(plan, cohorts=tuple(c for c in plan.cohorts if c.folder in folders))


def check_subjects(committed: Sequence[Row], rows: Sequence[Row], results: Path) -> None:
    """Whether the scans that were restored now are those that the results' rows are of, told by the inputs.

    Raises:
        InputError: they are not.
    """
    now = [row for row in rows if row["method"] == INPUT]
    places = {(row["cohort"], row["grid"]) for row in committed}
    now = [row for row in now if (row["cohort"], row["grid"]) in places]
    change, _, missing = largest_change([row for row in committed if row["method"] == INPUT], now)
    if missing:
        raise InputError(f"has no rows of {missing[0]}; --only adds to results of the same subjects", results)
    if change > TOLERANCE_DB:
        raise InputError(
            f"is of other subjects: an input's PSNR is off by {change:.2f} dB; run the whole plan", results
        )


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
        "interval": INTERVAL,
        "rows": rows,
        "differences": paired,
    }


def read_rows(results: Path) -> list[Row]:
    """The rows of a results' file.

    Raises:
        InputError: it is not one.
    """
    rows: list[Row] = _content(results)["rows"]
    return rows


def _content(results: Path) -> dict[str, Any]:
    try:
        content = json.loads(results.read_text())
        return {**content, **{name: list(content[name]) for name in ("rows", "differences")}}
    except KeyError as error:
        raise InputError(f"is not a benchmark's results: it has no {error}", results) from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"is not a benchmark's results: {error}", results) from None
