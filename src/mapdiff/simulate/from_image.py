"""A lower dose of a real scan: the scan is taken as the activity, scanned again, and reconstructed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from scipy.ndimage import binary_closing, binary_fill_holes

from mapdiff.body import MU_WATER, body_mask
from mapdiff.decay import F18_HALF_LIFE_S
from mapdiff.dose import FULL, dose_label
from mapdiff.errors import InputError
from mapdiff.simulate.projector import Float
from mapdiff.simulate.scan import simulate_scan
from mapdiff.simulate.scanner import Scanner
from mapdiff.volume import UNKNOWN, Acquisition, Volume

#: Assumed where a header does not tell: the usual FDG protocol, EANM guidelines 2.0 (Boellaard et al. 2015).
DEFAULT_FRAME_S = 120.0
DEFAULT_UPTAKE_S = 3600.0
DEFAULT_BQML_PER_SUV = 3.5e6 * 2.0 ** (-DEFAULT_UPTAKE_S / F18_HALF_LIFE_S) / 1000  # 3.5 MBq/kg
#: Voxels by which gaps in the body's mask are closed.
CLOSED = 2
#: Mean activity of a body in Bq/mL, and seconds per bed position, that a scan can have; people have some
#: 3,000 Bq/mL in half a minute to half an hour. Beyond these a unit is wrong, and counts overflow or vanish.
ACTIVITY_BQML = 1.0, 1e7
SECONDS = 1.0, 86400.0


@dataclass(frozen=True)
class LowDoseScan:
    """A real scan, scanned again.

    Attributes:
        doses: the reconstruction of each dose, on the scan's grid and in its unit; the full dose is there.
        noise_free: the reconstruction of the expected counts.
        effective_counts: coincidences at each dose, times the scanner's effective gain.
        assumed: what the header did not tell and was assumed, one line each.
    """

    doses: dict[Fraction, Volume]
    noise_free: Volume
    effective_counts: dict[Fraction, int]
    assumed: tuple[str, ...]


def _left_at_the_scan(facts: Acquisition, assumed: list[str]) -> float:
    """The part of the image's activity that was left when the scan began.

    1 where the image is decay corrected to that time, as most are; one that is corrected to the injection
    (DICOM's ADMIN) shows more activity than the scanner saw.
    """
    delay, half_life = facts.scan_delay_s, facts.half_life_s
    if delay is None:
        delay = DEFAULT_UPTAKE_S
        assumed.append(
            "the image is corrected to the injection and the header does not tell when the scan began: "
            "one hour later assumed"
        )
    if delay and half_life is None:
        half_life = F18_HALF_LIFE_S
        assumed.append("the header tells no half-life: that of F-18 assumed")
    return 2.0 ** (-delay / half_life) if half_life else 1.0


def _check_counts(bqml: float, seconds: float) -> None:
    for what, value, (low, high), unit in (
        ("the body's mean activity", bqml, ACTIVITY_BQML, "Bq/mL"),
        ("the time per bed position", seconds, SECONDS, "s"),
    ):
        if not low <= value <= high:
            raise InputError(
                f"{what} is {value:.3g} {unit}, which no scan has ({low:g} to {high:g}): is its unit right?"
            )


def water_map(scan: Volume) -> Float:
    """Attenuation per mm, (I, J, K): the body of a scan, its gaps closed, as water."""
    # A body that leaves the field of view goes on beyond it, for the closing.
    body = np.pad(body_mask(scan.array, scan.spacing), CLOSED, mode="edge")
    body = binary_closing(body, iterations=CLOSED)[CLOSED:-CLOSED, CLOSED:-CLOSED, CLOSED:-CLOSED]
    body = np.stack([binary_fill_holes(body[:, :, k]) for k in range(body.shape[2])], axis=2)
    return np.where(body, np.float32(MU_WATER), np.float32(0))


def lower_dose(scan: Volume, scanner: Scanner, doses: Sequence[Fraction], seed: int) -> LowDoseScan:
    """Simulate what `scanner` would have recorded of the activity in `scan` at lower doses.

    The counts follow from the image's activity (Bq/mL) at the start of the scan, the seconds per bed
    position in its header, and the scanner's sensitivity. The body attenuates as water.

    Args:
        scan: the real image; negative voxels count as no activity.
        scanner: whose sensitivity, blur and reconstruction are used, on the grid of `scan`.
        doses: the dose fractions wanted; the full dose is added.
        seed: decides the counts.

    Raises:
        InputError: the activity or the seconds are none that a scan can have.
    """
    assumed: list[str] = []
    suv_per_bqml = scan.acquisition.suv_per_bqml
    # From the scan's unit to Bq/mL at the start of the scan.
    if scan.unit == "Bq/mL":
        factor = _left_at_the_scan(scan.acquisition, assumed)
    elif scan.unit == "SUV" and suv_per_bqml is not None:
        factor = _left_at_the_scan(scan.acquisition, assumed) / suv_per_bqml
    else:
        factor = DEFAULT_BQML_PER_SUV
        taken = "taken as SUV" if scan.unit == UNKNOWN else "is in SUV"
        assumed.append(f"the image {taken} and the header tells no activity: 3.5 MBq/kg and one hour assumed")
    seconds = scan.acquisition.frame_s
    if seconds is None:
        seconds = DEFAULT_FRAME_S
        assumed.append(f"the header tells no minutes per bed: {seconds:g} s assumed")
    activity = np.maximum(scan.array.astype(np.float32) * np.float32(factor), 0)
    mu = water_map(scan)
    _check_counts(float(activity[mu > 0].mean(dtype=np.float64)) if mu.any() else 0.0, seconds)
    wanted = sorted({FULL, *doses}, reverse=True)
    result = simulate_scan(activity, mu, scan.spacing, scanner, seconds, wanted, np.random.default_rng(seed))

    for dose, image in result.doses.items():
        if not image.any() or not np.isfinite(image).all():
            counts = f"{result.effective_counts[dose]} counts at dose {dose_label(dose)}"
            raise InputError(f"{counts} give no image: are its unit and its voxel size right?")
    # The new images are no longer what the source's header describes voxel by voxel, so it is not carried.
    bare = replace(scan, source=None, acquisition=replace(scan.acquisition, frame_s=seconds))

    def back(image: Float) -> Volume:
        return bare.with_array((image / np.float32(factor)).astype(np.float32))

    return LowDoseScan(
        doses={dose: back(image) for dose, image in result.doses.items()},
        noise_free=back(result.noise_free),
        effective_counts=result.effective_counts,
        assumed=tuple(assumed),
    )
