import os
from collections.abc import Callable
from datetime import datetime, time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import mapdiff
from mapdiff import suv
from mapdiff.errors import InputError, UnitError
from mapdiff.volume import Acquisition, Volume

SHARED = Path(os.environ.get("MAPDIFF_SHARED", Path(__file__).parents[2] / "shared"))
F18 = 6586.2
OBJECTS = ("0_0", "1_0", "2_0", "2_1", "2_3", "2_4", "3_0", "3_2", "3_4", "4_0", "5_0")


@pytest.fixture
def objects() -> Path:
    folder = SHARED / "data" / "suv_dro"
    if not folder.is_dir():
        pytest.skip(f"the reference objects are not there: {folder}")
    return folder


def check_reference(folder: Path) -> None:
    """Minimum, median and maximum of 0.20, 1.00 and 4.00 within 1 %, and what 16 bits rounded in the file.

    The object of body surface area is stored in steps of 0.01 cm2/mL, 0.038 SUV: its 0.20 reads 0.189.
    """
    scan = mapdiff.read(folder)
    values = scan.to("SUV").array
    header = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)
    stored = scan.array[..., 8][scan.array[..., 8] > 0]
    step = float(values.max() / scan.array.max() * np.diff(np.unique(stored)).min())
    half_step = 0.5 * step if header.Units == "CM2ML" else 0.0
    body = values[values > 0]
    for found, expected in zip((body.min(), np.median(body), body.max()), (0.20, 1.00, 4.00), strict=True):
        assert abs(found - expected) <= 0.01 * expected + half_step


@pytest.mark.parametrize("name", OBJECTS)
def test_published_reference_object(objects: Path, name: str) -> None:
    check_reference(objects / f"DRO_{name}" / "PT")


def ideal_body_weight(header: Dataset) -> None:
    header.SUVType, header.PatientSex = "IBW", "O"
    header.RescaleSlope = f"{0.1 * 69.405 / 70:.10g}"  # 69.405 kg: the mean of both sexes at 1.75 m, by hand


def philips_activity(header: Dataset) -> None:
    for tag in [element.tag for element in header if element.tag.is_private]:
        del header[tag]
    header.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x09, "DS", "1.8")


def admin(header: Dataset) -> None:
    header.DecayCorrection = "ADMIN"
    header.RescaleSlope = f"{2 ** (3600 / F18):.12g}"


def ge_private(header: Dataset) -> None:
    header.Manufacturer = "GE MEDICAL SYSTEMS"
    del header.FrameReferenceTime
    header.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20250101110000.00")


def time_only(header: Dataset) -> None:
    drug = header.RadiopharmaceuticalInformationSequence[0]
    del drug.RadiopharmaceuticalStartDateTime
    drug.RadiopharmaceuticalStartTime = "100000"


def midnight(header: Dataset) -> None:
    drug = header.RadiopharmaceuticalInformationSequence[0]
    del drug.RadiopharmaceuticalStartDateTime
    drug.RadiopharmaceuticalStartTime = "233000"
    header.SeriesDate = header.AcquisitionDate = "20250102"
    header.SeriesTime = header.AcquisitionTime = "003000"


def midnight_with_date(header: Dataset) -> None:
    midnight(header)
    header.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = "20250101233000"


def shifted_dates(header: Dataset) -> None:
    header.SeriesDate = header.AcquisitionDate = header.StudyDate = "19990317"


def zirconium(header: Dataset) -> None:
    drug = header.RadiopharmaceuticalInformationSequence[0]
    drug.Radiopharmaceutical, drug.RadionuclideHalfLife = "89Zr-trastuzumab", "282240"
    drug.RadiopharmaceuticalStartDateTime = "20241229110000"  # three days before
    header.RescaleSlope = f"{2 ** (3600 / F18) / 2 ** (3 * 86400 / 282240):.12g}"


@pytest.mark.parametrize(
    ("base", "rewrite"),
    [
        ("2_0", ideal_body_weight),
        ("2_4", philips_activity),
        ("0_0", admin),
        ("3_2", ge_private),
        ("4_0", time_only),
        ("0_0", midnight),
        ("0_0", midnight_with_date),
        ("0_0", shifted_dates),
        ("0_0", zirconium),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_reference_object_made_by_rewriting(
    objects: Path, tmp_path: Path, base: str, rewrite: Callable[[Dataset], None]
) -> None:
    for file in (objects / f"DRO_{base}" / "PT").iterdir():
        header = pydicom.dcmread(file)
        rewrite(header)
        header.save_as(tmp_path / file.name)
    check_reference(tmp_path)


def test_real_series_agrees_with_an_independent_conversion() -> None:
    nib = pytest.importorskip("nibabel")
    folder = SHARED / "data" / "real_pet_sts001"
    if not folder.is_dir():
        pytest.skip(f"the real series is not there: {folder}")
    scan = mapdiff.read(folder / "dicom")
    crop = nib.load(folder / "reference_suv_crop.nii.gz")
    theirs = np.asarray(crop.dataobj, dtype=np.float64)
    start = np.rint(np.linalg.inv(scan.affine) @ crop.affine[:, 3]).astype(int)[:3]
    assert list(start) == [59, 45, 0]
    assert np.abs(scan.affine @ [*start, 1] - crop.affine[:, 3]).max() < 0.05
    i, j, k = (slice(s, s + n) for s, n in zip(start, theirs.shape, strict=True))
    ours = scan.to("SUV").array[i, j, k].astype(np.float64)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999999
    assert abs((ours * theirs).sum() / (ours * ours).sum() - 1) < 1e-4
    assert scan.acquisition.suv_per_bqml == pytest.approx(2.42903e-4, rel=1e-5)


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


def test_mean_count_time_lies_before_the_middle_and_tends_to_it() -> None:
    assert 0 < suv.mean_count_time(600, 122.0) < 300
    assert suv.mean_count_time(1, 1e9) == pytest.approx(0.5)
    rate, duration = np.log(2) / F18, 1200.0
    mean = (1 - np.exp(-rate * duration)) / (rate * duration)
    assert np.exp(-rate * suv.mean_count_time(duration, F18)) == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("value", [368.08, 368.08e6])
def test_dose_in_mbq_or_bq(value: float) -> None:
    assert suv.activity_bq(value) == pytest.approx(368.08e6)


@pytest.mark.parametrize("value", [-3.7e8, 0, 5e4, 1e12])
def test_absurd_dose_is_refused(value: float) -> None:
    with pytest.raises(UnitError, match="0018,1074"):
        suv.activity_bq(value)


def test_uptake_time_rules() -> None:
    scan = datetime(2024, 5, 6, 0, 20)
    assert suv.uptake_time(scan, None, time(23, 20), F18) == (3600, None)
    assert suv.uptake_time(scan, datetime(2024, 5, 5, 23, 20), time(1), F18) == (3600, None)
    seconds, note = suv.uptake_time(scan, datetime(1999, 1, 1, 23, 20), None, F18)
    assert seconds == 3600 and note is not None and "dates" in note
    with pytest.raises(UnitError, match="later than the scan"):
        suv.uptake_time(scan, None, time(0, 30), F18)
    with pytest.raises(UnitError, match="0018,1078"):
        suv.uptake_time(scan, None, None, F18)
    with pytest.raises(UnitError, match="0018,1078"):
        suv.uptake_time(scan, None, time(23, 20), 282240)


def test_start_reference_prefers_series_then_private_then_frames() -> None:
    ten = datetime(2024, 1, 1, 10)
    frames = [suv.FrameTimes(datetime(2024, 1, 1, 10, 5), 449.0, 300.0)]
    assert suv.start_reference(ten, None, frames, F18) == ten
    late = datetime(2024, 1, 1, 12)
    assert suv.start_reference(late, datetime(2024, 1, 1, 9, 59), frames, F18).minute == 59
    assert abs((suv.start_reference(late, None, frames, F18) - ten).total_seconds()) < 2
    # frame times that disagree (a scanner that counts them from the start) leave the shared acquisition time
    same = [suv.FrameTimes(ten, reference, 240.0) for reference in (0.0, 243.0, 486.0)]
    assert suv.start_reference(late, None, same, F18) == ten
    beds = [suv.FrameTimes(datetime(2024, 1, 1, 10, minute), None, 240.0) for minute in (0, 4)]
    with pytest.raises(UnitError, match="0054,1300"):
        suv.start_reference(late, None, beds, F18)


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
