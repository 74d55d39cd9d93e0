"""The published reference objects of SUV, those at hand and the like of the rest made by rewriting headers.

oncoray/suv_computation (CC BY 4.0) publishes objects that must come out at SUV min / median / max of 0.20 /
1.00 / 4.00, and objects that must end in an error. Eleven are at hand; the others are named as in its list
(DRO_list.csv), which says how they differ.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import mapdiff
from mapdiff.errors import UnitError

F18, ZR89 = 6586.2, 282240.0
TARGETS = np.array([0.20, 1.00, 4.00])
OBJECTS = ("0_0", "1_0", "2_0", "2_1", "2_4", "3_0", "3_2", "3_4", "4_0", "5_0")
Edit = Callable[[Dataset], object]


@pytest.fixture
def objects(shared: Path) -> Path:
    folder = shared / "suv_dro"
    if not folder.is_dir():
        pytest.skip(f"the reference objects are not there: {folder}")
    return folder


def rewritten(objects: Path, base: str, target: Path, edits: tuple[Edit, ...]) -> Path:
    """The object's four middle slices, which hold all its values and acquisition times, after the edits."""
    for file in sorted((objects / f"DRO_{base}" / "PT").iterdir())[8:12]:
        header = pydicom.dcmread(file)
        for edit in edits:
            edit(header)
        header.save_as(target / file.name)
    return target


def min_median_max(folder: Path) -> np.ndarray:
    values = mapdiff.read(folder).to("SUV").array
    body = values[values > 0]
    return np.array([body.min(), np.median(body), body.max()])


@pytest.mark.parametrize("name", OBJECTS)
def test_published_object(objects: Path, name: str) -> None:
    np.testing.assert_allclose(min_median_max(objects / f"DRO_{name}" / "PT"), TARGETS, rtol=0.01)


def test_published_object_of_body_surface_area(objects: Path) -> None:
    """DRO_2_3 cannot read 0.20 / 1.00 / 4.00: it is stored in whole hundredths of cm2/mL, the rest cut off.

    With 70 kg and 1.8481 m2 a stored step is 0.0379 SUV. The object holds 5, 26 and 105: what is left of
    5.28, 26.40 and 105.60 when the rest is cut off. So it bounds the factor from both sides, within 1 %.
    """
    folder = objects / "DRO_2_3" / "PT"
    header = pydicom.dcmread(next(folder.iterdir()))
    assert (header.Units, float(header.RescaleSlope), float(header.PatientWeight)) == ("CM2ML", 0.01, 70)
    stored = np.unique(np.stack([pydicom.dcmread(file).pixel_array for file in folder.iterdir()]))
    assert list(stored) == [0, 5, 26, 105]
    found = min_median_max(folder)
    step = found / stored[1:]
    assert step == pytest.approx(step[0], rel=1e-6)
    assert list(np.floor(TARGETS / step)) == [5, 26, 105]
    lowest, highest = (TARGETS / (stored[1:] + 1)).max(), (TARGETS / stored[1:]).min()
    assert lowest < step[0] <= highest < 1.01 * lowest


def by_sex(kind: str, sex: str, mass_kg: float) -> Edit:
    """Another SUV than by body weight; the mass for 70 kg and 1.75 m is worked out by hand."""

    def edit(header: Dataset) -> None:
        header.SUVType, header.PatientSex = kind, sex
        header.RescaleSlope = f"{0.1 * mass_kg / 70:.10g}"

    return edit


def maker(name: str) -> Edit:
    return lambda header: setattr(header, "Manufacturer", name)


def setting(**values: object) -> Edit:
    def edit(header: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                delattr(header, keyword)
            else:
                setattr(header, keyword, value)

    return edit


def drug(**values: object) -> Edit:
    return lambda header: setting(**values)(header.RadiopharmaceuticalInformationSequence[0])


def philips_activity(header: Dataset) -> None:
    """DRO_2_4 with the activity factor of its voxels in place of the SUV factor: 3600 Bq/mL are SUV 1."""
    header.Manufacturer = "Philips Medical Systems"
    to_suv = float(header[0x7053, 0x1000].value)
    for tag in [element.tag for element in header if element.tag.is_private]:
        del header[tag]
    block = header.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x09, "DS", f"{to_suv * 3600:.10g}")


def counts(header: Dataset) -> None:
    """Bq/mL, said to be counts, with Philips' factor of two that makes them Bq/mL again."""
    header.Units, header.RescaleSlope = "CNTS", "0.5"
    header.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x09, "DS", "2")


def siemens_private(header: Dataset) -> None:
    header.Manufacturer = "SIEMENS"
    del header.FrameReferenceTime
    header.private_block(0x0071, "SIEMENS MED PT", create=True).add_new(0x22, "DT", "20250101110000.00")


def ge_private(header: Dataset) -> None:
    header.Manufacturer = "GE MEDICAL SYSTEMS"
    del header.FrameReferenceTime
    header.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20250101110000.00")


def ge_frames(header: Dataset) -> None:
    """FrameReferenceTime of the frame's start, as GE writes it: 300 s are the mean count time of 603 s."""
    header.Manufacturer = "GE MEDICAL SYSTEMS"
    header.FrameReferenceTime = f"{float(header.FrameReferenceTime) - 300000:g}"


def admin(header: Dataset) -> None:
    header.DecayCorrection = "ADMIN"
    header.RescaleSlope = f"{2 ** (3600 / F18):.12g}"


midnight = (
    drug(RadiopharmaceuticalStartDateTime=None, RadiopharmaceuticalStartTime="233000"),
    setting(SeriesDate="20250102", AcquisitionDate="20250102", SeriesTime="003000", AcquisitionTime="003000"),
)
with_date = drug(RadiopharmaceuticalStartDateTime="20250101233000")
anonymous = setting(AcquisitionDate="19000101", SeriesDate="19000101", StudyDate="19000101")
zirconium = (
    drug(Radiopharmaceutical="89Zr-trastuzumab", RadionuclideHalfLife=f"{ZR89:g}"),
    drug(RadiopharmaceuticalStartDateTime="20241229110000"),  # three days before
    setting(RescaleSlope=f"{2 ** (3600 / F18) / 2 ** (3 * 86400 / ZR89):.12g}"),
)
start_clock_only = drug(RadiopharmaceuticalStartDateTime=None)

PUBLISHED: list[tuple[str, str, tuple[Edit, ...]]] = [
    # James with 128: 77 - 128 * 0.16 and 74.9 - 148 * 0.16 kg
    ("2_1_1 LBMJAMES128 F", "2_0", (by_sex("LBMJAMES128", "F", 51.22),)),
    ("2_1_2 LBMJAMES128 O", "2_0", (by_sex("LBMJAMES128", "O", 53.87),)),
    ("2_2_0 IBW M", "2_0", (by_sex("IBW", "M", 72.38),)),
    ("2_2_1 IBW F", "2_0", (by_sex("IBW", "F", 66.43),)),
    ("2_2_2 IBW O", "2_0", (by_sex("IBW", "O", 69.405),)),
    ("2_5 Philips activity factor", "2_4", (philips_activity,)),
    # Janmahasatian: 648900 / (6680 + 216 * 22.857) and 648900 / (8780 + 244 * 22.857) kg
    ("2_6_0 LBMJANMA M", "2_0", (by_sex("LBMJANMA", "M", 55.85711),)),
    ("2_6_1 LBMJANMA F", "2_0", (by_sex("LBMJANMA", "F", 45.19701),)),
    ("2_6_2 LBMJANMA O", "2_0", (by_sex("LBMJANMA", "O", 50.52706),)),
    ("3_1 ADMIN", "0_0", (admin,)),
    ("3_2_0 late series, Siemens", "3_2", (maker("SIEMENS"),)),
    ("3_2_1 late series, GE", "3_2", (ge_frames,)),
    ("3_2_2 late series, Philips", "3_2", (maker("Philips Medical Systems"),)),
    ("3_3_0 Siemens private time", "3_2", (siemens_private,)),
    ("3_3_1 GE private time", "3_2", (ge_private,)),
    ("3_4_0 NONE, Siemens", "3_4", (maker("SIEMENS"),)),
    ("3_4_2 NONE, Philips, CNTS", "3_4", (maker("Philips Medical Systems"), counts)),
    ("3_4_3 NONE, synthetic", "3_4", (maker("Synthetic"),)),
    ("3_5_0 series is acquisition, Siemens", "0_0", (maker("SIEMENS"),)),
    ("3_5_1 series is acquisition, GE", "0_0", (maker("GE MEDICAL SYSTEMS"),)),
    ("3_5_2 series is acquisition, Philips", "0_0", (maker("Philips Medical Systems"),)),
    ("4_1 start as time only", "4_0", (drug(RadiopharmaceuticalStartTime="100000"), start_clock_only)),
    ("4_2 across midnight, time only", "0_0", midnight),
    ("4_3 across midnight, date-time", "0_0", (*midnight, with_date)),
    ("4_4 across midnight, dates anonymised", "0_0", (*midnight, with_date, anonymous)),
    ("4_5 Zr-89 after days", "0_0", zirconium),
]


@pytest.mark.parametrize(("base", "edits"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED])
def test_like_of_a_published_object(
    objects: Path, tmp_path: Path, base: str, edits: tuple[Edit, ...]
) -> None:
    np.testing.assert_allclose(min_median_max(rewritten(objects, base, tmp_path, edits)), TARGETS, rtol=0.01)


no_duration = setting(ActualFrameDuration=None)
ERRORS: list[tuple[str, str, tuple[Edit, ...], str]] = [
    ("2_0 weight missing", "0_0", (setting(PatientWeight=None),), "0010,1030.*missing"),
    ("2_1 weight 0", "0_0", (setting(PatientWeight="0"),), "0010,1030.*0 kg"),
    ("2_2 IBW, sex absent", "2_0", (setting(SUVType="IBW", PatientSex=None),), "0010,0040"),
    ("2_3 IBW, sex of another value", "2_0", (setting(SUVType="IBW", PatientSex="U"),), "0010,0040"),
    ("2_4 IBW, size absent", "2_0", (setting(SUVType="IBW", PatientSize=None),), "0010,1020.*missing"),
    ("2_5 IBW, size 0", "2_0", (setting(SUVType="IBW", PatientSize="0"),), "0010,1020.*0 m is absurd"),
    ("2_6 CNTS, no factors", "0_0", (setting(Units="CNTS"),), "7053,1000.*7053,1009"),
    ("2_7 PROPCNTS", "0_0", (setting(Units="PROPCNTS"),), "0054,1001.*PROPCNTS"),
    ("3_0 dose absent", "0_0", (drug(RadionuclideTotalDose=None),), "0018,1074.*missing"),
    ("3_1 dose negative", "0_0", (drug(RadionuclideTotalDose="-1"),), "0018,1074.*-1 is absurd"),
    ("3_2 late series, no frame duration", "3_2", (no_duration,), "0018,1242"),
    (
        "4_0 no start of any kind",
        "4_0",
        (drug(RadiopharmaceuticalStartDateTime=None),),
        "0018,1078.*0018,1072.*missing",
    ),
    ("4_1 Zr-89, no date-time", "0_0", (*zirconium, start_clock_only), "0018,1078.*missing"),
    ("4_2 Zr-89, dates anonymised", "0_0", (*zirconium, anonymous), "0018,1078.*does not fit"),
    ("5_0 half-life absent", "0_0", (drug(RadionuclideHalfLife=None),), "0018,1075.*missing"),
]


@pytest.mark.parametrize(
    ("base", "edits", "cause"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
def test_like_of_a_published_error(
    objects: Path, tmp_path: Path, base: str, edits: tuple[Edit, ...], cause: str
) -> None:
    scan = mapdiff.read(rewritten(objects, base, tmp_path, edits))
    with pytest.raises(UnitError, match=cause):
        scan.to("SUV")


def test_real_series_agrees_with_an_independent_conversion(shared: Path) -> None:
    nib = pytest.importorskip("nibabel")
    folder = shared / "real_pet_sts001"
    if not folder.is_dir():
        pytest.skip(f"the real series is not there: {folder}")
    scan = mapdiff.read(folder / "dicom")
    crop = nib.load(folder / "reference_suv_crop.nii.gz")
    theirs = np.asarray(crop.dataobj, dtype=np.float64)
    start = np.rint(np.linalg.inv(scan.affine) @ crop.affine[:, 3]).astype(int)[:3]
    assert list(start) == [59, 45, 0]
    # every corner of the crop lies at the same place in the world; slices jitter by 0.05 mm
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in theirs.shape])).reshape(3, -1)
    ours_at, theirs_at = (
        (affine @ np.vstack([where, np.ones(8)]))[:3]
        for affine, where in ((scan.affine, corners + start[:, None]), (crop.affine, corners))
    )
    assert np.abs(ours_at - theirs_at).max() < 0.05
    i, j, k = (slice(s, s + n) for s, n in zip(start, theirs.shape, strict=True))
    ours = scan.to("SUV").array[i, j, k].astype(np.float64)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999999
    assert abs((ours * theirs).sum() / (ours * ours).sum() - 1) < 1e-4
    assert scan.acquisition.suv_per_bqml == pytest.approx(2.42903e-4, rel=1e-5)
