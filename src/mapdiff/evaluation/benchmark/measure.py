"""One subject's figures of one restored image: short names, one value each."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mapdiff.body import body_mask
from mapdiff.dose import FULL
from mapdiff.evaluation.benchmark.subjects import TestSubject
from mapdiff.evaluation.compare import common_unit, compare, volume_figures
from mapdiff.evaluation.contrast import contrast_figures
from mapdiff.evaluation.coverage import coverage
from mapdiff.evaluation.lesions import lesion_figures
from mapdiff.evaluation.metrics import Figure
from mapdiff.evaluation.regions import interior_cov, region_figures
from mapdiff.volume import Array, Volume

LESIONS = "mapdiff, lesions"
#: Diameter of the sphere of a lesion's volume that parts the small ones, about twice the resolution of a PET
#: scanner, from the others, mm. Below it a lesion is a few voxels, and what is left of it in noise is another
#: matter than how well its uptake is kept.
SMALL_MM = 10.0
LARGER, SMALLER = (f"{LESIONS} {words} {SMALL_MM:.0f} mm" for words in ("from", "below"))
#: Of these the parts' means are told too.
UPTAKE = ("suvmean bias", "suvmax bias", "mean bias", "max bias")
#: The organ that the field measures noise in.
NOISE_IN = "liver"
SMALL_ML = np.pi / 6 * SMALL_MM**3 / 1000


@dataclass(frozen=True)
class Value:
    """A figure of one subject.

    Attributes:
        metric: "psnr", "ssim", "suvmean bias", "mean bias", "interior cov", "contrast recovery", ...
        convention: whose convention, and where: "mapdiff, volume", "udpet, volume", "mapdiff, liver".
        unit: of the value.
        value: the figure.
    """

    metric: str
    convention: str
    unit: str
    value: float


def measure(
    prediction: Volume,
    reference: Volume,
    subject: TestSubject,
    *,
    conventions: bool,
    parts: bool,
    similarity: bool = True,
) -> list[Value]:
    """The figures of an image against a reference.

    Args:
        prediction: on the reference's grid.
        reference: the scan of the stage's dose, or the truth.
        subject: whose organs and lesions are measured.
        conventions: all conventions, over the volume and inside the body; else ours, over the volume.
        parts: measure organs and lesions too, not the image's quality alone.
        similarity: SSIM too, which takes longer than all the rest.
    """
    x, y, _ = common_unit(prediction, reference)
    figures = compare(x, y) if conventions else volume_figures(x.array, y.array, y.unit, similarity)
    values = [Value(f.name, f"{f.protocol}, {f.region}", f.unit, f.value) for f in figures]
    if not parts:
        return values
    if subject.organs is not None and subject.names:
        organs = region_figures(x.array, y.array, subject.organs, subject.names, unit=y.unit)
        wanted = [f for f in organs if f.name in ("mean bias", "max bias")]
        wanted += _noise(x.array, subject, y.spacing)
        values += [Value(f.name, f"mapdiff, {f.region}", f.unit, f.value) for f in wanted]
    if subject.lesions is not None:
        found = lesion_figures(x, y, subject.lesions)
        found += contrast_figures(x.array, y.array, subject.lesions, y.spacing)
        small = {f.region for f in found if f.name == "volume" and f.value < SMALL_ML}
        wanted = [f for f in found if f.name.endswith(" bias") or f.name == "contrast recovery"]
        values += _over_lesions(wanted, LESIONS)
        uptake = [f for f in wanted if f.name in UPTAKE]
        values += _over_lesions([f for f in uptake if f.region not in small], LARGER)
        values += _over_lesions([f for f in uptake if f.region in small], SMALLER)
    return values


def spread_values(mean: Array, deviation: Array, subject: TestSubject, samples: int) -> list[Value]:
    """How often the samples' spread holds the full-dose scan, inside its body.

    Args:
        mean: of the samples, on the subject's grid and in its unit.
        deviation: their standard deviation.
        subject: whose full-dose scan they claim to be draws of.
        samples: their number.
    """
    full = subject.scans[FULL]
    body = body_mask(full.array, full.spacing)
    figures = coverage(mean, deviation, full.array, samples=samples, mask=body, region="body")
    return [Value(f.name, f"{f.protocol}, {f.region}", f.unit, f.value) for f in figures]


def _noise(image: Array, subject: TestSubject, spacing_mm: Sequence[float]) -> list[Figure]:
    """The noise inside the liver, where the subject has one."""
    found = []
    for label, name in subject.names.items():
        if name == NOISE_IN and subject.organs is not None:
            lesions = None if subject.lesions is None else subject.lesions.anywhere
            found.append(interior_cov(image, subject.organs == label, lesions, spacing_mm, name))
    return [figure for figure in found if figure is not None]


def _over_lesions(figures: Iterable[Figure], convention: str) -> list[Value]:
    """Means over a subject's lesions; of a bias also the mean of its size, which nothing cancels in."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for figure in figures:
        if np.isfinite(figure.value):
            by_name[figure.name].append(figure.value)
    values = []
    for name, found in by_name.items():
        values.append(Value(name, convention, "%", float(np.mean(found))))
        if name.endswith(" bias"):
            values.append(Value(f"{name} size", convention, "%", float(np.mean(np.abs(found)))))
    return values
