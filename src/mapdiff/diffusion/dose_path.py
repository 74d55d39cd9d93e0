"""The path through the doses themselves: the bridge from the ultra-low dose to the full one.

Doses are nested: a lower dose is a thinned subset of a higher one's counts. For a reconstruction that is
near linear, with z the noise-free image and d < d' dose fractions,

    y_d' = (d / d') y_d + (1 - d / d') (an independent scan of dose d' - d),

and the mean of the independent scan is z. So the best estimate of the scan at dose d' from the one at d is

    (d / d') y_d + (1 - d / d') z-hat,                                                       (step)

a reverse step without free parameters. The time t = 1 ... T runs along the dose: d(t) = 1 / (1 + sigma_t^2)
with sigma_t spread evenly in its logarithm, so that sigma_t^2 = 1/d - 1 is the variance of y_d - x_0 in
units of the full dose's noise.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mapdiff.dose import ANCHORS, dose_label

T = 1000
SIGMA_MIN, SIGMA_MAX = 0.1, 30.0


def sigma(t: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """sigma_t for t in [1, T]; rising with t."""
    s = (np.asarray(t, np.float64) - 1) / (T - 1)
    return SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** s


def dose_at(t: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """The dose fraction d(t); falling with t, 0.99 at t = 1 and 1/901 at t = T."""
    return 1 / (1 + sigma(t) ** 2)


def time_of(dose: float) -> float:
    """The time t at which the path passes a dose fraction, in [1, T] (clipped there)."""
    s = np.sqrt(1 / dose - 1) if dose < 1 else 0.0
    if s <= SIGMA_MIN:
        return 1.0
    return float(min(1 + (T - 1) * np.log(s / SIGMA_MIN) / np.log(SIGMA_MAX / SIGMA_MIN), T))


def step(y: Tensor, z_hat: Tensor, ratio: float | Tensor) -> Tensor:
    """The scan at dose d' from the one at d and the noise-free estimate; Eq. (step) above.

    Args:
        y: the scan at dose d, linear intensity, any shape.
        z_hat: the noise-free estimate, the same shape and scale.
        ratio: d / d', in (0, 1].
    """
    return z_hat + ratio * (y - z_hat)


def noise_free(x: Tensor, u: Tensor, dose: float | Tensor) -> Tensor:
    """z-hat = (x - d u) / (1 - d): what is left of a stage when its part d of the input is taken out."""
    return (x - dose * u) / (1 - dose)


def anchors_above(dose: float) -> list[tuple[str, float]]:
    """Label and dose of the anchors that lie above the input's dose, from the lowest to the highest.

    An anchor less than a tenth above the input is left out: it would be the input itself.
    """
    return [(dose_label(anchor), float(anchor)) for anchor in sorted(ANCHORS) if anchor > 1.1 * dose]
