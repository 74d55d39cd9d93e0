"""What a DICOM PET header tells of the times of injection and scan, and of decay correction."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mapdiff import decay
from mapdiff.errors import UnitError
from mapdiff.formats.dicom_elements import GE, SIEMENS, number, parse_date, private, text
from mapdiff.formats.identity import is_told

_START_DATETIME = "RadiopharmaceuticalStartDateTime (0018,1078)"


@dataclass(frozen=True)
class Timing:
    """What the headers of a series tell of time.

    Attributes:
        uptake_s: seconds from injection to the time that the image is decay corrected to.
        clock_s: time of day that the image is decay corrected to, seconds after midnight.
        factor: per slice, the decay correction that it still needs; shape (K,).
        missing: why `uptake_s` is not known, in one line.
        warnings: one line each.
        delay_s: seconds from the time that the image is decay corrected to, to the start of the scan.
    """

    uptake_s: float | None
    clock_s: float | None
    factor: NDArray[np.float64]
    missing: str | None
    warnings: tuple[str, ...]
    delay_s: float | None = 0.0


def parse_time(told: str | None) -> time | None:
    """DICOM's TM, "HHMMSS.ffffff" with any tail left off, or the old "HH:MM:SS"."""
    found = re.fullmatch(r"(\d\d):?(\d\d)?:?(\d\d)?(?:\.(\d{1,6})\d*)?", (told or "").strip())
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    with contextlib.suppress(ValueError):
        return time(hours, minutes, min(seconds, 59), int((found.group(4) or "0").ljust(6, "0")))
    return None


def parse_zone(told: str | None) -> timedelta | None:
    """The offset from UTC at the end of a DT ("...+0100"), or TimezoneOffsetFromUTC itself."""
    found = re.search(r"([+-])(\d\d)(\d\d)$", (told or "").strip())
    if found is None:
        return None
    ahead = timedelta(hours=int(found.group(2)), minutes=int(found.group(3)))
    return ahead if found.group(1) == "+" else -ahead


def zone_of(header: Dataset) -> timedelta | None:
    """The scanner's own zone, of every time in the header that names no other."""
    return parse_zone(text(header, "TimezoneOffsetFromUTC"))


def parse_datetime(told: str | None, zone: timedelta | None = None) -> datetime | None:
    """DICOM's DT in the time of `zone`; without a zone, or an offset of its own, as it stands."""
    plain = re.sub(r"[+-]\d{4}$", "", (told or "").strip())
    day, clock = parse_date(plain[:8]), parse_time(plain[8:])
    if day is None or clock is None:
        return None
    moment = datetime.combine(day, clock)
    own = parse_zone(told)
    return moment if zone is None or own is None else moment + (zone - own)


def timing_of(
    headers: Sequence[Dataset], drug: Dataset, half_life: float | None, no_half_life: str
) -> Timing:
    """Uptake time, and the decay factor that slices with DecayCorrection NONE still need.

    Args:
        headers: of the slices, in order.
        drug: the item of RadiopharmaceuticalInformationSequence.
        half_life: of the nuclide, seconds.
        no_half_life: why there is none.
    """
    first = headers[0]
    warnings: list[str] = []
    factor = np.ones(len(headers))
    day = parse_date(text(first, "SeriesDate")) or parse_date(text(first, "StudyDate")) or date(2000, 1, 1)
    zone = zone_of(first)
    injected, clock = _injection(first, drug, zone, warnings)
    correction = (text(first, "DecayCorrection") or "").upper()
    reference: datetime | None = None
    try:
        if correction == "ADMIN":
            start = clock or (injected.time() if injected else None)
            delay = _delay(_frames(headers, day), injected, clock, half_life)
            return Timing(0.0, _clock_s(start), factor, None, tuple(warnings), delay)
        frames = _frames(headers, day)
        if correction == "START":
            makers = private(first, 0x0009, 0x0D, GE) or private(first, 0x0071, 0x22, SIEMENS)
            series = _moment(first, "Series", day)
            reference = decay.start_reference(series, parse_datetime(makers, zone), frames, half_life)
            warnings += _doubts(reference, frames, half_life)
        elif correction == "NONE":
            acquired = [frame.acquired for frame in frames if frame.acquired is not None]
            if half_life is None:
                raise UnitError(no_half_life)
            reference = min(acquired) if acquired else datetime.combine(day, time())
            factor = np.array([decay.decay_to_reference(frame, reference, half_life) for frame in frames])
            warnings.append("slices are not decay corrected; corrected to the start of the first acquisition")
        else:
            raise UnitError(f"DecayCorrection (0054,1102) {is_told(first, correction)}")
        uptake = None
        if half_life is not None:
            uptake, note = decay.uptake_time(reference, injected, clock, half_life)
            warnings += [note] if note else []
        return Timing(uptake, _clock_s(reference.time()), factor, None, tuple(warnings))
    except UnitError as error:
        known = None if reference is None else _clock_s(reference.time())
        return Timing(None, known, factor, error.cause, tuple(warnings))


def _delay(
    frames: Sequence[decay.FrameTimes],
    injected: datetime | None,
    clock: time | None,
    half_life: float | None,
) -> float | None:
    """Seconds from the injection to the first acquisition; None where the headers do not tell."""
    acquired = [frame.acquired for frame in frames if frame.acquired is not None]
    if not acquired or half_life is None:
        return None
    try:
        return decay.uptake_time(min(acquired), injected, clock, half_life)[0]
    except UnitError:
        return None


def _injection(
    first: Dataset, drug: Dataset, zone: timedelta | None, warnings: list[str]
) -> tuple[datetime | None, time | None]:
    """RadiopharmaceuticalStartDateTime and StartTime in the scanner's own time, or GE's private date-time."""
    told = text(drug, "RadiopharmaceuticalStartDateTime")
    injected = parse_datetime(told, zone)
    clock = parse_time(text(drug, "RadiopharmaceuticalStartTime"))
    if injected is None and clock is None:
        return parse_datetime(private(first, 0x0009, 0x3B, GE), zone), None
    if injected is None or clock is None:
        apart = 0.0
    else:
        apart = abs((injected - datetime.combine(injected.date(), clock)).total_seconds())
    if injected is not None and zone is None and parse_zone(told) is not None:
        if apart:  # the one with an offset is another zone's
            warnings.append(f"{_START_DATETIME} is in another time zone than StartTime; took StartTime")
            return None, clock
        if clock is None:
            warnings.append(f"{_START_DATETIME} names a time zone and the scan none; taken as the scan's own")
    elif apart >= 60:
        warnings.append(f"{_START_DATETIME} and StartTime differ by {apart:.0f} s; took the date-time")
    return injected, clock


def _moment(header: Dataset, name: str, fallback: date) -> datetime | None:
    """`name`Date and `name`Time of a header as one moment; a missing date is `fallback`."""
    clock = parse_time(text(header, f"{name}Time"))
    if clock is None:
        return parse_datetime(text(header, f"{name}DateTime"), zone_of(header))
    return datetime.combine(parse_date(text(header, f"{name}Date")) or fallback, clock)


def _frames(headers: Sequence[Dataset], day: date) -> list[decay.FrameTimes]:
    """The slices' times. Of those without a date that lie most of a day apart the early are past midnight."""
    frames = [_frame(header, day) for header in headers]
    undated = [parse_date(text(header, "AcquisitionDate")) is None for header in headers]
    told = [f.acquired for f, bare in zip(frames, undated, strict=True) if bare and f.acquired is not None]
    if not told:
        return frames
    morning = max(told) - timedelta(days=0.5)
    return [
        replace(frame, acquired=frame.acquired + timedelta(days=1))
        if bare and frame.acquired is not None and frame.acquired < morning
        else frame
        for frame, bare in zip(frames, undated, strict=True)
    ]


def _frame(header: Dataset, day: date) -> decay.FrameTimes:
    reference, duration = number(header, "FrameReferenceTime"), number(header, "ActualFrameDuration")
    return decay.FrameTimes(
        acquired=_moment(header, "Acquisition", day),
        reference_s=None if reference is None else reference / 1000,
        duration_s=duration / 1000 if duration and duration > 0 else None,
        decay_factor=number(header, "DecayFactor"),
        from_start=(text(header, "Manufacturer") or "").upper().startswith("GE"),
    )


def _clock_s(clock: time | None) -> float | None:
    if clock is None:
        return None
    return timedelta(
        hours=clock.hour, minutes=clock.minute, seconds=clock.second, microseconds=clock.microsecond
    ).total_seconds()


def _doubts(reference: datetime, frames: Sequence[decay.FrameTimes], half_life: float | None) -> list[str]:
    """Warn where all frames agree on a start that differs by more than 1 % of SUV from the one taken."""
    starts = decay.series_starts(frames, half_life)
    if not starts or half_life is None:
        return []
    spread = (max(starts) - min(starts)).total_seconds()
    off = abs((min(starts) - reference).total_seconds())
    if spread > decay.START_TOLERANCE_S or off < 0.0144 * half_life:
        return []
    return [f"the frames' times put the start of the scan {off:.0f} s away from the time that was taken"]
