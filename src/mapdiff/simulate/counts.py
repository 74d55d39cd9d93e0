"""Counts: what a scanner records from an activity, and what it would have recorded at lower doses."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from mapdiff.simulate.portable import exp
from mapdiff.simulate.projector import Float, Projector
from mapdiff.simulate.scanner import Scanner

#: Width of the scatter's distribution along the bins: the trues blurred by about a third of the body.
SCATTER_SIGMA_MM = 80.0
#: Attenuation from which a voxel counts as body, 1/mm; the narrowest body that time of flight is reckoned by.
BODY_MU, SMALLEST_MM = 1e-3, 80.0


@dataclass(frozen=True)
class Expectation:
    """Expected counts of a full-dose scan; each list has one array (angles, bins, slices) per subset.

    Attributes:
        trues: unscattered coincidences.
        background: scatter and randoms, known to the reconstruction.
        gain: (slices,), trues per (Bq/mL) of a pixel seen by all bins without attenuation.
        attenuation: the factor by which each ray is weakened, 0 to 1.
    """

    trues: list[Float]
    background: list[Float]
    gain: Float
    attenuation: list[Float]

    @property
    def prompts(self) -> list[Float]:
        """Expected coincidences of all kinds."""
        return [t + b for t, b in zip(self.trues, self.background, strict=True)]

    def slices(self, wanted: slice) -> "Expectation":
        """The expectation of some slices."""

        def of(parts: list[Float]) -> list[Float]:
            return [np.ascontiguousarray(views[:, :, wanted]) for views in parts]

        return Expectation(of(self.trues), of(self.background), self.gain[wanted], of(self.attenuation))


def expect(projector: Projector, scanner: Scanner, activity: Float, mu: Float, seconds: float) -> Expectation:
    """Expected full-dose counts.

    Args:
        projector: the geometry.
        scanner: sensitivity, gain, blur and background fractions.
        activity: (I, J, K), Bq/mL at the start of the scan.
        mu: (I, J, K), linear attenuation at 511 keV, 1/mm.
        seconds: length of the scan; decay during it is left out (3 % in 10 minutes for F-18).
    """
    millilitres = float(np.prod(projector.spacing_mm)) / 1000
    image, mu_image = projector.flatten(activity), projector.flatten(mu)
    counted = scanner.sensitivity_cps_per_bq * scanner.effective_gain * seconds * millilitres
    gain = (counted * _time_of_flight(mu_image, projector, scanner)).astype(np.float32)
    # A ray's line integral is the projection (which sums to 1 over a pixel) turned back into mm of path.
    path = projector.spacing_mm[0] * projector.spacing_mm[1] / projector.bin_mm * projector.angles
    trues, attenuation, background = [], [], []
    for subset in range(projector.subsets):
        factor = exp(np.float32(-path) * projector.forward(mu_image, subset, 0.0))
        attenuation.append(factor)
        trues.append(gain * factor * projector.forward(image, subset, scanner.resolution_mm))
    scatter_ratio = scanner.scatter_fraction / (1 - scanner.scatter_fraction)
    # Randoms follow the singles, so each slice has its own; within it they are level over the field of view.
    of_slice = sum(views.sum(axis=(0, 1)) for views in trues)
    randoms = scanner.randoms_ratio * of_slice / (projector.angles * scanner.fov_mm / projector.bin_mm)
    for views in trues:
        sigma = SCATTER_SIGMA_MM / projector.bin_mm
        scatter = gaussian_filter1d(views, sigma, axis=1, mode="nearest", truncate=2.5)
        scale = views.sum(axis=1, keepdims=True) / np.maximum(scatter.sum(axis=1, keepdims=True), 1e-12)
        background.append((scatter_ratio * scale * scatter + randoms).astype(np.float32))
    return Expectation(trues, background, gain, attenuation)


def _time_of_flight(mu_image: Float, projector: Projector, scanner: Scanner) -> NDArray[np.float64]:
    """What a slice's statistics gain by its size, (slices,); 1 in a slice as wide as the scanner's reference.

    Time of flight confines an event to a part of its ray, so that it gains in proportion to the object's
    diameter (Conti, Phys Med 25 (2009) 1), here that of a disc of the body's area in the slice.
    """
    if not scanner.tof_reference_mm:
        return np.ones(mu_image.shape[1])
    pixel = projector.spacing_mm[0] * projector.spacing_mm[1]
    diameter = np.sqrt(4 / np.pi * pixel * (mu_image > BODY_MU).sum(axis=0))
    gain: NDArray[np.float64] = np.maximum(diameter, SMALLEST_MM) / scanner.tof_reference_mm
    return gain


def draw_nested(
    expectation: Expectation, doses: Sequence[Fraction], seed: int, first_slice: int = 0
) -> dict[Fraction, list[NDArray[np.int32]]]:
    """Poisson counts at full dose and, for each lower dose, an exact binomial thinning of the next higher.

    Every view of every slice has its own generator: a scan has the same counts in whatever pieces it is
    simulated, and an expectation that another processor rounds otherwise moves the counts of that view alone.

    Args:
        expectation: of the full dose.
        doses: from the highest to the lowest; the first need not be the full dose.
        seed: decides the counts, with a view's and a slice's number.
        first_slice: number of the first slice.

    Returns:
        The counts of each dose, one array (angles, bins, slices) per subset.
    """
    means = expectation.prompts
    counts = {dose: [np.empty(views.shape, np.int32) for views in means] for dose in doses}
    for subset, views in enumerate(means):
        for angle, k in np.ndindex(views.shape[0], views.shape[2]):
            rng = np.random.default_rng([seed, first_slice + k, subset, angle])
            drawn = rng.poisson(float(doses[0]) * views[angle, :, k])
            for n, dose in enumerate(doses):
                if n:
                    drawn = rng.binomial(drawn, float(dose / doses[n - 1]))
                counts[dose][subset][angle, :, k] = drawn
    return counts
