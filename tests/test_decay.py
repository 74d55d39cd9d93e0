"""When a scan began and how long after injection: the rules by which times are told, and by whom."""

from datetime import datetime, time, timedelta

import numpy as np
import pytest

from mapdiff import decay
from mapdiff.decay import FrameTimes
from mapdiff.errors import UnitError

F18 = 6586.2
TEN = datetime(2024, 1, 1, 10)
LATE = datetime(2024, 1, 1, 12)


def test_mean_count_time_lies_before_the_middle_and_tends_to_it() -> None:
    assert 0 < decay.mean_count_time(600, 122.0) < 300
    assert decay.mean_count_time(1, 1e9) == pytest.approx(0.5)
    rate, duration = np.log(2) / F18, 1200.0
    mean = (1 - np.exp(-rate * duration)) / (rate * duration)
    assert np.exp(-rate * decay.mean_count_time(duration, F18)) == pytest.approx(mean, rel=1e-12)


def test_uptake_time_rules() -> None:
    scan = datetime(2024, 5, 6, 0, 20)
    assert decay.uptake_time(scan, None, time(23, 20), F18) == (3600, None)
    assert decay.uptake_time(scan, datetime(2024, 5, 5, 23, 20), time(1), F18) == (3600, None)
    seconds, note = decay.uptake_time(scan, datetime(1999, 1, 1, 23, 20), None, F18)
    assert seconds == 3600 and note is not None and "dates" in note
    with pytest.raises(UnitError, match="later than the scan"):
        decay.uptake_time(scan, None, time(0, 30), F18)
    with pytest.raises(UnitError, match="0018,1078"):
        decay.uptake_time(scan, None, None, F18)
    with pytest.raises(UnitError, match="0018,1078"):
        decay.uptake_time(scan, None, time(23, 20), 282240)


def test_start_reference_by_series_maker_frames_and_acquisition() -> None:
    frames = [FrameTimes(datetime(2024, 1, 1, 10, 5), 449.0, 300.0)]
    assert decay.start_reference(TEN, None, frames, F18) == TEN
    assert decay.start_reference(LATE, datetime(2024, 1, 1, 9, 59), frames, F18).minute == 59
    assert abs((decay.start_reference(LATE, None, frames, F18) - TEN).total_seconds()) < 2
    # frame times that disagree (a scanner that counts them from the start) leave the shared acquisition time
    same = [FrameTimes(TEN, reference, 240.0) for reference in (0.0, 243.0, 486.0)]
    assert decay.start_reference(LATE, None, same, F18) == TEN
    beds = [FrameTimes(datetime(2024, 1, 1, 10, minute), None, 240.0) for minute in (0, 4)]
    with pytest.raises(UnitError, match="0054,1300"):
        decay.start_reference(LATE, None, beds, F18)


def beds(convention: str, **more: object) -> list[FrameTimes]:
    """Three beds of four minutes from ten o'clock on, their reference times as a maker writes them."""
    frames = []
    for n in range(3):
        begun = 240.0 * n
        mean = begun + decay.mean_count_time(240, F18)
        told = {"start": begun, "mean": mean}.get(convention)
        frames.append(FrameTimes(TEN + timedelta(seconds=begun), told, 240.0, **more))  # type: ignore[arg-type]
    return frames


def corrected(frames: list[FrameTimes]) -> list[FrameTimes]:
    """The frames with the decay factors that a scanner computes, rounded as it writes them."""
    ahead = decay.mean_count_time(240, F18)
    return [
        FrameTimes(f.acquired, f.reference_s, 240.0, round(2 ** ((240 * n + ahead) / F18), 5), f.from_start)
        for n, f in enumerate(frames)
    ]


@pytest.mark.parametrize(
    "frames",
    [
        beds("mean"),
        beds("start", from_start=True),
        corrected(beds("mean")),
        corrected(beds("start")),  # not GE, but its decay factors show what it means
        corrected(beds("mean", from_start=True)),  # GE as the standard has it
        corrected(beds("none")),  # no FrameReferenceTime at all
    ],
    ids=["mean", "GE", "mean + factor", "start + factor", "GE mean + factor", "factor alone"],
)
def test_the_start_follows_from_the_beds_whatever_their_reference_time_means(
    frames: list[FrameTimes],
) -> None:
    found = decay.start_reference(LATE, None, frames, F18)
    assert abs((found - TEN).total_seconds()) < 1


def test_a_decay_factor_of_one_or_of_something_else_changes_nothing() -> None:
    for factor in (1.0, 1.5, 0.9):
        frames = [FrameTimes(f.acquired, f.reference_s, f.duration_s, factor) for f in beds("mean")]
        assert abs((decay.start_reference(LATE, None, frames, F18) - TEN).total_seconds()) < 1


def test_frames_that_would_begin_before_the_reference_tell_their_starts() -> None:
    found = decay.start_reference(LATE, None, beds("start"), F18)  # not GE, and no decay factors
    assert abs((found - TEN).total_seconds()) < 1


def test_microseconds_before_the_series_are_rounding() -> None:
    frames = [FrameTimes(TEN - timedelta(microseconds=15), None, 240.0)]
    frames += [FrameTimes(TEN + timedelta(minutes=4), None, 240.0)]
    assert decay.start_reference(TEN, None, frames, F18) == TEN


def test_the_makers_time_counts_before_an_early_series_and_not_if_it_is_late() -> None:
    frames = beds("mean")
    early = TEN - timedelta(minutes=20)
    assert decay.start_reference(early, TEN, frames, F18) == TEN
    assert decay.start_reference(early, LATE, frames, F18) == early


def test_the_makers_time_with_its_date_left_unshifted() -> None:
    frames = beds("mean")
    assert decay.start_reference(LATE, datetime(2023, 7, 9, 9, 59), frames, F18) == TEN - timedelta(minutes=1)
    night = [FrameTimes(datetime(2024, 1, 2, 0, 1), None, 240.0)]
    found = decay.start_reference(LATE, datetime(2023, 7, 9, 23, 58), night, F18)
    assert found == datetime(2024, 1, 1, 23, 58)


def test_a_shared_acquisition_time_counts_unless_the_frames_say_otherwise() -> None:
    assert decay.start_reference(LATE, None, [FrameTimes(TEN)] * 3, F18) == TEN
    assert decay.start_reference(None, None, [FrameTimes(TEN, 0.0)] * 3, F18) == TEN
    with pytest.raises(
        UnitError, match="0018,1242"
    ):  # the frame began later, or lasted long: it does not say
        decay.start_reference(LATE, None, [FrameTimes(TEN, 450.0)] * 3, F18)
    with pytest.raises(UnitError, match="0008,0031"):
        decay.start_reference(None, None, [FrameTimes()], F18)


def test_a_time_of_day_tells_half_a_day_at_most() -> None:
    long_lived = 4 * 3600.0  # Sc-44: ten half-lives are longer than a day
    assert decay.uptake_time(TEN, None, time(22, 30), long_lived)[0] == 11.5 * 3600
    with pytest.raises(UnitError, match="later than the scan"):
        decay.uptake_time(TEN, None, time(10, 5), long_lived)
