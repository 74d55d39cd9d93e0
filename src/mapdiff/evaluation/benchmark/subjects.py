"""The test subjects: simulated or made from real scans where they are not there yet, and read."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from mapdiff.atomic import written_aside
from mapdiff.cohort.layout import doses_of, truth_path
from mapdiff.cohort.subject import hash_of
from mapdiff.dose import ANCHORS, DOSES, FULL, dose_label
from mapdiff.errors import InputError
from mapdiff.evaluation.benchmark.plan import CohortSpec
from mapdiff.evaluation.masks import LesionMask, from_labels
from mapdiff.formats import read
from mapdiff.simulate.cohort import CohortPlan, simulate_cohort, simulate_from_image
from mapdiff.simulate.phantom import ORGANS as LABELS
from mapdiff.volume import Volume

#: Organs whose uptake is measured, where a subject has this many mL of them.
ORGANS, LEAST_ML = ("liver", "kidneys", "heart"), 20.0
#: What a real scan's folder was made from.
SOURCE_FILE = "source.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class TestSubject:
    """One subject with what is known of it.

    Attributes:
        name: the subject's.
        scans: by dose.
        truth: the noise-free image.
        organs: labels, or None.
        names: the organs that are measured, by label.
        lesions: masks, or None where there are none.
    """

    __test__ = False  # pytest takes the name for a test's

    name: str
    scans: dict[Fraction, Volume]
    truth: Volume
    organs: NDArray[np.uint8] | None
    names: dict[int, str]
    lesions: LesionMask | None


def prepare(
    spec: CohortSpec, work: Path, shared: Path | None, say: Say, only: Sequence[str] = ()
) -> list[Path]:
    """The subjects' folders, in order; what is missing is simulated now.

    Args:
        spec: the cohort.
        work: where it lies, or is put.
        shared: the folder that real scans are named in.
        say: takes a line of progress.
        only: of real scans, those of these names; () is all.

    Raises:
        InputError: the real scans are not there, or the folder holds another cohort.
    """
    folder = work / spec.folder
    if not spec.scans:
        plan = CohortPlan(spec.subjects, spec.scanner, spec.seed, spec.spacing_mm, spec.slab)

        def made(name: str, now: bool) -> None:
            if now:
                say(f"{spec.folder}/{name} simulated")

        return list(simulate_cohort(plan, folder, made))
    found = []
    for number, scan in enumerate(spec.scans, 1):
        name = f"scan-{number}"
        if only and name not in only:
            continue
        facts = {"scan": scan, "scanner": spec.scanner, "seed": spec.seed + number}
        marker = folder / name / SOURCE_FILE
        if marker.exists() and json.loads(marker.read_text()) != facts:
            raise InputError("was made from another scan, scanner or seed; remove it", folder / name)
        if not marker.exists():
            if (folder / name).exists():
                raise InputError(
                    f"lacks {SOURCE_FILE}: nothing tells what it was made from; remove it", folder / name
                )
            if shared is None or not (shared / scan).exists():
                raise InputError(f"the real scan {scan} is not there; say where with --shared")
            doses = [d for d in DOSES if d != FULL]
            simulate_from_image(shared / scan, folder / name, doses, spec.scanner, seed=spec.seed + number)
            with written_aside(marker) as aside:
                aside.write_text(json.dumps(facts))
            say(f"{spec.folder}/{name} simulated from {scan}")
        found.append(folder / name / "sub-001")
    return found


def name_of(folder: Path, spec: CohortSpec) -> str:
    """A subject's name in the results."""
    return folder.parent.name if spec.scans else folder.name


def load(folder: Path, name: str, doses: tuple[Fraction, ...]) -> TestSubject:
    """Read a subject: the full dose, the anchors and the input doses.

    Raises:
        InputError: an image is missing or broken.
    """
    paths = doses_of(folder)
    wanted = sorted({FULL, *ANCHORS, *doses}, reverse=True)
    missing = [dose_label(dose) for dose in wanted if dose not in paths]
    if missing:
        raise InputError(f"lacks the doses {', '.join(missing)}", folder)
    scans = {dose: read(paths[dose]) for dose in wanted}
    full = scans[FULL]
    organs, names, lesions = None, {}, None
    if truth_path(folder, folder.name, "organs").exists():
        organs = _labels(truth_path(folder, folder.name, "organs"))
        millilitres = float(np.prod(full.spacing)) / 1000
        names = {
            LABELS[organ]: organ
            for organ in ORGANS
            if (organs == LABELS[organ]).sum() * millilitres >= LEAST_ML
        }
    if truth_path(folder, folder.name, "lesions").exists():
        masks = from_labels(_labels(truth_path(folder, folder.name, "lesions")))
        lesions = LesionMask(full.shape, full.affine, tuple(masks)) if masks else None
    return TestSubject(
        name, scans, read(truth_path(folder, folder.name, "noisefree")), organs, names, lesions
    )


def scans_hash(folder: Path) -> str:
    """Changes where the scans do: of the full dose's bytes, and the names and sizes of all."""
    paths = doses_of(folder)
    sizes = [(path.name, path.stat().st_size) for path in paths.values()]
    return hashlib.sha256(json.dumps([sizes, hash_of(paths[FULL])]).encode()).hexdigest()[:16]


def spacing_of(folder: Path) -> tuple[float, float, float]:
    """Voxel size of a subject's scans, mm, from the full dose's header."""
    image = nibabel.nifti1.Nifti1Image.from_filename(doses_of(folder)[FULL])
    i, j, k = (float(size) for size in np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0))
    return i, j, k


def _labels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(nibabel.nifti1.Nifti1Image.from_filename(path).dataobj).astype(np.uint8)
