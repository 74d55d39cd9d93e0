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


#: Counts, one array (angles, bins, slices) per subset, and the dose fraction that they were taken at.
Scan = tuple[Sequence[NDArray[Any]], float]

#: Width of the squares of pixels that a reconstruction may start on, mm.
COARSE_MM = 7.0


class Reconstruction:
    """Reconstructs all scans of one body on one scanner together: they share the sensitivity images.

    A subset's sensitivity image is made when its turn comes, a block of pixels at a time, and used for every
    scan, not kept: with one view per subset there would be as many of them as angles.
    """

    def __init__(self, projector: Projector, scanner: Scanner, expectation: Expectation) -> None:
        """Take what the reconstruction knows: the geometry, the attenuation and the background."""
        self.projector = projector
        self.scanner = scanner
        self.expectation = expectation

    def osem(self, scans: Sequence[Scan], mask: NDArray[np.bool_]) -> list[Float]:
        """Reconstruct by ordered-subsets expectation maximisation, Hudson and Larkin (1994).

        Args:
            scans: the counts of each scan, one array (angles, bins, slices) per subset, which need not be
                integers, and the dose fraction that they were taken at.
            mask: (I, J, K), the voxels that are reconstructed, within the projector's support.

        Returns:
            For each scan (I, J, K) in Bq/mL, the scanner's filter applied, 0 outside the mask.
        """
        projector, scanner = self.projector, self.scanner
        inside = projector.flatten(mask.astype(np.float32))
        images = [self._start(counts, dose, inside) for counts, dose in scans]
        if scanner.coarse_iterations:
            coarse = MergedPixels(projector, max(round(COARSE_MM / max(projector.spacing_mm[:2])), 1))
            squares = [coarse.mean(image) for image in images]
            self._update(coarse, squares, scans, scanner.coarse_iterations)
            images = [inside * self._smooth(coarse.spread(image), inside) for image in squares]
        self._update(projector, images, scans, scanner.iterations)
        return [self._filtered(image, mask) for image in images]

    def _start(self, counts: Sequence[NDArray[Any]], dose: float, inside: Float) -> Float:
        """Each slice starts from its own mean, so that a slice's image is the same in any chunk."""
        mass = np.sum([views.sum(axis=(0, 1), dtype=np.float64) for views in counts], axis=0)
        start = mass / (self.expectation.gain * dose * np.maximum(inside.sum(axis=0), 1))
        image: Float = inside * start.astype(np.float32)
        return image

    def _update(
        self,
        projector: Projector | MergedPixels,
        images: Sequence[Float],
        scans: Sequence[Scan],
        iterations: int,
    ) -> None:
        """Update the scans' images in place, so many times over all subsets."""
        psf_mm, expectation = self.scanner.psf_mm, self.expectation
        for subset in subset_order(len(expectation.attenuation)) * iterations:
            attenuation, background = expectation.attenuation[subset], expectation.background[subset]
            ratios = []
            for image, (counts, dose) in zip(images, scans, strict=True):
                expected = projector.forward(image, subset, psf_mm)
                expected *= expectation.gain * np.float32(dose) * attenuation
                expected += np.float32(dose) * background
                np.maximum(expected, np.float32(1e-12), out=expected)
                ratio = counts[subset].astype(np.float32) / expected
                ratio *= attenuation
                ratios.append(projector.rays(ratio, psf_mm))
            unit = projector.rays(attenuation, psf_mm)
            # Whole images would go through the memory at each of these steps: the bus is what is short.
            for pixels, matrix in projector.blocks(subset):
                per_sensitivity = matrix @ unit
                np.maximum(per_sensitivity, np.float32(1e-12), out=per_sensitivity)
                np.reciprocal(per_sensitivity, out=per_sensitivity)
                for image, ratio in zip(images, ratios, strict=True):
                    update = matrix @ ratio
                    update *= per_sensitivity
                    image[pixels] *= update

    def _filtered(self, image: Float, mask: NDArray[np.bool_]) -> Float:
        volume = self.projector.unflatten(image)
        for axis in range(3):
            volume = gaussian_blur(volume, self.scanner.filter_mm, self.projector.spacing_mm[axis], axis)
        volume *= mask
        return volume

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
