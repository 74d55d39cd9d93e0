"""`mapdiff calibrate`: the anchors' timesteps of a cohort, by degradation matching."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    cohorts: Annotated[list[Path], typer.Argument(help="Folders of multi-dose cohorts.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="JSON file; default: in the cohort.")
    ] = None,
    measure: Annotated[str, typer.Option(help="nmae or nrms, inside the body.")] = "nmae",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Find the timestep at which each dose stands on the path, with a 95 % interval.

    Writes calibration.json and a plot beside it; `mapdiff train` calibrates by itself, unless its
    --calibration names such a file.
    """
    from mapdiff.atomic import check_target, written_aside
    from mapdiff.diffusion.calibration import MEASURES, Calibration
    from mapdiff.errors import InputError
    from mapdiff.report.calibration_plot import plot_calibration
    from mapdiff.training.data import calibrate_cohorts

    if measure not in MEASURES:
        raise InputError(f"--measure {measure}: there are {', '.join(MEASURES)}")
    target = output or cohorts[0] / "calibration.json"
    picture = target.with_suffix(".png")
    if picture == target:
        raise InputError("is the picture's name; give one that ends in .json", target)
    for path in (target, picture):
        check_target(path, overwrite)
    if target.exists():
        try:
            Calibration.read(target)
        except InputError:
            raise InputError("is there and is no calibration; not replaced", target) from None
    found = calibrate_cohorts(cohorts, measure, lambda line: print(line, file=sys.stderr, flush=True))
    with written_aside(target) as aside:
        aside.write_text(found.to_json())
    plot_calibration(found, picture)
    for label, anchor in found.anchors.items():
        ends = "" if anchor.interval is None else "[{:.1f}, {:.1f}]  ".format(*anchor.interval)
        print(
            f"{label:>6}  t = {anchor.t:6.1f}  {ends}"
            f"{measure} {anchor.degradation:.4f}  path dose {anchor.dose:.4f}"
        )
