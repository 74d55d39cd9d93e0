"""A simulated multi-dose cohort on disk: BIDS-like, resumable subject by subject."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mapdiff import __version__
from mapdiff.atomic import check_target, locked, written_aside
from mapdiff.cohort.layout import COHORT_FILE, SUBJECT_FILE, dose_path, truth_path, write_image
from mapdiff.decay import F18_HALF_LIFE_S
from mapdiff.dose import DOSES, FULL, dose_label
from mapdiff.errors import InputError
from mapdiff.formats import read
from mapdiff.simulate.from_image import lower_dose
from mapdiff.simulate.lesions import MOST_TIMES
from mapdiff.simulate.phantom import draw_body, draw_subject
from mapdiff.simulate.scan import WORKERS, simulate_scan
from mapdiff.simulate.scanner import VARIED, Scanner, draw_scanner, scanner_named
from mapdiff.simulate.space import check_space
from mapdiff.volume import Acquisition, Array, Volume

SCAN_SECONDS = 600.0  # the cohort's protocol name, "... x 600 WB"
#: Part of the varied subjects whose activity is itself a scan, as where `from_image` scans a real image
#: again: blurred, with grain of its own that belongs to the truth.
RESCANNED = 0.35
#: What keeps two processes out of one cohort.
LOCK_FILE = ".simulating"
AXIAL_FOV_MM = {"quadra": 1060.0, "uexplorer": 1940.0, VARIED: 1060.0}


@dataclass(frozen=True)
class CohortPlan:
    """What to simulate.

    Attributes:
        subjects: how many.
        scanner: a name of `scanner.NAMED` or "varied".
        seed: with a subject's number it decides everything about that subject.
        spacing_mm: voxel size along i, j, k; None is the scanner's own (drawn for "varied").
        slab: slices to keep, at a place drawn for each subject; None is the whole axial field of view.
        doses: the dose fractions that are reconstructed, from the highest to the lowest.
        lesions: how many times as many lesions as people have.
    """

    subjects: int
    scanner: str
    seed: int = 0
    spacing_mm: tuple[float, float, float] | None = None
    slab: int | None = None
    doses: tuple[Fraction, ...] = DOSES
    lesions: int = 1

    def __post_init__(self) -> None:
        """Check the figures.

        Raises:
            InputError: one of them makes no sense; the text names it.
        """
        if self.scanner != VARIED:
            scanner_named(self.scanner)
        if self.subjects < 1:
            raise InputError(f"--subjects {self.subjects}: at least 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: not negative")
        if self.slab is not None and self.slab < 8:
            raise InputError(f"--slab {self.slab}: at least 8 slices")
        if not 1 <= self.lesions <= MOST_TIMES:
            raise InputError(f"--lesions {self.lesions}: from 1 to {MOST_TIMES}")
        if self.spacing_mm is not None and not all(1.0 <= s <= 8.0 for s in self.spacing_mm):
            raise InputError(f"--spacing {self.spacing_mm}: voxels of 1 to 8 mm can be simulated")
        if any(not 0 < dose <= 1 for dose in self.doses) or list(self.doses) != sorted(self.doses)[::-1]:
            raise InputError("doses are fractions in (0, 1], from the highest to the lowest")


def _drawn_spacing(rng: np.random.Generator) -> tuple[float, float, float]:
    """A voxel size between 1.6 and 5.5 mm, often anisotropic, as scanners have them."""
    in_plane = float(1.6 * (5.5 / 1.6) ** rng.random())
    axial = float(np.clip(in_plane * rng.choice([1.0, rng.uniform(0.6, 1.7)]), 1.6, 5.5))
    return in_plane, in_plane, axial


def _reconstruction_fields(scanner: Scanner, spacing_mm: tuple[float, float, float]) -> dict[str, Any]:
    """BIDS-PET fields that say how an image was made."""
    return {
        "AcquisitionMode": "list mode",
        "AttenuationCorrection": "true attenuation map of the simulated body",
        "ScatterFraction": 100 * scanner.scatter_fraction,
        "ReconMethodName": "OSEM2D" + ("PSF" if scanner.psf_mm else ""),
        "ReconMethodParameterLabels": ["subsets", "iterations", "psf_fwhm"],
        "ReconMethodParameterUnits": ["none", "none", "mm"],
        "ReconMethodParameterValues": [scanner.subsets, scanner.iterations, scanner.psf_mm],
        "ReconFilterType": "Gaussian" if scanner.filter_mm else "none",
        "ReconFilterSize": scanner.filter_mm,
        "SliceThickness": spacing_mm[2],
    }


def _whole_slices(scanner: Scanner, spacing_mm: tuple[float, float, float], height_mm: float) -> int:
    fov = min(AXIAL_FOV_MM[scanner.name], height_mm)
    return round(fov / spacing_mm[2])


def bytes_per_subject(plan: CohortPlan) -> int:
    """About what a subject takes on disk: voxels and doses, less what the empty air round a body saves.

    Measured: a third of a native field of view is body and margin, and its noise hardly packs.
    """
    scanner = scanner_named("quadra") if plan.scanner == VARIED else scanner_named(plan.scanner)
    spacing = plan.spacing_mm or scanner.spacing_mm
    whole = _whole_slices(scanner, spacing, 2000.0)
    slices = whole if plan.slab is None else min(plan.slab, whole)
    plane = np.prod([scanner.matrix[a] * scanner.spacing_mm[a] / spacing[a] for a in range(2)])
    return int(plane * slices * 4 * (len(plan.doses) + 2) / 3)


def simulate_subject(
    plan: CohortPlan,
    number: int,
    name: str,
    folder: Path,
    on_slices: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Simulate the subject called `name` into `folder`; return the facts that are written beside it.

    `on_slices` is called with how many slices of how many are reconstructed at all doses.
    """
    rng = np.random.default_rng([plan.seed, number])
    scanner = draw_scanner(rng) if plan.scanner == VARIED else scanner_named(plan.scanner)
    if plan.spacing_mm is not None:
        spacing = plan.spacing_mm
    else:
        spacing = _drawn_spacing(rng) if plan.scanner == VARIED else scanner.spacing_mm
    subject = draw_subject(rng, scanner.name)
    body = draw_body(rng, subject, plan.lesions)
    bottom, top = body.z_extent_mm
    whole = _whole_slices(scanner, spacing, top - bottom)
    slices = whole if plan.slab is None else min(plan.slab, whole)
    # A whole scan reaches from the vertex down; a slab lies anywhere in it.
    top_of_scan = top - rng.uniform(0, (whole - slices) * spacing[2])
    halo = int(
        np.ceil(2 * scanner.resolution_mm / spacing[2])
    )  # what the blur brings in from outside the slab
    in_plane = [round(scanner.matrix[a] * scanner.spacing_mm[a] / spacing[a]) for a in range(2)]
    centre = (0.0, 0.0, top_of_scan - slices * spacing[2] / 2)
    rasters = body.rasterise(spacing, (in_plane[0], in_plane[1], slices + 2 * halo), centre)
    inner = slice(halo, halo + slices)

    decayed = subject.injected_activity_bq * 2.0 ** (-subject.uptake_s / F18_HALF_LIFE_S)
    suv_per_bqml = subject.weight_kg * 1000 / decayed
    activity = (rasters.suv / np.float32(suv_per_bqml)).astype(np.float32)
    rescanned = plan.scanner == VARIED and float(rng.random()) < RESCANNED
    if rescanned:
        first = simulate_scan(activity, rasters.mu, spacing, draw_scanner(rng), SCAN_SECONDS, (FULL,), rng)
        activity = first.doses[FULL]
    scan = simulate_scan(activity, rasters.mu, spacing, scanner, SCAN_SECONDS, plan.doses, rng, on_slices)

    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-s * (n - 1) / 2 for s, n in zip(spacing, (*in_plane, slices), strict=True)]
    affine[2, 3] += centre[2]
    acquisition = Acquisition(
        tracer="FDG",
        nuclide="F18",
        height_m=subject.height_cm / 100,
        sex=subject.sex,
        half_life_s=F18_HALF_LIFE_S,
        injected_activity_bq=subject.injected_activity_bq,
        uptake_s=subject.uptake_s,
        weight_kg=subject.weight_kg,
        frame_s=SCAN_SECONDS,
        manufacturer=scanner.manufacturer or None,
        model=scanner.model or None,
        suv_per_bqml=suv_per_bqml,
    )

    def volume(array: Array, unit: str = "Bq/mL") -> Volume:
        return Volume(np.ascontiguousarray(array[:, :, inner]), affine, unit, acquisition)

    def write_dose(dose: Fraction) -> None:
        fields = {
            **_reconstruction_fields(scanner, spacing),
            "DoseReductionFactor": float(1 / dose),
            "SimulatedEffectiveCounts": scan.effective_counts[dose],
        }
        write_image(volume(scan.doses[dose]), dose_path(folder, name, dose), fields)

    def write_truth(kind: str, array: Array, unit: str, fields: dict[str, Any]) -> None:
        write_image(volume(array, unit), truth_path(folder, name, kind), fields)

    truth: tuple[tuple[str, Array, str, dict[str, Any]], ...] = (
        ("activity", activity, "Bq/mL", {}),
        ("noisefree", scan.noise_free, "Bq/mL", {}),
        ("mumap", rasters.mu, "unknown", {"Units": "1/mm"}),
        ("organs", rasters.organs, "unknown", {"Units": "label"}),
        ("lesions", rasters.lesions, "unknown", {"Units": "label"}),
    )
    writers = [partial(write_dose, dose) for dose in scan.doses]
    writers += [partial(write_truth, *what) for what in truth]
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:  # packing releases the GIL
        list(pool.map(lambda writer: writer(), writers))  # the first error stops the rest
    facts: dict[str, Any] = {
        "subject": name,
        "seed": [plan.seed, number],
        "scanner": asdict(scanner),
        "activity_is_a_scan": rescanned,
        "spacing_mm": spacing,
        "shape": [*in_plane, slices],
        "person": asdict(subject),
        "uptake": asdict(body.uptake),
        "anatomy_seed": body.seed,
        "lesions": [
            {key: value for key, value in vars(lesion).items() if key != "part"} for lesion in body.lesions
        ],
        "scan_s": SCAN_SECONDS,
        "half_life_s": F18_HALF_LIFE_S,
        "doses": [dose_label(dose) for dose in plan.doses],
        "effective_counts": {dose_label(dose): n for dose, n in scan.effective_counts.items()},
        "mapdiff": __version__,
    }
    (folder / SUBJECT_FILE).write_text(json.dumps(facts, indent=1))
    return facts


def plan_facts(plan: CohortPlan) -> dict[str, Any]:
    """What makes a cohort the one that the plan says; a run goes on only where it is the same."""
    return {
        "kind": "mapdiff cohort",
        "simulated": True,
        "scanner": plan.scanner,
        # Another version may scan and reconstruct otherwise under the same name.
        "scanner_parameters": None if plan.scanner == VARIED else asdict(scanner_named(plan.scanner)),
        "seed": plan.seed,
        "spacing_mm": plan.spacing_mm,
        "slab": plan.slab,
        # Cohorts of before do not have it, and go on as they are.
        "lesions": plan.lesions if plan.lesions > 1 else None,
        "doses": [dose_label(dose) for dose in plan.doses],
    }


def simulate_cohort(
    plan: CohortPlan,
    folder: Path,
    on_subject: Callable[[str, bool], None] = lambda name, made: None,
    on_slices: Callable[[int, int], None] = lambda done, of: None,
) -> Sequence[Path]:
    """Write a cohort; subjects that are there already, from the same plan, are kept.

    Args:
        plan: what to simulate.
        folder: the cohort's folder.
        on_subject: called with each subject's name and whether it was made now.
        on_slices: called within a subject, with how many slices of how many are done.

    Raises:
        InputError: the folder holds something else, or a cohort of another plan, the disk is too small, or
            another process simulates there.
    """
    names = [f"sub-{number:03d}" for number in range(1, plan.subjects + 1)]
    missing = sum(not (folder / name / SUBJECT_FILE).exists() for name in names)
    check_space(folder, missing * bytes_per_subject(plan))
    facts = json.loads(json.dumps(plan_facts(plan)))
    marker = folder / COHORT_FILE
    if marker.exists():
        try:
            there = dict(json.loads(marker.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"does not describe a cohort: {error}", marker) from None
        if {key: there.get(key) for key in facts} != facts:
            raise InputError("holds a cohort simulated with other parameters; give another folder", folder)
    elif folder.exists() and any(folder.iterdir()):
        raise InputError("is not empty and not a cohort; give another folder", folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with written_aside(marker) as aside:
            aside.write_text(json.dumps({**facts, "mapdiff": __version__}, indent=1))
    done = []
    # Where all is there nothing is written, and the disk may not allow it.
    with locked(folder / LOCK_FILE, "simulates") if missing else nullcontext():
        for number, name in enumerate(names, 1):
            target = folder / name
            made = not (target / SUBJECT_FILE).exists()
            if made:
                with written_aside(target) as aside:
                    aside.mkdir()
                    simulate_subject(plan, number, name, aside, on_slices)
            done.append(target)
            on_subject(target.name, made)
    return done


@dataclass(frozen=True)
class WrittenScan:
    """What `simulate_from_image` wrote, and what it had to assume about the scan."""

    paths: tuple[Path, ...]
    assumed: tuple[str, ...]


def simulate_from_image(
    image: Path,
    folder: Path,
    doses: Sequence[Fraction],
    scanner: str,
    seed: int,
    series: str | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> WrittenScan:
    """Write a lower dose of a real scan as a cohort of one subject, its full-dose reconstruction beside it.

    `on_start` is called once the scan has been read and there is a place for the result.

    Raises:
        InputError: the scan cannot be read or its activity is none that a scan can have, the seed is
            negative, or `folder` is not empty.
    """
    if scanner == VARIED:
        raise InputError("one scan needs one scanner; 'varied' is for cohorts")
    preset = scanner_named(scanner)
    if seed < 0:
        raise InputError(f"--seed {seed}: not negative")
    check_target(folder, overwrite=None)
    scan = read(image, series=series)
    on_start()
    try:
        result = lower_dose(scan, preset, doses, seed)
    except InputError as error:
        raise InputError(error.cause, image) from error
    name = "sub-001"
    with written_aside(folder) as aside:
        subject = aside / name
        for dose, volume in result.doses.items():
            extra = {
                **_reconstruction_fields(preset, (volume.spacing[0], volume.spacing[1], volume.spacing[2])),
                "AttenuationCorrection": "the body in the image as water",
                "DoseReductionFactor": float(1 / dose),
                "SimulatedEffectiveCounts": result.effective_counts[dose],
            }
            write_image(volume, dose_path(subject, name, dose), extra)
        write_image(result.noise_free, truth_path(subject, name, "noisefree"))
        facts = {
            "subject": name,
            "seed": seed,
            "scanner": asdict(preset),
            "from_image": True,
            "doses": [dose_label(dose) for dose in result.doses],
            "effective_counts": {dose_label(dose): n for dose, n in result.effective_counts.items()},
            "assumed": result.assumed,
            "mapdiff": __version__,
        }
        (subject / SUBJECT_FILE).write_text(json.dumps(facts, indent=1))
        marker = {
            "kind": "mapdiff cohort",
            "simulated": True,
            "from_image": True,
            "scanner": scanner,
            "seed": seed,
        }
        (aside / COHORT_FILE).write_text(json.dumps(marker, indent=1))
    subject = folder / name
    return WrittenScan(tuple(dose_path(subject, name, dose) for dose in result.doses), result.assumed)
