"""When a scan was taken, what it is decay corrected to, and how long after injection. Pure functions.

Sources: DICOM PS3.3 C.8.9.1.1 and C.8.9.4.1 (PET Series and PET Image modules); the QIBA vendor-neutral SUV
pseudo-code; Vacha et al., "Comprehensive manual for SUV computation and digital reference objects" (IBSI).
What the scan does not tell is a UnitError that names the tag, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta

from mapdiff.errors import UnitError

DAY_S = 86400.0
F18_HALF_LIFE_S = 6586.2  # 109.77 min, National Nuclear Data Center
#: Beyond this many half-lives between injection and scan nothing is left to see (0.1 %): the times are wrong.
MOST_HALF_LIVES = 10.0
#: A nuclide that lives longer than this (6 h) may be scanned days later: then a time of day is not enough.
SAME_DAY_HALF_LIFE_S = 6 * 3600.0
#: By the time of day alone an injection is at most this long before the scan; beyond it, it may as well
#: have come after the scan.
MOST_BY_CLOCK_S = 12 * 3600.0
#: Frames of one series agree on its start within this; beyond it their times mean something else.
START_TOLERANCE_S = 10.0
#: Siemens writes AcquisitionTimes some microseconds before SeriesTime; a second is 0.01 % of an SUV.
ROUNDING_S = 1.0


@dataclass(frozen=True)
class FrameTimes:
    """When the counts of one slice were taken.

    Attributes:
        acquired: start of its acquisition, AcquisitionDate and AcquisitionTime.
        reference_s: FrameReferenceTime, seconds after the series' reference time.
        duration_s: ActualFrameDuration, seconds.
        decay_factor: DecayFactor, where the slice is corrected to the series' reference time.
        from_start: FrameReferenceTime is that of the frame's start, as GE writes it, and not that of its
            mean count, as PS3.3 C.8.9.4.1.5 has it.
    """

    acquired: datetime | None = None
    reference_s: float | None = None
    duration_s: float | None = None
    decay_factor: float | None = None
    from_start: bool = False


def mean_count_time(duration_s: float, half_life_s: float) -> float:
    """Seconds from a frame's start to the moment whose activity is the frame's mean (PS3.3 C.8.9.4.1.5)."""
    rate = math.log(2) / half_life_s
    if rate * duration_s < 1e-9:
        return duration_s / 2
    return math.log(rate * duration_s / -math.expm1(-rate * duration_s)) / rate


def frame_start(frame: FrameTimes, half_life_s: float | None) -> float | None:
    """Seconds from the series' reference time to the frame's start; None where the frame does not tell.

    FrameReferenceTime means the frame's mean count or, by GE, its start. DecayFactor, the correction from
    the mean count to the reference, shows which; where it is not there, or 1, the maker decides. It counts
    by itself where there is no FrameReferenceTime.
    """
    ahead = mean_count_time(frame.duration_s, half_life_s) if frame.duration_s and half_life_s else None
    by_factor = None
    if ahead is not None and half_life_s and frame.decay_factor is not None and frame.decay_factor > 1:
        by_factor = half_life_s * math.log2(frame.decay_factor) - ahead
    if frame.reference_s is None:
        return by_factor
    usual = frame.reference_s if frame.from_start else None if ahead is None else frame.reference_s - ahead
    if by_factor is not None and ahead is not None:
        readings = (frame.reference_s, frame.reference_s - ahead)
        nearest = min(readings, key=lambda start: abs(start - by_factor))
        if abs(nearest - by_factor) <= START_TOLERANCE_S:
            return nearest
    return usual


def series_starts(frames: Sequence[FrameTimes], half_life_s: float | None) -> list[datetime]:
    """The series' reference time as each frame tells it; empty where one does not.

    No frame begins before the reference time. Where one would, with its FrameReferenceTime taken as the time
    of its mean count, all frames' times are those of their starts.
    """
    begun = [frame_start(frame, half_life_s) for frame in frames]
    if any(start is not None and start < -ROUNDING_S for start in begun):
        begun = [frame_start(replace(frame, from_start=True), half_life_s) for frame in frames]
    starts = []
    for frame, start in zip(frames, begun, strict=True):
        if frame.acquired is None or start is None:
            return []
        starts.append(frame.acquired - timedelta(seconds=start))
    return starts


def start_reference(
    series: datetime | None,
    private: datetime | None,
    frames: Sequence[FrameTimes],
    half_life_s: float | None,
) -> datetime:
    """The time that images with DecayCorrection START are corrected to.

    The maker's private scan time, which is there for this, unless it is later than an acquisition. Else
    SeriesTime, unless that is later than an acquisition: then it was rewritten after the scan, and the
    start counts on which all frames agree (QIBA, IBSI), or the one acquisition time that all slices share
    (START is "acquisition start time", PS3.3 C.8.9.1).

    Args:
        series: SeriesDate and SeriesTime.
        private: the maker's own scan date-time: GE's (0009,100D), Siemens' (0071,1022).
        frames: times of each slice.
        half_life_s: the nuclide's half-life; most frames tell nothing without it.

    Raises:
        UnitError: none of these is there; the text names the tags.
    """
    acquired = [frame.acquired for frame in frames if frame.acquired is not None]
    latest = min(acquired) + timedelta(seconds=ROUNDING_S) if acquired else datetime.max
    if private is not None and acquired:
        private = _near(private, min(acquired))
    for told in (private, series):
        if told is not None and told <= latest:
            return told
    if not acquired:
        raise UnitError("SeriesTime (0008,0031) and AcquisitionTime (0008,0032) are missing")
    starts = series_starts(frames, half_life_s)
    if starts and (max(starts) - min(starts)).total_seconds() <= START_TOLERANCE_S:
        return min(starts)
    # Old GE scanners give all beds the time of the first; their frames' starts then disagree.
    shared = len(acquired) == len(frames) and min(acquired) == max(acquired)
    if shared and (starts or not any(frame.reference_s for frame in frames)):
        return acquired[0]
    raise UnitError(
        "SeriesTime (0008,0031) is missing or later than AcquisitionTime (0008,0032), and FrameReferenceTime "
        "(0054,1300) with ActualFrameDuration (0018,1242) does not tell when the scan began"
    )


def _near(moment: datetime, day_of: datetime) -> datetime:
    """The moment on the other's day, where de-identification has shifted one of the two dates only."""
    if abs((day_of - moment).total_seconds()) <= DAY_S:
        return moment
    moved = datetime.combine(day_of.date(), moment.time())
    over_midnight = (moved - day_of).total_seconds() > DAY_S / 2
    return moved - timedelta(days=1) if over_midnight else moved


def decay_to_reference(frame: FrameTimes, reference: datetime, half_life_s: float) -> float:
    """Factor that corrects a slice with DecayCorrection NONE from its mean count time to `reference`.

    Raises:
        UnitError: the slice's AcquisitionTime or ActualFrameDuration is missing.
    """
    if frame.acquired is None:
        raise UnitError("DecayCorrection is NONE and AcquisitionTime (0008,0032) is missing")
    if frame.duration_s is None:
        raise UnitError("DecayCorrection is NONE and ActualFrameDuration (0018,1242) is missing")
    after = (frame.acquired - reference).total_seconds() + mean_count_time(frame.duration_s, half_life_s)
    return float(2.0 ** (after / half_life_s))


def uptake_time(
    reference: datetime, start: datetime | None, start_time: time | None, half_life_s: float
) -> tuple[float, str | None]:
    """Seconds from injection to `reference`, and a warning if the dates had to be doubted.

    The start's date-time counts; its time alone means the same day, or the day before if it is later than
    the reference. Dates that de-identification has shifted apart leave the times of day to go by.

    Args:
        reference: the time that the image is decay corrected to.
        start: RadiopharmaceuticalStartDateTime.
        start_time: RadiopharmaceuticalStartTime.
        half_life_s: the nuclide's half-life.

    Raises:
        UnitError: both are missing, or no reading of them gives a scan within MOST_HALF_LIVES.
    """
    if start is None and start_time is None:
        raise UnitError(
            "RadiopharmaceuticalStartDateTime (0018,1078) and RadiopharmaceuticalStartTime (0018,1072) "
            "are missing"
        )
    most = MOST_HALF_LIVES * half_life_s
    if start is not None:
        seconds = (reference - start).total_seconds()
        if 0 <= seconds <= most:
            return seconds, None
        start_time = start.time()
    assert start_time is not None
    if half_life_s > SAME_DAY_HALF_LIFE_S:
        raise UnitError(
            "RadiopharmaceuticalStartDateTime (0018,1078) is missing or does not fit the scan, and a time of "
            "day is not enough for a nuclide that lives for days"
        )
    seconds = (reference - datetime.combine(reference.date(), start_time)).total_seconds() % DAY_S
    if seconds > min(most, MOST_BY_CLOCK_S):
        raise UnitError(
            "the injection (RadiopharmaceuticalStartDateTime (0018,1078) or StartTime (0018,1072)) is later "
            "than the scan"
        )
    note = None if start is None else "dates of injection and scan do not fit together; took the times of day"
    return seconds, note
