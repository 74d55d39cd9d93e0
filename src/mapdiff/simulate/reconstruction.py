"""OSEM with attenuation, background and an optional resolution model, then the scanner's filter."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.simulate.counts import Expectation
from mapdiff.simulate.projector import Float, Projector, gaussian_blur
from mapdiff.simulate.scanner import Scanner


class Reconstruction:
    """Reconstructs scans of one body on one scanner; the sensitivity images are computed once."""

    def __init__(self, projector: Projector, scanner: Scanner, expectation: Expectation) -> None:
        """Compute each subset's sensitivity image."""
        self.projector = projector
        self.scanner = scanner
        self.expectation = expectation
        self._sensitivity = [
            projector.back(views, subset, scanner.psf_mm)
            for subset, views in enumerate(expectation.attenuation)
        ]

    def osem(self, counts: Sequence[NDArray[Any]], dose: float) -> Float:
        """Reconstruct one scan: ordered-subsets expectation maximisation, Hudson and Larkin (1994).

        Args:
            counts: one array (angles, bins, slices) per subset; need not be integers.
            dose: the dose fraction that the counts were taken at.

        Returns:
            (I, J, K) in Bq/mL, the scanner's filter applied, 0 outside the projector's support.
        """
        projector, scanner = self.projector, self.scanner
        gain = np.float32(self.expectation.gain * dose)
        slices = counts[0].shape[2]
        mass = sum(float(views.sum()) for views in counts)
        pixels = int(projector.support.sum())
        start = mass / (float(gain) * pixels * slices)
        image = np.full((pixels, slices), start, np.float32)
        for _ in range(scanner.iterations):
            for subset in range(projector.subsets):
                attenuation = self.expectation.attenuation[subset]
                expected = projector.forward(image, subset, scanner.psf_mm)
                expected *= gain * attenuation
                expected += np.float32(dose) * self.expectation.background[subset]
                ratio = counts[subset] / np.maximum(expected, 1e-12)
                ratio *= attenuation
                update = projector.back(ratio.astype(np.float32), subset, scanner.psf_mm)
                image *= update / np.maximum(self._sensitivity[subset], 1e-12)
        volume = projector.unflatten(image)
        for axis in range(3):
            volume = gaussian_blur(volume, scanner.filter_mm, projector.spacing_mm[axis], axis)
        return volume
