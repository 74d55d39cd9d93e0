"""`mapdiff ingest`: real multi-dose data as it lies on disk into a cohort."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mapdiff.cohort.ingest import Entry


def ingest(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="Folder above the subjects of a UDPET training tree, of either scanner or of both.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the cohort; run again, it goes on.")
    ],
    doses: Annotated[
        str, typer.Option(help="Doses that every subject must have; any others are passed over.")
    ] = "full,1/2,1/4,1/10,1/20,1/50,1/100",
    keep_names: Annotated[
        bool,
        typer.Option(
            "--keep-names", help="Write which folder became which subject; that may tell who they are."
        ),
    ] = False,
) -> None:
    """Read real multi-dose DICOM data into a cohort, with a report of what is odd about it.

    Subjects whose doses are truncated, missing, in the wrong order, on differing grids or of another tracer
    are left out and the rest go on. Subjects get neutral numbers, in the order of their folders; nothing
    that tells who a patient is gets into the cohort or the report.
    """
    from mapdiff.cohort.ingest import LEFT_OUT, REPORT_FILE
    from mapdiff.cohort.ingest import ingest as run
    from mapdiff.dose import parse_dose
    from mapdiff.errors import PartialFailure

    def told(entry: "Entry", done: int, total: int) -> None:
        print(f"[{done}/{total}] " + "\n".join(entry.lines()), file=sys.stderr, flush=True)

    fractions = [parse_dose(text) for text in doses.split(",")]
    entries = run(source, output, fractions, keep_names, told)
    out = [entry.subject for entry in entries if entry.status == LEFT_OUT]
    kept = len(entries) - len(out)
    print(f"{kept} of {len(entries)} subjects are in the cohort; see {REPORT_FILE}", file=sys.stderr)
    print(output)
    if out:
        raise PartialFailure(f"{len(out)} of {len(entries)} subjects were left out: {', '.join(out)}")
