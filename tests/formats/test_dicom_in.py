import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from small_series import IDENTITY, make_headers, save_headers

import mapdiff
from mapdiff.errors import InputError

Make = Callable[..., Path]


def expected(headers: list[Dataset]) -> np.ndarray:
    """Voxels by hand: [column, row, slice], every slice with its own slope."""
    slices = [
        np.frombuffer(h.PixelData, "<i2").reshape(h.Rows, h.Columns) * float(h.RescaleSlope) for h in headers
    ]
    return np.stack([s.T for s in slices], axis=-1)


def test_every_slice_has_its_own_slope_and_place(series: Make) -> None:
    scan = mapdiff.read(series())
    np.testing.assert_allclose(scan.array, expected(make_headers()), rtol=1e-6)
    assert scan.array.dtype == np.float32 and scan.unit == "Bq/mL"
    # LPS (-20, -30, -100) with 4.5 mm columns and 4 mm rows, in RAS
    np.testing.assert_allclose(scan.affine @ [0, 0, 0, 1], [20, 30, -100, 1])
    np.testing.assert_allclose(scan.affine @ [1, 2, 3, 1], [20 - 4.5, 30 - 8, -91, 1])


def test_facts_and_suv(series: Make) -> None:
    facts = mapdiff.read(series()).acquisition
    assert (facts.tracer, facts.weight_kg, facts.frame_s) == ("FDG", 60, 120)
    assert (facts.manufacturer, facts.model) == ("ACME", "Ring 1")
    assert facts.uptake_s == 3600 and facts.reference_clock_s == 39600
    assert facts.suv_per_bqml == pytest.approx(60000 / (300e6 * 0.5 ** (3600 / 6586.2)))


@pytest.mark.parametrize("ending", [".IMA", "", ".dcm", ".0001"])
def test_any_file_ending(series: Make, ending: str) -> None:
    assert mapdiff.read(series(ending=ending)).shape == (10, 12, 6)


def test_nested_folders_zip_and_files_beside(series: Make, tmp_path: Path) -> None:
    flat = series()
    scan = mapdiff.read(flat)
    deep = tmp_path / "deep" / "a" / "b"
    save_headers(make_headers()[:3], deep / "x")
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in flat.iterdir():
            zipped.write(file, f"patient/study/{file.name}")
        zipped.writestr("patient/README.txt", "not an image")
    (flat / "notes.txt").write_text("not an image")
    (flat / "._slice000.dcm").write_bytes(b"what a Mac leaves behind")
    for other in (archive, flat):
        read = mapdiff.read(other)
        np.testing.assert_array_equal(read.array, scan.array)
        np.testing.assert_allclose(read.affine, scan.affine)
    half = mapdiff.read(tmp_path / "deep")
    assert half.shape == (10, 12, 3)


@pytest.mark.parametrize(
    ("syntax", "uid"),
    [
        ("JPEGLosslessProcess14_1", "1.2.840.10008.1.2.4.70"),
        ("JPEGLSLossless", "1.2.840.10008.1.2.4.80"),
        ("JPEG2000Lossless", "1.2.840.10008.1.2.4.90"),
        ("RLELossless", "1.2.840.10008.1.2.5"),
    ],
)
def test_compressed_transfer_syntaxes(series: Make, tmp_path: Path, syntax: str, uid: str) -> None:
    """The series as archives store it, compressed by gdcm."""
    gdcm = pytest.importorskip("gdcm")
    plain, packed = series(), tmp_path / "packed"
    packed.mkdir()
    for file in plain.iterdir():
        reader = gdcm.ImageReader()
        reader.SetFileName(str(file))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed / file.name))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    some = pydicom.dcmread(next(packed.iterdir()))
    assert some.file_meta.TransferSyntaxUID == uid
    np.testing.assert_array_equal(mapdiff.read(packed).array, mapdiff.read(plain).array)


def test_no_preamble(tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for k, header in enumerate(make_headers()):
        del header.file_meta
        pydicom.dcmwrite(
            folder / f"{k}.dcm", header, implicit_vr=True, little_endian=True, enforce_file_format=False
        )
    np.testing.assert_allclose(mapdiff.read(folder).array, expected(make_headers()), rtol=1e-6)


@pytest.mark.parametrize(
    "orientation",
    [
        [1, 0, 0, 0, 0, -1],  # coronal
        [0, 1, 0, 0, 0, -1],  # sagittal
        [-1, 0, 0, 0, -1, 0],  # axial, upside down
        [0.8, 0.6, 0, -0.6, 0.8, 0],  # turned in plane
        [1, 0, 0, 0, 0.96, 0.28],  # tilted
    ],
)
def test_gantry_of_any_orientation(series: Make, orientation: list[float]) -> None:
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)

    def turn(header: Dataset, k: int) -> None:
        header.ImageOrientationPatient = orientation
        header.ImagePositionPatient = [float(f"{x:.8f}") for x in np.array([5, 6, 7]) + 3 * k * normal]

    scan = mapdiff.read(series(turn))
    i, j, k = 3, 4, 5
    lps = np.array([5, 6, 7]) + i * 4.5 * row + j * 4 * column + k * 3 * normal
    np.testing.assert_allclose(scan.affine @ [i, j, k, 1], [-lps[0], -lps[1], lps[2], 1], atol=1e-5)
    np.testing.assert_allclose(scan.array, expected(make_headers()), rtol=1e-6)


def test_several_series_are_listed_and_chosen(series: Make, tmp_path: Path) -> None:
    root = tmp_path / "study"
    uid = generate_uid()
    save_headers(make_headers(), root / "ac")
    other = make_headers(slices=4)
    for header in other:
        header.SeriesInstanceUID, header.SeriesNumber = uid, 5
        header.SeriesDescription = "WB NAC of Jane Doe"
    save_headers(other, root / "nac")
    ct = make_headers(slices=2)
    for header in ct:
        header.SeriesInstanceUID, header.Modality = generate_uid(), "CT"
    save_headers(ct, root / "ct")
    with pytest.raises(InputError, match="--series") as caught:
        mapdiff.read(root)
    assert "number 4 'WB AC' (6 files)" in str(caught.value) and "number 5 (4 files)" in str(caught.value)
    assert not any(word in str(caught.value).replace(str(tmp_path), "") for word in IDENTITY)
    for choice in ("5", uid, "nac"):
        assert mapdiff.read(root, series=choice).shape[2] == 4
    assert mapdiff.read(root, series="4").shape[2] == 6
    with pytest.raises(InputError, match="no PET series '9'"):
        mapdiff.read(root, series="9")
    alike = make_headers(slices=2)
    for header in alike:
        header.SeriesInstanceUID = twin = "1.2.826.1"
    save_headers(alike, root / "again")
    with pytest.raises(InputError, match=r"\(2 files\), UID 1\.2\.826\.1"):  # nothing else tells them apart
        mapdiff.read(root)
    assert mapdiff.read(root, series=twin).shape[2] == 2


def test_jitter_is_a_warning(series: Make) -> None:
    def jitter(header: Dataset, k: int) -> None:
        header.ImagePositionPatient = [-20, -30, -100 + 3 * k + (0.04 if k == 2 else 0)]

    scan = mapdiff.read(series(jitter))
    assert scan.spacing[2] == pytest.approx(3)
    assert any("jitter" in warning for warning in scan.warnings)
    assert not any("jitter" in warning for warning in mapdiff.read(series()).warnings)


def test_odd_but_readable_is_warned_about(series: Make) -> None:
    def odd(header: Dataset, k: int) -> None:
        header.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical = "PSMA-1007"
        header.PixelData = (np.frombuffer(header.PixelData, "<i2") - 100).astype("<i2").tobytes()
        header.CorrectedImage = ["DECY"]
        header.NumberOfSlices = 9
        del header.PatientWeight

    text = "\n".join(mapdiff.read(series(odd)).warnings)
    for words in ("PSMA-1007, not FDG", "negative", "attenuation", "9 slices, 6 are here", "0010,1030"):
        assert words in text


def test_gallium_called_fdg_is_warned_about(series: Make) -> None:
    def gallium(header: Dataset, _: int) -> None:
        header.RadiopharmaceuticalInformationSequence[0].RadionuclideHalfLife = "4057.7"

    assert any("not that of F-18" in warning for warning in mapdiff.read(series(gallium)).warnings)


def test_header_without_dose_or_time_gives_the_same_voxels(series: Make) -> None:
    def strip(header: Dataset, _: int) -> None:
        for name in ("PatientWeight", "SeriesTime", "AcquisitionTime", "DecayCorrection"):
            delattr(header, name)
        del header.RadiopharmaceuticalInformationSequence

    stripped, whole = mapdiff.read(series(strip)), mapdiff.read(series())
    np.testing.assert_array_equal(stripped.array, whole.array)
    assert stripped.unit == "Bq/mL"
    with pytest.raises(InputError, match=r"PatientWeight.*RadionuclideTotalDose.*RadionuclideHalfLife"):
        stripped.to("SUV")


def test_unit_given_by_the_user(series: Make) -> None:
    def counts(header: Dataset, _: int) -> None:
        header.Units = "CNTS"

    folder = series(counts)
    unknown = mapdiff.read(folder)
    assert unknown.unit == "unknown" and any("7053,1000" in warning for warning in unknown.warnings)
    with pytest.raises(InputError, match="7053,1009"):
        unknown.to("SUV")
    given = mapdiff.read(folder, unit="kBq/mL")
    np.testing.assert_allclose(given.array, unknown.array * 1000, rtol=1e-6)
    assert given.to("SUV").unit == "SUV"
    with pytest.raises(InputError, match="header says Bq/mL"):
        mapdiff.read(series(), unit="SUV")


@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The PN component")  # from making the files
def test_nothing_read_tells_who_it_is(series: Make, capfd: pytest.CaptureFixture[str]) -> None:
    def odd(header: Dataset, _: int) -> None:
        header.PatientBirthDate = "19610203 "
        header.add_new(0x00100010, "PN", "DOE^JANE=" + "x" * 80)  # invalid, which pydicom would warn about

    scan = mapdiff.read(series(odd))
    text = repr(scan) + str(scan.acquisition) + "".join(scan.warnings) + "".join(capfd.readouterr())
    assert not any(word in text for word in IDENTITY)


def test_the_shared_series_and_its_mask_fit(shared: Path) -> None:
    scan = mapdiff.read(shared / "suv_dro" / "DRO_0_0" / "PT")
    mask = nib.load(shared / "suv_dro" / "DRO_0_0" / "mask" / "DRO_mask.nii.gz")
    np.testing.assert_allclose(scan.affine, mask.affine, atol=1e-4)
    assert scan.shape == mask.shape


def test_padding_is_no_activity(series: Make) -> None:
    def corners(header: Dataset, _: int) -> None:
        stored = np.frombuffer(header.PixelData, "<i2").reshape(header.Rows, header.Columns).copy()
        stored[0, 0] = -32768
        header.PixelData = stored.tobytes()
        header.add_new("PixelPaddingValue", "SS", -32768)

    scan, plain = mapdiff.read(series(corners)), mapdiff.read(series())
    assert (scan.array[0, 0] == 0).all()
    np.testing.assert_array_equal(scan.array[1:, 1:], plain.array[1:, 1:])


def test_padding_of_unsigned_voxels_is_no_activity_where_the_corner_has_it(series: Make) -> None:
    """65535 round a round image; where the corner is activity, one saturated voxel is kept."""

    def unsigned(corner: int) -> Callable[[Dataset, int], None]:
        def edit(header: Dataset, _: int) -> None:
            stored = np.frombuffer(header.PixelData, "<i2").reshape(header.Rows, header.Columns).astype("<u2")
            stored[0, 0], stored[5, 5] = corner, 65535
            header.PixelRepresentation = 0
            header.PixelData = stored.tobytes()
            header.add_new("PixelPaddingValue", "US", 65535)

        return edit

    padded, plain = mapdiff.read(series(unsigned(65535))), mapdiff.read(series(unsigned(7)))
    assert (padded.array[0, 0] == 0).all() and (padded.array[5, 5] == 0).all()
    assert (plain.array[5, 5] > 30000 * 0.5).all()


def test_a_link_to_a_series_folder_is_followed_and_one_back_up_is_not(series: Make, tmp_path: Path) -> None:
    there = series()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "series").symlink_to(there)
    (there / "up").symlink_to(there)
    np.testing.assert_array_equal(mapdiff.read(tmp_path / "links").array, mapdiff.read(there).array)


@pytest.mark.parametrize("correction", ["NONE", "START"])
@pytest.mark.parametrize("series_date", ["20240506", ""])
def test_beds_over_midnight_without_dates(series: Make, correction: str, series_date: str) -> None:
    """The times alone: a bed of 0:01 after one of 23:59 is the next day's, not 24 hours before."""

    def late(dated: bool) -> Callable[[Dataset, int], None]:
        def edit(header: Dataset, k: int) -> None:
            header.DecayCorrection = correction
            header.SeriesTime, header.SeriesDate, header.StudyDate = "235900", series_date, series_date
            header.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "225900"
            header.AcquisitionTime = "235900" if k < 3 else "000100"
            header.FrameReferenceTime = "0" if k < 3 else "120000"
            day = "20240506" if k < 3 else "20240507"
            header.AcquisitionDate = day if dated else ""
            if dated:
                header.SeriesDate = header.StudyDate = "20240506"

        return edit

    dated, bare = mapdiff.read(series(late(dated=True))), mapdiff.read(series(late(dated=False)))
    np.testing.assert_allclose(bare.array, dated.array, rtol=1e-6)
    assert bare.acquisition.uptake_s == dated.acquisition.uptake_s == 3600
