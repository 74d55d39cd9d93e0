"""Calibration of the Gaussian path by degradation matching, as the paper's abstract describes it.

D_sim(t) is the degradation between the rescaled state x_t / sqrt(abar_t) and x_0, both taken back to linear
intensity (SUV up to a factor that NMAE does not feel) and measured inside the body. It depends on t through
sigma_t alone, so a cohort is measured once, on a grid of sigma, and serves every schedule.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mapdiff.diffusion.schedule import Schedule
from mapdiff.diffusion.transform import invert, transform
from mapdiff.dose import ANCHORS, dose_label, parse_dose
from mapdiff.errors import InputError

if TYPE_CHECKING:
    from mapdiff.diffusion.calibration import Calibration, Measure

#: sigma at which D_sim is measured.
SIGMAS = np.geomspace(0.004, 3.0, 40)
#: Voxels of a subject that are enough for it.
MOST_VOXELS = 200_000


def gaussian_degradation(x_0: NDArray[np.float32], measure: "Measure", seed: int = 0) -> tuple[float, ...]:
    """D_sim on SIGMAS, of one subject.

    Args:
        x_0: (n,) voxels inside the body, linear, any unit.
        measure: degradation of its first argument against its second.
        seed: of the noise, the same at each sigma, so that the curve rises with sigma.
    """
    rng = np.random.default_rng(seed)
    if x_0.size > MOST_VOXELS:
        x_0 = x_0[rng.choice(x_0.size, MOST_VOXELS, replace=False)]
    x_0 = (x_0 / x_0.mean(dtype=np.float64)).astype(np.float32)
    noise = torch.from_numpy(rng.standard_normal(x_0.size).astype(np.float32))
    x = transform(torch.from_numpy(x_0))
    return tuple(measure(invert(x + float(s) * noise).numpy(), x_0) for s in SIGMAS)


def sigma_of_level(calibration: "Calibration", level: float) -> float:
    """The sigma at which Gaussian noise degrades as much as `level` says, clipped to the grid's ends.

    Raises:
        InputError: the calibration was made before this curve was measured.
    """
    if calibration.gaussian is None:
        raise InputError(
            "the calibration lacks the Gaussian path's curve; calibrate (or pack) the cohort again"
        )
    curve = np.maximum.accumulate(np.asarray(calibration.gaussian))
    at = np.interp(np.log(max(level, 1e-12)), np.log(curve), np.log(SIGMAS))
    return float(np.exp(at))


def time_of_level(calibration: "Calibration", schedule: Schedule, level: float) -> int:
    """The timestep of the schedule whose state is as degraded as `level` says."""
    return schedule.time_of(sigma_of_level(calibration, level))


def anchor_times(calibration: "Calibration", schedule: Schedule) -> dict[str, int]:
    """t_d of each anchor, by label, from the highest dose to the lowest.

    The degradation is that against the noise-free image, which the path's x_0 is.

    Raises:
        InputError: the anchors do not come out in the order of their doses.
    """
    labels = [dose_label(dose) for dose in sorted(ANCHORS, reverse=True)]
    levels = {label: calibration.level_of(label) for label in labels}
    times = {label: time_of_level(calibration, schedule, level) for label, level in levels.items()}
    if any(later <= earlier for earlier, later in pairwise(times.values())):
        found = ", ".join(f"t({label}) = {t}" for label, t in times.items())
        raise InputError(
            f"the anchors are out of order ({found}): schedule '{schedule.name}' does not resolve these doses"
        )
    return times


def evenly_spaced(calibration: "Calibration", schedule: Schedule, start: int) -> dict[str, int]:
    """Anchor times evenly between the start and x_0 instead of calibrated ones: an ablation."""
    labels: list[Any] = sorted(anchor_times(calibration, schedule), key=parse_dose, reverse=True)
    return {label: round(start * (n + 1) / (len(labels) + 1)) for n, label in enumerate(labels)}
