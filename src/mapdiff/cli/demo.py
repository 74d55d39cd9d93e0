"""`mapdiff demo`: the two-minute tour."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the scans and the picture.")
    ] = Path("mapdiff-demo"),
    seed: Annotated[int, typer.Option(help="Which body.")] = 1,
    model: Annotated[
        str, typer.Option(help="A model that ships with mapdiff, or a model file.")
    ] = "map-diff",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a demo that is there.")] = False,
) -> None:
    """Simulate a low-dose scan, denoise it, and show what was gained; no data and no network needed.

    Leaves the scans, the restored image with its stages, a picture of them all, and a page to scroll through.
    Research use only.
    """
    from rich.console import Console

    from mapdiff.evaluation.tables import before_after_table
    from mapdiff.inference.denoiser import Denoiser
    from mapdiff.report.demo import run_demo

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    found = run_demo(output, Denoiser.from_pretrained(model), seed, overwrite, lambda done, total: None, say)
    Console().print(before_after_table(found.before, found.after))
    print(found.picture)
    print(found.page)
