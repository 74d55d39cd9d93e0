"""A folder of predictions against a folder of references, scan by scan."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mapdiff.body import body_mask
from mapdiff.cohort.layout import truth_path
from mapdiff.dose import FULL, dose_label, parse_dose
from mapdiff.errors import InputError, MapdiffError
from mapdiff.evaluation import metrics
from mapdiff.evaluation.compare import common_factors, common_unit, compare
from mapdiff.evaluation.coverage import spread_by_bins
from mapdiff.evaluation.lesion_files import read_lesions
from mapdiff.evaluation.masks import LesionMask
from mapdiff.evaluation.metrics import Figure
from mapdiff.evaluation.pairing import Pair, Scan, identify, mask_of
from mapdiff.evaluation.regions import region_figures
from mapdiff.evaluation.rows import SubjectFigures
from mapdiff.evaluation.subject_images import Images, images_of
from mapdiff.formats import read
from mapdiff.simulate.uptake import ORGANS
from mapdiff.volume import Array, Volume

#: Organs that are measured, and the least of one that is, mL: less is all edge.
MEASURED_ORGANS = ("liver", "heart", "lungs", "spleen", "kidneys", "muscle", "marrow", "brain", "blood")
LEAST_ORGAN_ML = 20.0
INPUT = "input"
#: Said of a subject that a folder of masks has nothing for.
NO_MASK = "no mask of lesions has this subject's name"


@dataclass(frozen=True)
class RegionPair:
    """Uptake of one organ or lesion in an image and in its reference.

    Attributes:
        subject: whose.
        method: "input" or the method.
        input_dose: such as "1/20".
        kind: "organ" or "lesion".
        region: its name.
        quantity: "mean", "max" or "peak".
        value: in the image.
        reference: in the reference.
        unit: of both.
    """

    subject: str
    method: str
    input_dose: str
    kind: str
    region: str
    quantity: str
    value: float
    reference: float
    unit: str


@dataclass(frozen=True)
class Spread:
    """The standard deviation over samples against the error it ought to tell, by bins of equal size.

    Attributes:
        subject: whose.
        deviation: root mean square of the standard deviation in each bin, with what the samples' mean misses.
        error: root mean square of result minus reference in it; the reference's own noise is in it.
        unit: of both.
    """

    subject: str
    deviation: tuple[float, ...]
    error: tuple[float, ...]
    unit: str


@dataclass(frozen=True)
class SubjectResult:
    """What was measured of one prediction.

    Attributes:
        name: of the subject, with the dose where the subject was predicted from several.
        cohort: the scanner's model, or the name given.
        method: from the manifest; "prediction" where there is none.
        input_dose: such as "1/20"; "" where nothing tells it.
        figures: of the input, the result and the stages.
        regions: organs and lesions.
        spread: where the prediction has a map of the standard deviation.
        level: noise level found in the input, where the manifest tells it.
        dose_found: the dose that stands for.
        warnings: one line each.
        images: the files.
    """

    name: str
    cohort: str
    method: str
    input_dose: str
    figures: tuple[SubjectFigures, ...]
    regions: tuple[RegionPair, ...]
    spread: Spread | None
    level: float | None
    dose_found: float | None
    warnings: tuple[str, ...]
    images: Images


@dataclass(frozen=True)
class CohortResult:
    """All subjects, and what failed: the scan and why, in one line."""

    subjects: tuple[SubjectResult, ...] = ()
    failed: tuple[tuple[Path, str], ...] = ()
    unmatched: tuple[tuple[Path, str], ...] = field(default=())
    unused: tuple[Path, ...] = field(default=())


def evaluate_pairs(
    pairs: Sequence[Pair],
    *,
    cohort: str = "",
    inputs: Sequence[Scan] = (),
    lesions: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> CohortResult:
    """Measure every pair; go on after one that fails.

    Args:
        pairs: predictions with their references.
        cohort: what the cohort is called where the references do not tell their scanner.
        inputs: the low-dose scans, for predictions whose manifest does not lead to them.
        lesions: an RTSTRUCT, SEG or NIfTI mask that serves all, or a folder of NIfTI masks named by subject;
            those of a simulated cohort are found by themselves.
        say: takes a line of progress.
    """
    count: dict[str, int] = {}
    for one in pairs:
        count[one.prediction.subject] = count.get(one.prediction.subject, 0) + 1
    done: list[SubjectResult] = []
    failed: list[tuple[Path, str]] = []
    taken: dict[tuple[str, ...], str] = {}

    def fail(pair: Pair, cause: str) -> None:
        failed.append((pair.prediction.path, cause))
        say(f"failed: {pair.prediction.path}: {cause}")

    for number, one in enumerate(pairs, 1):
        say(f"{one.prediction.place} ({number} of {len(pairs)})")
        try:
            found = evaluate_pair(
                one, cohort=cohort, inputs=inputs, lesions=lesions, subjects=frozenset(count)
            )
        except MapdiffError as error:
            fail(one, error.cause if isinstance(error, InputError) else str(error))
            continue
        if count[one.prediction.subject] > 1:
            told = one.prediction.place if not found.input_dose else f"{found.name} {found.input_dose}"
            found = _renamed(found, told)
        where = _where(found.figures[0])
        if where in taken:
            fail(one, f"is of the same subject, method and dose as {taken[where]}: evaluate them one by one")
            continue
        taken[where] = one.prediction.place
        if NO_MASK in found.warnings:
            say(f"{one.prediction.place}: {NO_MASK}")
        done.append(found)
    return CohortResult(tuple(done), tuple(failed))


def _where(figures: SubjectFigures) -> tuple[str, ...]:
    """The rows that a prediction's figures go to, and its subject there: another's would take their place."""
    return figures.subject, figures.cohort, figures.method, figures.sampler, figures.grid, figures.input_dose


def _renamed(result: SubjectResult, name: str) -> SubjectResult:
    """The same under another name; rows keep the subject's, since each dose has rows of its own."""
    if result.input_dose:
        return replace(result, name=name)
    figures = tuple(replace(one, subject=name) for one in result.figures)
    return replace(result, name=name, figures=figures)


def evaluate_pair(
    pair: Pair,
    *,
    cohort: str = "",
    inputs: Sequence[Scan] = (),
    lesions: Path | None = None,
    subjects: Collection[str] = (),
) -> SubjectResult:
    """Measure one prediction: figures, organs, lesions, spread; the input likewise where it is known.

    Args:
        pair: the prediction and its reference.
        cohort: as in `evaluate_pairs`, as are the next two.
        inputs: the low-dose scans.
        lesions: masks.
        subjects: all that are evaluated, since one's name may begin as another's.

    Raises:
        InputError: a scan cannot be read, or the grids or units do not fit.
    """
    prediction, reference = read(pair.prediction.path), read(pair.reference.path)
    images = images_of(pair, inputs)
    manifest = images.manifest
    subject = pair.prediction.subject
    dose = _input_dose(pair, images)
    method = str(manifest.get("model", {}).get("method", "prediction"))
    samples = int(manifest.get("parameters", {}).get("samples", 0) or 0)
    sampler = "" if not manifest else f"mean of {samples} samples" if samples else "deterministic"
    cohort = reference.acquisition.model or cohort
    masks = _lesions(pair, reference, lesions, subjects)
    organs = _organs(pair, reference)
    about = {"subject": subject, "cohort": cohort, "grid": _grid(reference), "input_dose": dose}

    figures: list[SubjectFigures] = []
    regions: list[RegionPair] = []

    def judge(image: Volume, name: str, how: str) -> None:
        found = compare(image, reference, masks)
        names = {lesion.name for lesion in masks.lesions} if masks else set()
        plain = [figure for figure in found if figure.region not in names]
        figures.append(
            SubjectFigures(**about, method=name, sampler=how, stage="full", reference="full", figures=plain)
        )
        regions.extend(_lesion_pairs(found, names, subject, name, dose))
        regions.extend(_organ_pairs(image, reference, organs, subject, name, dose))

    judge(prediction, method, sampler)
    warnings = list(prediction.warnings)
    if masks:
        warnings += masks.notes
    elif lesions is not None:
        warnings.append(NO_MASK)
    warnings += [str(line) for line in manifest.get("warnings", []) if line not in warnings]
    spread = None
    if images.deviation is not None:
        spread = _spread(subject, prediction, reference, read(images.deviation), manifest)
    del prediction
    if images.note is not None:
        warnings.append(images.note)
    low: Volume | None = None
    try:
        low = images.low()
        if low is not None:
            judge(low, INPUT, "")
    except InputError as error:  # the prediction's own figures stand
        low, images = None, replace(images, source=None)
        warnings.append(f"the input is left out: {error}")
    for label, path in images.stages.items():
        truth = pair.doses.get(parse_dose(label))
        if low is None or truth is None:
            continue
        target = read(truth)
        for name, how, image in ((method, sampler, read(path)), (INPUT, "", low)):
            few = _stage_figures(image, target)
            figures.append(
                SubjectFigures(**about, method=name, sampler=how, stage=label, reference="full", figures=few)
            )
    level = manifest.get("noise_level", {})
    return SubjectResult(
        name=subject,
        cohort=cohort,
        method=method,
        input_dose=dose,
        figures=tuple(figures),
        regions=tuple(regions),
        spread=spread,
        level=level.get("value"),
        dose_found=level.get("dose_on_the_training_scanners"),
        warnings=tuple(warnings),
        images=images,
    )


def _stage_figures(image: Volume, target: Volume) -> list[Figure]:
    """The quick ones: a stage is judged at each dose by the error, not by all conventions."""
    x, y, _ = common_unit(image, target)
    sums = metrics.sums_of(x.array, y.array)
    return [
        metrics.psnr(x.array, y.array, unit=y.unit, sums=sums),
        metrics.nmae(x.array, y.array, unit=y.unit, sums=sums),
        metrics.total_activity_bias(x.array, y.array, unit=y.unit, sums=sums),
    ]


def _input_dose(pair: Pair, images: Images) -> str:
    """The dose that the prediction's name tells, or the input's."""
    dose = pair.prediction.dose
    told = images.manifest.get("input", {}).get("path") or images.source
    if dose in (None, FULL) and told:
        dose = identify(Path(told), Path(told).parent.parent).dose or dose
    return "" if dose is None else dose_label(dose)


def _grid(volume: Volume) -> str:
    steps = [f"{length:.3g}" for length in volume.spacing]
    return f"{steps[0]} mm" if len(set(steps)) == 1 else f"{' x '.join(steps)} mm"


def _lesions(
    pair: Pair, reference: Volume, given: Path | None, subjects: Collection[str]
) -> LesionMask | None:
    if given is not None and given.is_file():
        return read_lesions(given, reference)
    if given is not None:
        file = mask_of(pair.prediction.subject, given, subjects)
        if file is not None:
            return read_lesions(file, reference)
    path = _truth(pair, "lesions")
    try:
        return None if path is None else read_lesions(path, reference)
    except InputError:  # a simulated body may have none
        return None


def _truth(pair: Pair, kind: str) -> Path | None:
    """A file of the truth, where the reference lies in a simulated cohort."""
    folder = pair.reference.path.parents[1] if len(pair.reference.path.parents) > 1 else None
    path = None if folder is None else truth_path(folder, folder.name, kind)
    return path if path is not None and path.is_file() else None


def _organs(pair: Pair, reference: Volume) -> tuple[Array, dict[int, str]] | None:
    path = _truth(pair, "organs")
    if path is None:
        return None
    labels = read(path, unit="SUV").array
    millilitres = float(np.prod(reference.spacing)) / 1000
    counts = {name: int((labels == ORGANS[name]).sum()) for name in MEASURED_ORGANS}
    names = {ORGANS[name]: name for name, n in counts.items() if n * millilitres >= LEAST_ORGAN_ML}
    return (labels, names) if names else None


def _lesion_pairs(
    figures: Sequence[Figure], names: set[str], subject: str, method: str, dose: str
) -> list[RegionPair]:
    found = {(f.region, f.name): f for f in figures if f.region in names}
    pairs = []
    for (region, name), figure in found.items():
        true = found.get((region, f"{name} reference"))
        quantity = name.removeprefix("suv")
        if true is not None and quantity in ("mean", "max", "peak"):
            about = (subject, method, dose, "lesion", region, quantity)
            pairs.append(RegionPair(*about, figure.value, true.value, figure.unit))
    return pairs


def _organ_pairs(
    image: Volume,
    reference: Volume,
    organs: tuple[Array, dict[int, str]] | None,
    subject: str,
    method: str,
    dose: str,
) -> list[RegionPair]:
    if organs is None:
        return []
    x, y, _ = common_unit(image, reference)
    figures = region_figures(x.array, y.array, organs[0], organs[1], unit=y.unit)
    found = {(f.region, f.name): f.value for f in figures}
    return [
        RegionPair(
            subject,
            method,
            dose,
            "organ",
            name,
            "mean",
            found[name, "mean"],
            found[name, "mean reference"],
            y.unit,
        )
        for name in organs[1].values()
    ]


def _spread(
    subject: str, prediction: Volume, reference: Volume, deviation: Volume, manifest: Mapping[str, Any]
) -> Spread | None:
    samples = manifest.get("parameters", {}).get("samples")
    if not isinstance(samples, int) or samples < 2:
        return None
    x, y, _ = common_unit(prediction, reference)
    factor = np.float32(common_factors([prediction, reference])[0][0])
    body = body_mask(y.array, y.spacing)
    bins = spread_by_bins(
        x.array, deviation.array * factor, y.array, samples=samples, mask=body, spacing_mm=y.spacing
    )
    return Spread(subject, *bins, y.unit)
