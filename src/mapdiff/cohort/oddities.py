"""What is odd about the doses of one subject: faults that spoil it, and notes that a reader should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mapdiff.body import body_mask
from mapdiff.dose import FULL, dose_label
from mapdiff.errors import InputError
from mapdiff.formats.udpet import other_tracer
from mapdiff.volume import Acquisition, Array, Volume

#: The noise of a dose is at least this many times that of the next higher one. Nested doses have 1.4 (1/50
#: to 1/100) to 3 (1/2 to 1/10) by counting statistics.
RISE = 1.05
#: The activity inside the body may differ by this factor from the full dose's; beyond it the unit, the
#: calibration or the patient is another.
MOST_GAIN = 1.25
#: Correlation with the full dose below which a scan shows another patient or place. Blocks of 16 mm hold
#: some 30 resolution elements, so that even a hundredth of the dose stays above 0.9.
LEAST_LIKENESS = 0.7
BLOCK_MM = 16.0
#: Corners of two grids may lie this far apart, mm: headers round.
SAME_PLACE_MM = 0.1
#: What adults (and some children) of a whole-body FDG cohort have; beyond it a figure may be mistyped.
#: The challenge's own tables hold 7.6 to 168 kg, 37 to 439 MBq and 2 to 162 minutes, the odd ones included.
WEIGHT_KG = (20.0, 200.0)
ACTIVITY_MBQ = (30.0, 600.0)
UPTAKE_MIN = (20.0, 180.0)
#: A whole-body scan is at least this long; legs-only and single-bed scans are shorter.
SHORTEST_MM = 600.0


@dataclass(frozen=True)
class Measure:
    """What is measured of one dose inside the body of the full dose.

    Attributes:
        gain: mean over the full dose's mean.
        residual: standard deviation of (dose / gain - full dose), as a part of the full dose's mean; 0 for
            the full dose itself.
        roughness: root mean square difference between neighbours along i over the square root of two, as a
            part of the dose's own mean; for white noise it is its standard deviation.
        likeness: correlation with the full dose over means of blocks, which hardly hold noise.
    """

    gain: float
    residual: float
    roughness: float
    likeness: float


class Body:
    """The body of a full-dose scan, and what other doses are inside it."""

    def __init__(self, full: Volume) -> None:
        """Find the body.

        Raises:
            InputError: there is none in the image.
        """
        mask = body_mask(full.array, full.spacing)
        if not mask.any():
            raise InputError("there is no body in it")
        self._box = tuple(
            slice(int(found[0]), int(found[-1]) + 1)
            for axis in range(3)
            if len(found := np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))))
        )
        self._mask = mask[self._box]
        box = np.asarray(full.array[self._box], np.float32)
        self._full = box[self._mask]
        self._mean = float(self._full.mean(dtype=np.float64))
        self._edges = [max(1, round(BLOCK_MM / length)) for length in full.spacing]
        share = _block_sums(self._mask.astype(np.float32), self._edges)
        self._used = share > 0.5 * share.max()
        self._blocks = _block_sums(box, self._edges)[self._used] / share[self._used]
        self._share = share[self._used]

    def measure(self, array: Array) -> Measure:
        """Measure a dose on the full dose's grid; shape (I, J, K)."""
        box = np.asarray(array[self._box], np.float32)
        inside = box[self._mask]
        gain = float(inside.mean(dtype=np.float64)) / self._mean
        scale = gain if gain > 0 else 1.0
        residual = (inside / np.float32(scale) - self._full).std(dtype=np.float64)
        steps = _steps(box, self._mask)
        roughness = np.sqrt(np.square(steps, dtype=np.float64).mean() / 2) / scale
        blocks = _block_sums(box, self._edges)[self._used] / self._share
        spread = min(float(blocks.std()), float(self._blocks.std()))
        likeness = float(np.corrcoef(blocks, self._blocks)[0, 1]) if blocks.size > 20 and spread > 0 else 1.0
        return Measure(gain, float(residual) / self._mean, float(roughness) / self._mean, likeness)


def _block_sums(box: NDArray[np.float32], edges: list[int]) -> NDArray[np.float32]:
    for axis, edge in enumerate(edges):
        box = np.add.reduceat(box, np.arange(0, box.shape[axis], edge), axis=axis)
    return box


def _steps(box: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Differences between neighbours along i, both inside the body."""
    both = mask[1:] & mask[:-1]
    return np.asarray((box[1:] - box[:-1])[both]) if both.any() else np.zeros(1, np.float32)


def grid_fault(shape: Sequence[int], affine: NDArray[np.float64], full: Volume) -> str | None:
    """Why voxels of this shape and affine lie on another grid than the full dose, or None."""
    if tuple(shape) != full.shape:
        sizes = [" x ".join(map(str, size)) for size in (shape, full.shape)]
        return f"another grid than the full dose: {sizes[0]} voxels, not {sizes[1]}"
    far = np.array([0, 0, 0, 1]), np.array([*shape, 1])
    off = max(float(np.abs((affine - full.affine) @ corner).max()) for corner in far)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if off > SAME_PLACE_MM or not np.allclose(spacing, full.spacing, rtol=1e-3):
        return f"another grid than the full dose: voxels lie up to {off:.2f} mm apart"
    return None


def order_faults(measures: Mapping[Fraction, Measure]) -> list[str]:
    """Where the noise does not rise as the dose falls, or a dose has another activity than the full dose.

    The residual to the full dose tells the order of all lower doses, the roughness which end is the full
    one: with only two doses the residual is the same either way.
    """
    faults = []
    doses = sorted(measures, reverse=True)
    lower = [dose for dose in doses if dose != FULL]
    for above, below in pairwise(lower):
        ratio = measures[below].residual / max(measures[above].residual, 1e-12)
        if ratio < RISE:
            faults.append(
                f"wrong order of doses: dose {dose_label(below)} has {ratio:.2f} times the noise of dose "
                f"{dose_label(above)}, not more"
            )
    if lower and FULL in measures:
        ratio = measures[lower[-1]].roughness / max(measures[FULL].roughness, 1e-12)
        if ratio < 1:
            faults.append(
                f"wrong order of doses: dose {dose_label(lower[-1])} is smoother than the full dose "
                f"({ratio:.2f} of its roughness)"
            )
        if measures[lower[0]].residual == 0:
            faults.append(f"dose {dose_label(lower[0])} is a copy of the full dose")
    for dose in lower:
        faults += body_faults(f"dose {dose_label(dose)}", measures[dose])
    return faults


def body_faults(name: str, measure: Measure) -> list[str]:
    """Where an image shows another body, or another activity, than the full dose."""
    faults = []
    if measure.likeness < LEAST_LIKENESS:
        faults.append(f"{name} shows another body than the full dose (correlation {measure.likeness:.2f})")
    if not 1 / MOST_GAIN <= measure.gain <= MOST_GAIN:
        faults.append(f"{name}: its activity inside the body is {measure.gain:.3g} times the full dose's")
    return faults


def scan_faults(volume: Volume) -> list[str]:
    """What spoils a scan, whatever the others are: another tracer, no Bq/mL."""
    faults = []
    if volume.unit != "Bq/mL":
        faults.append(f"its unit is {volume.unit}, not Bq/mL")
    tracer = other_tracer(volume.acquisition)
    return faults + ([tracer] if tracer else [])


def scan_notes(volume: Volume) -> list[str]:
    """What a reader should know of a scan that is kept."""
    facts = volume.acquisition
    notes = []
    activity, uptake = facts.injected_activity_bq, facts.uptake_s
    for name, value, unit, (low, high) in (
        ("weight", facts.weight_kg, "kg", WEIGHT_KG),
        ("injected activity", None if activity is None else activity / 1e6, "MBq", ACTIVITY_MBQ),
        ("time from injection", None if uptake is None else uptake / 60, "min", UPTAKE_MIN),
    ):
        if value is not None and not low <= value <= high:
            notes.append(f"{name} of {value:.4g} {unit} is out of range ({low:g} to {high:g})")
    length = volume.spacing[2] * volume.shape[2]
    if length < SHORTEST_MM:
        notes.append(f"covers {length:.0f} mm only, less than a whole body")
    # The writer's words on the tracer are in the faults.
    return notes + [text for text in volume.warnings if "FDG" not in text]


def differing_facts(scans: Mapping[Fraction, Acquisition]) -> list[str]:
    """Facts that the doses of a subject tell differently."""
    notes = []
    for name, text, tolerance in (
        ("weight_kg", "weight", 0.01),
        ("injected_activity_bq", "injected activity", 0.01),
        ("uptake_s", "time from injection", 0.05),
        ("model", "scanner model", 0.0),
    ):
        told = {dose: value for dose, facts in scans.items() if (value := getattr(facts, name)) is not None}
        values = list(told.values())
        if not values:
            continue
        if isinstance(values[0], str):
            differ = len(set(values)) > 1
        else:
            differ = max(values) - min(values) > tolerance * max(values)
        if differ:
            first = values[0]
            odd = [dose_label(dose) for dose, value in told.items() if value != first]
            notes.append(f"the {text} differs between the doses (see {', '.join(odd)})")
    return notes
