"""`mapdiff simulate`: a multi-dose cohort of simulated bodies, or a lower dose of a real scan."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mapdiff.cli.options import Series
from mapdiff.errors import InputError


def simulate(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write the cohort to.")],
    subjects: Annotated[int, typer.Option(help="How many bodies.")] = 1,
    scanner: Annotated[
        str,
        typer.Option(
            help="quadra, uexplorer, either with -psf (a resolution model in the reconstruction), or varied "
            "(another scanner for each body, for training)."
        ),
    ] = "quadra",
    spacing: Annotated[
        str | None,
        typer.Option(
            help="Voxel size in mm, one figure or three (4 or 4.7,4.7,3.3); default: the scanner's own."
        ),
    ] = None,
    slab: Annotated[int | None, typer.Option(help="Keep that many slices, at a drawn height.")] = None,
    lesions: Annotated[
        int, typer.Option(help="How many times as many lesions as people have, for training.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same cohort, bit for bit.")] = 0,
    layout: Annotated[
        str,
        typer.Option(help="bids, or udpet: DICOM series in the folder tree of the UDPET challenge's cohort."),
    ] = "bids",
    from_image: Annotated[
        Path | None,
        typer.Option(
            help="Scan this real image (NIfTI file, DICOM folder or zip) again instead of a simulated body."
        ),
    ] = None,
    series: Series = None,
    dose: Annotated[
        list[str] | None,
        typer.Option(help="Dose fraction for --from-image, such as 1/20; may be given again."),
    ] = None,
) -> None:
    """Make a multi-dose PET cohort: by projection, Poisson counts, nested thinning and OSEM.

    Every subject gets the doses full, 1/2, 1/4, 1/10, 1/20, 1/50 and 1/100, and the truth that only a
    simulation knows. With --from-image a real scan takes the place of the simulated body.
    """
    from mapdiff.dose import dose_label, parse_dose
    from mapdiff.simulate.cohort import CohortPlan, simulate_cohort, simulate_from_image
    from mapdiff.simulate.udpet_tree import simulate_tree

    if layout not in ("bids", "udpet"):
        raise InputError(f"--layout {layout}: there are bids and udpet")
    if from_image is not None:
        if layout != "bids":
            raise InputError("--layout udpet goes with simulated bodies, not with --from-image")
        for option, times in (("--lesions", lesions), ("--subjects", subjects)):
            if times != 1:
                raise InputError(f"{option} goes with simulated bodies, not with --from-image")
        for option, figure in (("--slab", slab), ("--spacing", spacing)):
            if figure is not None:
                raise InputError(f"{option} goes with simulated bodies: --from-image keeps the image's grid")
        fractions = tuple(parse_dose(text) for text in (dose or ["1/20"]))
        line = f"scanning {from_image.name} again at {', '.join(map(dose_label, fractions))}"
        written = simulate_from_image(
            from_image, output, fractions, scanner, seed, series, lambda: print(line, file=sys.stderr)
        )
        for warning in written.assumed:
            print(f"warning: {warning}", file=sys.stderr)
        for path in written.paths:
            print(path)
        return
    if dose:
        raise InputError("--dose goes with --from-image; a cohort has all doses")
    if series is not None:
        raise InputError("--series goes with --from-image: it chooses one of a folder's series")
    plan = CohortPlan(subjects, scanner, seed, _spacing(spacing), slab, lesions=lesions)

    def told(name: str, made: bool) -> None:
        print(f"{name} {'made' if made else 'was there'} ({int(name[4:])} of {subjects})", file=sys.stderr)

    def scanned(done: int, of: int) -> None:
        print(
            f"{done} of {of} slices", file=sys.stderr, end="\r" if sys.stderr.isatty() else "\n", flush=True
        )

    (simulate_cohort if layout == "bids" else simulate_tree)(plan, output, told, scanned)
    print(output)


def _spacing(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        figures = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--spacing {text}: give one figure or three in mm, such as 4 or 4.7,4.7,3.3"
        ) from None
    if len(figures) == 1:
        figures *= 3
    if len(figures) != 3:
        raise InputError(f"--spacing {text}: give one figure or three in mm")
    return figures[0], figures[1], figures[2]
