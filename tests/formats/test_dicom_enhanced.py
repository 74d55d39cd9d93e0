"""Enhanced multi-frame PET reads as the classic series of the same slices, and is written as one."""

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from small_series import errors_of, make_headers

import mapdiff
from mapdiff.decay import mean_count_time
from mapdiff.errors import UnitError

Make = Callable[..., Path]
GroupEdit = Callable[[Dataset, int], object]
F18 = 6586.2
#: What the frames tell one by one, or in other words.
TOLD_BY_FRAME = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "Units",
    "DecayCorrection",
    "AcquisitionDate",
    "AcquisitionTime",
    "FrameReferenceTime",
    "ActualFrameDuration",
)


def item(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def unit(code: str, **slope: float) -> Dataset:
    keyword = "CodeValue" if len(code) <= 16 else "LongCodeValue"
    coded = item(CodingSchemeDesignator="UCUM", CodeMeaning=code, **{keyword: code})
    return item(MeasurementUnitsCodeSequence=[coded], **slope)


def enhanced(
    path: Path,
    edit: Callable[[Dataset], object] = lambda many: None,
    group_edit: GroupEdit = lambda g, k: None,
) -> Path:
    """The small series as one enhanced file, after the edits of the file and of each frame's group."""
    single = make_headers()
    first = single[0]
    many = Dataset()
    for element in first:
        many[element.tag] = element
    for keyword in TOLD_BY_FRAME:
        delattr(many, keyword)
    many.SOPClassUID = "1.2.840.10008.5.1.4.1.1.130"
    many.NumberOfFrames = len(single)
    many.DecayCorrected, many.DecayCorrectionDateTime = "YES", "20240506110000"
    many.AcquisitionDateTime = "20240506110000"
    drug = many.RadiopharmaceuticalInformationSequence[0]
    drug.RadiopharmaceuticalStartDateTime = "20240506100000"
    many.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=first.PixelSpacing, SliceThickness="3")],
            PlaneOrientationSequence=[item(ImageOrientationPatient=first.ImageOrientationPatient)],
        )
    ]
    groups = []
    for k, header in enumerate(single):
        group = item(
            PlanePositionSequence=[item(ImagePositionPatient=header.ImagePositionPatient)],
            PixelValueTransformationSequence=[item(RescaleSlope=header.RescaleSlope, RescaleIntercept="0")],
            RealWorldValueMappingSequence=[unit("Bq/ml")],
            FrameContentSequence=[item(FrameAcquisitionDuration=120000.0)],
        )
        group_edit(group, k)
        groups.append(group)
    many.PerFrameFunctionalGroupsSequence = groups
    edit(many)
    many.PixelData = b"".join(header.PixelData for header in single)
    many["PixelData"].VR = "OW"
    many.file_meta = first.file_meta
    many.file_meta.MediaStorageSOPClassUID = many.SOPClassUID
    many.save_as(path, enforce_file_format=True)
    return path


def check_as_classic(path: Path, classic: Path, out: Path) -> None:
    scan, plain = mapdiff.read(path), mapdiff.read(classic)
    np.testing.assert_allclose(scan.to("SUV").array, plain.to("SUV").array, rtol=1e-5)
    np.testing.assert_allclose(scan.affine, plain.affine)
    mapdiff.write(scan, out)
    again = mapdiff.read(out)
    ours = scan.to("SUV").array
    np.testing.assert_allclose(again.to("SUV").array, ours, atol=float(ours.max()) / 32767)


def test_default(tmp_path: Path, series: Make) -> None:
    path = enhanced(tmp_path / "enhanced.dcm")
    check_as_classic(path, series(), tmp_path / "out")
    np.testing.assert_array_equal(mapdiff.read(path).array, mapdiff.read(series()).array)
    assert mapdiff.read(path).unit == "Bq/mL"


@pytest.mark.parametrize(("zone", "hour"), [("-0500", "16"), ("+0200", "09")])
def test_times_that_name_another_zone(tmp_path: Path, series: Make, zone: str, hour: str) -> None:
    """Each date-time may carry an offset of its own (PS3.5 6.2), the scan's as the injection's."""

    def in_utc(many: Dataset) -> None:
        many.TimezoneOffsetFromUTC = zone
        many.DecayCorrectionDateTime = many.AcquisitionDateTime = f"20240506{hour}0000+0000"
        drug = many.RadiopharmaceuticalInformationSequence[0]
        drug.RadiopharmaceuticalStartDateTime = f"20240506{int(hour) - 1:02d}0000+0000"

    path = enhanced(tmp_path / "enhanced.dcm", in_utc)
    check_as_classic(path, series(), tmp_path / "out")
    assert mapdiff.read(path).acquisition.uptake_s == 3600


#: What a classic header has and an enhanced one has elsewhere, or not at all.
CLASSIC_ONLY = ("SeriesType", "NumberOfSlices", "CountsSource", "CorrectedImage")


def without_the_classic(many: Dataset) -> None:
    for keyword in CLASSIC_ONLY:
        delattr(many, keyword)


@pytest.mark.parametrize("maker", ["ACME", "GE MEDICAL SYSTEMS"])
def test_the_written_series_is_whole_and_refers_to_the_frames(
    tmp_path: Path, series: Make, maker: str
) -> None:
    def edit(many: Dataset) -> None:
        without_the_classic(many)
        many.Manufacturer = maker

    path = enhanced(tmp_path / "enhanced.dcm", edit)
    check_as_classic(path, series(), tmp_path / "out")
    source = pydicom.dcmread(path)
    for n, file in enumerate(sorted((tmp_path / "out").iterdir()), 1):
        header = pydicom.dcmread(file)
        (reference,) = header.SourceImageSequence
        assert reference.ReferencedSOPClassUID == source.SOPClassUID
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert header.ImageIndex == reference.ReferencedFrameNumber == n
        assert header.NumberOfSlices == 6 and list(header.SeriesType) == ["STATIC", "IMAGE"]
        assert 59_000 < header.FrameReferenceTime < 60_000 and 1.006 < header.DecayFactor < 1.007
    if shutil.which("dciodvfy") is not None:
        theirs = errors_of(sorted(series().iterdir())[0])
        assert errors_of(file) - theirs == set()


def test_what_a_legacy_converted_file_keeps_aside_is_read(tmp_path: Path, series: Make) -> None:
    """PS3.3 A.70: what the classic series said and no functional group does."""

    def edit(many: Dataset) -> None:
        many.SOPClassUID = "1.2.840.10008.5.1.4.1.1.128.1"
        aside = Dataset()
        for keyword in (*CLASSIC_ONLY, "RadiopharmaceuticalInformationSequence", "SeriesTime"):
            aside[keyword] = many[keyword]
            del many[keyword]
        aside.Units, aside.DecayCorrection = "BQML", "START"
        for keyword in ("DecayCorrected", "DecayCorrectionDateTime"):
            del many[keyword]
        many.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence = [aside]

    def no_unit(group: Dataset, k: int) -> None:
        del group.RealWorldValueMappingSequence

    path = enhanced(tmp_path / "enhanced.dcm", edit, no_unit)
    check_as_classic(path, series(), tmp_path / "out")
    assert mapdiff.read(path).unit == "Bq/mL"


def test_series_time_after_the_decay_correction(tmp_path: Path, series: Make) -> None:
    path = enhanced(tmp_path / "enhanced.dcm", lambda many: setattr(many, "SeriesTime", "161500"))
    check_as_classic(path, series(), tmp_path / "out")


@pytest.mark.parametrize("code", ["g/ml{SUVbw}", "{SUVbw}g/ml", "g/ml"])
def test_already_suv(tmp_path: Path, code: str) -> None:
    def as_suv(group: Dataset, k: int) -> None:
        group.RealWorldValueMappingSequence = [unit(code)]

    scan = mapdiff.read(enhanced(tmp_path / "enhanced.dcm", group_edit=as_suv))
    assert scan.unit == "SUV"


def test_lean_body_mass_by_its_code(tmp_path: Path) -> None:
    def as_lean(group: Dataset, k: int) -> None:
        group.RealWorldValueMappingSequence = [unit("g/ml{SUVlbm(James128)}")]

    scan, plain = (
        mapdiff.read(enhanced(tmp_path / f"{n}.dcm", group_edit=edit))
        for n, edit in enumerate((as_lean, lambda group, k: None))
    )
    lean = 1.07 * 60 - 148 * (60 / 165) ** 2
    np.testing.assert_allclose(scan.array, plain.array * 60 / lean, rtol=1e-5)


def test_the_mapping_that_names_the_unit_has_the_slope(tmp_path: Path, series: Make) -> None:
    """A frame whose RescaleSlope gives counts, with mappings to SUV and to Bq/mL."""

    def mapped(group: Dataset, k: int) -> None:
        slope = float(group.PixelValueTransformationSequence[0].RescaleSlope)
        group.PixelValueTransformationSequence[0].RescaleSlope = "1"
        group.RealWorldValueMappingSequence = [
            unit("g/ml{SUVbw}", RealWorldValueSlope=slope * 3, RealWorldValueIntercept=0.0),
            unit("Bq/ml", RealWorldValueSlope=slope, RealWorldValueIntercept=0.0),
        ]

    path = enhanced(tmp_path / "enhanced.dcm", group_edit=mapped)
    assert mapdiff.read(path).unit == "Bq/mL"
    check_as_classic(path, series(), tmp_path / "out")


def test_a_shared_rescale_and_a_mapping_of_each_frame(tmp_path: Path, series: Make) -> None:
    def mapped(group: Dataset, k: int) -> None:
        slope = float(group.PixelValueTransformationSequence[0].RescaleSlope) * (1 + k)
        del group.PixelValueTransformationSequence
        group.RealWorldValueMappingSequence = [unit("Bq/ml", RealWorldValueSlope=slope)]

    def shared(many: Dataset) -> None:
        groups = many.SharedFunctionalGroupsSequence[0]
        groups.PixelValueTransformationSequence = [item(RescaleSlope="1", RescaleIntercept="0")]

    scan = mapdiff.read(enhanced(tmp_path / "enhanced.dcm", shared, mapped))
    plain = mapdiff.read(series()).array
    np.testing.assert_allclose(scan.array, plain * (1 + np.arange(plain.shape[2])), rtol=1e-5)


@pytest.mark.parametrize(("told", "written"), [("350", 3.5e8), ("3.5e8", 3.5e8)])
def test_the_dose_is_in_mbq_there_and_in_bq_in_the_series_written(
    tmp_path: Path, told: str, written: float
) -> None:
    def dose(many: Dataset) -> None:
        many.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = told

    scan = mapdiff.read(enhanced(tmp_path / "enhanced.dcm", dose))
    assert scan.acquisition.injected_activity_bq == 3.5e8
    assert not any("RadionuclideTotalDose" in text for text in scan.warnings)
    mapdiff.write(scan, tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        (drug,) = pydicom.dcmread(file).RadiopharmaceuticalInformationSequence
        assert float(drug.RadionuclideTotalDose) == written


def not_corrected(many: Dataset) -> None:
    many.DecayCorrected = "NO"
    del many.DecayCorrectionDateTime


def begun(k: int) -> datetime:
    return datetime(2024, 5, 6, 11) + timedelta(seconds=300 * (k // 3))


def classic_not_corrected(header: Dataset, k: int) -> None:
    header.DecayCorrection, header.AcquisitionTime = "NONE", begun(k).strftime("%H%M%S")


def frame_begin(group: Dataset, k: int) -> None:
    content = group.FrameContentSequence[0]
    content.FrameAcquisitionDateTime = begun(k).strftime("%Y%m%d%H%M%S.%f")


def frame_reference(group: Dataset, k: int) -> None:
    mean = begun(k) + timedelta(seconds=mean_count_time(120, F18))
    group.FrameContentSequence[0].FrameReferenceDateTime = mean.strftime("%Y%m%d%H%M%S.%f")


@pytest.mark.parametrize("times", [frame_begin, frame_reference])
def test_each_frame_is_corrected_by_its_own_time(tmp_path: Path, series: Make, times: GroupEdit) -> None:
    path = enhanced(tmp_path / "enhanced.dcm", not_corrected, times)
    check_as_classic(path, series(classic_not_corrected), tmp_path / "out")


def test_frames_without_times_of_their_own_are_no_guess(tmp_path: Path) -> None:
    scan = mapdiff.read(enhanced(tmp_path / "enhanced.dcm", not_corrected))
    with pytest.raises(UnitError, match="0008,0032"):
        scan.to("SUV")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("told", ["", "abc", "-1", "nan", "1\\2"])
def test_a_duration_that_is_none_costs_no_more_than_the_suv(tmp_path: Path, told: str) -> None:
    def garbled(group: Dataset, k: int) -> None:
        tag = tag_for_keyword("FrameAcquisitionDuration")
        group.FrameContentSequence[0][tag] = DataElement(tag, "LO", told)

    scan = mapdiff.read(enhanced(tmp_path / "enhanced.dcm", not_corrected, garbled))
    with pytest.raises(UnitError, match=r"0008,0032|0018,1242"):
        scan.to("SUV")
