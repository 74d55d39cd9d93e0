"""OSEM with attenuation, background and an optional resolution model, then the scanner's filter."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.simulate.counts import Expectation
from mapdiff.simulate.projector import Float, Projector, gaussian_blur
from mapdiff.simulate.scanner import Scanner


def subset_order(subsets: int) -> list[int]:
    """The order in which subsets are used: neighbours in it lie far apart in angle, which converges faster.

    Steps of the golden section, as near to it as visits every subset.
    """
    golden = (3 - math.sqrt(5)) / 2 * subsets
    steps = [n for n in range(1, subsets + 1) if math.gcd(n, subsets) == 1]
    step = min(steps, key=lambda n: abs(n - golden))
    return [n * step % subsets for n in range(subsets)]


class Reconstruction:
    """Reconstructs scans of one body on one scanner; the sensitivity images are computed once."""

    def __init__(self, projector: Projector, scanner: Scanner, expectation: Expectation) -> None:
        """Compute each subset's sensitivity image."""
        self.projector = projector
        self.scanner = scanner
        self.expectation = expectation
        self._per_sensitivity = [
            1 / np.maximum(projector.back(views, subset, scanner.psf_mm), np.float32(1e-12))
            for subset, views in enumerate(expectation.attenuation)
        ]

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
        gain = np.float32(self.expectation.gain * dose)
        inside = projector.flatten(mask.astype(np.float32))
        # Each slice starts from its own mean, so that a slice's image is the same in any chunk.
        mass = np.sum([views.sum(axis=(0, 1), dtype=np.float64) for views in counts], axis=0)
        start = mass / (float(gain) * np.maximum(inside.sum(axis=0), 1))
        image = inside * start.astype(np.float32)
        for _ in range(scanner.iterations):
            for subset in subset_order(projector.subsets):
                attenuation = self.expectation.attenuation[subset]
                expected = projector.forward(image, subset, scanner.psf_mm)
                expected *= gain * attenuation
                expected += np.float32(dose) * self.expectation.background[subset]
                np.maximum(expected, np.float32(1e-12), out=expected)
                ratio = counts[subset].astype(np.float32) / expected
                ratio *= attenuation
                update = projector.back(ratio, subset, scanner.psf_mm)
                update *= self._per_sensitivity[subset]
                image *= update
        volume = projector.unflatten(image)
        for axis in range(3):
            volume = gaussian_blur(volume, scanner.filter_mm, projector.spacing_mm[axis], axis)
        volume *= mask
        return volume
