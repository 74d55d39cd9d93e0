"""What a DICOM PET header tells of unit, decay correction, dose and patient measures; no identity."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mapdiff import suv
from mapdiff.errors import InputError, UnitError
from mapdiff.volume import UNKNOWN, Acquisition

PHILIPS = "Philips PET Private Group"
GE = "GEMS_PETD_01"
SIEMENS = "SIEMENS MED PT"
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


def number(header: Dataset, keyword: str) -> float | None:
    """The first value of an element as a finite number; None if it is missing or malformed."""
    with contextlib.suppress(TypeError, ValueError, IndexError):
        value = header.get(keyword)
        if value is None or value == "":
            return None
        if not isinstance(value, str | int | float) and hasattr(value, "__len__"):
            value = value[0]
        figure = float(value)
        return figure if np.isfinite(figure) else None
    return None


def private(header: Dataset, group: int, element: int, creator: str) -> str | None:
    """A private element's text, by its creator's block, or at block 10 where the creator is gone."""
    item = None
    with contextlib.suppress(KeyError):
        item = header.get_private_item(group, element, creator)
    if item is None and (group, 0x1000 + element) in header:
        item = header[group, 0x1000 + element]
    if item is None:
        return None
    value = item.value
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.strip(" \0") or None


def private_number(header: Dataset, group: int, element: int, creator: str) -> float | None:
    """A private element as a positive number, else None."""
    text = private(header, group, element, creator)
    with contextlib.suppress(TypeError, ValueError):
        figure = float(text or "")
        return figure if np.isfinite(figure) and figure > 0 else None
    return None


def parse_date(text: str | None) -> date | None:
    """DICOM's DA, "20250131" or the old "2025.01.31"."""
    digits = (text or "").replace(".", "").replace("-", "").strip()
    with contextlib.suppress(ValueError):
        return datetime.strptime(digits[:8], "%Y%m%d").date()
    return None


def parse_time(text: str | None) -> time | None:
    """DICOM's TM, "HHMMSS.ffffff" with any tail left off, or the old "HH:MM:SS"."""
    found = re.fullmatch(r"(\d\d):?(\d\d)?:?(\d\d)?(?:\.(\d{1,6})\d*)?", (text or "").strip())
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    with contextlib.suppress(ValueError):
        return time(hours, minutes, min(seconds, 59), int((found.group(4) or "0").ljust(6, "0")))
    return None


def parse_datetime(text: str | None) -> datetime | None:
    """DICOM's DT; an offset from UTC is left out, since the scanner's other times have none."""
    plain = re.sub(r"[+-]\d{4}$", "", (text or "").strip())
    day, clock = parse_date(plain[:8]), parse_time(plain[8:])
    return datetime.combine(day, clock) if day and clock else None


def moment(header: Dataset, name: str, fallback: date | None = None) -> datetime | None:
    """`name`Date and `name`Time of a header as one moment; a missing date is `fallback`."""
    clock = parse_time(_text(header, f"{name}Time"))
    day = parse_date(_text(header, f"{name}Date")) or fallback
    if clock is None or day is None:
        return parse_datetime(_text(header, f"{name}DateTime"))
    return datetime.combine(day, clock)


def _text(header: Dataset, keyword: str) -> str | None:
    value = header.get(keyword)
    return None if value is None or str(value).strip() == "" else str(value).strip()


def facts_of(headers: Sequence[Dataset], path: Path) -> Facts:
    """Read the facts from the headers of a series, in slice order.

    A fact that is missing or absurd is None, with the reason in `acquisition.missing`; only an SUV needs it.

    Raises:
        InputError: slices of one series differ in unit or decay correction.
    """
    for keyword in ("Units", "DecayCorrection", "SUVType"):
        if len({_text(header, keyword) for header in headers}) > 1:
            raise InputError(f"its slices differ in {keyword}", path)
    first = headers[0]
    missing: dict[str, str] = {}
    warnings: list[str] = []

    def fact(field: str, name: str, header: Dataset, check: Callable[[float], float]) -> float | None:
        keyword = name.split()[0]
        value = number(header, keyword)
        if value is None:
            missing[field] = f"{name} is missing" if not _text(header, keyword) else f"{name} is no number"
            return None
        try:
            return check(value)
        except UnitError as error:
            missing[field] = error.cause
            return None

    sequence = first.get("RadiopharmaceuticalInformationSequence") or [Dataset()]
    drug: Dataset = sequence[0]
    if len(sequence) > 1:
        warnings.append(f"the header names {len(sequence)} radiopharmaceuticals; took the first")
    dose = number(drug, "RadionuclideTotalDose")
    if dose is not None and 0.1 <= dose < 2e4:
        warnings.append(f"RadionuclideTotalDose (0018,1074) of {dose:g} was taken as MBq")
    duration = number(first, "ActualFrameDuration")
    acquisition = Acquisition(
        tracer=_text(drug, "Radiopharmaceutical") or _meaning(drug, "RadiopharmaceuticalCodeSequence"),
        nuclide=_nuclide(_meaning(drug, "RadionuclideCodeSequence")),
        half_life_s=fact("half_life_s", "RadionuclideHalfLife (0018,1075)", drug, suv.check_half_life),
        injected_activity_bq=fact(
            "injected_activity_bq",
            "RadionuclideTotalDose (0018,1074)",
            drug,
            suv.activity_bq,
        ),
        weight_kg=fact("weight_kg", "PatientWeight (0010,1030)", first, suv.check_weight),
        height_m=fact("height_m", "PatientSize (0010,1020)", first, suv.check_height),
        sex=_text(first, "PatientSex"),
        frame_s=duration / 1000 if duration and duration > 0 else None,
        manufacturer=_text(first, "Manufacturer"),
        model=_text(first, "ManufacturerModelName"),
    )
    missing.pop("height_m", None)  # needed for SUV of other kinds only, which name it themselves
    acquisition = replace(acquisition, missing=missing)
    unit, factor, stored = _unit(headers, acquisition, missing)
    acquisition = replace(acquisition, stored_as=stored)
    acquisition, decay = _timed(headers, drug, acquisition, missing, warnings)
    if unit == "Bq/mL":
        factor = factor * decay
    acquisition = suv.completed(acquisition)
    acquisition = _philips_ratio(first, acquisition, missing, warnings)
    if unit == "Bq/mL" and acquisition.suv_per_bqml is None:
        warnings.append(f"SUV is not known: {suv.what_is_missing(acquisition)}")
    corrected = {str(word).upper() for word in first.get("CorrectedImage") or ()}
    if corrected and "ATTN" not in corrected:
        warnings.append("the images are not corrected for attenuation")
    return Facts(acquisition, unit, factor, tuple(warnings))


def _meaning(header: Dataset, keyword: str) -> str | None:
    sequence = header.get(keyword)
    return _text(sequence[0], "CodeMeaning") if sequence else None


def _nuclide(meaning: str | None) -> str | None:
    """ "^18^Fluorine", "18F" and "F-18" all name F18, as BIDS writes it."""
    mass, letters = re.search(r"\d+", meaning or ""), re.search(r"[A-Za-z]+", meaning or "")
    if mass is None or letters is None:
        return meaning
    word = letters.group()
    symbol = next((s for name, s in _NUCLIDES.items() if word.lower().startswith(name)), word)
    return symbol + mass.group() if len(symbol) <= 2 else meaning


def _unit(
    headers: Sequence[Dataset], acquisition: Acquisition, missing: dict[str, str]
) -> tuple[str, NDArray[np.float64], str]:
    """Unit, factor per slice and how the file names it, from Units, SUVType and Philips' private factors."""
    units = _text(headers[0], "Units") or ""
    kind = (_text(headers[0], "SUVType") or "BW").upper() if units == "GML" else "BSA"
    ones = np.ones(len(headers))
    if units == "BQML":
        return "Bq/mL", ones, units
    if units in ("GML", "CM2ML"):
        try:
            scale = suv.to_body_weight(kind, acquisition.weight_kg, acquisition.height_m, acquisition.sex)
        except UnitError as error:
            missing["unit"] = f"Units (0054,1001) is {units}, and {error.cause}"
            return UNKNOWN, ones, f"{units} {kind}"
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
        missing["unit"] = f"Units (0054,1001) is {units or 'missing'}"
    return UNKNOWN, ones, units


def _timed(
    headers: Sequence[Dataset],
    drug: Dataset,
    acquisition: Acquisition,
    missing: dict[str, str],
    warnings: list[str],
) -> tuple[Acquisition, NDArray[np.float64]]:
    """Uptake time, and the decay factor that slices with DecayCorrection NONE still need."""
    first, half_life = headers[0], acquisition.half_life_s
    day = parse_date(_text(first, "SeriesDate")) or parse_date(_text(first, "StudyDate")) or date(2000, 1, 1)
    series = moment(first, "Series", day)
    frames = [_frame(header, day) for header in headers]
    makers = private(first, 0x0009, 0x0D, GE) or private(first, 0x0071, 0x22, SIEMENS)
    scan = parse_datetime(makers)
    injected = parse_datetime(_text(drug, "RadiopharmaceuticalStartDateTime"))
    clock = parse_time(_text(drug, "RadiopharmaceuticalStartTime"))
    if injected is None and clock is None:
        injected = parse_datetime(private(first, 0x0009, 0x3B, GE))
    correction = _text(first, "DecayCorrection")
    decay = np.ones(len(headers))
    reference: datetime | None = None
    try:
        if correction == "ADMIN":
            start = clock or (injected.time() if injected else None)
            return replace(acquisition, uptake_s=0.0, reference_clock_s=_clock_s(start)), decay
        if correction == "START":
            reference = suv.start_reference(series, scan, frames, half_life)
            warnings += _doubts(reference, frames, half_life)
        elif correction == "NONE":
            acquired = [frame.acquired for frame in frames if frame.acquired is not None]
            if half_life is None:
                raise UnitError(missing.get("half_life_s", "RadionuclideHalfLife (0018,1075) is missing"))
            reference = min(acquired) if acquired else datetime.combine(day, time())
            decay = np.array([suv.decay_to_reference(frame, reference, half_life) for frame in frames])
            warnings.append("slices are not decay corrected; corrected to the start of the first acquisition")
        else:
            raise UnitError(f"DecayCorrection (0054,1102) is {correction or 'missing'}")
        if half_life is None:
            return replace(acquisition, reference_clock_s=_clock_s(reference.time())), decay
        uptake, note = suv.uptake_time(reference, injected, clock, half_life)
        warnings += [note] if note else []
        return replace(acquisition, uptake_s=uptake, reference_clock_s=_clock_s(reference.time())), decay
    except UnitError as error:
        missing["uptake_s"] = error.cause
        known = None if reference is None else _clock_s(reference.time())
        return replace(acquisition, reference_clock_s=known), decay


def _frame(header: Dataset, day: date) -> suv.FrameTimes:
    reference, duration = number(header, "FrameReferenceTime"), number(header, "ActualFrameDuration")
    return suv.FrameTimes(
        moment(header, "Acquisition", day),
        None if reference is None else reference / 1000,
        duration / 1000 if duration and duration > 0 else None,
    )


def _clock_s(clock: time | None) -> float | None:
    if clock is None:
        return None
    return timedelta(
        hours=clock.hour, minutes=clock.minute, seconds=clock.second, microseconds=clock.microsecond
    ).total_seconds()


def _doubts(reference: datetime, frames: Sequence[suv.FrameTimes], half_life: float | None) -> list[str]:
    """Warn where all frames agree on a start that differs by more than 1 % of SUV from the one taken."""
    starts = suv.series_starts(frames, half_life)
    if not starts or half_life is None:
        return []
    spread = (max(starts) - min(starts)).total_seconds()
    off = abs((min(starts) - reference).total_seconds())
    if spread > suv.START_TOLERANCE_S or off < 0.0144 * half_life:
        return []
    return [f"the frames' times put the start of the scan {off:.0f} s away from the time that was taken"]


def _philips_ratio(
    first: Dataset, acquisition: Acquisition, missing: dict[str, str], warnings: list[str]
) -> Acquisition:
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
