"""Every kind of broken input in one table: one clear line that names it, exit code 2, nothing written."""

import gzip
import json
import os
import re
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from small_series import IDENTITY, make_headers, save_headers

import mapdiff
from mapdiff.cli.main import run
from mapdiff.errors import InputError, UnitError
from mapdiff.formats.dicom_files import copied

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
Build = Callable[[Path], Path]


def voxels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 9, shape or (6, 5, 4)).astype(np.float32)


# NIfTI ------------------------------------------------------------------------------------------------


def nifti(array: np.ndarray, name: str = "scan.nii", affine: np.ndarray = AFFINE) -> Build:
    def build(tmp: Path) -> Path:
        nib.save(nib.Nifti1Image(array, affine), tmp / name)
        return tmp / name

    return build


def with_bad(value: float) -> np.ndarray:
    array = voxels()
    array[1, 2, 3] = value
    return array


def rgb(tmp: Path) -> Path:
    array = np.zeros((6, 5, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return nifti(array)(tmp)


def raw(content: bytes, name: str) -> Build:
    def build(tmp: Path) -> Path:
        (tmp / name).write_bytes(content)
        return tmp / name

    return build


def cut(name: str, share: float) -> Build:
    def build(tmp: Path) -> Path:
        path = nifti(voxels(12, 12, 12), name)(tmp)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    return build


def nifti_header(field: str, value: object) -> Build:
    def build(tmp: Path) -> Path:
        path = nifti(voxels())(tmp)
        content = bytearray(path.read_bytes())
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        header[field] = value
        content[:348] = header.binaryblock
        path.write_bytes(bytes(content))
        return path

    return build


def nifti_raw(**fields: object) -> Build:
    """A NIfTI whose header holds these values as they are, unmended."""

    def build(tmp: Path) -> Path:
        path = nifti((100 * voxels()).astype(np.int16))(tmp)
        content = bytearray(path.read_bytes())
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        for field, value in fields.items():
            header._structarr[field] = value
        content[:348] = header._structarr.tobytes()
        path.write_bytes(bytes(content))
        return path

    return build


def gzip_with_other_checksum(tmp: Path) -> Path:
    path = nifti(voxels(30, 30, 30), "scan.nii.gz")(tmp)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(bytes(content))
    return path


def pipe(name: str) -> Build:
    def build(tmp: Path) -> Path:
        os.mkfifo(tmp / name)
        return tmp / name

    return build


def nifti_sidecar(text: str) -> Build:
    def build(tmp: Path) -> Path:
        (tmp / "scan.json").write_text(text)
        return nifti(voxels())(tmp)

    return build


def other_spacing(tmp: Path) -> Path:
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.header["pixdim"][1:4] = 2
    image.header["qform_code"] = 0
    nib.save(image, tmp / "scan.nii")
    return tmp / "scan.nii"


def singular(tmp: Path) -> Path:
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.header["srow_z"] = 0
    image._affine = None
    nib.save(image, tmp / "scan.nii")
    return tmp / "scan.nii"


# DICOM ------------------------------------------------------------------------------------------------


def series(edit: Callable[[Dataset, int], object] | None = None, **size: int) -> Build:
    def build(tmp: Path) -> Path:
        headers = make_headers(**size)
        for k, header in enumerate(headers):
            if edit is not None:
                edit(header, k)
        return save_headers(headers, tmp / "series")

    return build


def setting(where: int | None = None, **values: object) -> Callable[[Dataset, int], None]:
    """Set keywords, in all slices or in one."""

    def edit(header: Dataset, k: int) -> None:
        for keyword, value in values.items():
            if where in (None, k):
                setattr(header, keyword, value)

    return edit


def drug(**values: object) -> Callable[[Dataset, int], None]:
    def edit(header: Dataset, _: int) -> None:
        for keyword, value in values.items():
            if value is None:
                delattr(header.RadiopharmaceuticalInformationSequence[0], keyword)
            else:
                setattr(header.RadiopharmaceuticalInformationSequence[0], keyword, value)

    return edit


def without(*keywords: str) -> Callable[[Dataset, int], None]:
    def edit(header: Dataset, _: int) -> None:
        for keyword in keywords:
            delattr(header, keyword)

    return edit


def files(change: Callable[[Path], object]) -> Build:
    """The good series after a change to its folder."""

    def build(tmp: Path) -> Path:
        folder = series()(tmp)
        change(folder)
        return folder

    return build


def copy_of_one(folder: Path) -> None:
    (folder / "again.dcm").write_bytes((folder / "slice002.dcm").read_bytes())


def truncate(share: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "slice003.dcm"
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])

    return change


def zeroed_from(share: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "slice003.dcm"
        content = file.read_bytes()
        kept = int(len(content) * share)
        file.write_bytes(content[:kept] + bytes(len(content) - kept))

    return change


def packed_with_gzip(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_bytes(gzip.compress(file.read_bytes()))


def as_text(keyword: str, value: str) -> Callable[[Dataset, int], None]:
    """A value that its own kind of element cannot hold."""

    def edit(header: Dataset, _: int) -> None:
        header[keyword] = DataElement(tag_for_keyword(keyword), "LO", value)

    return edit


def other_syntax(folder: Path) -> None:
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        header.file_meta.TransferSyntaxUID = UID("1.2.3.4")
        pydicom.dcmwrite(file, header, implicit_vr=False, little_endian=True)


def colour(header: Dataset, _: int) -> None:
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
    header.PixelData = bytes(3 * 2 * header.Rows * header.Columns)


def two_frames(header: Dataset, _: int) -> None:
    header.NumberOfFrames = 2
    header.PixelData = header.PixelData * 2


def dynamic(tmp: Path) -> Path:
    headers = make_headers() + make_headers()
    for k, header in enumerate(headers):
        header.SeriesInstanceUID = headers[0].SeriesInstanceUID
        header.AcquisitionTime = "110000" if k < 6 else "110500"
    return save_headers(headers, tmp / "series")


def two_series(tmp: Path) -> Path:
    save_headers(make_headers(), tmp / "both" / "one")
    save_headers(make_headers(), tmp / "both" / "two")
    return tmp / "both"


def enhanced_without_places(tmp: Path) -> Path:
    headers = make_headers(slices=1)
    headers[0].SOPClassUID = "1.2.840.10008.5.1.4.1.1.130"
    headers[0].NumberOfFrames = 1
    return save_headers(headers, tmp / "series")


# Archives and the file system -------------------------------------------------------------------------


def archive(**entries: bytes) -> Build:
    def build(tmp: Path) -> Path:
        with zipfile.ZipFile(tmp / "scan.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, content in entries.items():
                zipped.writestr(name, content)
        return tmp / "scan.zip"

    return build


def link_in_zip(tmp: Path) -> Path:
    info = zipfile.ZipInfo("link.dcm")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp / "scan.zip", "w") as zipped:
        zipped.writestr(info, "/etc/passwd")
    return tmp / "scan.zip"


def cut_zip(tmp: Path) -> Path:
    path = archive(**{"a.dcm": os.urandom(4000)})(tmp)
    path.write_bytes(path.read_bytes()[:2000])
    return path


def damaged_zip(tmp: Path) -> Path:
    path = archive(**{"a.dcm": os.urandom(4000)})(tmp)
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(bytes(content))
    return path


def folder_named_nii(tmp: Path) -> Path:
    (tmp / "scan.nii").mkdir()
    return tmp / "scan.nii"


def dangling(tmp: Path) -> Path:
    (tmp / "scan.nii").symlink_to(tmp / "nowhere.nii")
    return tmp / "scan.nii"


READING: list[tuple[str, Build, str]] = [
    ("nothing there", lambda tmp: tmp / "nowhere.nii", "not there"),
    ("empty .nii", raw(b"", "scan.nii"), "empty"),
    ("empty .nii.gz", raw(b"", "scan.nii.gz"), "empty"),
    ("text named .nii", raw(b"this is a text\n" * 100, "scan.nii"), "not a NIfTI"),
    ("text named .nii.gz", raw(b"this is a text\n" * 100, "scan.nii.gz"), "not a NIfTI"),
    ("header cut", cut("scan.nii", 0.02), "not a NIfTI|truncated"),
    ("voxels cut, .nii", cut("scan.nii", 0.7), "truncated"),
    ("voxels cut, .nii.gz", cut("scan.nii.gz", 0.7), "truncated"),
    ("header claims more voxels", nifti_header("dim", [3, 300, 200, 100, 1, 1, 1, 1]), "truncated"),
    ("header claims a negative axis", nifti_header("dim", [3, -6, 5, 4, 1, 1, 1, 1]), "NIfTI|3D|read"),
    ("unknown data type", nifti_header("datatype", 9999), "header is broken|not a NIfTI"),
    ("2D", nifti(voxels(20, 20)), "not a 3D image"),
    ("one slice", nifti(voxels(20, 20, 1)), "not a 3D image"),
    ("4D with frames", nifti(voxels(5, 5, 5, 3)), "3 frames"),
    ("5D with frames", nifti(voxels(5, 5, 5, 1, 2)), "2 frames"),
    ("all zero", nifti(np.zeros((6, 5, 4), np.float32)), "all its voxels are zero"),
    ("constant", nifti(np.full((6, 5, 4), 7, np.float32)), "all its voxels are 7"),
    ("never above zero", nifti(-voxels()), "above zero"),
    ("NaN", nifti(with_bad(np.nan)), "NaN or infinite"),
    ("infinite", nifti(with_bad(np.inf)), "NaN or infinite"),
    ("minus infinite", nifti(with_bad(-np.inf)), "NaN or infinite"),
    ("RGB NIfTI", rgb, "RGB"),
    ("complex", nifti(voxels().astype(np.complex64)), "complex"),
    ("mask", nifti((voxels() > 5).astype(np.uint8)), "mask"),
    ("sidecar says CT", nifti_sidecar(json.dumps({"Modality": "CT"})), "not PET.*CT"),
    ("sidecar is no JSON", nifti_sidecar("{'Units': "), "JSON"),
    ("sidecar is a list", nifti_sidecar("[1]"), "JSON object"),
    ("two voxel sizes", other_spacing, "conflicting spacing"),
    ("singular affine", singular, "singular"),
    ("qform of no rotation", nifti_raw(sform_code=0, qform_code=1, quatern_b=5), "qform is broken"),
    ("qform NaN", nifti_raw(sform_code=0, qform_code=1, quatern_b=np.nan), "not finite"),
    ("sform NaN", nifti_raw(srow_x=[np.nan, 0, 0, 0]), "not finite"),
    ("sform infinitely far", nifti_raw(srow_y=[0, 4, 0, np.inf]), "not finite"),
    ("pixdim zero", nifti_raw(sform_code=0, pixdim=0), "pixdim is zero"),
    ("pixdim NaN", nifti_raw(sform_code=0, pixdim=np.nan), "not finite"),
    ("voxels in metres", nifti_raw(xyzt_units=1), "meters"),
    ("voxels in micrometres", nifti_raw(xyzt_units=3), "microns"),
    ("voxels of 40 m", nifti(voxels(), affine=np.diag([4e4, 4e4, 4e4, 1])), "absurd"),
    ("slope infinite", nifti_raw(scl_slope=np.inf, scl_inter=0), "scl_slope"),
    ("slope beyond float32", nifti_raw(scl_slope=1e38, scl_inter=0), "NaN or infinite"),
    ("slope negative", nifti_raw(scl_slope=-1, scl_inter=0), "above zero"),
    ("nine axes", nifti_raw(dim=[9, 6, 5, 4, 1, 1, 1, 1]), "header is broken"),
    ("more voxels than memory", nifti_raw(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "memory|truncated"),
    ("voxels past the end", nifti_raw(vox_offset=1e6), "truncated"),
    ("voxels before the header", nifti_raw(vox_offset=-10), "header is broken"),
    ("gzip of another checksum", gzip_with_other_checksum, "checksum"),
    ("pipe named .nii", pipe("scan.nii"), "neither a file nor a folder"),
    ("pipe named .dcm", pipe("scan.dcm"), "neither a file nor a folder"),
    ("link to nowhere", lambda tmp: dangling(tmp), "not there"),
    ("folder named .nii", folder_named_nii, "empty"),
    ("empty folder", lambda tmp: tmp, "empty"),
    ("folder of texts", lambda tmp: raw(b"hello", "a.txt")(tmp).parent, "no DICOM"),
    ("text named .dcm", raw(b"hello, this is not DICOM", "scan.dcm"), "not a DICOM file"),
    ("some other file", raw(b"hello", "scan.xyz"), "not a DICOM file"),
    ("text named .dcm in a series", files(lambda f: (f / "x.dcm").write_text("hello")), "x.dcm.*not a DICOM"),
    ("empty .dcm in a series", files(lambda f: (f / "x.dcm").write_bytes(b"")), "x.dcm.*empty"),
    ("CT series", series(setting(Modality="CT")), r"not PET.*CT \(6 files\)"),
    ("no modality", series(without("Modality")), "truncated.*no Modality"),
    ("single slice", series(slices=1), "single 2D slice"),
    ("one file of a series", lambda tmp: series()(tmp) / "slice000.dcm", "single 2D slice"),
    ("missing slice", files(lambda f: (f / "slice002.dcm").unlink()), r"1 slices are missing.*-94\.00 mm"),
    (
        "two missing",
        files(lambda f: [(f / f"slice00{n}.dcm").unlink() for n in (2, 3)]),
        "2 slices are missing",
    ),
    (
        "every other missing",
        files(lambda f: [(f / f"slice00{n}.dcm").unlink() for n in (1, 3, 5)]),
        "one slice of every 2 is here: 3 of 6",
    ),
    ("repeated slice", files(copy_of_one), r"1 slices are repeated.*-94\.00 mm"),
    ("dynamic series", dynamic, "2 frames"),
    ("two series", two_series, "2 PET series"),
    ("mixed patients", series(setting(1, PatientID="OTHER")), "mixes 2 patients"),
    ("slices of two sizes", series(setting(1, Rows=6)), "differ in Rows"),
    ("slices of two spacings", series(setting(2, PixelSpacing=[4, 5])), "differ in PixelSpacing"),
    ("uneven slices", series(setting(3, ImagePositionPatient=[-20, -30, -90])), "conflicting spacing"),
    ("sheared slices", series(setting(3, ImagePositionPatient=[-15, -30, -91])), "conflicting spacing"),
    ("two orientations", series(setting(1, ImageOrientationPatient=[0, 1, 0, 1, 0, 0])), "differ in ImageOr"),
    ("no position", series(without("ImagePositionPatient")), "ImagePositionPatient is missing"),
    ("no spacing", series(without("PixelSpacing")), "PixelSpacing is missing"),
    ("spacing zero", series(setting(PixelSpacing=[0, 4])), "zero or negative"),
    ("orientation zero", series(setting(ImageOrientationPatient=[0] * 6)), "unit vectors"),
    ("no slope", series(without("RescaleSlope")), "RescaleSlope"),
    ("negative slope", series(setting(2, RescaleSlope="-1")), "RescaleSlope.*-1"),
    ("two units", series(setting(1, Units="GML")), "differ in Units"),
    ("RGB DICOM", series(colour), "RGB"),
    ("palette colours", series(setting(PhotometricInterpretation="PALETTE COLOR")), "PALETTE COLOR"),
    ("no rows", series(setting(Rows=0)), "Rows is zero"),
    ("rows not told", series(without("Rows")), "Rows is missing"),
    ("columns of text", series(as_text("Columns", "ten")), "Columns is missing or malformed"),
    (
        "position of text",
        series(as_text("ImagePositionPatient", "here")),
        "ImagePositionPatient is missing or",
    ),
    ("position of two figures", series(as_text("ImagePositionPatient", "1\\2")), "ImagePositionPatient is"),
    ("spacing infinite", series(as_text("PixelSpacing", "inf\\4")), "PixelSpacing is missing or malformed"),
    ("spacing of a kilometre", series(setting(PixelSpacing=[1e6, 1e6])), "mm are absurd"),
    ("slope of text", series(as_text("RescaleSlope", "steep")), "RescaleSlope.*no number"),
    ("slope zero", series(setting(RescaleSlope="0")), "RescaleSlope.*is 0"),
    ("slope beyond float32", series(setting(RescaleSlope="1e38")), "NaN or infinite"),
    ("intercept of text", series(as_text("RescaleIntercept", "low")), "RescaleIntercept.*no number"),
    ("8 bits that are 16", series(setting(BitsAllocated=8)), "truncated or cannot be decoded"),
    ("no bits", series(setting(BitsAllocated=0)), "truncated or cannot be decoded"),
    ("sign not told", series(without("PixelRepresentation")), "cannot be decoded"),
    ("unknown transfer syntax", files(other_syntax), "cannot be decoded"),
    ("reprojections", series(setting(SeriesType=["WHOLE BODY", "REPROJECTION"])), "reprojections"),
    ("transmission images", series(setting(CountsSource="TRANSMISSION")), "transmission"),
    ("screenshots", series(setting(SOPClassUID="1.2.840.10008.5.1.4.1.1.7")), "not PET.*no PET images"),
    ("segmentation", series(setting(Modality="SEG")), r"not PET.*SEG"),
    ("slices of two studies", series(lambda h, k: setattr(h, "StudyInstanceUID", f"1.{k}")), "StudyInst"),
    ("one slice's modality lost", series(setting(1, Modality="")), "slice001.dcm.*truncated.*Modality"),
    ("slice zeroed", files(zeroed_from(0)), "slice003.dcm.*not a DICOM file"),
    ("slice zeroed after its preamble", files(zeroed_from(0.1)), "slice003.dcm.*truncated"),
    ("slice zeroed in its header", files(zeroed_from(0.5)), "slice003.dcm.*truncated"),
    ("slice of a preamble alone", files(lambda f: (f / "x.dcm").write_bytes(bytes(128) + b"DICM")), "trunc"),
    ("slices packed with gzip", files(packed_with_gzip), "not a DICOM file"),
    ("several frames in one file", series(two_frames), "2 frames"),
    ("enhanced without its places", enhanced_without_places, "5200,9230"),
    ("all zero DICOM", series(lambda h, k: setattr(h, "PixelData", bytes(240))), "all its voxels are zero"),
    ("pixels cut", files(truncate(0.95)), "slice003.dcm.*truncated"),
    ("header cut", files(truncate(0.3)), "slice003.dcm|missing|differ|truncated"),
    ("no pixels", series(without("PixelData")), "no pixels"),
    ("pixels of another size", series(setting(PixelData=bytes(100))), "truncated"),
    ("zip out of its folder", archive(**{"../../evil.dcm": b"x"}), "leaves its folder"),
    ("zip with absolute path", archive(**{"/etc/evil.dcm": b"x"}), "leaves its folder"),
    ("zip with drive letter", archive(**{"C:\\evil.dcm": b"x"}), "leaves its folder"),
    ("zip with a link", link_in_zip, "symbolic link"),
    ("zip bomb", archive(**{"a.dcm": bytes(2**25)}), "zip bomb"),
    (
        "zip with many entries that swell",
        archive(**{f"{n}.dcm": bytes(2**20) for n in range(30)}),
        "zip bomb",
    ),
    ("empty zip", archive(), "empty"),
    ("zip of texts", archive(**{"a.txt": b"hello"}), "no DICOM"),
    ("text in zip named .dcm", archive(**{"a.dcm": b"hello"}), "not a DICOM"),
    ("cut zip", cut_zip, "broken"),
    ("damaged zip", damaged_zip, "broken"),
    ("zip in a zip", archive(**{"a.zip": b"PK" + bytes(20)}), "no DICOM"),
    ("text named .zip", raw(b"hello", "scan.zip"), "broken"),
]

#: Readable, since the voxels are right, but no SUV can be had: the cause names the tag.
SUV: list[tuple[str, Build, str]] = [
    ("no weight", series(without("PatientWeight")), "0010,1030.*missing"),
    ("weight zero", series(setting(PatientWeight="0")), "0010,1030.*0 kg is absurd"),
    ("weight in grams", series(setting(PatientWeight="70000")), "0010,1030.*70000 kg is absurd"),
    ("negative weight", series(setting(PatientWeight="-70")), "0010,1030.*absurd"),
    ("no dose", series(drug(RadionuclideTotalDose=None)), "0018,1074.*missing"),
    ("negative dose", series(drug(RadionuclideTotalDose="-3e8")), "0018,1074.*absurd"),
    ("absurd dose", series(drug(RadionuclideTotalDose="3e15")), "0018,1074.*absurd"),
    ("negative half-life", series(drug(RadionuclideHalfLife="-6586")), "0018,1075.*absurd"),
    ("no half-life", series(drug(RadionuclideHalfLife=None)), "0018,1075.*missing"),
    ("no injection time", series(drug(RadiopharmaceuticalStartTime=None)), "0018,1078.*0018,1072.*missing"),
    ("injected after the scan", series(drug(RadiopharmaceuticalStartTime="113000")), "later than the scan"),
    ("no decay correction told", series(without("DecayCorrection")), "0054,1102.*missing"),
    ("no scan time", series(without("SeriesTime", "AcquisitionTime")), "0008,0031.*0008,0032"),
    (
        "two drugs",
        series(lambda h, k: h.RadiopharmaceuticalInformationSequence.append(second_drug(h))),
        "0054,0016.*0018,1074",
    ),
    ("slices of two weights", series(setting(2, PatientWeight="99")), "0010,1030"),
    ("slices of two doses", series(lambda h, k: dose_of_slice(h, k)), "0018,1074"),
    ("dose zero", series(drug(RadionuclideTotalDose="0")), "0018,1074.*0 is absurd"),
    ("weight of text", series(as_text("PatientWeight", "heavy")), "0010,1030.*no number"),
    ("half-life of an hour's fraction", series(drug(RadionuclideHalfLife="1.83")), "0018,1075.*absurd"),
    ("decay corrected to what?", series(setting(DecayCorrection="SOMETIME")), "0054,1102.*SOMETIME"),
    ("NONE without durations", lambda t: undecayed(t, "ActualFrameDuration"), "0018,1242"),
    ("NONE without times", lambda t: undecayed(t, "AcquisitionTime"), "0008,0032"),
    ("SUV of another unit", series(setting(Units="CM2ML", SUVType="BW")), "0054,1006"),
    ("SUV of a kind unknown", series(setting(Units="GML", SUVType="HEAD")), "0054,1006.*HEAD"),
    ("no drug at all", series(without("RadiopharmaceuticalInformationSequence")), "0018,1074"),
    ("CNTS without factors", series(setting(Units="CNTS")), "7053,1000.*7053,1009"),
    ("PROPCNTS", series(setting(Units="PROPCNTS")), "0054,1001.*PROPCNTS"),
    ("no unit", series(without("Units")), "0054,1001.*missing"),
    ("SUV by ideal weight, no size", lambda t: ibw(t, "PatientSize"), "0010,1020"),
    ("SUV by ideal weight, no sex", lambda t: ibw(t, "PatientSex"), "0010,0040"),
    ("NIfTI without facts", nifti(voxels()), "unit"),
]


def second_drug(header: Dataset) -> Dataset:
    other = copied(header.RadiopharmaceuticalInformationSequence[0])
    other.RadionuclideTotalDose = "2e8"
    return other


def dose_of_slice(header: Dataset, k: int) -> None:
    header.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = f"{300 + k // 5}000000"


def undecayed(tmp: Path, lacking: str) -> Path:
    def edit(header: Dataset, k: int) -> None:
        header.DecayCorrection = "NONE"
        delattr(header, lacking)

    return series(edit)(tmp)


def ibw(tmp: Path, lacking: str) -> Path:
    def edit(header: Dataset, k: int) -> None:
        setting(Units="GML", SUVType="IBW")(header, k)
        delattr(header, lacking)

    return series(edit)(tmp)


def ids(table: list[tuple[str, Build, str]]) -> list[str]:
    return [name for name, _, _ in table]


def test_the_table_is_long_enough() -> None:
    assert len(READING) + len(SUV) >= 40


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_size) for path in folder.rglob("*"))


def check_line(text: str, path: Path, cause: str) -> None:
    assert "\n" not in text
    assert str(path).removesuffix(path.suffix) in text  # a sidecar's fault names the sidecar
    told = text.replace(str(path.parent), "")
    assert not any(word in told for word in IDENTITY)
    assert re.search(cause, told), text


@pytest.mark.filterwarnings("ignore")  # the files are made broken, at which pydicom and numpy warn
@pytest.mark.parametrize(("build", "cause"), [row[1:] for row in READING], ids=ids(READING))
def test_reading_is_refused_with_one_line(tmp_path: Path, build: Build, cause: str) -> None:
    path = build(tmp_path)
    before = listing(tmp_path)
    with pytest.raises(InputError) as caught:
        mapdiff.read(path)
    assert caught.value.exit_code == 2
    check_line(str(caught.value), path, cause)
    assert listing(tmp_path) == before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("build", "cause"), [row[1:] for row in SUV], ids=ids(SUV))
def test_suv_is_refused_and_names_the_tag(tmp_path: Path, build: Build, cause: str) -> None:
    scan = mapdiff.read(build(tmp_path))
    with pytest.raises(UnitError, match=cause) as caught:
        scan.to("SUV")
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert any("SUV is not known" in warning or "unknown unit" in warning for warning in scan.warnings)


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> object:
    """The exit code of the command line."""
    monkeypatch.setattr(sys, "argv", ["mapdiff", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        run()
    return caught.value.code


#: A folder of several scans is a batch for denoise, one scan that is not unique for info.
BATCHES = ("two series",)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "build", "cause"), READING, ids=ids(READING))
def test_command_line_exits_with_2(
    tmp_path: Path,
    name: str,
    build: Build,
    cause: str,
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "in").mkdir()
    path = build(tmp_path / "in")
    before = listing(tmp_path)
    assert command(monkeypatch, "info", path) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1
    check_line(err.strip(), path, cause)
    if name not in BATCHES:
        output = tmp_path / "out.nii.gz" if path.suffix in (".nii", ".gz") else tmp_path / "out"
        assert command(monkeypatch, "denoise", path, "-o", output, "--model", small_model) == 2
        out, err = capfd.readouterr()
        assert out == "" and err.count("\n") == 1
        check_line(err.strip(), path, "")
    assert listing(tmp_path) == before


@contextmanager
def nobody() -> Iterator[None]:
    """As a user without rights, if the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("kind", ["nifti", "folder", "file in a folder"])
def test_no_permission(tmp_path: Path, kind: str) -> None:
    mapdiff.read(nifti(voxels(), "warm.nii")(tmp_path))  # modules are loaded while they may be
    mapdiff.read(series()(tmp_path))
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-") or folder == tmp_path:
            folder.chmod(0o755)
    if kind == "nifti":
        path = locked = nifti(voxels())(tmp_path)
    else:
        path = tmp_path / "series"
        locked = path if kind == "folder" else path / "slice001.dcm"
    mode = locked.stat().st_mode
    locked.chmod(0)
    try:
        with nobody(), pytest.raises(InputError, match="permission"):
            mapdiff.read(path)
    finally:
        locked.chmod(mode)


def test_a_pet_series_beside_other_modalities_is_found(tmp_path: Path) -> None:
    folder = series()(tmp_path)
    ct = make_headers(slices=2)
    for header in ct:
        header.Modality, header.SeriesInstanceUID = "CT", generate_uid()
    save_headers(ct, folder / "ct")
    assert mapdiff.read(folder).shape == (10, 12, 6)
    assert pydicom.dcmread(folder / "ct" / "slice000.dcm").Modality == "CT"
