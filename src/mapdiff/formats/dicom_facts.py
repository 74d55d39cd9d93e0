"""What a DICOM PET header tells of unit, dose and patient measures; no identity."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mapdiff import suv
from mapdiff.errors import InputError, UnitError
from mapdiff.formats.dicom_elements import PHILIPS, items, number, private_number, text
from mapdiff.formats.dicom_files import copied
from mapdiff.formats.dicom_times import timing_of
from mapdiff.formats.identity import impersonal, is_told
from mapdiff.volume import UNKNOWN, Acquisition

_NUCLIDES = {
    "fluor": "F",
    "gallium": "Ga",
    "carbon": "C",
    "zirconium": "Zr",
    "copper": "Cu",
    "rubidium": "Rb",
    "nitrogen": "N",
    "oxygen": "O",
    "iod": "I",
}
#: Figures that one series can have only one of: field of Acquisition, keyword, and how it is called.
_DRUG_FIGURES = (
    ("injected_activity_bq", "RadionuclideTotalDose", "RadionuclideTotalDose (0018,1074)"),
    ("half_life_s", "RadionuclideHalfLife", "RadionuclideHalfLife (0018,1075)"),
    ("uptake_s", "RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartDateTime (0018,1078)"),
    ("uptake_s", "RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartTime (0018,1072)"),
)


@dataclass(frozen=True)
class Facts:
    """What the headers of a series tell.

    Attributes:
        acquisition: the facts of the scan.
        unit: the unit after `factor`.
        factor: per slice, from rescaled stored values to the unit; shape (K,).
        warnings: one line each.
    """

    acquisition: Acquisition
    unit: str
    factor: NDArray[np.float64]
    warnings: tuple[str, ...]


def facts_of(headers: Sequence[Dataset], path: Path) -> Facts:
    """Read the facts from the headers of a series, in slice order.

    A fact that is missing, absurd or told in two ways is None, with the reason in `acquisition.missing`; only
    an SUV needs it.

    Raises:
        InputError: slices of one series differ in unit, decay correction or study.
    """
    for keyword in ("Units", "DecayCorrection", "SUVType", "StudyInstanceUID"):
        if len({text(header, keyword) for header in headers}) > 1:
            raise InputError(f"its slices differ in {keyword}", path)
    first = headers[0]
    drug, missing = _one_drug(headers)
    warnings: list[str] = []

    def fact(field: str, name: str, header: Dataset, check: Callable[[float], float]) -> float | None:
        keyword = name.split()[0]
        if field in missing:
            return None
        if header is first and len({_told(slice_, keyword) for slice_ in headers}) > 1:
            missing[field] = f"its slices differ in {name}"
            return None
        value = number(header, keyword)
        if value is None:
            missing[field] = f"{name} is missing" if not text(header, keyword) else f"{name} is no number"
            return None
        try:
            return check(value)
        except UnitError as error:
            missing[field] = error.cause
            return None

    dose = number(drug, "RadionuclideTotalDose")
    if dose is not None and 0.1 <= dose < suv.MOST_MBQ:
        warnings.append(
            f"RadionuclideTotalDose (0018,1074) of {dose:g} was taken as MBq; if it is mCi, give "
            "--injected-activity"
        )
    if dose is not None and 1e5 <= dose < 1e6:
        warnings.append(
            f"RadionuclideTotalDose (0018,1074) of {dose:g} was taken as Bq, {dose / 1e6:.2g} MBq"
        )
    duration = number(first, "ActualFrameDuration")
    acquisition = Acquisition(
        tracer=impersonal(
            first, text(drug, "Radiopharmaceutical") or _meaning(drug, "RadiopharmaceuticalCodeSequence")
        ),
        nuclide=impersonal(first, _nuclide(_meaning(drug, "RadionuclideCodeSequence"))),
        half_life_s=fact("half_life_s", "RadionuclideHalfLife (0018,1075)", drug, suv.check_half_life),
        injected_activity_bq=fact(
            "injected_activity_bq",
            "RadionuclideTotalDose (0018,1074)",
            drug,
            suv.activity_bq,
        ),
        weight_kg=fact("weight_kg", "PatientWeight (0010,1030)", first, suv.check_weight),
        height_m=fact("height_m", "PatientSize (0010,1020)", first, suv.check_height),
        sex=text(first, "PatientSex"),
        frame_s=duration / 1000 if duration and duration > 0 else None,
        manufacturer=impersonal(first, text(first, "Manufacturer")),
        model=impersonal(first, text(first, "ManufacturerModelName")),
    )
    no_height = missing.pop("height_m", None)  # only SUV of other kinds needs it
    unit, factor, stored = _unit(headers, acquisition, missing, no_height)
    no_half_life = missing.get("half_life_s", "RadionuclideHalfLife (0018,1075) is missing")
    timing = timing_of(headers, drug, acquisition.half_life_s, no_half_life)
    warnings += timing.warnings
    if timing.uptake_s is not None:
        missing.pop("uptake_s", None)
    elif timing.missing is not None:
        missing.setdefault("uptake_s", timing.missing)
    if unit == "Bq/mL":
        factor = factor * timing.factor
    acquisition = replace(
        acquisition,
        stored_as=stored,
        missing=missing,
        uptake_s=timing.uptake_s,
        reference_clock_s=timing.clock_s,
        scan_delay_s=timing.delay_s,
    )
    acquisition = suv.completed(acquisition)
    acquisition = _philips_ratio(first, acquisition, warnings)
    if unit == "Bq/mL" and acquisition.suv_per_bqml is None:
        warnings.append(f"SUV is not known: {suv.what_is_missing(acquisition)}")
    frames = {text(header, "FrameOfReferenceUID") for header in headers}
    if len(frames) > 1:
        warnings.append(f"its slices name {len(frames)} frames of reference; took their positions as of one")
    told = first.get("CorrectedImage") or ()
    corrected = {str(word).upper() for word in ([told] if isinstance(told, str) else told)}
    if corrected and "ATTN" not in corrected:
        warnings.append("the images are not corrected for attenuation")
    return Facts(acquisition, unit, factor, tuple(warnings))


def _one_drug(headers: Sequence[Dataset]) -> tuple[Dataset, dict[str, str]]:
    """The radiopharmaceutical of the series, and why a figure of it is not known that is told in two ways.

    Several items (two tracers, a second injection), and slices that differ, leave out what they differ in.
    """
    per_slice = [items(header, "RadiopharmaceuticalInformationSequence") or [Dataset()] for header in headers]
    missing: dict[str, str] = {}
    drug = copied(per_slice[0][0])
    for field, keyword, name in _DRUG_FIGURES:
        if len({_told(item, keyword) for item in per_slice[0]}) > 1:
            missing[field] = (
                f"RadiopharmaceuticalInformationSequence (0054,0016) has {len(per_slice[0])} items that "
                f"differ in {name}"
            )
        elif len({_told(drugs[0], keyword) for drugs in per_slice}) > 1:
            missing[field] = f"its slices differ in {name}"
    for field, keyword, _ in _DRUG_FIGURES:
        if field in missing and keyword in drug:
            del drug[keyword]
    return drug, missing


def _told(header: Dataset, keyword: str) -> float | str | None:
    """A figure or time for comparison: "70" is "70.0"."""
    told = text(header, keyword)
    return number(header, keyword) if told and re.fullmatch(r"[-+0-9.eE]+", told) else told


def _meaning(header: Dataset, keyword: str) -> str | None:
    sequence = items(header, keyword)
    return text(sequence[0], "CodeMeaning") if sequence else None


def _nuclide(meaning: str | None) -> str | None:
    """ "^18^Fluorine", "18F" and "F-18" all name F18, as BIDS writes it."""
    mass, letters = re.search(r"\d+", meaning or ""), re.search(r"[A-Za-z]+", meaning or "")
    if mass is None or letters is None:
        return meaning
    word = letters.group()
    symbol = next((s for name, s in _NUCLIDES.items() if word.lower().startswith(name)), word)
    return symbol + mass.group() if len(symbol) <= 2 else meaning


def _unit(
    headers: Sequence[Dataset], acquisition: Acquisition, missing: dict[str, str], no_height: str | None
) -> tuple[str, NDArray[np.float64], str]:
    """Unit, factor per slice and how the file names it, from Units, SUVType and Philips' private factors."""
    units = text(headers[0], "Units") or ""
    kind = (text(headers[0], "SUVType") or ("BW" if units == "GML" else "BSA")).upper()
    ones = np.ones(len(headers))
    if units == "BQML":
        return "Bq/mL", ones, units
    if units in ("GML", "CM2ML"):
        try:
            if (kind == "BSA") != (units == "CM2ML"):
                raise UnitError(f"SUVType (0054,1006) {is_told(headers[0], kind)}, which has another unit")
            if kind != "BW" and acquisition.weight_kg is None and "weight_kg" in missing:
                raise UnitError(missing["weight_kg"])
            if kind != "BW" and no_height is not None:
                raise UnitError(no_height)
            scale = suv.to_body_weight(kind, acquisition.weight_kg, acquisition.height_m, acquisition.sex)
        except UnitError as error:
            missing["unit"] = f"Units (0054,1001) is {units}, and {error.cause}"
            return UNKNOWN, ones, units
        return "SUV", ones * scale, f"{units} {kind}"
    if units == "CNTS":
        # PixelValue * slope * (7053,1009) is Bq/mL and PixelValue * slope * (7053,1000) is SUVbw; activity
        # first, since an SUV factor holds the weight and dose that were typed in at the scanner.
        for element, unit in ((0x09, "Bq/mL"), (0x00, "SUV")):
            scales = [private_number(header, 0x7053, element, PHILIPS) for header in headers]
            if all(scale is not None for scale in scales):
                return unit, np.array(scales, dtype=np.float64), units
        missing["unit"] = (
            "Units (0054,1001) is CNTS and Philips' factors (7053,1000) and (7053,1009) are missing or zero"
        )
    else:
        missing["unit"] = f"Units (0054,1001) {is_told(headers[0], units)}"
    return UNKNOWN, ones, impersonal(headers[0], units) or ""


def _philips_ratio(first: Dataset, acquisition: Acquisition, warnings: list[str]) -> Acquisition:
    """Philips' two factors give the SUV factor that the header's own facts cannot, or check it."""
    to_bqml = private_number(first, 0x7053, 0x09, PHILIPS)
    to_suv = private_number(first, 0x7053, 0x00, PHILIPS)
    if acquisition.stored_as != "CNTS" or to_bqml is None or to_suv is None:
        return acquisition
    ratio = to_suv / to_bqml
    if acquisition.suv_per_bqml is None:
        return replace(acquisition, suv_per_bqml=ratio)
    if abs(acquisition.suv_per_bqml / ratio - 1) > 0.02:
        warnings.append(
            f"Philips' SUV factor is {ratio / acquisition.suv_per_bqml:.3f} times that of the header's facts"
        )
    return acquisition
