import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, PrivateBlock
from small_series import IDENTITY, SHARED, errors_of

import mapdiff
from mapdiff import suv
from mapdiff.errors import InputError, UnitError
from mapdiff.formats.dicom_files import copied
from mapdiff.volume import Volume

Make = Callable[..., Path]


def headers_of(folder: Path) -> list[Dataset]:
    return [pydicom.dcmread(file) for file in sorted(folder.iterdir())]


def test_own_output_reads_back_within_half_a_step(series: Make, tmp_path: Path) -> None:
    scan = mapdiff.read(series())
    rng = np.random.default_rng(1)
    changed = scan.with_array((scan.array * rng.uniform(0.2, 5, scan.array.shape) - 50).astype(np.float32))
    mapdiff.write(changed, tmp_path / "out", model="map-diff-1", description="Full dose estimate")
    again = mapdiff.read(tmp_path / "out")
    steps = np.array([float(header.RescaleSlope) for header in again.source.headers])
    float32 = np.abs(changed.array).max() * 2**-23  # the voxels themselves are float32
    assert (np.abs(again.array - changed.array) <= steps / 2 + float32).all()
    assert len(set(steps)) == len(steps)
    np.testing.assert_allclose(again.affine, scan.affine)
    assert again.acquisition == scan.acquisition and again.unit == scan.unit


def test_a_slice_of_zeros(series: Make, tmp_path: Path) -> None:
    scan = mapdiff.read(series())
    array = scan.array.copy()
    array[..., 2] = 0
    mapdiff.write(scan.with_array(array), tmp_path / "out")
    assert (mapdiff.read(tmp_path / "out").array[..., 2] == 0).all()


def test_the_header_says_what_it_is(series: Make, tmp_path: Path) -> None:
    scan = mapdiff.read(series())
    mapdiff.write(scan, tmp_path / "out", model="map-diff-1", description="Full dose estimate")
    sources = {header.ImagePositionPatient[2]: header for header in scan.source.headers}
    written = headers_of(tmp_path / "out")
    assert len({header.SOPInstanceUID for header in written}) == len(written)
    assert len({header.SeriesInstanceUID for header in written}) == 1
    for header in written:
        source = sources[header.ImagePositionPatient[2]]
        assert header.SeriesInstanceUID != source.SeriesInstanceUID
        assert (
            header.SOPInstanceUID
            != source.SOPInstanceUID
            == (header.SourceImageSequence[0].ReferencedSOPInstanceUID)
        )
        for same in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "SeriesTime"):
            assert header[same].value == source[same].value
        assert header.ImageType[0] == "DERIVED" and header.BurnedInAnnotation == "NO"
        assert "map-diff-1" in header.DerivationDescription and "mapdiff" in header.DerivationDescription
        assert header.SeriesDescription == "Full dose estimate: WB AC"
        assert header.ContributingEquipmentSequence[-1].Manufacturer == "mapdiff"
        assert header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID


def counts_of_philips(header: Dataset, factors: dict[int, str]) -> PrivateBlock:
    """Make the voxels counts, with the maker's private factors."""
    header.Units = "CNTS"
    block = header.private_block(0x7053, "Philips PET Private Group", create=True)
    for element, factor in factors.items():
        block.add_new(element, "DS", factor)
    return block


def test_private_elements_go_unless_suv_needs_them(series: Make, tmp_path: Path) -> None:
    def philips(header: Dataset, _: int) -> None:
        counts_of_philips(header, {0x00: "0.0004"}).add_new(0x33, "LO", "Jane Doe")
        header.private_block(0x0019, "ACME", create=True).add_new(0x01, "LO", "Jane Doe")

    scan = mapdiff.read(series(philips))
    assert scan.unit == "SUV"
    mapdiff.write(scan.with_array(scan.array * 0.9), tmp_path / "out")
    again = mapdiff.read(tmp_path / "out")
    np.testing.assert_allclose(again.array, scan.array * 0.9, atol=float(scan.array.max()) / 32767)
    header = headers_of(tmp_path / "out")[0]
    assert header.Units == "CNTS"
    assert sorted(e.tag for e in header if e.tag.is_private) == [0x70530010, 0x70531000]


def gml(header: Dataset, _: int) -> None:
    header.Units, header.SUVType, header.RescaleSlope = "GML", "LBM", "0.001"


def body_surface(header: Dataset, _: int) -> None:
    header.Units, header.RescaleSlope = "CM2ML", "0.0002"


def philips_activity(header: Dataset, _: int) -> None:
    counts_of_philips(header, {0x09: "1.7"})


def not_corrected(header: Dataset, k: int) -> None:
    header.DecayCorrection, header.AcquisitionTime = "NONE", f"11{5 * (k // 3):02d}00"


def admin(header: Dataset, _: int) -> None:
    header.DecayCorrection = "ADMIN"


def rewritten_series_time(header: Dataset, _: int) -> None:
    header.SeriesTime, header.FrameReferenceTime = "150000", "59900"


@pytest.mark.parametrize(
    "edit", [gml, body_surface, philips_activity, not_corrected, admin, rewritten_series_time]
)
def test_suv_of_the_output_is_ours(
    series: Make, tmp_path: Path, edit: Callable[[Dataset, int], None]
) -> None:
    scan = mapdiff.read(series(edit))
    ours = scan.with_array(scan.array * np.float32(0.7)).to("SUV")
    mapdiff.write(ours, tmp_path / "out")  # in SUV; the file keeps the source's unit
    again = mapdiff.read(tmp_path / "out")
    assert headers_of(tmp_path / "out")[0].Units == scan.source.headers[0].Units
    np.testing.assert_allclose(again.to("SUV").array, ours.array, atol=float(ours.array.max()) / 32767)


def test_supplied_figures_reach_the_output(series: Make, tmp_path: Path) -> None:
    scan = suv.with_supplied(
        mapdiff.read(series()), weight_kg=82.5, injected_activity_bq=2.5e8, injection_time="09:30"
    )
    mapdiff.write(scan, tmp_path / "out")
    again = mapdiff.read(tmp_path / "out")
    assert again.acquisition.suv_per_bqml == pytest.approx(scan.acquisition.suv_per_bqml)
    assert again.acquisition.uptake_s == 5400


def test_a_supplied_weight_leaves_an_suv_by_lean_body_mass_as_it_is(series: Make, tmp_path: Path) -> None:
    def lean(header: Dataset, _: int) -> None:
        header.Units, header.SUVType = "GML", "LBM"

    scan = suv.with_supplied(mapdiff.read(series(lean)), weight_kg=90)  # the header says 60
    mapdiff.write(scan, tmp_path / "out")
    again = mapdiff.read(tmp_path / "out")
    np.testing.assert_allclose(again.array, scan.array, atol=float(scan.array.max()) / 32767)


@pytest.mark.parametrize("kind", [["DYNAMIC", "IMAGE"], ["GATED", "IMAGE"], ["WHOLE BODY", "IMAGE"]])
def test_counts_and_indices_are_those_of_the_stack(series: Make, tmp_path: Path, kind: list[str]) -> None:
    """One frame of a dynamic series, or slices of which the header knows more, is a stack of its own."""

    def frame(header: Dataset, k: int) -> None:
        header.SeriesType, header.NumberOfSlices, header.NumberOfTimeSlices = kind, 9, 20
        header.InstanceNumber = header.ImageIndex = 66 - k

    mapdiff.write(mapdiff.read(series(frame)), tmp_path / "out")
    written = headers_of(tmp_path / "out")
    assert [header.InstanceNumber for header in written] == [66, 65, 64, 63, 62, 61]
    assert [header.ImageIndex for header in written] == [6, 5, 4, 3, 2, 1]
    assert {header.NumberOfSlices for header in written} == {6}
    static = kind[0] == "WHOLE BODY"
    assert {header.SeriesType[0] for header in written} == {kind[0] if static else "STATIC"}
    assert all(("NumberOfTimeSlices" in header) == static for header in written)


def test_numbers_that_slices_share_are_made_anew(series: Make, tmp_path: Path) -> None:
    def shared(header: Dataset, k: int) -> None:
        header.InstanceNumber = 1 + k % 3

    mapdiff.write(mapdiff.read(series(shared)), tmp_path / "out")
    written = headers_of(tmp_path / "out")
    assert [header.InstanceNumber for header in written] == [1, 2, 3, 4, 5, 6]
    assert [header.ImageIndex for header in written] == [1, 2, 3, 4, 5, 6]


def test_an_image_corrected_to_the_injection_tells_when_its_scan_began(series: Make) -> None:
    assert mapdiff.read(series()).acquisition.scan_delay_s == 0
    assert mapdiff.read(series(admin)).acquisition.scan_delay_s == 3600

    with pytest.raises(UnitError, match="corrected to its injection"):
        suv.with_supplied(mapdiff.read(series(admin)), injection_time="09:30")

    def timeless(header: Dataset, k: int) -> None:
        admin(header, k)
        del header.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime

    assert mapdiff.read(series(timeless)).acquisition.scan_delay_s is None


@pytest.mark.parametrize("all_after", [False, True])
def test_an_injection_time_on_a_scan_across_midnight(series: Make, tmp_path: Path, all_after: bool) -> None:
    """One moment for the whole series, on the day before the slices that come after midnight."""

    def night(header: Dataset, k: int) -> None:
        header.SeriesDate, header.SeriesTime = "20250101", "235800"
        late = all_after or k >= 3
        header.AcquisitionDate = "20250102" if late else "20250101"
        header.AcquisitionTime = f"000{k}00" if late else f"235{8 + k // 2}00"
        del header.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime

    scan = suv.with_supplied(mapdiff.read(series(night)), injection_time="22:50")
    mapdiff.write(scan, tmp_path / "out")
    told = {
        str(header.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime)
        for header in headers_of(tmp_path / "out")
    }
    assert told == {"20250101225000.000000"}
    again = mapdiff.read(tmp_path / "out").acquisition
    assert again.uptake_s == 68 * 60 and again.suv_per_bqml == pytest.approx(scan.acquisition.suv_per_bqml)


def test_a_supplied_weight_moves_a_makers_suv_factor(series: Make, tmp_path: Path) -> None:
    """Philips' ratio, where the header tells too little to make the factor from."""

    def philips(header: Dataset, _: int) -> None:
        counts_of_philips(header, {0x09: "2", 0x00: "0.001"})
        del header.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime

    scan = mapdiff.read(series(philips))
    assert scan.acquisition.suv_per_bqml == pytest.approx(0.0005)
    heavier = suv.with_supplied(scan, weight_kg=120)  # the header says 60
    assert heavier.acquisition.suv_per_bqml == pytest.approx(0.001)
    mapdiff.write(heavier, tmp_path / "out")
    assert mapdiff.read(tmp_path / "out").acquisition.suv_per_bqml == pytest.approx(0.001)


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_deidentify_leaves_no_identity_and_the_same_suv(series: Make, tmp_path: Path, name: str) -> None:
    def more(header: Dataset, _: int) -> None:
        header.PatientComments = header.OtherPatientNames = "DOE^JANE"
        header.StudyDescription = "follow-up of Mrs DOE"
        header.OperatorsName = "DrWatson"
        header.RadiopharmaceuticalInformationSequence[0].add_new(0x00081040, "LO", "St. Elsewhere")

    scan = mapdiff.read(series(more))
    mapdiff.write(scan, tmp_path / name, deidentify=True)
    again = mapdiff.read(tmp_path / name)
    np.testing.assert_allclose(again.array, scan.array, atol=float(scan.array.max()) / 32767)
    assert again.acquisition.suv_per_bqml == pytest.approx(scan.acquisition.suv_per_bqml)
    raw = (
        (tmp_path / name).read_bytes()
        if name.endswith("zip")
        else b"".join(file.read_bytes() for file in (tmp_path / name).iterdir())
    )
    if name == "out":
        assert not any(word.encode() in raw for word in (*IDENTITY, "20240506"))
        old = {
            str(header[uid].value)
            for header in scan.source.headers
            for uid in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
        }
        assert not any(uid.encode() in raw for uid in old)
    header = again.source.headers[0]
    assert header.PatientIdentityRemoved == "YES" and header.StudyDate == "20000101"


def test_private_dates_are_shifted_too(series: Make, tmp_path: Path) -> None:
    def ge(header: Dataset, _: int) -> None:
        header.SeriesTime = "150000"
        header.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20240506110000.00")

    scan = mapdiff.read(series(ge))
    assert scan.acquisition.uptake_s == 3600
    mapdiff.write(scan, tmp_path / "out", deidentify=True)
    again = mapdiff.read(tmp_path / "out")
    assert again.acquisition.suv_per_bqml == pytest.approx(scan.acquisition.suv_per_bqml)
    assert b"20240506" not in b"".join(file.read_bytes() for file in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("how", ["today", "no study date", "mangled"])
def test_the_day_of_the_study_cannot_be_worked_out(series: Make, tmp_path: Path, how: str) -> None:
    """Dates of today, moved as the others, would tell by how much; a date that is not found is not moved."""

    def edit(header: Dataset, _: int) -> None:
        if how == "no study date":
            header.StudyDate = header.SeriesDate = ""
            drug = header.RadiopharmaceuticalInformationSequence[0]
            drug.RadiopharmaceuticalStartDateTime = "20240506100000"
        if how == "mangled":
            header.StudyDate, header.AcquisitionDate = "19000101", "99990101"

    mapdiff.write(mapdiff.read(series(edit)), tmp_path / "out", deidentify=True)
    for header in headers_of(tmp_path / "out"):
        dates = {str(e.value)[:8] for e in header.iterall() if e.VR in ("DA", "DT") and e.value}
        assert "20240506" not in dates and datetime.now().strftime("%Y%m%d") not in dates
        assert how == "mangled" or dates == {"20000101"}
        assert header.InstanceCreationDate == header.ContentDate == "20000101"
    again = mapdiff.read(tmp_path / "out")
    assert again.acquisition.suv_per_bqml == pytest.approx(
        mapdiff.read(series(edit)).acquisition.suv_per_bqml, rel=1e-6
    )


def test_results_of_one_scan_stay_together_without_identity(series: Make, tmp_path: Path) -> None:
    scan = mapdiff.read(series())

    def other(header: Dataset, _: int) -> None:
        header.PatientID = "MRN-4712"

    mapdiff.write(scan, tmp_path / "full", deidentify=True)
    mapdiff.write(scan, tmp_path / "stage", deidentify=True, number=1001)
    mapdiff.write(mapdiff.read(series(other)), tmp_path / "other", deidentify=True)
    full, stage, someone = (headers_of(tmp_path / name)[0] for name in ("full", "stage", "other"))
    for same in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert full[same].value == stage[same].value != scan.source.headers[0][same].value
        assert full[same].value != someone[same].value
    assert full.SeriesInstanceUID != stage.SeriesInstanceUID
    assert (full.SeriesNumber, stage.SeriesNumber) == (1004, 1005)
    assert full.PatientID.startswith("anonymous-")


def test_an_id_that_reads_like_a_code_takes_no_code_away(series: Make, tmp_path: Path) -> None:
    def edit(header: Dataset, _: int) -> None:
        header.PatientID, header.PatientName = "START-001", "Primary^Image"

    mapdiff.write(mapdiff.read(series(edit)), tmp_path / "out", deidentify=True)
    again = mapdiff.read(tmp_path / "out")
    header = again.source.headers[0]
    assert header.DecayCorrection == "START" and list(header.SeriesType) == ["WHOLE BODY", "IMAGE"]
    assert again.acquisition.suv_per_bqml == pytest.approx(mapdiff.read(series()).acquisition.suv_per_bqml)


def test_a_zone_of_its_own_survives(series: Make, tmp_path: Path) -> None:
    """10:00 in a scanner's zone of +0200, told in UTC, with nothing else to tell it by."""

    def edit(header: Dataset, _: int) -> None:
        header.TimezoneOffsetFromUTC = "+0200"
        drug = header.RadiopharmaceuticalInformationSequence[0]
        del drug.RadiopharmaceuticalStartTime
        drug.RadiopharmaceuticalStartDateTime = "20240506080000+0000"

    scan, plain = mapdiff.read(series(edit)), mapdiff.read(series())
    assert scan.acquisition.suv_per_bqml == pytest.approx(plain.acquisition.suv_per_bqml)
    mapdiff.write(scan, tmp_path / "out", deidentify=True)
    again = mapdiff.read(tmp_path / "out")
    assert again.acquisition.suv_per_bqml == pytest.approx(plain.acquisition.suv_per_bqml)


def test_of_two_injections_neither_is_lost(series: Make, tmp_path: Path) -> None:
    """Which of them counts is not known, and supplying the weight does not tell it."""

    def edit(header: Dataset, _: int) -> None:
        second = copied(header.RadiopharmaceuticalInformationSequence[0])
        second.RadionuclideTotalDose = "200000000"
        header.RadiopharmaceuticalInformationSequence.append(second)

    scan = suv.with_supplied(mapdiff.read(series(edit)), weight_kg=70)
    assert scan.acquisition.suv_per_bqml is None
    mapdiff.write(scan, tmp_path / "out")
    again = mapdiff.read(tmp_path / "out")
    assert again.acquisition.suv_per_bqml is None and again.acquisition.weight_kg == 70
    assert len(again.source.headers[0].RadiopharmaceuticalInformationSequence) == 2


def test_identity_is_kept_unless_asked(series: Make, tmp_path: Path) -> None:
    mapdiff.write(mapdiff.read(series()), tmp_path / "out")
    header = headers_of(tmp_path / "out")[0]
    assert str(header.PatientName) == "DOE^JANE" and header.PatientID == "MRN-4711"


def test_nothing_is_overwritten_unless_asked(series: Make, tmp_path: Path) -> None:
    scan = mapdiff.read(series())
    mapdiff.write(scan, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    with pytest.raises(InputError, match="exists"):
        mapdiff.write(scan, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    mapdiff.write(scan, tmp_path / "out", overwrite=True)
    assert len(list((tmp_path / "out").iterdir())) == len(before)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".aside")]


def test_a_nifti_cannot_become_dicom(series: Make, tmp_path: Path) -> None:
    mapdiff.write(mapdiff.read(series()), tmp_path / "x.nii")
    with pytest.raises(InputError, match=r"\.nii"):
        mapdiff.write(mapdiff.read(tmp_path / "x.nii"), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Volume, Path]:
    """The real series: its folder, as read, and what was written of it."""
    folder = SHARED / "data" / "real_pet_sts001" / "dicom"
    if not folder.is_dir():
        pytest.skip(f"the real series is not there: {folder}")
    scan = mapdiff.read(folder)
    out = tmp_path_factory.mktemp("real") / "out"
    mapdiff.write(scan, out, model="m")
    return folder, scan, out


def check_errors(folder: Path, out: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    theirs = errors_of(sorted(folder.iterdir())[0])
    for file in sorted(out.iterdir())[::90]:
        assert errors_of(file) - theirs == set()


def test_dciodvfy_finds_no_error_that_the_real_source_does_not_have(
    real: tuple[Path, Volume, Path],
) -> None:
    check_errors(real[0], real[2])


def test_dciodvfy_finds_none_in_the_real_output_without_identity(
    real: tuple[Path, Volume, Path], tmp_path: Path
) -> None:
    mapdiff.write(real[1], tmp_path / "out", deidentify=True)
    check_errors(real[0], tmp_path / "out")


def test_why_the_image_type_is_derived_primary(real: tuple[Path, Volume, Path], tmp_path: Path) -> None:
    """PS3.3 C.8.9.4.1.1: for PET images, Value 2 will be PRIMARY. dciodvfy takes it at its word."""
    header = pydicom.dcmread(sorted(real[2].iterdir())[0])
    assert list(header.ImageType) == ["DERIVED", "PRIMARY"]
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    before = errors_of(sorted(real[2].iterdir())[0])
    header.ImageType = ["DERIVED", "SECONDARY"]
    header.save_as(tmp_path / "secondary.dcm")
    (more,) = errors_of(tmp_path / "secondary.dcm") - before
    assert "SECONDARY" in more and "Image Type" in more


@pytest.mark.parametrize("deidentify", [False, True])
@pytest.mark.parametrize("name", ["0_0", "2_4", "3_4"])
def test_dciodvfy_finds_no_error_that_the_reference_object_does_not_have(
    shared: Path, tmp_path: Path, name: str, deidentify: bool
) -> None:
    folder = shared / "suv_dro" / f"DRO_{name}" / "PT"
    mapdiff.write(mapdiff.read(folder), tmp_path / "out", deidentify=deidentify)
    check_errors(folder, tmp_path / "out")


def test_simpleitk_reads_source_and_output_onto_one_grid(real: tuple[Path, Volume, Path]) -> None:
    sitk = pytest.importorskip("SimpleITK")
    folder, scan, out = real

    def image(where: Path):  # type: ignore[no-untyped-def]
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(where)))
        return reader.Execute()

    source, output = image(folder), image(out)
    for property_ in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(source, property_)() == getattr(output, property_)()
    ours = sitk.GetArrayFromImage(output).transpose(2, 1, 0)
    np.testing.assert_allclose(ours, scan.array, atol=float(scan.array.max()) / 32767)


def test_dcm2niix_reads_source_and_output_onto_one_grid(
    real: tuple[Path, Volume, Path], tmp_path: Path
) -> None:
    beside_python = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if (tool := shutil.which("dcm2niix", path=beside_python)) is None:
        pytest.skip("dcm2niix is not installed (PyPI: dcm2niix)")
    folder, _, out = real
    images = []
    for name, where in (("source", folder), ("output", out)):
        call = [tool, "-f", name, "-o", str(tmp_path), str(where)]
        subprocess.run(call, capture_output=True, check=True)
        images.append(nib.load(next(tmp_path.glob(f"{name}*.nii"))))
    source, output = images
    assert source.shape == output.shape
    np.testing.assert_allclose(source.affine, output.affine, atol=1e-4)
    theirs, ours = (np.asarray(image.dataobj, dtype=np.float64) for image in images)
    # dcm2niix scales all slices to one 16-bit range, so both are rounded once more
    np.testing.assert_allclose(ours, theirs, atol=2 * theirs.max() / 32767)
