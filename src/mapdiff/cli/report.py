"""`mapdiff report`: a page to look at."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A result of `mapdiff denoise`, its manifest beside it."),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where the page goes; beside the result by default.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--input", help="The scan that was denoised, where it has moved since.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="What the result is judged by, such as the full-dose scan, on the same grid."),
    ] = None,
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="Show the patient's name, ID and dates on the page.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that is there.")] = False,
) -> None:
    """Make one HTML file of a denoised scan: input, stages and result in one window, to scroll through.

    It works offline. Stages are on it where `denoise` saved them (--save-stages). No patient data,
    unless asked for. Research use only.
    """
    from mapdiff.report.scan_page import page_of_run

    page = page_of_run(
        run,
        output,
        source=source,
        reference=reference,
        keep_identity=keep_identity,
        overwrite=overwrite,
    )
    print(page)
