"""`mapdiff evaluate`: one image against another, every figure with its convention."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mapdiff.cli.options import Series


def evaluate(
    prediction: Annotated[
        Path,
        typer.Argument(help="The image to be judged: a NIfTI file, or a folder or zip of a DICOM series."),
    ],
    reference: Annotated[
        Path, typer.Argument(help="What it is judged by, such as the full-dose scan, on the same grid.")
    ],
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this JSON file too.")
    ] = None,
    lesions: Annotated[
        Path | None,
        typer.Option(help="Lesions to measure: an RTSTRUCT, a DICOM SEG, or a NIfTI mask (labels above 0)."),
    ] = None,
    series: Series = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a JSON file that is there already.")] = False,
) -> None:
    """Compare a PET image with its reference: PSNR, SSIM, NMAE, NRMSE, activity bias, lesion uptake.

    Figures are in SUV where both scans tell how, and each names its convention: peak, data range, mask, unit
    and clipping. The conventions of the UDPET challenge and of Yu and Gong stand beside ours.
    """
    from rich.console import Console

    from mapdiff import __version__
    from mapdiff.atomic import check_target
    from mapdiff.errors import InputError
    from mapdiff.evaluation.compare import compare
    from mapdiff.evaluation.lesion_files import read_lesions
    from mapdiff.evaluation.tables import figures_json, figures_table, write_json
    from mapdiff.formats import read

    if json is not None:
        check_target(json, overwrite)
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
