"""`mapdiff evaluate`: one image against another, or a folder of many against a folder."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mapdiff.cli.options import Series


def evaluate(
    prediction: Annotated[
        Path,
        typer.Argument(
            help="What is judged: a NIfTI file, a folder or zip of a DICOM series; or a folder of many."
        ),
    ],
    reference: Annotated[
        Path,
        typer.Argument(
            help="What it is judged by, such as the full-dose scan, on the same grid; or a folder of many."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="For folders: where the cohort's page, figures and data go."),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this JSON file too.")
    ] = None,
    lesions: Annotated[
        Path | None,
        typer.Option(
            help="Lesions to measure: an RTSTRUCT, a DICOM SEG, or a NIfTI mask (labels above 0); for folders"
            " also a folder of NIfTI masks named by subject."
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="For folders: the low-dose scans, where the predictions' manifests do not lead there."
        ),
    ] = None,
    pages: Annotated[
        bool, typer.Option("--pages/--no-pages", help="With -o: make a page of each subject too.")
    ] = True,
    series: Series = None,
    overwrite: Annotated[bool, typer.Option(help="Replace results that are there already.")] = False,
) -> None:
    """Compare a PET image with its reference: PSNR, SSIM, NMAE, NRMSE, activity bias, lesion uptake.

    Figures are in SUV where both scans tell how, and each names its convention: peak, data range, mask, unit
    and clipping. The conventions of the UDPET challenge and of Yu and Gong stand beside ours.

    Two folders are paired by BIDS entities, UDPET names or file names; -o makes a page of the cohort.
    """
    from mapdiff.atomic import check_target
    from mapdiff.errors import InputError
    from mapdiff.inference.scans import scans_in

    if json is not None:
        check_target(json, overwrite)
    found = scans_in(prediction)
    # A folder round a single series is one scan, unless a folder of many stands against it.
    several = (
        len(found) > 1 or output is not None or (reference.is_dir() and scans_in(reference) != [reference])
    )
    many = prediction.is_dir() and found != [prediction] and several
    if not many:
        if output is not None or inputs is not None:
            raise InputError("--output and --inputs are for folders of many scans; this is one", prediction)
        _one(prediction, reference, json, lesions, series)
        return
    if not reference.is_dir():
        raise InputError("is not a folder, as the predictions are", reference)
    if series is not None:
        raise InputError("--series is for one scan; in folders of many every series is read")
    _many(prediction, reference, output, json, lesions, inputs, pages, overwrite)


def _one(
    prediction: Path, reference: Path, json: Path | None, lesions: Path | None, series: str | None
) -> None:
    from rich.console import Console

    from mapdiff import __version__
    from mapdiff.errors import InputError
    from mapdiff.evaluation.compare import compare
    from mapdiff.evaluation.lesion_files import read_lesions
    from mapdiff.evaluation.tables import figures_json, figures_table, write_json
    from mapdiff.formats import read

    judged = read(prediction, series=series)
    true = read(reference, series=series)
    masks = None if lesions is None else read_lesions(lesions, true)
    try:
        figures = compare(judged, true, masks)
    except InputError as error:
        raise InputError(error.cause, prediction) from error
    warnings = [
        *(f"{prediction.name}: {text}" for text in judged.warnings),
        *(f"{reference.name}: {text}" for text in true.warnings),
        *(f"{lesions.name}: {text}" for text in (masks.notes if masks else ()) if lesions),
    ]
    for text in warnings:
        print(f"warning: {text}", file=sys.stderr)
    if json is not None:
        content = figures_json(
            figures,
            mapdiff=__version__,
            prediction=str(prediction),
            reference=str(reference),
            lesions=None if lesions is None else str(lesions),
            warnings=warnings,
        )
        write_json(content, json)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(figures_table(figures))


def _many(
    predictions: Path,
    references: Path,
    output: Path | None,
    json: Path | None,
    lesions: Path | None,
    inputs: Path | None,
    pages: bool,
    overwrite: bool,
) -> None:
    from rich.console import Console
    from rich.table import Table

    from mapdiff import __version__
    from mapdiff.errors import PartialFailure
    from mapdiff.evaluation.tables import write_json
    from mapdiff.report.cohort_page import interval_table
    from mapdiff.report.cohort_run import evaluate_folders

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    found = evaluate_folders(
        predictions,
        references,
        output=output,
        inputs=inputs,
        lesions=lesions,
        subject_pages=pages,
        overwrite=overwrite,
        say=say,
    )
    result = found.result
    for path, cause in result.unmatched:
        say(f"without a reference: {path}: {cause}")
    for path in result.unused:
        say(f"without a prediction: {path}")
    for path, cause in result.failed:
        say(f"failed: {path}: {cause}")
    if json is not None:
        content = {
            "mapdiff": __version__,
            "rows": [row.as_dict() for row in found.rows],
            "failed": [{"scan": str(path), "cause": cause} for path, cause in result.failed],
            "unmatched": [{"scan": str(path), "cause": cause} for path, cause in result.unmatched],
        }
        write_json(content, json)
    head, *rows = interval_table(found.rows)
    table = Table(show_edge=False, pad_edge=False)
    for number, word in enumerate(head):
        table.add_column(word, overflow="fold", justify="left" if number < 6 else "right")
    for row in rows:
        if row[head.index("Stage")] == "full":
            table.add_row(*row)
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)
    if found.page is not None:
        print(found.page)
    if result.failed:
        raise PartialFailure(
            f"{len(result.failed)} of {len(result.failed) + len(result.subjects)} scans failed"
        )
