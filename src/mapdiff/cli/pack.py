"""`mapdiff pack`: a cohort folder into a cohort store, which training reads a patch at a time."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mapdiff.cohort.pack import PackEntry


def pack(
    cohort: Annotated[Path, typer.Argument(help="Folder of a multi-dose cohort.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The store's folder; run again, it goes on.")
    ],
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes; default: as many as cores and memory (4 GB each) allow."),
    ] = None,
) -> None:
    """Pack a cohort into a chunked, compressed store (Zarr 3) that training reads a patch at a time.

    Body crop, float16 (0.05 % of SUV at most). Every subject's files are checked as by `mapdiff check`
    (what only shows between subjects, such as a file that is there twice, `check` and `train` find); one with
    faults is left out and the rest go on. A subject appears whole or not at all; run again, only what is
    missing, or was made from other files, is packed.
    """
    from mapdiff.cohort.pack import LEFT_OUT
    from mapdiff.cohort.pack import pack as run
    from mapdiff.errors import InputError, PartialFailure

    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: at least 1")

    def told(entry: "PackEntry", done: int, total: int) -> None:
        lines = [f"  fault: {line}" for line in entry.faults] + [f"  note: {line}" for line in entry.notes]
        head = f"[{done}/{total}] {entry.subject}: {entry.status}"
        print("\n".join([head, *lines]), file=sys.stderr, flush=True)

    entries = run(cohort, output, jobs, told)
    out = [entry for entry in entries if entry.status == LEFT_OUT]
    if len(out) == len(entries):
        raise InputError(f"no subject can be used: {out[0].faults[0]}", cohort)
    print(output)
    if out:
        names = ", ".join(entry.subject for entry in out)
        raise PartialFailure(f"{len(out)} of {len(entries)} subjects were left out: {names}")
