"""Pairs of scans with and without small lesions at known places, for the channelised Hotelling observer.

The lesions sit on a lattice in the liver of a simulated body, far enough apart that no patch holds two; the
same body is scanned with and without them, each scan with counts of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mapdiff.decay import F18_HALF_LIFE_S
from mapdiff.simulate.phantom import ORGANS, draw_body, draw_subject
from mapdiff.simulate.scan import simulate_scan
from mapdiff.simulate.scanner import scanner_named
from mapdiff.volume import Volume

#: Edge of a patch in voxels, and diameter of a lesion in mm.
EDGE, DIAMETER_MM = 11, 12.0
Place = tuple[int, int, int]


@dataclass(frozen=True)
class Pair:
    """One scan with lesions and one without, at one dose, and where the lesions are."""

    present: Volume
    absent: Volume
    places: tuple[Place, ...]


def lattice(
    organs: NDArray[np.uint8], label: int, spacing_mm: Sequence[float], edge: int = EDGE
) -> list[Place]:
    """Places in an organ: a lesion's diameter inside its surface, a patch apart, a patch within the image.

    Args:
        organs: labels, (I, J, K).
        label: the organ's.
        spacing_mm: voxel size.
        edge: of a patch, voxels.
    """
    inside = ndimage.distance_transform_edt(organs == label, sampling=spacing_mm) >= DIAMETER_MM
    half = edge // 2
    found = []
    for at in np.ndindex(*[max((n - 2 * half) // edge + 1, 0) for n in organs.shape]):
        place = tuple(half + edge * a for a in at)
        if all(p + half < n for p, n in zip(place, organs.shape, strict=True)) and inside[place]:
            found.append((place[0], place[1], place[2]))
    return found


def with_lesions(
    activity: NDArray[np.float32], places: Sequence[Place], spacing_mm: Sequence[float], contrast: float
) -> NDArray[np.float32]:
    """The activity with a ball of DIAMETER_MM at each place, (1 + contrast) times what is there.

    Voxels on a ball's surface take the part of it that a linear ramp one voxel wide gives.
    """
    image = activity.copy()
    reach = [int(np.ceil(DIAMETER_MM / 2 / s)) + 1 for s in spacing_mm]
    for place in places:
        box = tuple(slice(max(p - r, 0), p + r + 1) for p, r in zip(place, reach, strict=True))
        axes = [
            (np.arange(s.start, min(s.stop, n)) - p) * h
            for s, p, n, h in zip(box, place, image.shape, spacing_mm, strict=True)
        ]
        distance = np.sqrt(sum(np.square(a) for a in np.meshgrid(*axes, indexing="ij")))
        share = np.clip((DIAMETER_MM / 2 - distance) / float(np.mean(spacing_mm)) + 0.5, 0, 1)
        image[box] *= (1 + contrast * share).astype(np.float32)
    return image


def simulate_pair(
    scanner: str,
    dose: Fraction,
    contrast: float,
    seed: int,
    number: int,
    spacing_mm: tuple[float, float, float] = (4.0, 4.0, 4.0),
    slices: int = 64,
) -> Pair | None:
    """Scans of one body with and without lesions; None where its liver has no room for one on this grid.

    Args:
        scanner: a name of `simulate.scanner.NAMED`.
        dose: of both scans.
        contrast: of the lesions.
        seed: with the body's number it decides body and counts.
        number: of the body.
        spacing_mm: voxel size.
        slices: round the liver.
    """
    preset = scanner_named(scanner)
    rng = np.random.default_rng([seed, number])
    subject = draw_subject(rng, preset.name)
    body = draw_body(rng, subject)
    plane = [round(preset.matrix[a] * preset.spacing_mm[a] / spacing_mm[a]) for a in range(2)]
    # The liver lies at about 0.7 of the height above the heels.
    centre = (0.0, 0.0, 0.7 * 10 * subject.height_cm)
    rasters = body.rasterise(spacing_mm, (plane[0], plane[1], slices), centre)
    places = lattice(np.where(rasters.lesions == 0, rasters.organs, 0), ORGANS["liver"], spacing_mm)
    if not places:
        return None
    decayed = subject.injected_activity_bq * 2.0 ** (-subject.uptake_s / F18_HALF_LIFE_S)
    activity = (rasters.suv * np.float32(decayed / (subject.weight_kg * 1000))).astype(np.float32)
    affine = np.diag([*spacing_mm, 1.0])

    def scanned(image: NDArray[np.float32]) -> Volume:
        scan = simulate_scan(image, rasters.mu, spacing_mm, preset, 600.0, (dose,), rng)
        return Volume(scan.doses[dose], affine, "Bq/mL")

    present = scanned(with_lesions(activity, places, spacing_mm, contrast))
    return Pair(present, scanned(activity), tuple(places))
