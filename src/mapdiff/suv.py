"""Standardised uptake values: from a stored voxel to Bq/mL and to SUV by body weight. Pure functions.

SUVbw = c [Bq/mL] * weight [g] / A [Bq], A the injected activity decayed to the time that c is corrected to.

Sources: DICOM PS3.3 C.8.9.1 and C.8.9.4 (PET Series and PET Image modules); the QIBA vendor-neutral SUV
pseudo-code; Vacha et al., "Comprehensive manual for SUV computation and digital reference objects" (IBSI).
What the scan does not tell is a UnitError that names the tag, never a guess.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import time
from typing import Any

import numpy as np

from mapdiff.decay import DAY_S, MOST_BY_CLOCK_S, MOST_HALF_LIVES, SAME_DAY_HALF_LIFE_S
from mapdiff.errors import InputError, UnitError
from mapdiff.volume import UNKNOWN, Acquisition, Volume

#: What has to be known for an SUV: the field of Acquisition, how it is called, and where it comes from.
NEEDED = {
    "weight_kg": "the body weight (PatientWeight (0010,1030), or --weight)",
    "injected_activity_bq": "the injected activity (RadionuclideTotalDose (0018,1074), or "
    "--injected-activity)",
    "half_life_s": "the half-life (RadionuclideHalfLife (0018,1075))",
    "uptake_s": "the time from injection to the scan (RadiopharmaceuticalStartDateTime (0018,1078), "
    "or --injection-time)",
}
#: An injected activity below it can only be in MBq.
MOST_MBQ = 2e4


# Body measures ----------------------------------------------------------------------------------------


def lean_body_mass(weight_kg: float, height_m: float, sex: str, formula: str = "LBM") -> float:
    """Lean body mass in kg.

    Args:
        weight_kg: body weight.
        height_m: body height.
        sex: "M", "F", or "O" for the mean of both (IBSI's reference objects).
        formula: DICOM's SUVType: "LBM" (James as used by Sugawara, Radiology 1999;213:521, 120 for men),
            "LBMJAMES128" (James, Research on Obesity, 1976, 128 for men) or "LBMJANMA" (Janmahasatian,
            Clin Pharmacokinet 2005;44:1051).
    """
    ratio = (weight_kg / (height_m * 100)) ** 2
    bmi = weight_kg / height_m**2
    if formula == "LBMJANMA":
        men, women = 9270 * weight_kg / (6680 + 216 * bmi), 9270 * weight_kg / (8780 + 244 * bmi)
    else:
        men = 1.10 * weight_kg - (128 if formula == "LBMJAMES128" else 120) * ratio
        women = 1.07 * weight_kg - 148 * ratio
    return _by_sex(men, women, sex)


def ideal_body_weight(height_m: float, sex: str) -> float:
    """Ideal body weight in kg (Sugawara, Radiology 1999;213:521); sex "O" is the mean of both."""
    above = height_m * 100 - 152
    return _by_sex(48.0 + 1.06 * above, 45.5 + 0.91 * above, sex)


def body_surface_area(weight_kg: float, height_m: float) -> float:
    """Body surface area in cm2 (Du Bois and Du Bois, Arch Intern Med 1916;17:863)."""
    return float(71.84 * weight_kg**0.425 * (height_m * 100) ** 0.725)


def _by_sex(men: float, women: float, sex: str) -> float:
    values = {"M": men, "F": women, "O": (men + women) / 2}
    if sex not in values:
        raise UnitError("PatientSex (0010,0040) is none of M, F, O")
    if values[sex] <= 0:
        raise UnitError("PatientWeight (0010,1030) and PatientSize (0010,1020) do not fit a human body")
    return values[sex]


def to_body_weight(kind: str, weight_kg: float | None, height_m: float | None, sex: str | None) -> float:
    """Factor from an SUV of another kind to SUVbw: body weight over the measure that the kind divides by.

    Args:
        kind: DICOM's SUVType: BW, LBM, LBMJAMES128, LBMJANMA, IBW or BSA.
        weight_kg: body weight.
        height_m: body height.
        sex: "M", "F" or "O".

    Raises:
        UnitError: what the kind needs is missing, or the kind is not known; the text names the tag.
    """
    if kind == "BW":
        return 1.0
    if kind not in ("LBM", "LBMJAMES128", "LBMJANMA", "IBW", "BSA"):
        raise UnitError(f"SUVType (0054,1006) is '{kind}', which is not known")
    if weight_kg is None:
        raise UnitError(f"an SUV by {kind} needs PatientWeight (0010,1030)")
    if height_m is None:
        raise UnitError(f"an SUV by {kind} needs PatientSize (0010,1020)")
    if kind == "BSA":
        return weight_kg * 1000 / body_surface_area(weight_kg, height_m)
    if sex is None:
        raise UnitError(f"an SUV by {kind} needs PatientSex (0010,0040)")
    if kind == "IBW":
        return weight_kg / ideal_body_weight(height_m, sex)
    return weight_kg / lean_body_mass(weight_kg, height_m, sex, kind)


# Checks of single figures -----------------------------------------------------------------------------


def check_weight(weight_kg: float) -> float:
    """A body weight in kg as it is, if a human can have it (1 to 500 kg).

    Raises:
        UnitError: it cannot be one.
    """
    if not 1 <= weight_kg <= 500:
        raise UnitError(f"a weight (PatientWeight (0010,1030), or --weight) of {weight_kg:g} kg is absurd")
    return weight_kg


def check_height(height_m: float) -> float:
    """A body height in m as it is, if a human can have it (0.3 to 2.7 m).

    Raises:
        UnitError: it cannot be one.
    """
    if not 0.3 <= height_m <= 2.7:
        raise UnitError(f"PatientSize (0010,1020) of {height_m:g} m is absurd")
    return height_m


def check_half_life(half_life_s: float) -> float:
    """A half-life in seconds as it is, if a PET nuclide can have it (1 minute to 30 days).

    Raises:
        UnitError: it cannot be one.
    """
    if not 60 <= half_life_s <= 30 * DAY_S:
        raise UnitError(f"RadionuclideHalfLife (0018,1075) of {half_life_s:g} s is absurd")
    return half_life_s


def activity_bq(total_dose: float) -> float:
    """Injected activity in Bq from RadionuclideTotalDose, which some write in MBq.

    A figure below 20,000 can only be MBq (20 kBq gives no image), one above 100,000 only Bq.

    Raises:
        UnitError: the figure is no activity that a patient is given, in either unit.
    """
    if 0.1 <= total_dose < MOST_MBQ:
        return total_dose * 1e6
    if 1e5 <= total_dose <= 2e10:
        return total_dose
    raise UnitError(f"RadionuclideTotalDose (0018,1074) of {total_dose:g} is absurd in Bq and in MBq")


# SUV --------------------------------------------------------------------------------------------------


def suv_factor(weight_kg: float, injected_bq: float, uptake_s: float, half_life_s: float) -> float:
    """Factor from Bq/mL to SUVbw: weight in g over the activity left at the image's reference time."""
    return float(weight_kg * 1000 / (injected_bq * 2.0 ** (-uptake_s / half_life_s)))


def completed(acquisition: Acquisition) -> Acquisition:
    """The acquisition with its SUV factor computed from its facts; it stays as it is without them."""
    facts = (
        acquisition.weight_kg,
        acquisition.injected_activity_bq,
        acquisition.uptake_s,
        acquisition.half_life_s,
    )
    weight, activity, uptake, half_life = facts
    if weight is None or activity is None or uptake is None or half_life is None:
        return acquisition
    return replace(acquisition, suv_per_bqml=suv_factor(weight, activity, uptake, half_life))


def _followed(before: Acquisition, now: Acquisition) -> Acquisition:
    """`now` with an SUV factor that holds for its figures, or none.

    A header may tell a factor without all the facts behind it (Philips' ratio, a sidecar's). What changed of
    these then enters it as a ratio; where the old figure is not told, the factor holds for what nobody knows.
    """
    done = completed(now)
    factor = before.suv_per_bqml
    if done is not now or factor is None:
        return done
    for name, power in (("weight_kg", 1), ("injected_activity_bq", -1)):
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            factor = None if factor is None or not old else factor * (new / old) ** power
    if (before.uptake_s, before.half_life_s) != (now.uptake_s, now.half_life_s):
        told = [(f.uptake_s, f.half_life_s) for f in (now, before)]
        lives = [uptake / half_life for uptake, half_life in told if uptake is not None and half_life]
        factor = None if factor is None or len(lives) < 2 else factor * 2.0 ** (lives[0] - lives[1])
    return replace(now, suv_per_bqml=factor)


def convert(volume: Volume, unit: str) -> Volume:
    """The image in `unit`, float32; its own unit gives the same voxels.

    Raises:
        UnitError: the image's unit or a figure that the conversion needs is not known; the text names it.
    """
    if unit not in ("Bq/mL", "SUV", UNKNOWN):
        raise UnitError(f"there is no unit '{unit}': give Bq/mL or SUV")
    if unit == volume.unit:
        return replace(volume, array=np.asarray(volume.array, dtype=np.float32))
    if UNKNOWN in (volume.unit, unit):
        reason = volume.acquisition.missing.get("unit", "the unit of its voxels is not told; give --unit")
        raise UnitError(f"no {unit} image: {reason}")
    factor = volume.acquisition.suv_per_bqml
    if factor is None:
        raise UnitError(f"no {unit} image: {what_is_missing(volume.acquisition)}")
    scale = factor if unit == "SUV" else 1 / factor
    return replace(volume, array=np.asarray(volume.array, dtype=np.float32) * np.float32(scale), unit=unit)


def what_is_missing(acquisition: Acquisition) -> str:
    """In one line, why there is no SUV factor."""
    reasons = [acquisition.missing[name] for name in NEEDED if name in acquisition.missing]
    reasons = list(dict.fromkeys(reasons))
    if not reasons:
        absent = [text for name, text in NEEDED.items() if getattr(acquisition, name) is None]
        reasons = ["the scan does not tell " + ", ".join(absent)]
    return "; ".join(reasons)


def with_supplied(
    volume: Volume,
    *,
    weight_kg: float | None = None,
    injected_activity_bq: float | None = None,
    injection_time: str | None = None,
    uptake_s: float | None = None,
    half_life_s: float | None = None,
) -> Volume:
    """The scan with figures that the user gives in place of the header's; their names are in `supplied`.

    An image that is stored as SUV keeps its values (its file used the header's figures) and says so.

    Args:
        volume: the scan.
        weight_kg: body weight, kg.
        injected_activity_bq: activity at the time of injection, Bq.
        injection_time: time of day of the injection, "HH:MM" or "HH:MM:SS".
        uptake_s: seconds from injection to the time that the image is decay corrected to.
        half_life_s: the nuclide's half-life, seconds.

    Raises:
        UnitError: a figure is absurd, or the injection time is given and the scan's own time is not known.
    """
    acquisition = volume.acquisition
    given: dict[str, Any] = {}
    if weight_kg is not None:
        given["weight_kg"] = check_weight(weight_kg)
    if injected_activity_bq is not None:
        if not 1e5 <= injected_activity_bq <= 2e10:
            raise UnitError(f"an injected activity of {injected_activity_bq / 1e6:g} MBq is absurd")
        given["injected_activity_bq"] = injected_activity_bq
    if half_life_s is not None:
        given["half_life_s"] = check_half_life(half_life_s)
    if (injection_time, uptake_s) != (None, None) and acquisition.corrected_to_injection:
        raise UnitError("the image is corrected to its injection: another time of that cannot be supplied")
    if injection_time is not None:
        if acquisition.reference_clock_s is None:
            raise UnitError("an injection time needs the time of the scan, which the file does not tell")
        if acquisition.half_life_s is not None and acquisition.half_life_s > SAME_DAY_HALF_LIFE_S:
            raise UnitError("an injection time of day is not enough for a nuclide that lives for days")
        uptake_s = (acquisition.reference_clock_s - clock_seconds(injection_time)) % DAY_S
        if uptake_s > MOST_BY_CLOCK_S:
            raise UnitError(f"an injection at {injection_time.strip()} is later than the scan")
    if uptake_s is not None:
        half_life = given.get("half_life_s", acquisition.half_life_s)
        if uptake_s < 0 or (half_life and uptake_s > MOST_HALF_LIVES * half_life):
            raise UnitError(f"an uptake time of {uptake_s / 60:.0f} minutes is absurd for this nuclide")
        given["uptake_s"] = uptake_s
    if not given:
        return volume
    missing = {name: reason for name, reason in acquisition.missing.items() if name not in given}
    supplied = tuple(dict.fromkeys((*acquisition.supplied, *given)))
    told = replace(acquisition, **given, missing=missing, supplied=supplied)
    had_factor = acquisition.suv_per_bqml is not None
    acquisition = _followed(acquisition, told)
    warnings = volume.warnings
    if had_factor and acquisition.suv_per_bqml is None:
        reason = what_is_missing(acquisition)
        warnings += (f"the header's SUV factor does not hold for the supplied figures: {reason}",)
    if volume.unit == "SUV":
        warnings += ("the image is stored as SUV: the supplied figures change none of its values",)
    return replace(volume, acquisition=acquisition, warnings=warnings)


def clock_seconds(text: str) -> float:
    """Seconds after midnight of "HH:MM" or "HH:MM:SS".

    Raises:
        InputError: it is no time of day.
    """
    try:
        clock = time.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"'{text}' is not a time of day such as 09:41 or 09:41:30") from None
    return clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond * 1e-6
