"""From an activity to the reconstructions of its scan at every dose."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from mapdiff.simulate.counts import draw_nested, expect
from mapdiff.simulate.projector import Float, Projector
from mapdiff.simulate.reconstruction import Reconstruction
from mapdiff.simulate.scanner import Scanner

#: Air round the body that is reconstructed too, mm; beyond it the images are exactly 0, as in real exports.
MARGIN_MM = 30.0


@dataclass(frozen=True)
class MultiDoseScan:
    """The scans of one body.

    Attributes:
        doses: the reconstruction (I, J, K) in Bq/mL of each dose.
        noise_free: the reconstruction of the expected counts, same grid and unit.
        prompts: recorded coincidences at each dose.
    """

    doses: dict[Fraction, Float]
    noise_free: Float
    prompts: dict[Fraction, int]


def support_of(mu: Float, activity: Float, spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The pixels (I, J) that are reconstructed: the body's shadow along the slices, dilated by MARGIN_MM."""
    shadow = ((mu > 1e-4) | (activity > 0)).any(axis=2)
    reach = [math.ceil(MARGIN_MM / spacing_mm[axis]) for axis in range(2)]
    i, j = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    disc = (i * spacing_mm[0]) ** 2 + (j * spacing_mm[1]) ** 2 <= MARGIN_MM**2
    # A separable dilation by a large disc in steps: the iterations of a small one are far quicker.
    step = max(1, min(reach) // 4)
    small = disc[reach[0] - step : reach[0] + step + 1, reach[1] - step : reach[1] + step + 1]
    small = np.ones_like(small)
    support: NDArray[np.bool_] = binary_dilation(shadow, small, iterations=max(1, min(reach) // step))
    return support


def bin_width(spacing_mm: tuple[float, float, float], resolution_mm: float) -> float:
    """Width of the projection bins: fine enough for the pixels and the resolution, and no finer."""
    return float(max(min(max(spacing_mm[:2]), resolution_mm), 1.8))


def simulate_scan(
    activity: Float,
    mu: Float,
    spacing_mm: tuple[float, float, float],
    scanner: Scanner,
    seconds: float,
    doses: Sequence[Fraction],
    rng: np.random.Generator,
    on_dose: Callable[[str], None] = lambda label: None,
) -> MultiDoseScan:
    """Project, count, thin and reconstruct.

    Args:
        activity: (I, J, K), Bq/mL at the start of the scan, not negative.
        mu: (I, J, K), linear attenuation at 511 keV, 1/mm.
        spacing_mm: voxel size along i, j, k.
        scanner: the scanner and its reconstruction.
        seconds: length of the scan at full dose.
        doses: from the highest to the lowest.
        rng: the source of randomness; the same state gives the same counts.
        on_dose: called as each reconstruction is done.

    Returns:
        The reconstructions, on the grid of `activity`.
    """
    projector = Projector(
        support=support_of(mu, activity, spacing_mm),
        spacing_mm=spacing_mm,
        angles=scanner.angles,
        subsets=scanner.subsets,
        bin_mm=bin_width(spacing_mm, scanner.resolution_mm),
    )
    expectation = expect(projector, scanner, activity, mu, seconds)
    counts = draw_nested(expectation, doses, rng)
    reconstruction = Reconstruction(projector, scanner, expectation)
    expected = [t + b for t, b in zip(expectation.trues, expectation.background, strict=True)]

    def run(dose: Fraction | None) -> Float:
        image = (
            reconstruction.osem(expected, 1.0)
            if dose is None
            else reconstruction.osem(counts[dose], float(dose))
        )
        on_dose("noise-free" if dose is None else str(dose))
        return image

    jobs: list[Fraction | None] = [None, *doses]
    with ThreadPoolExecutor(max_workers=2) as pool:  # the sparse products release the GIL
        noise_free, *images = pool.map(run, jobs)
    return MultiDoseScan(
        doses=dict(zip(doses, images, strict=True)),
        noise_free=noise_free,
        prompts={dose: sum(int(views.sum()) for views in counts[dose]) for dose in doses},
    )
