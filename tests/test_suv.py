import numpy as np
import pytest

from mapdiff import suv
from mapdiff.errors import InputError, UnitError
from mapdiff.volume import Acquisition, Volume

F18 = 6586.2


def test_suv_of_a_textbook_patient() -> None:
    # 370 MBq in 70 kg, one half-life later: 185 MBq are left, spread over 70,000 g that is 2642.857 Bq/g.
    assert suv.suv_factor(70, 370e6, F18, F18) * 2642.857142857 == pytest.approx(1)


@pytest.mark.parametrize(
    ("kind", "sex", "expected"),
    [
        # by hand for 70 kg and 1.75 m: (70 / 175)^2 = 0.16, BMI 22.857143
        ("BW", "M", 1.0),
        ("LBM", "M", 70 / (77 - 120 * 0.16)),
        ("LBMJAMES128", "M", 70 / (77 - 128 * 0.16)),
        ("LBMJAMES128", "F", 70 / (74.9 - 148 * 0.16)),
        ("LBMJAMES128", "O", 70 / ((56.52 + 51.22) / 2)),
        ("LBMJANMA", "M", 70 / (648900 / (6680 + 216 * 22.857142857))),
        ("LBMJANMA", "F", 70 / (648900 / (8780 + 244 * 22.857142857))),
        ("IBW", "M", 70 / 72.38),
        ("IBW", "F", 70 / 66.43),
        ("IBW", "O", 70 / 69.405),
    ],
)
def test_body_measures(kind: str, sex: str, expected: float) -> None:
    assert suv.to_body_weight(kind, 70, 1.75, sex) == pytest.approx(expected, rel=1e-9)


def test_body_surface_area_of_du_bois() -> None:
    assert suv.body_surface_area(70, 1.75) == pytest.approx(18481, rel=1e-4)  # the well-known 1.85 m2


@pytest.mark.parametrize(
    ("arguments", "tag"),
    [
        (("LBM", None, 1.7, "M"), "0010,1030"),
        (("IBW", 70, None, "M"), "0010,1020"),
        (("IBW", 70, 1.7, None), "0010,0040"),
        (("IBW", 70, 1.7, "X"), "0010,0040"),
        (("HEAD", 70, 1.7, "M"), "0054,1006"),
        (("LBM", 400, 1.0, "M"), "0010,1020"),
    ],
)
def test_missing_body_measure_is_named(arguments: tuple[str, float, float, str], tag: str) -> None:
    with pytest.raises(UnitError, match=tag):
        suv.to_body_weight(*arguments)


@pytest.mark.parametrize("value", [368.08, 368.08e6])
def test_dose_in_mbq_or_bq(value: float) -> None:
    assert suv.activity_bq(value) == pytest.approx(368.08e6)


@pytest.mark.parametrize("value", [-3.7e8, 0, 5e4, 1e12])
def test_absurd_dose_is_refused(value: float) -> None:
    with pytest.raises(UnitError, match="0018,1074"):
        suv.activity_bq(value)


def scan(unit: str = "Bq/mL", **facts: float) -> Volume:
    array = np.arange(1, 28, dtype=np.float32).reshape(3, 3, 3) * 1000
    return Volume(array, np.diag([4.0, 4.0, 4.0, 1.0]), unit, suv.completed(Acquisition(**facts)))


def known(unit: str = "Bq/mL") -> Volume:
    return scan(unit, weight_kg=70.0, injected_activity_bq=370e6, uptake_s=3600.0, half_life_s=F18)


def test_conversion_and_back() -> None:
    there = known().to("SUV")
    assert there.unit == "SUV" and there.array.dtype == np.float32
    np.testing.assert_allclose(there.to("Bq/mL").array, known().array, rtol=1e-6)


def test_supplied_figures_replace_the_headers_and_are_recorded() -> None:
    heavier = suv.with_supplied(known(), weight_kg=140)
    np.testing.assert_allclose(heavier.to("SUV").array, 2 * known().to("SUV").array, rtol=1e-6)
    assert heavier.acquisition.supplied == ("weight_kg",)
    again = suv.with_supplied(heavier, injected_activity_bq=740e6)
    np.testing.assert_allclose(again.to("SUV").array, known().to("SUV").array, rtol=1e-6)
    assert again.acquisition.supplied == ("weight_kg", "injected_activity_bq")


def test_injection_time_needs_the_scans_own() -> None:
    with pytest.raises(UnitError, match="time of the scan"):
        suv.with_supplied(known(), injection_time="09:41")
    with pytest.raises(InputError, match="25:99"):
        suv.with_supplied(scan(reference_clock_s=36000.0), injection_time="25:99")
    timed = suv.with_supplied(scan(reference_clock_s=1200.0), injection_time="23:20")
    assert timed.acquisition.uptake_s == 3600


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UnitError, match=r"weight.*injection to the scan"):
        scan().to("SUV")
    with pytest.raises(UnitError, match="unit"):
        scan("unknown").to("SUV")
    with pytest.raises(UnitError):
        known().to("unknown")


def test_a_factor_that_nobody_knows_the_figures_of_is_dropped() -> None:
    """A sidecar's factor alone: what weight it was made with is not told."""
    told = suv.with_supplied(scan(suv_per_bqml=0.0005), weight_kg=90)
    assert told.acquisition.suv_per_bqml is None
    assert "does not hold for the supplied figures" in told.warnings[-1]
    later = suv.with_supplied(scan(suv_per_bqml=0.0005, weight_kg=70.0), uptake_s=3600)
    assert later.acquisition.suv_per_bqml is None
    known_decay = scan(suv_per_bqml=0.0005, uptake_s=3600.0, half_life_s=F18)
    moved = suv.with_supplied(known_decay, uptake_s=3600 + F18)
    assert moved.acquisition.suv_per_bqml == pytest.approx(0.001)
    same = suv.with_supplied(scan(suv_per_bqml=0.0005, weight_kg=70.0), weight_kg=70)
    assert same.acquisition.suv_per_bqml == 0.0005 and not same.warnings


def test_image_in_suv_keeps_its_values_and_says_so() -> None:
    supplied = suv.with_supplied(known("SUV"), weight_kg=90)
    np.testing.assert_array_equal(supplied.to("SUV").array, known("SUV").array)
    assert any("stored as SUV" in warning for warning in supplied.warnings)


@pytest.mark.parametrize(
    "figures",
    [
        {"weight_kg": -70.0},
        {"weight_kg": 7000.0},
        {"injected_activity_bq": 370.0},
        {"half_life_s": -6586.0},
        {"uptake_s": -1.0},
        {"uptake_s": 86000.0},
    ],
)
def test_absurd_supplied_figure_is_refused(figures: dict[str, float]) -> None:
    with pytest.raises(UnitError, match="absurd"):
        suv.with_supplied(known(), **figures)


@pytest.mark.parametrize(
    ("half_life", "clock", "words"),
    [(F18, "10:30", "later than the scan"), (282240.0, "08:00", "lives for days")],
)
def test_an_injection_time_of_day_is_no_guess(half_life: float, clock: str, words: str) -> None:
    with pytest.raises(UnitError, match=words):
        suv.with_supplied(scan(reference_clock_s=36000.0, half_life_s=half_life), injection_time=clock)
