"""OSEM with attenuation, background and an optional resolution model, then the scanner's filter."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.simulate.counts import Expectation
from mapdiff.simulate.projector import Float, MergedPixels, Projector, gaussian_blur
from mapdiff.simulate.scanner import Scanner


def subset_order(subsets: int) -> list[int]:
    """The order in which subsets are used: neighbours in it lie far apart in angle, which converges faster.

    Steps of the golden section, as near to it as visits every subset.
    """
    golden = (3 - math.sqrt(5)) / 2 * subsets
    steps = [n for n in range(1, subsets + 1) if math.gcd(n, subsets) == 1]
    step = min(steps, key=lambda n: abs(n - golden))
    return [n * step % subsets for n in range(subsets)]


#: Width of the squares of pixels that a reconstruction may start on, mm.
COARSE_MM = 7.0


class Reconstruction:
    """Reconstructs scans of one body on one scanner; the sensitivity images are computed once."""

    def __init__(self, projector: Projector, scanner: Scanner, expectation: Expectation) -> None:
        """Compute each subset's sensitivity image."""
        self.projector = projector
        self.scanner = scanner
        self.expectation = expectation
        self._per_sensitivity = self._inverse_sensitivity(projector)
        self._coarse: MergedPixels | None = None
        if scanner.coarse_iterations:
            self._coarse = MergedPixels(projector, max(round(COARSE_MM / max(projector.spacing_mm[:2])), 1))
            self._per_coarse_sensitivity = self._inverse_sensitivity(self._coarse)

    def _inverse_sensitivity(self, projector: Projector | MergedPixels) -> list[Float]:
        found = []
        for subset, views in enumerate(self.expectation.attenuation):
            seen = projector.back(views, subset, self.scanner.psf_mm)
            np.maximum(seen, np.float32(1e-12), out=seen)
            found.append(np.reciprocal(seen, out=seen))
        return found

    def osem(self, counts: Sequence[NDArray[Any]], dose: float, mask: NDArray[np.bool_]) -> Float:
        """Reconstruct one scan: ordered-subsets expectation maximisation, Hudson and Larkin (1994).

        Args:
            counts: one array (angles, bins, slices) per subset; need not be integers.
            dose: the dose fraction that the counts were taken at.
            mask: (I, J, K), the voxels that are reconstructed, within the projector's support.

        Returns:
            (I, J, K) in Bq/mL, the scanner's filter applied, 0 outside the mask.
        """
        projector, scanner = self.projector, self.scanner
        inside = projector.flatten(mask.astype(np.float32))
        # Each slice starts from its own mean, so that a slice's image is the same in any chunk.
        mass = np.sum([views.sum(axis=(0, 1), dtype=np.float64) for views in counts], axis=0)
        start = mass / (self.expectation.gain * dose * np.maximum(inside.sum(axis=0), 1))
        image = inside * start.astype(np.float32)
        if self._coarse is not None:
            squares, first = self._coarse.mean(image), scanner.coarse_iterations
            self._update(self._coarse, self._per_coarse_sensitivity, squares, counts, dose, first)
            image = inside * self._smooth(self._coarse.spread(squares), inside)
        self._update(projector, self._per_sensitivity, image, counts, dose, scanner.iterations)
        volume = projector.unflatten(image)
        for axis in range(3):
            volume = gaussian_blur(volume, scanner.filter_mm, projector.spacing_mm[axis], axis)
        volume *= mask
        return volume

    def _update(
        self,
        projector: Projector | MergedPixels,
        per_sensitivity: Sequence[Float],
        image: Float,
        counts: Sequence[NDArray[Any]],
        dose: float,
        iterations: int,
    ) -> None:
        """Update an image in place, so many times over all subsets."""
        psf_mm, subsets = self.scanner.psf_mm, len(counts)
        gain = self.expectation.gain * np.float32(dose)
        for _ in range(iterations):
            for subset in subset_order(subsets):
                attenuation = self.expectation.attenuation[subset]
                expected = projector.forward(image, subset, psf_mm)
                expected *= gain * attenuation
                expected += np.float32(dose) * self.expectation.background[subset]
                np.maximum(expected, np.float32(1e-12), out=expected)
                ratio = counts[subset].astype(np.float32) / expected
                ratio *= attenuation
                update = projector.back(ratio, subset, psf_mm)
                update *= per_sensitivity[subset]
                image *= update

    def _smooth(self, image: Float, inside: Float) -> Float:
        """The squares' edges blurred away within the plane, without drawing in what lies outside."""
        blurred: list[Float] = []
        for values in (image * inside, inside):
            volume = self.projector.unflatten(values)
            for axis in range(2):
                volume = gaussian_blur(volume, COARSE_MM, self.projector.spacing_mm[axis], axis)
            blurred.append(self.projector.flatten(volume))
        np.maximum(blurred[1], np.float32(1e-3), out=blurred[1])
        return blurred[0] / blurred[1]
