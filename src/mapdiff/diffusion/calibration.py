"""Calibration by degradation matching: at which time of the path each dose stands.

D_real(d) is the mean degradation between the scans y_d and x_0 of a cohort. D_sim(t) is the same measure
between x_0 and the path's state at t, x_0 + (sigma_t / sigma_u)(y_u - x_0), made from the lowest dose u.
The anchor's timestep t_d is where the two meet. Both are measured inside the body, on linear intensity.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapdiff.bootstrap import LEAST_SUBJECTS, percentiles
from mapdiff.diffusion.dose_path import T, dose_at, sigma
from mapdiff.diffusion.gaussian_calibration import gaussian_degradation
from mapdiff.diffusion.grain import grain_volume, neighbour_correlation
from mapdiff.dose import ANCHORS, dose_label, parse_dose
from mapdiff.errors import InputError
from mapdiff.volume import Array

Measure = Callable[[Array, Array], float]


def nmae(y: Array, x: Array) -> float:
    """Normalised mean absolute error, sum |y - x| / sum x, over voxels inside the body."""
    return float(np.abs(y - x).sum(dtype=np.float64) / x.sum(dtype=np.float64))


def nrms(y: Array, x: Array) -> float:
    """Root mean square of y - x over the mean of x, over voxels inside the body."""
    return float(np.sqrt(np.square(y - x).mean(dtype=np.float64)) / x.mean(dtype=np.float64))


MEASURES: dict[str, Measure] = {"nmae": nmae, "nrms": nrms}


@dataclass(frozen=True)
class SubjectDegradation:
    """What one subject's scans give.

    Attributes:
        real: D_real at each dose.
        simulated: D_sim on the grid of `Calibration.grid`.
        grain_mm3: volume of the noise's grain (`diffusion.grain`), where the voxel size was told.
        gaussian: D_sim of the Gaussian path (`diffusion.gaussian_calibration`).
    """

    real: dict[Fraction, float]
    simulated: tuple[float, ...]
    grain_mm3: float | None = None
    gaussian: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Anchor:
    """One dose on the path: its time t, its measured degradation, and the 95 % interval of t.

    Of fewer than LEAST_SUBJECTS there is no interval: None.
    """

    t: float
    degradation: float
    t_low: float | None
    t_high: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of t's interval, where there is one."""
        return None if self.t_low is None or self.t_high is None else (self.t_low, self.t_high)

    @property
    def dose(self) -> float:
        """The path's dose at the calibrated time: near the nominal where reconstruction is near linear."""
        return float(dose_at(self.t))


@dataclass(frozen=True)
class Calibration:
    """The calibrated path.

    Attributes:
        measure: "nmae" or "nrms".
        anchors: by dose label, every dose of the cohort below the full one.
        grid: times at which D_sim was measured, rising.
        simulated: D_sim on the grid, the cohort's mean.
        subjects: how many were measured.
        full_level: noise of a full-dose scan against the noise-free image, the cohort's mean, in the
            measure's unit: the mean of what each dose's scans tell, where noise grows as 1 / sqrt(d).
        grain_mm3: volume of the noise's grain in these scans, their geometric mean; with it a level is known
            on any other grid and under any other filter.
        gaussian: D_sim of the Gaussian path on `gaussian_calibration.SIGMAS`, the cohort's mean; None where
            the cohort was measured before there was such a path.
    """

    measure: str
    anchors: dict[str, Anchor]
    grid: tuple[float, ...]
    simulated: tuple[float, ...]
    subjects: int
    full_level: float
    grain_mm3: float | None = None
    gaussian: tuple[float, ...] | None = None

    def dose_of_level(self, level: float, grain_mm3: float | None = None) -> float:
        """The dose whose scans have this noise level against the noise-free image, on this cohort's scanners.

        The logarithms are interpolated between the doses that were measured (`level_of`), which are given
        back exactly; below the lowest the level grows as the root of the dose falls. Above the full dose it
        is clipped to 1. A scan of dose d lies level * sqrt(1 - d) from the full dose.

        Args:
            level: in the calibration's measure.
            grain_mm3: volume of the noise's grain; where it differs from the cohort's (larger voxels, another
                filter), the level is first brought to that of the cohort's: level^2 x grain stays.
        """
        if grain_mm3 is not None and self.grain_mm3 is not None:
            level = level * float(np.sqrt(grain_mm3 / self.grain_mm3))
        labels = sorted(self.anchors, key=nominal, reverse=True)
        doses = [1.0, *map(nominal, labels)]
        # Rising as the dose falls, whatever the figures of a small cohort do.
        levels = np.maximum.accumulate([self.full_level, *map(self.level_of, labels)])
        if level > levels[-1]:
            return doses[-1] * float(levels[-1] / level) ** 2
        return float(np.exp(np.interp(np.log(max(level, 1e-12)), np.log(levels), np.log(doses))))

    def level_of(self, label: str) -> float:
        """The noise of an anchor's scans against the noise-free image, in the measure's unit.

        A scan of dose d lies sqrt(1 - d) times as far from the full dose, which shares its counts, so this is
        D_real(d) / sqrt(1 - d).
        """
        return self.anchors[label].degradation / float(np.sqrt(1 - nominal(label)))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"T": T, **asdict(self)}

    def to_json(self) -> str:
        """The calibration file's text."""
        return json.dumps(self.as_dict(), indent=1)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> "Calibration":
        """The inverse of `as_dict`."""
        return cls(
            measure=facts["measure"],
            anchors={name: Anchor(**anchor) for name, anchor in facts["anchors"].items()},
            grid=tuple(facts["grid"]),
            simulated=tuple(facts["simulated"]),
            subjects=facts["subjects"],
            full_level=facts["full_level"],
            grain_mm3=facts.get("grain_mm3"),
            gaussian=tuple(facts["gaussian"]) if facts.get("gaussian") else None,
        )

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """Read the JSON file.

        Raises:
            InputError: it is not a calibration.
        """
        if not path.exists():
            raise InputError("is not there", path)
        try:
            return cls.from_dict(json.loads(path.read_text()))
        except KeyError as error:
            raise InputError(f"is not a calibration: it has no {error}", path) from None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"is not a calibration: {error}", path) from None


def calibration_of_models(path: Path) -> Calibration:
    """Read a calibration that a network can be run by: in the measure of its levels, with all anchors.

    Raises:
        InputError: it is none.
    """
    read = Calibration.read(path)
    if read.measure != "nmae":
        raise InputError(f"is by {read.measure}; the network is told levels by nmae", path)
    lacking = [label for label in map(dose_label, ANCHORS) if label not in read.anchors]
    if lacking:
        raise InputError(f"lacks the anchor {', '.join(lacking)}", path)
    return read


def grid_of(points: int = 60) -> NDArray[np.float64]:
    """Times at which D_sim is measured."""
    return np.linspace(1, T, points)


def _crossing(grid: NDArray[np.float64], curve: NDArray[np.float64], value: float) -> float:
    # sigma_t is exponential in t, and so nearly is D_sim: interpolate its logarithm.
    return float(np.interp(np.log(max(value, 1e-12)), np.log(curve), grid))


def measure_subject(
    scans: Mapping[Fraction, Array],
    body: NDArray[np.bool_],
    measure: str = "nmae",
    spacing_mm: Sequence[float] | None = None,
) -> SubjectDegradation:
    """Measure one subject.

    Args:
        scans: by dose, arrays of one shape in one linear unit; the full dose and one lower at least.
        body: where to measure, the same shape.
        measure: a name in MEASURES.
        spacing_mm: voxel size along i, j, k; without it the grain is not measured.

    Raises:
        InputError: the full dose is missing, or nothing else is there.
    """
    if Fraction(1) not in scans or len(scans) < 2:
        raise InputError("calibration needs the full dose and at least one lower dose of each subject")
    degradation = MEASURES[measure]
    x_0 = scans[Fraction(1)][body].astype(np.float32)
    real = {d: degradation(y[body].astype(np.float32), x_0) for d, y in scans.items() if d < 1}
    lowest = min(real)
    residual = scans[lowest][body].astype(np.float32) - x_0
    sigma_u = np.sqrt(1 / float(lowest) - 1)
    # Both measures are homogeneous in the residual, so D_sim(t) follows from one evaluation.
    at_u = degradation(x_0 + residual, x_0)
    simulated = at_u * sigma(grid_of()) / sigma_u
    grain = None
    if spacing_mm is not None:
        # At a tenth of the dose or so the noise is plain, and OSEM's positivity does not bend it yet.
        low = min(real, key=lambda d: abs(np.log(float(d) * 15)))
        full = np.asarray(scans[Fraction(1)], np.float32)
        scale = np.float32(x_0.mean())
        noise, mean = (np.asarray(scans[low], np.float32) - full) / scale, full / scale
        grain = grain_volume(neighbour_correlation(noise, mean, body), spacing_mm)
    curve = gaussian_degradation(x_0, degradation)
    return SubjectDegradation(real, tuple(float(v) for v in simulated), grain, curve)


def calibrate(
    subjects: Sequence[SubjectDegradation], measure: str = "nmae", resamples: int = 1000, seed: int = 0
) -> Calibration:
    """Match real and simulated degradation over a cohort.

    Args:
        subjects: their measured degradations; they need not all have every dose. A dose that some lack is
            placed by those that have it, and its degradation is what the whole cohort would show there.
        measure: the measure they were taken in.
        resamples: bootstrap samples over subjects, for the interval of each t (LEAST_SUBJECTS or more).
        seed: of the bootstrap.

    Raises:
        InputError: an anchor's dose is missing, or the anchors do not come out in the order of their doses.
    """
    grid = grid_of()
    doses = sorted({dose for subject in subjects for dose in subject.real}, reverse=True)
    missing = [dose_label(dose) for dose in ANCHORS if dose not in doses]
    if missing:
        raise InputError(f"no subject has the anchor dose {', '.join(missing)}")
    rng = np.random.default_rng(seed)
    curves = np.array([subject.simulated for subject in subjects])
    real = np.array([[subject.real.get(dose, np.nan) for dose in doses] for subject in subjects])

    def times(index: NDArray[np.int64]) -> list[float]:
        present = np.isfinite(real[index])
        sums, counts = np.where(present, real[index], 0).sum(axis=0), present.sum(axis=0)
        # A dose's curve is of the subjects that have it, as its degradation is: others may be noisier.
        return [
            _crossing(grid, curves[index[has]].mean(axis=0), total / count) if count else np.nan
            for has, total, count in zip(present.T, sums, counts, strict=True)
        ]

    central = times(np.arange(len(subjects)))
    if any(later <= earlier for earlier, later in pairwise(central)):
        found = ", ".join(f"t({dose_label(d)}) = {t:.0f}" for d, t in zip(doses, central, strict=True))
        raise InputError(f"the anchors are out of order ({found}): are the doses of the cohort swapped?")
    low: Sequence[float | None] = [None] * len(doses)
    high = low
    if len(subjects) >= LEAST_SUBJECTS:
        samples = np.array([times(rng.integers(0, len(subjects), len(subjects))) for _ in range(resamples)])
        ends = np.nanpercentile(samples, percentiles(len(subjects)), axis=0)
        low, high = ends[0].tolist(), ends[1].tolist()
    # Of the whole cohort: where some lack the dose, what their curves say at its time.
    whole = np.exp(np.interp(central, grid, np.log(curves.mean(axis=0))))
    means = np.where(np.isfinite(real).all(axis=0), real.mean(axis=0), whole)
    anchors = {
        dose_label(dose): Anchor(t, float(means[n]), low[n], high[n])
        for n, (dose, t) in enumerate(zip(doses, central, strict=True))
    }
    d = np.array([float(dose) for dose in doses])
    full_level = float(np.mean(means / np.sqrt(1 / d - 1)))
    grains = [subject.grain_mm3 for subject in subjects if subject.grain_mm3 is not None]
    gaussian = [subject.gaussian for subject in subjects if subject.gaussian is not None]
    return Calibration(
        measure=measure,
        anchors=anchors,
        grid=tuple(float(t) for t in grid),
        simulated=tuple(float(v) for v in curves.mean(axis=0)),
        subjects=len(subjects),
        full_level=full_level,
        grain_mm3=float(np.exp(np.mean(np.log(grains)))) if grains else None,
        gaussian=tuple(float(v) for v in np.mean(gaussian, axis=0)) if gaussian else None,
    )


def nominal(label: str) -> float:
    """The dose fraction that an anchor's label names."""
    return float(parse_dose(label))
