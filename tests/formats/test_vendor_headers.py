"""What scanners write into PET headers, each quirk with the right result, or an error that names the tag.

The small series is scanned at 11:00:00, an hour after injection; 300 MBq of F-18 in 60 kg.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

import mapdiff
from mapdiff.decay import mean_count_time
from mapdiff.errors import UnitError
from mapdiff.formats.dicom_files import copied
from mapdiff.volume import Volume

Make = Callable[..., Path]
Edit = Callable[[Dataset, int], object]
F18 = 6586.2
ELEVEN = datetime(2024, 5, 6, 11)


def suv_factor(uptake_s: float = 3600, weight_kg: float = 60, bq: float = 300e6) -> float:
    return weight_kg * 1000 / (bq * 2 ** (-uptake_s / F18))


def drug(header: Dataset) -> Dataset:
    return header.RadiopharmaceuticalInformationSequence[0]


def private(header: Dataset, group: int, creator: str, element: int, vr: str, value: object) -> None:
    header.private_block(group, creator, create=True).add_new(element, vr, value)


def beds(header: Dataset, k: int, *, ge: bool = False) -> None:
    """Three beds of two slices, two minutes each, the series' time rewritten by an archive."""
    begun = 120.0 * (k // 2)
    mean = begun + mean_count_time(120, F18)
    moment = ELEVEN + timedelta(seconds=begun)
    header.AcquisitionTime = moment.strftime("%H%M%S.%f")
    header.ActualFrameDuration = 120000
    header.FrameReferenceTime = f"{1000 * (begun if ge else mean):.1f}"
    header.DecayFactor = f"{2 ** (mean / F18):.5f}"
    header.SeriesTime = "174500"


def siemens(header: Dataset, k: int) -> None:
    beds(header, k)
    header.Manufacturer = "SIEMENS"


def siemens_microseconds(header: Dataset, k: int) -> None:
    """AcquisitionTime 15 microseconds before SeriesTime, later beds, no FrameReferenceTime to go by."""
    beds(header, k)
    header.Manufacturer, header.SeriesTime = "SIEMENS", "110000.000000"
    if k < 2:
        header.AcquisitionTime = "105959.999985"
    del header.FrameReferenceTime, header.DecayFactor


def siemens_private(header: Dataset, k: int) -> None:
    siemens(header, k)
    del header.FrameReferenceTime, header.DecayFactor
    private(header, 0x0071, "SIEMENS MED PT", 0x22, "DT", "20240506110000.000000")


def ge(header: Dataset, k: int) -> None:
    beds(header, k, ge=True)
    header.Manufacturer = "GE MEDICAL SYSTEMS"


def ge_without_factor(header: Dataset, k: int) -> None:
    ge(header, k)
    header.DecayFactor = "1.0"


def ge_old(header: Dataset, k: int) -> None:
    """Discovery ST: every bed has the first one's time."""
    ge(header, k)
    header.AcquisitionTime = "110000.00"


def ge_private(header: Dataset, k: int) -> None:
    ge(header, k)
    del header.FrameReferenceTime, header.DecayFactor
    private(header, 0x0009, "GEMS_PETD_01", 0x0D, "DT", "20240506110000.00")


def ge_private_injection(header: Dataset, k: int) -> None:
    del drug(header).RadiopharmaceuticalStartTime
    private(header, 0x0009, "GEMS_PETD_01", 0x3B, "DT", "20240506100000.00")


def maker_that_means_the_start(header: Dataset, k: int) -> None:
    """FrameReferenceTime of the frame's start from another maker: the decay factors give it away."""
    beds(header, k, ge=True)
    header.Manufacturer = "CANON_MEC"


def no_series_time(header: Dataset, k: int) -> None:
    beds(header, k)
    del header.SeriesTime


def no_series_date(header: Dataset, k: int) -> None:
    del header.SeriesDate, header.AcquisitionDate


def acquisition_datetime_only(header: Dataset, k: int) -> None:
    del header.SeriesTime, header.AcquisitionTime, header.AcquisitionDate
    header.AcquisitionDateTime = "20240506110000.000000"


def old_colons(header: Dataset, k: int) -> None:
    header.SeriesDate = header.AcquisitionDate = "2024.05.06"
    header["SeriesTime"] = DataElement(0x00080031, "LO", "11:00:00")
    drug(header).RadiopharmaceuticalStartTime = "1000"


def zone_of_the_scan(header: Dataset, k: int) -> None:
    header.TimezoneOffsetFromUTC = "+0200"
    drug(header).RadiopharmaceuticalStartDateTime = "20240506080000.00+0000"  # 10:00 where the scanner is


def zone_and_clock(header: Dataset, k: int) -> None:
    """No zone of the scan, but the scanner's own clock time stands beside the one in UTC."""
    drug(header).RadiopharmaceuticalStartDateTime = "20240506080000+0000"


def zone_beside_the_same_clock(header: Dataset, k: int) -> None:
    drug(header).RadiopharmaceuticalStartDateTime = "20240506100000.000000+0100"


def zone_alone(header: Dataset, k: int) -> None:
    drug(header).RadiopharmaceuticalStartDateTime = "20240506100000+0100"
    del drug(header).RadiopharmaceuticalStartTime


def nanoseconds(header: Dataset, k: int) -> None:
    drug(header)["RadiopharmaceuticalStartTime"] = DataElement(0x00181072, "LO", "100000.000000000")


def lower_case(header: Dataset, k: int) -> None:
    header["DecayCorrection"] = DataElement(0x00541102, "LO", "Start ")
    header["Modality"] = DataElement(0x00080060, "LO", "pt")


def same_drug_twice(header: Dataset, k: int) -> None:
    header.RadiopharmaceuticalInformationSequence.append(copied(drug(header)))


def figures_spelt_differently(header: Dataset, k: int) -> None:
    header.PatientWeight = "60" if k % 2 else "60.0"
    drug(header).RadionuclideTotalDose = "300000000" if k % 2 else "3e8"


def foreign_private_block(header: Dataset, k: int) -> None:
    """Another maker's element where Philips' or GE's would be, if its block were not named."""
    header.Units = "BQML"
    private(header, 0x0009, "SPI RELEASE 1", 0x0D, "DT", "20240506090000.00")
    private(header, 0x7053, "ACME", 0x09, "DS", "7")


RIGHT: list[tuple[str, Edit]] = [
    ("as it should be", lambda header, k: None),
    ("Siemens, several beds", siemens),
    ("Siemens, microseconds early", siemens_microseconds),
    ("Siemens, private time", siemens_private),
    ("GE, several beds", ge),
    ("GE, several beds, factor 1", ge_without_factor),
    ("GE, one time for all beds", ge_old),
    ("GE, private scan time", ge_private),
    ("GE, private injection time", ge_private_injection),
    ("frame times of the start", maker_that_means_the_start),
    ("no SeriesTime", no_series_time),
    ("no SeriesDate", no_series_date),
    ("AcquisitionDateTime alone", acquisition_datetime_only),
    ("dates with dots and times with colons", old_colons),
    ("injection in UTC, zone of the scan known", zone_of_the_scan),
    ("injection in UTC beside a clock time", zone_and_clock),
    ("injection with a zone beside the same clock time", zone_beside_the_same_clock),
    ("injection with a zone alone", zone_alone),
    ("nanoseconds", nanoseconds),
    ("lower case and blanks", lower_case),
    ("the same drug twice", same_drug_twice),
    ("figures spelt differently", figures_spelt_differently),
    ("private block of another maker", foreign_private_block),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "edit"), RIGHT, ids=[row[0] for row in RIGHT])
def test_the_suv_is_right_and_that_of_the_output_too(
    series: Make, tmp_path: Path, name: str, edit: Edit
) -> None:
    scan, plain = mapdiff.read(series(edit)), mapdiff.read(series())
    assert scan.acquisition.suv_per_bqml == pytest.approx(suv_factor(), rel=2e-4)
    np.testing.assert_allclose(scan.array, plain.array)
    assert not any("start of the scan" in warning for warning in scan.warnings), scan.warnings
    mapdiff.write(scan, tmp_path / "out")
    mapdiff.write(scan, tmp_path / "nobody", deidentify=True)
    for again in (tmp_path / "out", tmp_path / "nobody"):
        assert mapdiff.read(again).acquisition.suv_per_bqml == pytest.approx(scan.acquisition.suv_per_bqml)


def warned(series: Make, edit: Edit) -> str:
    return "\n".join(mapdiff.read(series(edit)).warnings)


def test_what_was_doubted_is_told(series: Make) -> None:
    def apart(header: Dataset, k: int) -> None:
        drug(header).RadiopharmaceuticalStartDateTime = "20240506094500"

    def late(header: Dataset, k: int) -> None:
        """A series' time that precedes the scan, which no frame agrees with."""
        beds(header, k)
        header.SeriesTime = "103000"

    assert "differ by 900 s; took the date-time" in warned(series, apart)
    assert "another time zone than StartTime" in warned(series, zone_and_clock)
    assert "names a time zone and the scan none" in warned(series, zone_alone)
    assert "start of the scan 1800 s away" in warned(series, late)


def ga68(header: Dataset) -> None:
    drug(header).Radiopharmaceutical, drug(header).RadionuclideHalfLife = "Ga-68 DOTATATE", "4057.7"


def read(series: Make, edit: Callable[[Dataset], object]) -> Volume:
    return mapdiff.read(series(lambda header, k: edit(header)))


def test_another_tracer_has_its_own_half_life(series: Make) -> None:
    scan = read(series, ga68)
    assert scan.acquisition.suv_per_bqml == pytest.approx(60e3 / (300e6 * 2 ** (-3600 / 4057.7)))
    assert any("DOTATATE, not FDG" in warning for warning in scan.warnings)


def test_two_drugs_are_no_guess(series: Make) -> None:
    def two(header: Dataset) -> None:
        other = copied(drug(header))
        other.RadionuclideHalfLife, other.RadiopharmaceuticalStartTime = "4057.7", "103000"
        header.RadiopharmaceuticalInformationSequence.append(other)

    scan = read(series, two)
    assert scan.unit == "Bq/mL"
    with pytest.raises(UnitError, match=r"0054,0016.*2 items.*0018,1075"):
        scan.to("SUV")


def test_an_intercept_is_added_before_the_makers_factor(series: Make) -> None:
    def offset(header: Dataset) -> None:
        header.Units, header.RescaleIntercept = "CNTS", "-12.5"
        private(header, 0x7053, "Philips PET Private Group", 0x09, "DS", "2")

    scan, plain = read(series, offset), mapdiff.read(series())
    np.testing.assert_allclose(scan.array, 2 * (plain.array - 12.5), rtol=1e-5)


def test_philips_factors_check_the_header_and_stand_in_for_it(series: Make) -> None:
    def philips(header: Dataset) -> None:
        header.Units = "CNTS"
        private(header, 0x7053, "Philips PET Private Group", 0x09, "DS", "2")
        private(header, 0x7053, "Philips PET Private Group", 0x00, "DS", f"{3 * suv_factor():.8g}")

    def bare(header: Dataset) -> None:
        philips(header)
        del header.PatientWeight

    scan = read(series, philips)
    assert any("1.500 times" in warning for warning in scan.warnings)
    assert scan.acquisition.suv_per_bqml == pytest.approx(suv_factor())  # the header's facts, which are told
    assert read(series, bare).acquisition.suv_per_bqml == pytest.approx(1.5 * suv_factor(), rel=1e-6)


def test_one_factor_of_philips_is_zero(series: Make) -> None:
    def philips(header: Dataset) -> None:
        header.Units = "CNTS"
        private(header, 0x7053, "Philips PET Private Group", 0x09, "DS", "0")
        private(header, 0x7053, "Philips PET Private Group", 0x00, "DS", "0.0002")

    scan, plain = read(series, philips), mapdiff.read(series())
    assert scan.unit == "SUV"
    np.testing.assert_allclose(scan.array, 0.0002 * plain.array, rtol=1e-6)


def test_raw_data_beside_the_images_is_passed_over(series: Make) -> None:
    folder = series()
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66", "1.2.3"
    header.Modality, header.SeriesInstanceUID = "PT", "1.2.4"
    header.file_meta = mapdiff.read(folder).source.headers[0].file_meta
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.save_as(folder / "raw.dcm", enforce_file_format=True)
    assert mapdiff.read(folder).shape == (10, 12, 6)


def test_frames_of_reference_that_differ_are_told(series: Make) -> None:
    text = warned(series, lambda header, k: setattr(header, "FrameOfReferenceUID", f"1.2.{k}"))
    assert "6 frames of reference" in text
