"""The two-minute tour: a simulated body, its twentieth of the dose, and what the denoiser makes of it."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from mapdiff.atomic import check_target, written_aside
from mapdiff.cohort.layout import doses_of, truth_path
from mapdiff.dose import FULL
from mapdiff.errors import InputError
from mapdiff.evaluation.compare import compare
from mapdiff.evaluation.lesion_files import read_lesions
from mapdiff.evaluation.metrics import Figure
from mapdiff.formats import read
from mapdiff.inference.denoiser import Denoiser, Progress, Restoration
from mapdiff.inference.run import DenoiseOptions, beside, denoise_file, manifest_path
from mapdiff.report.figure import stages_figure
from mapdiff.report.scan_page import page_of_restoration
from mapdiff.simulate.cohort import CohortPlan, simulate_cohort
from mapdiff.volume import Volume

DOSE = Fraction(1, 20)
SPACING_MM = (4.0, 4.0, 4.0)


@dataclass(frozen=True)
class Demo:
    """What the tour made: figures of input and result against the full dose, the picture and the page."""

    before: list[Figure]
    after: list[Figure]
    picture: Path
    page: Path


def run_demo(
    folder: Path,
    denoiser: Denoiser,
    seed: int,
    overwrite: bool,
    progress: Progress,
    say: Callable[[str], None],
) -> Demo:
    """Simulate, denoise, compare, draw.

    Args:
        folder: gets `cohort/` (the scans and the truth), `restored/`, `picture.png` and `page.html`, whole or
            not at all.
        denoiser: a loaded model.
        seed: which body.
        overwrite: replace a folder that is there.
        progress: of the denoiser.
        say: takes a line of progress.
    """
    check_target(folder, overwrite, "cohort|restored|picture.png|page.html")
    with written_aside(folder) as aside:
        aside.mkdir()
        say("simulating a body on a Quadra, full dose and a twentieth of it")
        plan = CohortPlan(1, "quadra", seed, SPACING_MM, doses=(FULL, DOSE))
        (subject,) = simulate_cohort(plan, aside / "cohort")
        scans = doses_of(subject)
        say("denoising the twentieth")
        result = aside / "restored" / "full.nii.gz"
        reference = read(scans[FULL])

        def draw_page(
            volume: Volume, restoration: Restoration, manifest: dict[str, Any], output: Path
        ) -> None:
            page_of_restoration(
                volume, restoration, manifest, output, reference=reference, page=aside / "page.html"
            )

        options = DenoiseOptions(save_stages=True)
        manifest = denoise_file(denoiser, scans[DOSE], result, options, progress, say, draw_page)
        _tell_final_place(manifest_path(result), aside, folder)
        low, restored = read(scans[DOSE]), read(result)
        lesions = None
        with contextlib.suppress(InputError):  # a drawn body may have no lesion
            lesions = read_lesions(truth_path(subject, subject.name, "lesions"), reference)
        before, after = compare(low, reference, lesions), compare(restored, reference, lesions)
        stages = [
            (f"stage {label}", read(beside(result, f"dose-{label.replace('/', '-')}")))
            for label in manifest["stages"]
        ]
        images = [
            ("input, 1/20 dose", low),
            *stages,
            ("result", restored),
            ("reference, full dose", reference),
        ]
        stages_figure(images, aside / "picture.png")
    return Demo(before, after, folder / "picture.png", folder / "page.html")


def _tell_final_place(manifest: Path, aside: Path, folder: Path) -> None:
    """The manifest names the scan where it lies once the folder has its name."""
    manifest.write_text(manifest.read_text().replace(str(aside), str(folder)))
